//! The canonical ABI, driven by a plan: values go straight between a cursor and guest memory.
//!
//! wasmtime calls typed functions fast and dynamically typed ones slowly: its dynamic values cost 40 bytes for each
//! `u8` and a string for each field name. So calls are made through [`TypedFunc`] with types of our own,
//! [`Arguments`] and [`Lifted`], whose lowering and lifting follow a plan and a cursor: [`lower`] walks into the guest,
//! [`lift`] out of it. [`concurrent`] calls functions whose results come in another way, [`flow`] is for streams.
//!
//! # Safety
//!
//! This is the crate's only module with `unsafe` code. Six things need it, and this is why each is sound:
//!
//! * **Implementing `ComponentType`, `Lower` and `Lift`.** `Arguments::Lower` is sixteen core values, the most that
//!   the ABI ever passes directly, so wasmtime always takes the direct branch and hands over room for all of them;
//!   what does not fit is passed by a pointer that [`lower_flat`]'s caller writes itself, as the ABI says.
//!   `Lifted::Lower` is one core value, which is the value itself or the pointer to it. Every slot that the guest
//!   reads is written; types were checked once, when the plan was compiled from the component's own types.
//! * **Pointers in [`Arguments`] and [`JOB`].** They point at things that a call borrows for as long as its future lives,
//!   or that are part of that and pinned with it, and are only followed while it is being polled: lowering and lifting
//!   happen inside the poll. The thread-local is set before each poll and restored after it, so that nested and interleaved
//!   calls see their own.
//! * **`Send` and `Sync` of those types.** wasmtime asks for them. The pointers never reach another thread except
//!   inside the future that owns what they point at, and that is `Send` because cursors are.
//! * **The guest's memory while arguments are lowered.** Its address is looked up once and kept until the guest next runs,
//!   which in lowering is when its allocator is called; nothing else can make a memory move or grow.
//! * **The guest's memory while it waits.** [`Passed`] arguments of host functions stay where the guest has them. Such a function
//!   has the store until it returns, and neither keeps them nor runs the guest; what is read of them borrows the store, or is
//!   read by a [`Callee`], which is through with it before. As types they are what the ABI says a string and a list are.
//! * **Calls that live where they borrow.** A call of a guest's [`Callee`] is in the same room as what it borrows, one that a
//!   [`Place`] or a [`Guarded`] runs in the same as its instance. Each room has one owner, stays where it is, and drops the call
//!   before anything that the call borrows changes. A call that is leaked is never polled again, and so never looks at them.
//!
//! Everything that a guest controls – pointers, lengths, discriminants, alignment, encodings, return values of its
//! allocator – is checked before it is used, by slices with checked ranges; there is no unchecked memory access.
#![expect(
    unsafe_code,
    reason = "wasmtime's typed interface is implemented by unsafe traits; see the module's argument"
)]

mod callee;
pub(crate) mod concurrent;
pub(crate) mod flow;
mod guarded;
mod lift;
mod lower;
mod passed;
mod phases;
mod place;

use std::{
    cell::Cell,
    future::Future,
    mem::MaybeUninit,
    pin::Pin,
    ptr::{self, NonNull},
    sync::Arc,
    task::{self, Poll, Waker},
};

use wasmtime::{
    Store, ValRaw,
    component::{
        __internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, LowerContext},
        ComponentNamedList, ComponentType, Func, Lift, Lower, TypedFunc,
    },
};
use wippy_wit::{MAX_FLAT_PARAMS, Reader, Value, Writer};

pub(crate) use self::{
    callee::Callee,
    guarded::Guarded,
    passed::{Givable, Given, Passed},
    place::{Place, Surroundings},
};
use self::{
    lift::{Lifter, Lifting, lift_plain, lift_result},
    lower::{Lowerer, lower_arguments},
    phases::Phases,
};
use crate::{error_contexts::ErrorContexts, instance::Invocation, state::GuestState};

/// A function of an instance, ready to be called.
#[derive(Clone, Copy)]
pub(crate) struct Export(TypedFunc<Arguments, Lifted>);

impl Export {
    /// Makes `func` callable; `plan` must have been compiled from its type.
    pub(crate) fn new(func: Func) -> Self {
        // SAFETY: the types are dynamic; what they lower and lift is decided by the plan given to `call`, which is
        // compiled from the type of this function.
        Self(unsafe { TypedFunc::new_unchecked(func) })
    }

    /// The function itself, for callers that know its type.
    pub(crate) fn function(&self) -> Func {
        *self.0.func()
    }
}

/// How a call that came back came back.
#[derive(Debug)]
pub(crate) enum Returned {
    /// The value is in the writer.
    Value,
    /// The function's own `result` was an error, with this payload.
    Failed(Value),
}

/// Calls `export`: lowers the arguments from `arguments`, runs the guest, lifts the result into `result`.
///
/// The future may be dropped at any time; the store is then only good for dropping. It fails with a
/// [`wippy_wit::Error`] inside when an argument does not fit; anything else is a trap or a limit. After any error the
/// store is only good for dropping.
pub(crate) fn call<'a>(
    store: &'a mut Store<GuestState>,
    export: &'a Export,
    invocation: Invocation<'a>,
    arguments: &'a mut dyn Reader,
    result: &'a mut dyn Writer,
) -> Running<impl Future<Output = wasmtime::Result<Lifted>> + Send + 'a> {
    let error_contexts = store.data().error_contexts.clone();
    Running::new(invocation, error_contexts, arguments, result, |params| {
        export.0.call_async(store, params)
    })
}

/// Like [`call`], for a method that [ends at once](crate::component::Method::ends_at_once): it runs on the stack of
/// whoever asks.
#[inline]
pub(crate) fn call_at_once(
    store: &mut Store<GuestState>,
    export: &Export,
    invocation: Invocation<'_>,
    arguments: &mut dyn Reader,
    result: &mut dyn Writer,
) -> wasmtime::Result<Returned> {
    let invocation = erase_invocation(invocation);
    let arguments = Arguments {
        invocation,
        reader: erase_reader(arguments),
    };
    // What has error contexts does not end at once.
    let job = Job::new(invocation, None, erase_writer(result));
    // The job stays where it is until the thread forgets it again.
    let _entered = Entered::new(&job);
    store.data_mut().at_once = Some(invocation.method.ticks_max());
    let lifted = export.0.call(&mut *store, arguments);
    store.data_mut().at_once = None;
    job.tell(lifted.is_err());
    lifted.map(|Lifted| job.returned())
}

pin_project_lite::pin_project! {
    /// A call that runs. The engine's future is as large as all the rest, so it is built once and never moved.
    pub(crate) struct Running<F> {
        #[pin]
        future: F,
        job: Job,
    }
}

impl<F> Running<F> {
    /// What `start` starts, with its parameters.
    #[inline]
    fn new<'a>(
        invocation: Invocation<'a>,
        error_contexts: Option<Arc<ErrorContexts>>,
        arguments: &'a mut dyn Reader,
        result: &'a mut dyn Writer,
        start: impl FnOnce(Arguments) -> F,
    ) -> Self {
        let invocation = erase_invocation(invocation);
        let params = Arguments {
            invocation,
            reader: erase_reader(arguments),
        };
        let job = Job::new(invocation, error_contexts, erase_writer(result));
        Self {
            future: start(params),
            job,
        }
    }
}

impl<F: Future<Output = wasmtime::Result<Lifted>>> Future for Running<F> {
    type Output = wasmtime::Result<Returned>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // The job does not move between here and the end of the poll, when the thread forgets it again.
        let _entered = Entered::new(this.job);
        this.job.waker.set(Some(NonNull::from(cx.waker())));
        let polled = this.future.poll(cx);
        if let Poll::Ready(outcome) = &polled {
            this.job.tell(outcome.is_err());
        }
        polled.map_ok(|Lifted| this.job.returned())
    }
}

fn erase_invocation(invocation: Invocation<'_>) -> Invocation<'static> {
    // SAFETY: only the lifetime of what it refers to changes; see the module's second point.
    unsafe { std::mem::transmute::<Invocation<'_>, Invocation<'static>>(invocation) }
}

#[expect(
    clippy::transmute_ptr_to_ptr,
    reason = "only a transmute changes a trait object's lifetime"
)]
fn erase_reader(reader: &mut dyn Reader) -> *mut (dyn Reader + 'static) {
    let reader: *mut (dyn Reader + '_) = reader;
    // SAFETY: only the lifetime of the trait object changes; see the module's second point.
    unsafe { std::mem::transmute::<*mut (dyn Reader + '_), *mut (dyn Reader + 'static)>(reader) }
}

#[expect(
    clippy::transmute_ptr_to_ptr,
    reason = "only a transmute changes a trait object's lifetime"
)]
fn erase_writer(writer: &mut dyn Writer) -> *mut (dyn Writer + 'static) {
    let writer: *mut (dyn Writer + '_) = writer;
    // SAFETY: only the lifetime of the trait object changes; see the module's second point.
    unsafe { std::mem::transmute::<*mut (dyn Writer + '_), *mut (dyn Writer + 'static)>(writer) }
}

/// What lifting needs to know and cannot be told through wasmtime.
pub(crate) struct Job {
    invocation: Invocation<'static>,
    /// Those of the instance, if it can have any.
    error_contexts: Option<Arc<ErrorContexts>>,
    writer: *mut (dyn Writer + 'static),
    failed: Cell<Option<Value>>,
    /// Who is to be woken, while it is polled.
    waker: Cell<Option<NonNull<Waker>>>,
    /// Only for calls that are traced.
    phases: Option<Box<Phases>>,
}

impl Job {
    fn new(
        invocation: Invocation<'static>,
        error_contexts: Option<Arc<ErrorContexts>>,
        writer: *mut (dyn Writer + 'static),
    ) -> Self {
        Self {
            invocation,
            error_contexts,
            writer,
            failed: Cell::new(None),
            waker: Cell::new(None),
            phases: invocation.trace.map(|_| Box::new(Phases::new())),
        }
    }

    /// Tells a call that is traced where its time went.
    fn tell(&self, failed: bool) {
        if let (Some(phases), Some(context)) = (&self.phases, self.invocation.trace) {
            phases.tell(context, failed);
        }
    }

    fn returned(&self) -> Returned {
        self.failed.take().map_or(Returned::Value, Returned::Failed)
    }
}

// SAFETY: see the module's third point.
unsafe impl Send for Job {}
// SAFETY: see the module's third point.
unsafe impl Sync for Job {}

thread_local! {
    /// The job of the call that is being polled on this thread.
    static JOB: Cell<*const Job> = const { Cell::new(ptr::null()) };
}

/// Sets the thread's job for one poll.
struct Entered(*const Job);

impl Entered {
    fn new(job: &Job) -> Self {
        Self(JOB.replace(job))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        JOB.set(self.0);
    }
}

/// The parameters of any function: the cursor to read them from, and the plan.
struct Arguments {
    invocation: Invocation<'static>,
    reader: *mut (dyn Reader + 'static),
}

// SAFETY: see the module's third point.
unsafe impl Send for Arguments {}
// SAFETY: see the module's third point.
unsafe impl Sync for Arguments {}

// SAFETY: see the module's first point. `ABI` describes memory passing, which wasmtime never does with this type.
unsafe impl ComponentType for Arguments {
    type Lower = [ValRaw; MAX_FLAT_PARAMS];
    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::POINTER_PAIR;

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> wasmtime::Result<()> {
        Ok(())
    }
}

// SAFETY: it stands for a list of named parameters.
unsafe impl ComponentNamedList for Arguments {}

// SAFETY: see the module's first point; every slot that the plan counts is written.
unsafe impl Lower for Arguments {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<[ValRaw; MAX_FLAT_PARAMS]>,
    ) -> wasmtime::Result<()> {
        // SAFETY: see the module's second point.
        let (invocation, reader) = unsafe { (&self.invocation, &mut *self.reader) };
        let slots = dst.write([ValRaw::u64(0); MAX_FLAT_PARAMS]);
        lower_arguments(&mut Lowerer::new(cx, invocation, ty), reader, slots)?;
        if invocation.trace.is_some()
            // SAFETY: see the module's second point.
            && let Some(job) = unsafe { JOB.get().as_ref() }
            && let Some(phases) = &job.phases
        {
            phases.lowered();
        }
        Ok(())
    }

    fn linear_lower_to_memory<T>(
        &self,
        _: &mut LowerContext<'_, T>,
        _: InterfaceType,
        _: usize,
    ) -> wasmtime::Result<()> {
        Err(wasmtime::format_err!(
            "arguments are never lowered as a part of something else"
        ))
    }
}

/// Lifts a result for the call that is being polled.
#[inline]
fn with_job(
    lift: impl FnOnce(Lifting<'_>, &mut dyn Writer, &Cell<Option<Value>>) -> wasmtime::Result<()>,
) -> wasmtime::Result<()> {
    let job = JOB.get();
    if job.is_null() {
        return Err(wasmtime::format_err!("a result is lifted outside a call"));
    }
    // SAFETY: see the module's second point.
    if let Some(phases) = unsafe { &(*job).phases } {
        phases.ran();
    }
    // SAFETY: as above.
    let (job, writer) = unsafe { (&*job, &mut *(*job).writer) };
    let lifting = Lifting {
        invocation: &job.invocation,
        error_contexts: job.error_contexts.as_deref(),
    };
    lift(lifting, writer, &job.failed)
}

/// The result of any function: it is in the job's writer.
#[derive(Clone, Copy)]
pub(crate) struct Lifted;

// SAFETY: see the module's first point.
unsafe impl ComponentType for Lifted {
    type Lower = [ValRaw; 1];
    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::SCALAR4;

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> wasmtime::Result<()> {
        Ok(())
    }
}

// SAFETY: it stands for a list of results.
unsafe impl ComponentNamedList for Lifted {}

// SAFETY: see the module's first point.
unsafe impl Lift for Lifted {
    fn linear_lift_from_flat(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        src: &[ValRaw; 1],
    ) -> wasmtime::Result<Self> {
        let [slot] = src;
        with_job(|lifting, writer, failed| {
            if lift_plain(lifting.invocation.method.plan().result.as_ref(), *slot, writer) {
                return Ok(());
            }
            lift_result(Lifter::new(cx, lifting, ty), *slot, writer, failed)
        })?;
        Ok(Self)
    }

    fn linear_lift_from_memory(
        _: &mut LiftContext<'_>,
        _: InterfaceType,
        _: &[u8],
    ) -> wasmtime::Result<Self> {
        Err(wasmtime::format_err!(
            "results are never lifted as a part of something else"
        ))
    }
}

/// Marks the length of a compact string as counting UTF-16 units.
const UTF16_TAG: u32 = 1 << 31;

#[cold]
fn out_of_bounds() -> wasmtime::Error {
    wasmtime::format_err!("a pointer lies outside the guest's memory")
}
