//! The canonical ABI, driven by a plan: values go straight between a cursor and guest memory.
//!
//! wasmtime calls typed functions fast and dynamically typed ones slowly: its dynamic values cost 40 bytes for each
//! `u8` and a string for each field name. So calls are made through [`TypedFunc`] with types of our own,
//! [`Arguments`] and [`Outcome`], whose lowering and lifting follow a [`Plan`] and a cursor. Four walks do all the
//! work: [`lower_flat`] and [`store`] into the guest, [`lift_flat`] and [`load`] out of it.
//!
//! # Safety
//!
//! This is the crate's only module with `unsafe` code. Three things need it, and this is why each is sound:
//!
//! * **Implementing `ComponentType`, `Lower` and `Lift`.** `Arguments::Lower` is sixteen core values, the most that
//!   the ABI ever passes directly, so wasmtime always takes the direct branch and hands over room for all of them;
//!   what does not fit is passed by a pointer that [`lower_flat`]'s caller writes itself, as the ABI says.
//!   `Outcome::Lower` is one core value, which is the value itself or the pointer to it. Every slot that the guest
//!   reads is written; types were checked once, when the plan was compiled from the component's own types.
//! * **Pointers in [`Arguments`] and [`JOB`].** They point at things that live in the frame of [`call`], and are
//!   only followed while that frame's future is being polled: lowering and lifting happen inside the poll. The
//!   thread-local is set before each poll and restored after it, so that nested and interleaved calls see their own.
//! * **`Send` and `Sync` of those types.** wasmtime asks for them. The pointers never reach another thread except
//!   inside the future that owns what they point at, and that is `Send` because cursors are.
//!
//! Everything that a guest controls – pointers, lengths, discriminants, alignment, encodings, return values of its
//! allocator – is checked before it is used, by slices with checked ranges; there is no unchecked memory access.
#![expect(unsafe_code, reason = "wasmtime's typed interface is implemented by unsafe traits; see the module's argument")]

use std::{cell::Cell, future::Future, mem::MaybeUninit, pin::pin, ptr, sync::Arc};

use wasmtime::{
    Store, ValRaw,
    component::{
        __internal::{
            CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, LowerContext,
            wasmtime_environ::component::StringEncoding,
        },
        ComponentNamedList, ComponentType, Func, Lift, Lower, ResourceAny, TypedFunc,
    },
};
use wippy_wit::{
    Case, Error, Field, Kind, MAX_FLAT_PARAMS, Node, Reader, Value, ValueWriter, Writer,
    accept::{self, Payload, well_known},
};

use crate::{instance::Invocation, resource::Resource, state::GuestState};

/// A function of an instance, ready to be called.
#[derive(Clone, Copy)]
pub(crate) struct Export(TypedFunc<Arguments, Outcome>);

impl Export {
    /// Makes `func` callable; `plan` must have been compiled from its type.
    pub(crate) fn new(func: Func) -> Self {
        // SAFETY: the types are dynamic; what they lower and lift is decided by the plan given to `call`, which is
        // compiled from the type of this function.
        Self(unsafe { TypedFunc::new_unchecked(func) })
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
/// The future may be dropped at any time; the store is then only good for dropping.
///
/// # Errors
/// A [`wippy_wit::Error`] inside when an argument does not fit; anything else is a trap or a limit. After any error
/// the store is only good for dropping.
pub(crate) async fn call(
    store: &mut Store<GuestState>,
    export: Export,
    invocation: Invocation<'_>,
    arguments: &mut dyn Reader,
    result: &mut dyn Writer,
) -> wasmtime::Result<Returned> {
    let invocation = erase_invocation(&invocation);
    let job = Job { invocation, writer: erase_writer(result), failed: Cell::new(None) };
    let params = Arguments { invocation, reader: erase_reader(arguments) };
    let mut running = pin!(export.0.call_async(store, params));
    // Nothing between here and the end of the function moves `job`, and the pointer to it is gone from the
    // thread-local after each poll.
    let job_address = JobAddress(&raw const job);
    std::future::poll_fn(|cx| {
        let _entered = Entered::new(&job_address);
        running.as_mut().poll(cx)
    })
    .await
    .map(|Outcome| ())?;
    Ok(job.failed.take().map_or(Returned::Value, Returned::Failed))
}

fn erase_invocation(invocation: &Invocation<'_>) -> *const Invocation<'static> {
    ptr::from_ref(invocation).cast()
}

fn erase_reader(reader: &mut dyn Reader) -> *mut (dyn Reader + 'static) {
    let reader: *mut (dyn Reader + '_) = reader;
    // SAFETY: only the lifetime of the trait object changes; see the module's second point.
    unsafe { std::mem::transmute::<*mut (dyn Reader + '_), *mut (dyn Reader + 'static)>(reader) }
}

fn erase_writer(writer: &mut dyn Writer) -> *mut (dyn Writer + 'static) {
    let writer: *mut (dyn Writer + '_) = writer;
    // SAFETY: only the lifetime of the trait object changes; see the module's second point.
    unsafe { std::mem::transmute::<*mut (dyn Writer + '_), *mut (dyn Writer + 'static)>(writer) }
}

/// What lifting needs to know and cannot be told through wasmtime.
struct Job {
    invocation: *const Invocation<'static>,
    writer: *mut (dyn Writer + 'static),
    failed: Cell<Option<Value>>,
}

// SAFETY: see the module's third point.
unsafe impl Send for Job {}
// SAFETY: see the module's third point.
unsafe impl Sync for Job {}

struct JobAddress(*const Job);

// SAFETY: see the module's third point.
unsafe impl Send for JobAddress {}
// SAFETY: see the module's third point.
unsafe impl Sync for JobAddress {}

thread_local! {
    /// The job of the call that is being polled on this thread.
    static JOB: Cell<*const Job> = const { Cell::new(ptr::null()) };
}

/// Sets the thread's job for one poll.
struct Entered(*const Job);

impl Entered {
    fn new(job: &JobAddress) -> Self {
        Self(JOB.replace(job.0))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        JOB.set(self.0);
    }
}

/// The parameters of any function: the cursor to read them from, and the plan.
struct Arguments {
    invocation: *const Invocation<'static>,
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
        let (invocation, reader) = unsafe { (&*self.invocation, &mut *self.reader) };
        let slots = dst.write([ValRaw::u64(0); MAX_FLAT_PARAMS]);
        lower_arguments(&mut Lowerer { cx, invocation, ty }, reader, slots)
    }

    fn linear_lower_to_memory<T>(
        &self,
        _: &mut LowerContext<'_, T>,
        _: InterfaceType,
        _: usize,
    ) -> wasmtime::Result<()> {
        Err(wasmtime::format_err!("arguments are never lowered as a part of something else"))
    }
}

/// The result of any function: it is in the job's writer.
#[derive(Clone, Copy)]
struct Outcome;

// SAFETY: see the module's first point.
unsafe impl ComponentType for Outcome {
    type Lower = [ValRaw; 1];
    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::SCALAR4;

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> wasmtime::Result<()> {
        Ok(())
    }
}

// SAFETY: it stands for a list of results.
unsafe impl ComponentNamedList for Outcome {}

// SAFETY: see the module's first point.
unsafe impl Lift for Outcome {
    fn linear_lift_from_flat(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        src: &[ValRaw; 1],
    ) -> wasmtime::Result<Self> {
        let job = JOB.get();
        if job.is_null() {
            return Err(wasmtime::format_err!("a result is lifted outside a call"));
        }
        // SAFETY: see the module's second point.
        let (job, invocation, writer) = unsafe { (&*job, &*(*job).invocation, &mut *(*job).writer) };
        let [slot] = src;
        lift_result(Lifter::new(cx, invocation, ty), *slot, writer, &job.failed)?;
        Ok(Self)
    }

    fn linear_lift_from_memory(_: &mut LiftContext<'_>, _: InterfaceType, _: &[u8]) -> wasmtime::Result<Self> {
        Err(wasmtime::format_err!("results are never lifted as a part of something else"))
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Into the guest
// ---------------------------------------------------------------------------------------------------------------

/// Guest memory while arguments are put into it.
struct Lowerer<'a, 'b, T: 'static> {
    cx: &'a mut LowerContext<'b, T>,
    invocation: &'a Invocation<'a>,
    /// The engine's type of the parameter list.
    ty: InterfaceType,
}

impl<T> Lowerer<'_, '_, T> {
    /// Room of the guest's own; the address is checked to be aligned and within its memory.
    fn realloc(&mut self, align: u32, size: usize) -> wasmtime::Result<usize> {
        self.cx.realloc(0, 0, align, size)
    }

    fn memory(&mut self) -> &mut [u8] {
        self.cx.as_slice_mut()
    }

    /// The guest's index for the resource under the cursor.
    fn resource(&mut self, node: &Node, reader: &mut dyn Reader) -> wasmtime::Result<u32> {
        let datum = reader.datum();
        let (Some(resource), Some(keeper)) = (Resource::of(&datum), self.invocation.keeper) else {
            let (Kind::Own(name) | Kind::Borrow(name)) = &node.kind else { return Err(unsupported(node)) };
            return Err(Error::expected(format_args!("resource {name}"), datum.type_name()).into());
        };
        let handle = match node.kind {
            Kind::Own(_) => resource.give(keeper)?,
            _ => resource.lend(keeper)?,
        };
        self.lower_handle(node, handle)
    }

    fn lower_handle(&mut self, node: &Node, handle: ResourceAny) -> wasmtime::Result<u32> {
        let method = self.invocation.method;
        let roots = method.plan().params.iter().map(|param| &param.node);
        let ty = method.param_handles.of(node, roots, self.cx.types, self.ty).ok_or_else(|| unsupported(node))?;
        let mut index = MaybeUninit::uninit();
        handle.linear_lower_to_flat(self.cx, ty, &mut index)?;
        // SAFETY: lowering wrote it, or failed.
        Ok(unsafe { index.assume_init() }.get_u32())
    }
}

fn lower_arguments<T>(
    cx: &mut Lowerer<'_, '_, T>,
    reader: &mut dyn Reader,
    slots: &mut [ValRaw; MAX_FLAT_PARAMS],
) -> wasmtime::Result<()> {
    let Invocation { method, keeper, receiver } = *cx.invocation;
    let plan = method.plan();
    if plan.params_flat > MAX_FLAT_PARAMS {
        let base = cx.realloc(plan.params_align, plan.params_size as usize)?;
        for (index, param) in plan.params.iter().enumerate() {
            let at = base + param.offset as usize;
            if let (0, Some(receiver), Some(keeper)) = (index, receiver, keeper) {
                let handle = cx.lower_handle(&param.node, receiver.lend(keeper)?)?;
                put(cx, at, handle.to_le_bytes())?;
                continue;
            }
            let index = index - usize::from(receiver.is_some());
            reader.enter_index(index)?;
            store(cx, &param.node, reader, at)
                .map_err(|error| self::at(error, |error| error.at_argument(index, &param.name)))?;
            reader.leave();
        }
        let [first, ..] = slots;
        *first = ValRaw::i64(i64::try_from(base).unwrap_or(i64::MAX));
        return Ok(());
    }
    let mut rest = slots.as_mut_slice();
    for (index, param) in plan.params.iter().enumerate() {
        let Some((mine, others)) = rest.split_at_mut_checked(param.node.flat) else {
            return Err(wasmtime::format_err!("the plan does not count its own parameters"));
        };
        rest = others;
        if let (0, Some(receiver), Some(keeper), [slot, ..]) = (index, receiver, keeper, &mut *mine) {
            *slot = ValRaw::u32(cx.lower_handle(&param.node, receiver.lend(keeper)?)?);
            continue;
        }
        let index = index - usize::from(receiver.is_some());
        reader.enter_index(index)?;
        lower_flat(cx, &param.node, reader, mine)
            .map_err(|error| at(error, |error| error.at_argument(index, &param.name)))?;
        reader.leave();
    }
    Ok(())
}

/// Adds a step to the path of a mapping error; others stay as they are.
#[cold]
fn at(error: wasmtime::Error, step: impl FnOnce(Error) -> Error) -> wasmtime::Error {
    match error.downcast::<Error>() {
        Ok(error) => step(error).into(),
        Err(other) => other,
    }
}

/// Lowers the value under the cursor to core values. Slots that a variant's case does not use stay zero.
fn lower_flat<T>(
    cx: &mut Lowerer<'_, '_, T>,
    node: &Node,
    reader: &mut dyn Reader,
    slots: &mut [ValRaw],
) -> wasmtime::Result<()> {
    let Some((first, rest)) = slots.split_first_mut() else { return lower_empty(node, reader) };
    // `ValRaw`'s constructors extend 32-bit values with zeros to 64 bits, which is what a joined slot asks for.
    match &node.kind {
        Kind::Bool => *first = ValRaw::u32(accept::boolean(reader)?.into()),
        Kind::U8 => *first = ValRaw::u32(accept::u8(reader)?.into()),
        Kind::S8 => *first = ValRaw::i32(accept::s8(reader)?.into()),
        Kind::U16 => *first = ValRaw::u32(accept::u16(reader)?.into()),
        Kind::S16 => *first = ValRaw::i32(accept::s16(reader)?.into()),
        Kind::U32 => *first = ValRaw::u32(accept::u32(reader)?),
        Kind::S32 => *first = ValRaw::i32(accept::s32(reader)?),
        Kind::U64 => *first = ValRaw::u64(accept::u64(reader)?),
        Kind::S64 => *first = ValRaw::i64(accept::s64(reader)?),
        Kind::F32 => *first = ValRaw::f32(accept::float32(reader)?.to_bits()),
        Kind::F64 => *first = ValRaw::f64(accept::float(reader)?.to_bits()),
        Kind::Char => *first = ValRaw::u32(accept::character(reader)?.into()),
        Kind::Enum { cases, .. } => *first = ValRaw::u32(index_u32(accept::enumeration(reader, cases)?)),
        Kind::String | Kind::Bytes | Kind::List(_) => {
            let (pointer, length) = lower_sequence(cx, node, reader)?;
            *first = ValRaw::u32(pointer);
            if let Some(second) = rest.first_mut() {
                *second = ValRaw::u32(length);
            }
        }
        Kind::Record(fields) => {
            accept::record(reader)?;
            lower_fields(cx, fields, reader, slots, |reader, _, field| accept::field(reader, field), at_field)?;
        }
        Kind::Tuple(fields) => {
            accept::tuple(reader, fields)?;
            lower_fields(cx, fields, reader, slots, |reader, index, _| reader.enter_index(index), at_element)?;
        }
        Kind::FixedList(element, length) => {
            accept::fixed_list(reader, element, *length)?;
            for (index, slots) in slots.chunks_mut(element.flat.max(1)).enumerate() {
                reader.enter_index(index)?;
                lower_flat(cx, element, reader, slots).map_err(|error| at(error, |error| error.at_index(index)))?;
                reader.leave();
            }
        }
        Kind::Option { some, nested, .. } => {
            if let Some(payload) = accept::option(reader, *nested)? {
                *first = ValRaw::u32(1);
                lower_payload_flat(cx, some, payload, reader, rest)
                    .map_err(|error| at(error, |error| some_step(error, *nested)))?;
            }
        }
        Kind::Result { ok, err, .. } => {
            let (is_ok, payload) = accept::result(reader, ok.as_deref(), err.as_deref())?;
            *first = ValRaw::u32(u32::from(!is_ok));
            if let (Some(node), Payload::Entered) = (if is_ok { ok } else { err }, payload) {
                lower_payload_flat(cx, node, payload, reader, rest)
                    .map_err(|error| at(error, |error| error.at_field(side_name(is_ok))))?;
            }
        }
        Kind::Variant { cases, .. } => {
            let (index, payload) = accept::variant(reader, cases)?;
            *first = ValRaw::u32(index_u32(index));
            if let (Some(Case { payload: Some(node), key }), Payload::Entered) = (cases.get(index), payload) {
                lower_payload_flat(cx, node, payload, reader, rest)
                    .map_err(|error| at(error, |error| error.at_field(key.name())))?;
            }
        }
        Kind::Flags { flags } => {
            let mut words = [0_u32; FLAG_WORDS_MAX];
            read_flags(reader, flags, &mut words)?;
            for (slot, word) in slots.iter_mut().zip(words) {
                *slot = ValRaw::u32(word);
            }
        }
        Kind::Own(_) | Kind::Borrow(_) => *first = ValRaw::u32(cx.resource(node, reader)?),
        Kind::Opaque(_) => return Err(unsupported(node)),
    }
    Ok(())
}

/// The types that flatten to nothing: records and tuples without fields, flags without flags.
fn lower_empty(node: &Node, reader: &mut dyn Reader) -> wasmtime::Result<()> {
    match &node.kind {
        Kind::Tuple(fields) => accept::tuple(reader, fields)?,
        Kind::Flags { flags } => accept::flags(reader, flags, |_| ())?,
        _ => accept::record(reader)?,
    }
    Ok(())
}

/// How a step into a record or a tuple is named in an error's path.
type Step = fn(Error, usize, &Field) -> Error;

fn at_field(error: Error, _: usize, field: &Field) -> Error {
    error.at_field(&wippy_wit::names::snake(field.key.name()))
}

fn at_element(error: Error, index: usize, _: &Field) -> Error {
    error.at_index(index)
}

fn side_name(is_ok: bool) -> &'static str {
    if is_ok { "ok" } else { "err" }
}

/// Only options that need a wrapper are a step of the path.
fn some_step(error: Error, nested: bool) -> Error {
    if nested { error.at_field("some") } else { error }
}

fn lower_fields<T>(
    cx: &mut Lowerer<'_, '_, T>,
    fields: &[Field],
    reader: &mut dyn Reader,
    slots: &mut [ValRaw],
    enter: impl Fn(&mut dyn Reader, usize, &Field) -> Result<(), Error>,
    step: Step,
) -> wasmtime::Result<()> {
    let mut rest = slots;
    for (index, field) in fields.iter().enumerate() {
        let Some((mine, others)) = rest.split_at_mut_checked(field.node.flat) else {
            return Err(wasmtime::format_err!("the plan does not count its own fields"));
        };
        enter(reader, index, field)?;
        lower_flat(cx, &field.node, reader, mine)
            .map_err(|error| at(error, |error| step(error, index, field)))?;
        reader.leave();
        rest = others;
    }
    Ok(())
}

fn lower_payload_flat<T>(
    cx: &mut Lowerer<'_, '_, T>,
    node: &Node,
    payload: Payload,
    reader: &mut dyn Reader,
    slots: &mut [ValRaw],
) -> wasmtime::Result<()> {
    let mine = slots.get_mut(..node.flat).unwrap_or_default();
    lower_flat(cx, node, reader, mine)?;
    if payload == Payload::Entered {
        reader.leave();
    }
    Ok(())
}

/// Stores the value under the cursor at `at` in guest memory, which has room for it.
fn store<T>(
    cx: &mut Lowerer<'_, '_, T>,
    node: &Node,
    reader: &mut dyn Reader,
    offset: usize,
) -> wasmtime::Result<()> {
    match &node.kind {
        Kind::Bool => put(cx, offset, [u8::from(accept::boolean(reader)?)])?,
        Kind::U8 => put(cx, offset, [accept::u8(reader)?])?,
        Kind::S8 => put(cx, offset, accept::s8(reader)?.to_le_bytes())?,
        Kind::U16 => put(cx, offset, accept::u16(reader)?.to_le_bytes())?,
        Kind::S16 => put(cx, offset, accept::s16(reader)?.to_le_bytes())?,
        Kind::U32 => put(cx, offset, accept::u32(reader)?.to_le_bytes())?,
        Kind::S32 => put(cx, offset, accept::s32(reader)?.to_le_bytes())?,
        Kind::U64 => put(cx, offset, accept::u64(reader)?.to_le_bytes())?,
        Kind::S64 => put(cx, offset, accept::s64(reader)?.to_le_bytes())?,
        Kind::F32 => put(cx, offset, accept::float32(reader)?.to_le_bytes())?,
        Kind::F64 => put(cx, offset, accept::float(reader)?.to_le_bytes())?,
        Kind::Char => put(cx, offset, u32::from(accept::character(reader)?).to_le_bytes())?,
        Kind::Enum { cases, tag } => put_tag(cx, offset, *tag, accept::enumeration(reader, cases)?)?,
        Kind::String | Kind::Bytes | Kind::List(_) => {
            let (pointer, length) = lower_sequence(cx, node, reader)?;
            put(cx, offset, pointer.to_le_bytes())?;
            put(cx, offset + 4, length.to_le_bytes())?;
        }
        Kind::Record(fields) => {
            accept::record(reader)?;
            for field in fields {
                accept::field(reader, field)?;
                store(cx, &field.node, reader, offset + field.offset as usize)
                    .map_err(|error| at(error, |error| at_field(error, 0, field)))?;
                reader.leave();
            }
        }
        Kind::Tuple(fields) => {
            accept::tuple(reader, fields)?;
            for (index, field) in fields.iter().enumerate() {
                reader.enter_index(index)?;
                store(cx, &field.node, reader, offset + field.offset as usize)
                    .map_err(|error| at(error, |error| error.at_index(index)))?;
                reader.leave();
            }
        }
        Kind::FixedList(element, length) => {
            accept::fixed_list(reader, element, *length)?;
            store_elements(cx, element, reader, offset, *length as usize)?;
        }
        Kind::Option { some, offset: payload_at, nested } => match accept::option(reader, *nested)? {
            None => put(cx, offset, [0])?,
            Some(payload) => {
                put(cx, offset, [1])?;
                store_payload(cx, some, payload, reader, offset + *payload_at as usize)
                    .map_err(|error| at(error, |error| some_step(error, *nested)))?;
            }
        },
        Kind::Result { ok, err, offset: payload_at } => {
            let (is_ok, payload) = accept::result(reader, ok.as_deref(), err.as_deref())?;
            put(cx, offset, [u8::from(!is_ok)])?;
            if let (Some(node), Payload::Entered) = (if is_ok { ok } else { err }, payload) {
                store_payload(cx, node, payload, reader, offset + *payload_at as usize)
                    .map_err(|error| at(error, |error| error.at_field(side_name(is_ok))))?;
            }
        }
        Kind::Variant { cases, tag, offset: payload_at } => {
            let (index, payload) = accept::variant(reader, cases)?;
            put_tag(cx, offset, *tag, index)?;
            if let (Some(Case { payload: Some(node), key }), Payload::Entered) = (cases.get(index), payload) {
                store_payload(cx, node, payload, reader, offset + *payload_at as usize)
                    .map_err(|error| at(error, |error| error.at_field(key.name())))?;
            }
        }
        Kind::Flags { flags } => {
            let mut words = [0_u32; FLAG_WORDS_MAX];
            read_flags(reader, flags, &mut words)?;
            for (index, byte) in words.iter().flat_map(|word| word.to_le_bytes()).take(node.size as usize).enumerate() {
                put(cx, offset + index, [byte])?;
            }
        }
        Kind::Own(_) | Kind::Borrow(_) => {
            let handle = cx.resource(node, reader)?;
            put(cx, offset, handle.to_le_bytes())?;
        }
        Kind::Opaque(_) => return Err(unsupported(node)),
    }
    Ok(())
}

fn store_payload<T>(
    cx: &mut Lowerer<'_, '_, T>,
    node: &Node,
    payload: Payload,
    reader: &mut dyn Reader,
    offset: usize,
) -> wasmtime::Result<()> {
    store(cx, node, reader, offset)?;
    if payload == Payload::Entered {
        reader.leave();
    }
    Ok(())
}

fn store_elements<T>(
    cx: &mut Lowerer<'_, '_, T>,
    element: &Node,
    reader: &mut dyn Reader,
    base: usize,
    length: usize,
) -> wasmtime::Result<()> {
    for index in 0..length {
        reader.enter_index(index)?;
        store(cx, element, reader, base + index * element.size as usize)
            .map_err(|error| at(error, |error| error.at_index(index)))?;
        reader.leave();
    }
    Ok(())
}

/// Puts a string, bytes or a list into memory of the guest's own and gives its pointer and length.
fn lower_sequence<T>(
    cx: &mut Lowerer<'_, '_, T>,
    node: &Node,
    reader: &mut dyn Reader,
) -> wasmtime::Result<(u32, u32)> {
    match &node.kind {
        Kind::String => {
            let datum = reader.datum();
            lower_string(cx, accept::string(&datum)?)
        }
        Kind::Bytes => {
            if let wippy_wit::Datum::String(bytes) = reader.datum() {
                return lower_bytes(cx, bytes, 1, bytes.len());
            }
            let byte = Node { kind: Kind::U8, size: 1, align: 1, flat: 1, nilable: false, allocates: false };
            lower_list(cx, &byte, reader)
        }
        Kind::List(element) => lower_list(cx, element, reader),
        _ => Err(unsupported(node)),
    }
}

fn lower_list<T>(
    cx: &mut Lowerer<'_, '_, T>,
    element: &Node,
    reader: &mut dyn Reader,
) -> wasmtime::Result<(u32, u32)> {
    let length = accept::list(reader, element)?;
    let size = length.checked_mul(element.size as usize).filter(|size| *size < SEQUENCE_BYTES_MAX);
    let size = size.ok_or_else(|| Error::new(format!("a list of {length} elements is too large")))?;
    let base = cx.realloc(element.align, size)?;
    store_elements(cx, element, reader, base, length)?;
    Ok((index_u32(base), index_u32(length)))
}

fn lower_bytes<T>(
    cx: &mut Lowerer<'_, '_, T>,
    bytes: &[u8],
    align: u32,
    units: usize,
) -> wasmtime::Result<(u32, u32)> {
    if bytes.len() >= SEQUENCE_BYTES_MAX {
        return Err(Error::new(format!("{} bytes are too many", bytes.len())).into());
    }
    let base = cx.realloc(align, bytes.len())?;
    let memory = cx.memory();
    match memory.get_mut(base..).and_then(|memory| memory.get_mut(..bytes.len())) {
        Some(room) => room.copy_from_slice(bytes),
        None => return Err(out_of_bounds()),
    }
    Ok((index_u32(base), index_u32(units)))
}

/// Strings go in the encoding that the component chose; few choose anything but UTF-8.
fn lower_string<T>(cx: &mut Lowerer<'_, '_, T>, text: &str) -> wasmtime::Result<(u32, u32)> {
    match cx.cx.options().string_encoding {
        StringEncoding::Utf8 => lower_bytes(cx, text.as_bytes(), 1, text.len()),
        StringEncoding::Utf16 => {
            let bytes = utf16_bytes(text);
            lower_bytes(cx, &bytes, 2, bytes.len() / 2)
        }
        StringEncoding::CompactUtf16 => {
            let latin1: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
            if let Some(bytes) = latin1 {
                return lower_bytes(cx, &bytes, 2, bytes.len());
            }
            let bytes = utf16_bytes(text);
            let (pointer, units) = lower_bytes(cx, &bytes, 2, bytes.len() / 2)?;
            Ok((pointer, units | UTF16_TAG))
        }
    }
}

fn utf16_bytes(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The canonical ABI's limit for a string or a list, less one bit for the tag of compact UTF-16.
const SEQUENCE_BYTES_MAX: usize = 1 << 31;
/// Marks the length of a compact string as counting UTF-16 units.
const UTF16_TAG: u32 = 1 << 31;
/// Flags travel in at most this many words: the ABI's sixteen flat values bound them in parameters, and nothing
/// larger is met in practice.
const FLAG_WORDS_MAX: usize = 64;

fn read_flags(
    reader: &mut dyn Reader,
    flags: &[Field],
    words: &mut [u32; FLAG_WORDS_MAX],
) -> Result<(), Error> {
    if flags.len() > FLAG_WORDS_MAX * 32 {
        return Err(Error::new(format!("flags with more than {} members are not supported", FLAG_WORDS_MAX * 32)));
    }
    accept::flags(reader, flags, |index| {
        if let Some(word) = words.get_mut(index / 32) {
            *word |= 1 << (index % 32);
        }
    })
}

fn put<T, const N: usize>(cx: &mut Lowerer<'_, '_, T>, offset: usize, bytes: [u8; N]) -> wasmtime::Result<()> {
    let room = cx.memory().get_mut(offset..).and_then(|memory| memory.first_chunk_mut::<N>());
    *room.ok_or_else(out_of_bounds)? = bytes;
    Ok(())
}

fn put_tag<T>(cx: &mut Lowerer<'_, '_, T>, offset: usize, size: u32, index: usize) -> wasmtime::Result<()> {
    let [a, b, c, d] = index_u32(index).to_le_bytes();
    match size {
        1 => put(cx, offset, [a]),
        2 => put(cx, offset, [a, b]),
        _ => put(cx, offset, [a, b, c, d]),
    }
}

/// Offsets and counts in a 32-bit memory; larger ones were refused before.
fn index_u32(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cold]
fn out_of_bounds() -> wasmtime::Error {
    wasmtime::format_err!("a pointer lies outside the guest's memory")
}

#[cold]
fn unsupported(node: &Node) -> wasmtime::Error {
    let what = match &node.kind {
        Kind::Own(name) | Kind::Borrow(name) => format!("resource `{name}`"),
        Kind::Opaque(ty) => ty.to_string(),
        _ => "this type".to_owned(),
    };
    Error::new(format!("values of type {what} cannot cross this call")).into()
}

// ---------------------------------------------------------------------------------------------------------------
// Out of the guest
// ---------------------------------------------------------------------------------------------------------------

/// Lifts a function's result. Its own `result` type is taken apart here: an error goes to `failed`.
fn lift_result(
    mut lifter: Lifter<'_, '_>,
    slot: ValRaw,
    writer: &mut dyn Writer,
    failed: &Cell<Option<Value>>,
) -> wasmtime::Result<()> {
    let Some(node) = &lifter.invocation.method.plan().result else {
        writer.nil();
        return Ok(());
    };
    if let Kind::Result { ok, err, offset } = &node.kind {
        let (tag, place) = if node.flat > 1 {
            let base = lifter.aligned(slot.get_u32(), node)?;
            (u32::from(lifter.byte(base)?), base + *offset as usize)
        } else {
            (slot.get_u32(), 0)
        };
        let payload = match tag {
            0 => ok.as_deref(),
            1 => err.as_deref(),
            other => return Err(bad_discriminant(other)),
        };
        if tag == 0 {
            return match payload {
                Some(payload) => write(&mut lifter, payload, place, None, writer),
                None => {
                    writer.boolean(true);
                    Ok(())
                }
            };
        }
        let mut owned = ValueWriter::default();
        match payload {
            Some(payload) => write(&mut lifter, payload, place, None, &mut owned)?,
            None => owned.boolean(true),
        }
        failed.set(Some(owned.finish()));
        return Ok(());
    }
    if node.flat <= 1 {
        return write(&mut lifter, node, 0, Some(slot), writer);
    }
    let base = lifter.aligned(slot.get_u32(), node)?;
    write(&mut lifter, node, base, None, writer)
}

/// Writes one value, from its only core value or from memory, in a scope if writing may allocate.
fn write(
    lifter: &mut Lifter<'_, '_>,
    node: &Node,
    offset: usize,
    slot: Option<ValRaw>,
    writer: &mut dyn Writer,
) -> wasmtime::Result<()> {
    // The engine's own errors cannot pass the scope, which only knows those of the mapping.
    let mut trouble: Option<Trouble> = None;
    let mut body = |writer: &mut dyn Writer| {
        let outcome = match slot {
            Some(slot) => {
                let slots = [slot];
                lift_flat(lifter, node, &mut slots.as_slice(), writer)
            }
            None => load(lifter, node, offset, writer),
        };
        trouble = outcome.err();
        Ok(())
    };
    if node.allocates {
        writer.scope(&mut body)?;
    } else {
        body(writer)?;
    }
    match trouble {
        None => Ok(()),
        Some(trouble) => Err(trouble.into()),
    }
}

/// What can be wrong with what a guest returns. It owns nothing: a writer may leave by a jump, see [`Writer::scope`].
#[derive(Debug, Clone, Copy)]
enum Trouble {
    OutOfBounds,
    Unaligned,
    NotUtf8,
    BadChar,
    BadDiscriminant(u32),
    BadHandle,
    TooMuch,
    Unsupported,
    Write(wippy_wit::WriteError),
}

impl From<wippy_wit::WriteError> for Trouble {
    fn from(error: wippy_wit::WriteError) -> Self {
        Self::Write(error)
    }
}

impl From<Trouble> for wasmtime::Error {
    #[cold]
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::OutOfBounds => out_of_bounds(),
            Trouble::Unaligned => wasmtime::format_err!("a pointer in the result is not aligned"),
            Trouble::NotUtf8 => wasmtime::format_err!("a string in the result is not valid in its encoding"),
            Trouble::BadChar => wasmtime::format_err!("a char in the result is no Unicode scalar value"),
            Trouble::BadDiscriminant(tag) => bad_discriminant(tag),
            Trouble::BadHandle => wasmtime::format_err!("a handle in the result names no resource of the guest's"),
            Trouble::TooMuch => wasmtime::format_err!("the result is larger than one call may return"),
            Trouble::Unsupported => wasmtime::format_err!("a part of the result cannot cross this call"),
            Trouble::Write(error) => Self::from(wippy_wit::Error::from(error)),
        }
    }
}

#[cold]
fn bad_discriminant(tag: u32) -> wasmtime::Error {
    wasmtime::format_err!("a discriminant in the result names no case: {tag}")
}

/// The guest's memory while a result is taken out of it; no guest code runs meanwhile.
struct Lifter<'a, 'b> {
    cx: &'a mut LiftContext<'b>,
    memory: &'b [u8],
    encoding: StringEncoding,
    invocation: &'a Invocation<'a>,
    /// The engine's type of the result list.
    ty: InterfaceType,
}

impl<'a, 'b> Lifter<'a, 'b> {
    fn new(cx: &'a mut LiftContext<'b>, invocation: &'a Invocation<'a>, ty: InterfaceType) -> Self {
        use wasmtime::component::__internal::wasmtime_environ::component::CanonicalOptionsDataModel;
        let options = cx.options();
        let encoding = options.string_encoding;
        let has_memory = matches!(
            options.data_model,
            CanonicalOptionsDataModel::LinearMemory(options) if options.memory.is_some()
        );
        let memory = if has_memory { cx.memory() } else { &[] };
        Self { cx, memory, encoding, invocation, ty }
    }

    /// Takes the resource that the guest gives away over and writes a handle of it.
    fn resource(&mut self, node: &Node, index: u32, writer: &mut dyn Writer) -> Result<(), Trouble> {
        let Invocation { method, keeper, .. } = *self.invocation;
        let (Some(keeper), Kind::Own(name)) = (keeper, &node.kind) else { return Err(Trouble::Unsupported) };
        let roots = method.plan().result.iter();
        let ty = method.result_handles.of(node, roots, self.cx.types, self.ty).ok_or(Trouble::Unsupported)?;
        let handle = ResourceAny::linear_lift_from_flat(self.cx, ty, &ValRaw::u32(index));
        let handle = handle.map_err(|_| Trouble::BadHandle)?;
        writer.foreign(Arc::new(Resource::new(keeper, handle, method, name)));
        Ok(())
    }

    fn bytes(&self, offset: usize, length: usize) -> Result<&'b [u8], Trouble> {
        self.memory.get(offset..).and_then(|memory| memory.get(..length)).ok_or(Trouble::OutOfBounds)
    }

    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], Trouble> {
        self.memory.get(offset..).and_then(|memory| memory.first_chunk::<N>()).copied().ok_or(Trouble::OutOfBounds)
    }

    fn byte(&self, offset: usize) -> Result<u8, Trouble> {
        self.memory.get(offset).copied().ok_or(Trouble::OutOfBounds)
    }

    fn u32(&self, offset: usize) -> Result<u32, Trouble> {
        self.read(offset).map(u32::from_le_bytes)
    }

    fn tag(&self, offset: usize, size: u32) -> Result<u32, Trouble> {
        match size {
            1 => self.byte(offset).map(u32::from),
            2 => self.read(offset).map(u16::from_le_bytes).map(u32::from),
            _ => self.u32(offset),
        }
    }

    /// A pointer to a value of `node`'s type.
    fn aligned(&self, pointer: u32, node: &Node) -> Result<usize, Trouble> {
        if !pointer.is_multiple_of(node.align) {
            return Err(Trouble::Unaligned);
        }
        let offset = pointer as usize;
        self.bytes(offset, node.size as usize).map(|_| offset)
    }

    /// Counts what the host will have to allocate, so that a guest cannot name more than it has.
    fn charge(&mut self, count: usize, size: usize) -> Result<(), Trouble> {
        self.cx.consume_fuel_array(count, size).map_err(|_| Trouble::TooMuch)
    }
}

/// Lifts a value from core values, taking those it needs from the front of `slots`.
fn lift_flat(
    lifter: &mut Lifter<'_, '_>,
    node: &Node,
    slots: &mut &[ValRaw],
    writer: &mut dyn Writer,
) -> Result<(), Trouble> {
    let taken = slots.split_at_checked(node.flat);
    let Some((mine, rest)) = taken else { return Err(Trouble::Unsupported) };
    *slots = rest;
    let Some((first, mut payload)) = mine.split_first() else {
        writer.table(0, 0)?;
        return Ok(());
    };
    match &node.kind {
        Kind::Bool => writer.boolean(first.get_u32() != 0),
        // The canonical ABI takes the low bits and ignores the rest.
        #[expect(clippy::cast_possible_truncation, reason = "the ABI wraps")]
        Kind::U8 => writer.integer((first.get_u32() as u8).into()),
        #[expect(clippy::cast_possible_truncation, reason = "the ABI wraps")]
        Kind::S8 => writer.integer((first.get_i32() as i8).into()),
        #[expect(clippy::cast_possible_truncation, reason = "the ABI wraps")]
        Kind::U16 => writer.integer((first.get_u32() as u16).into()),
        #[expect(clippy::cast_possible_truncation, reason = "the ABI wraps")]
        Kind::S16 => writer.integer((first.get_i32() as i16).into()),
        Kind::U32 => writer.integer(first.get_u32().into()),
        Kind::S32 => writer.integer(first.get_i32().into()),
        Kind::U64 => writer.unsigned(first.get_u64()),
        Kind::S64 => writer.integer(first.get_i64()),
        Kind::F32 => writer.float(f32::from_bits(first.get_f32()).into()),
        Kind::F64 => writer.float(f64::from_bits(first.get_f64())),
        Kind::Char => write_char(first.get_u32(), writer)?,
        Kind::Enum { cases, .. } => write_case(first.get_u32(), cases, writer)?,
        Kind::String | Kind::Bytes | Kind::List(_) => {
            let length = payload.first().map_or(0, ValRaw::get_u32);
            load_sequence(lifter, node, first.get_u32(), length, writer)?;
        }
        Kind::Record(fields) => {
            let mut mine = mine;
            writer.table(0, fields.len())?;
            for field in fields {
                lift_flat(lifter, &field.node, &mut mine, writer)?;
                writer.set_key(&field.key);
            }
        }
        Kind::Tuple(fields) => {
            let mut mine = mine;
            writer.table(fields.len(), 0)?;
            for (index, field) in fields.iter().enumerate() {
                lift_flat(lifter, &field.node, &mut mine, writer)?;
                writer.set_index(index);
            }
            write_length(fields.iter().any(|field| field.node.nilable), fields.len(), writer);
        }
        Kind::FixedList(element, length) => {
            let mut mine = mine;
            let length = *length as usize;
            writer.table(length, 0)?;
            for index in 0..length {
                lift_flat(lifter, element, &mut mine, writer)?;
                writer.set_index(index);
            }
            write_length(element.nilable, length, writer);
        }
        Kind::Option { some, nested, .. } => match first.get_u32() {
            0 => writer.nil(),
            1 => wrapped(*nested, writer, |writer| lift_flat(lifter, some, &mut payload, writer))?,
            tag => return Err(Trouble::BadDiscriminant(tag)),
        },
        Kind::Result { ok, err, .. } => {
            let side = result_side(first.get_u32(), ok.as_deref(), err.as_deref())?;
            write_side(side, writer, |node, writer| lift_flat(lifter, node, &mut payload, writer))?;
        }
        Kind::Variant { cases, .. } => {
            let case = case_of(first.get_u32(), cases)?;
            begin_variant(case, writer)?;
            if let Some(node) = &case.payload {
                lift_flat(lifter, node, &mut payload, writer)?;
                writer.set_key(&well_known::VALUE);
            }
        }
        Kind::Flags { flags } => {
            write_flags(flags, writer, |word| Ok(mine.get(word).map_or(0, ValRaw::get_u32)))?;
        }
        Kind::Own(_) => lifter.resource(node, first.get_u32(), writer)?,
        Kind::Borrow(_) | Kind::Opaque(_) => return Err(Trouble::Unsupported),
    }
    Ok(())
}

/// Lifts a value from `offset` in guest memory.
fn load(lifter: &mut Lifter<'_, '_>, node: &Node, offset: usize, writer: &mut dyn Writer) -> Result<(), Trouble> {
    match &node.kind {
        Kind::Bool => writer.boolean(lifter.byte(offset)? != 0),
        Kind::U8 => writer.integer(lifter.byte(offset)?.into()),
        Kind::S8 => writer.integer(i8::from_le_bytes(lifter.read(offset)?).into()),
        Kind::U16 => writer.integer(u16::from_le_bytes(lifter.read(offset)?).into()),
        Kind::S16 => writer.integer(i16::from_le_bytes(lifter.read(offset)?).into()),
        Kind::U32 => writer.integer(lifter.u32(offset)?.into()),
        Kind::S32 => writer.integer(i32::from_le_bytes(lifter.read(offset)?).into()),
        Kind::U64 => writer.unsigned(u64::from_le_bytes(lifter.read(offset)?)),
        Kind::S64 => writer.integer(i64::from_le_bytes(lifter.read(offset)?)),
        Kind::F32 => writer.float(f32::from_le_bytes(lifter.read(offset)?).into()),
        Kind::F64 => writer.float(f64::from_le_bytes(lifter.read(offset)?)),
        Kind::Char => write_char(lifter.u32(offset)?, writer)?,
        Kind::Enum { cases, tag } => write_case(lifter.tag(offset, *tag)?, cases, writer)?,
        Kind::String | Kind::Bytes | Kind::List(_) => {
            let (pointer, length) = (lifter.u32(offset)?, lifter.u32(offset + 4)?);
            load_sequence(lifter, node, pointer, length, writer)?;
        }
        Kind::Record(fields) => {
            writer.table(0, fields.len())?;
            for field in fields {
                load(lifter, &field.node, offset + field.offset as usize, writer)?;
                writer.set_key(&field.key);
            }
        }
        Kind::Tuple(fields) => {
            writer.table(fields.len(), 0)?;
            for (index, field) in fields.iter().enumerate() {
                load(lifter, &field.node, offset + field.offset as usize, writer)?;
                writer.set_index(index);
            }
            write_length(fields.iter().any(|field| field.node.nilable), fields.len(), writer);
        }
        Kind::FixedList(element, length) => load_elements(lifter, element, offset, *length as usize, writer)?,
        Kind::Option { some, offset: payload_at, nested } => match lifter.byte(offset)? {
            0 => writer.nil(),
            1 => wrapped(*nested, writer, |writer| load(lifter, some, offset + *payload_at as usize, writer))?,
            tag => return Err(Trouble::BadDiscriminant(tag.into())),
        },
        Kind::Result { ok, err, offset: payload_at } => {
            let side = result_side(lifter.byte(offset)?.into(), ok.as_deref(), err.as_deref())?;
            let place = offset + *payload_at as usize;
            write_side(side, writer, |node, writer| load(lifter, node, place, writer))?;
        }
        Kind::Variant { cases, tag, offset: payload_at } => {
            let case = case_of(lifter.tag(offset, *tag)?, cases)?;
            begin_variant(case, writer)?;
            if let Some(node) = &case.payload {
                load(lifter, node, offset + *payload_at as usize, writer)?;
                writer.set_key(&well_known::VALUE);
            }
        }
        Kind::Flags { flags } => {
            let bytes = lifter.bytes(offset, node.size as usize)?;
            write_flags(flags, writer, |word| {
                let mut all = [0_u8; 4];
                let mine = bytes.get(word * 4..).unwrap_or_default();
                for (slot, byte) in all.iter_mut().zip(mine) {
                    *slot = *byte;
                }
                Ok(u32::from_le_bytes(all))
            })?;
        }
        Kind::Own(_) => {
            let index = lifter.u32(offset)?;
            lifter.resource(node, index, writer)?;
        }
        Kind::Borrow(_) | Kind::Opaque(_) => return Err(Trouble::Unsupported),
    }
    Ok(())
}

fn load_sequence(
    lifter: &mut Lifter<'_, '_>,
    node: &Node,
    pointer: u32,
    length: u32,
    writer: &mut dyn Writer,
) -> Result<(), Trouble> {
    let (offset, length) = (pointer as usize, length as usize);
    match &node.kind {
        Kind::Bytes => {
            let bytes = lifter.bytes(offset, length)?;
            lifter.charge(length, 1)?;
            writer.string(bytes);
        }
        Kind::String => load_string(lifter, offset, length, writer)?,
        Kind::List(element) => {
            let size = length.checked_mul(element.size as usize).ok_or(Trouble::OutOfBounds)?;
            if !offset.is_multiple_of(element.align as usize) {
                return Err(Trouble::Unaligned);
            }
            lifter.bytes(offset, size)?;
            // Elements may be smaller in the guest than on the receiving side, down to nothing at all.
            lifter.charge(length, ELEMENT_COST)?;
            load_elements(lifter, element, offset, length, writer)?;
        }
        _ => return Err(Trouble::Unsupported),
    }
    Ok(())
}

/// What one element of a list is taken to cost the receiving side, in bytes.
const ELEMENT_COST: usize = 16;

fn load_string(
    lifter: &mut Lifter<'_, '_>,
    offset: usize,
    length: usize,
    writer: &mut dyn Writer,
) -> Result<(), Trouble> {
    let tag = UTF16_TAG as usize;
    match lifter.encoding {
        StringEncoding::Utf8 => {
            let bytes = lifter.bytes(offset, length)?;
            lifter.charge(length, 1)?;
            if std::str::from_utf8(bytes).is_err() {
                return Err(Trouble::NotUtf8);
            }
            writer.string(bytes);
            Ok(())
        }
        StringEncoding::CompactUtf16 if length & tag == 0 => {
            let bytes = lifter.bytes(offset, length)?;
            lifter.charge(length, 4)?;
            let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
            write_owned(text, writer);
            Ok(())
        }
        StringEncoding::Utf16 | StringEncoding::CompactUtf16 => {
            let units = length & !tag;
            let bytes = lifter.bytes(offset, units.checked_mul(2).ok_or(Trouble::OutOfBounds)?)?;
            if !offset.is_multiple_of(2) {
                return Err(Trouble::Unaligned);
            }
            lifter.charge(units, 4)?;
            let units = bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
            let text: Result<String, _> = char::decode_utf16(units).collect();
            write_owned(text.map_err(|_| Trouble::NotUtf8)?, writer);
            Ok(())
        }
    }
}

/// Writes a string that had to be made. A writer that leaves by a jump leaks it, which is safe and bounded by the
/// charge; only guests that are short of the receiver's memory and use UTF-16 ever do that.
fn write_owned(text: String, writer: &mut dyn Writer) {
    writer.string(text.as_bytes());
    drop(text);
}

fn load_elements(
    lifter: &mut Lifter<'_, '_>,
    element: &Node,
    base: usize,
    length: usize,
    writer: &mut dyn Writer,
) -> Result<(), Trouble> {
    writer.table(length, 0)?;
    for index in 0..length {
        load(lifter, element, base + index * element.size as usize, writer)?;
        writer.set_index(index);
    }
    write_length(element.nilable, length, writer);
    Ok(())
}

/// Arrays whose elements can be nil carry their length in `n`, as `table.pack` does.
fn write_length(nilable: bool, length: usize, writer: &mut dyn Writer) {
    if nilable {
        writer.integer(i64::try_from(length).unwrap_or(i64::MAX));
        writer.set_key(&well_known::N);
    }
}

fn wrapped(
    nested: bool,
    writer: &mut dyn Writer,
    payload: impl FnOnce(&mut dyn Writer) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    if !nested {
        return payload(writer);
    }
    writer.table(0, 1)?;
    payload(writer)?;
    writer.set_key(&well_known::SOME);
    Ok(())
}

/// A side of a `result`.
struct Side<'a> {
    is_ok: bool,
    payload: Option<&'a Node>,
}

fn result_side<'a>(tag: u32, ok: Option<&'a Node>, err: Option<&'a Node>) -> Result<Side<'a>, Trouble> {
    match tag {
        0 => Ok(Side { is_ok: true, payload: ok }),
        1 => Ok(Side { is_ok: false, payload: err }),
        tag => Err(Trouble::BadDiscriminant(tag)),
    }
}

fn write_side(
    side: Side<'_>,
    writer: &mut dyn Writer,
    mut payload: impl FnMut(&Node, &mut dyn Writer) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let key = if side.is_ok { &*well_known::OK } else { &*well_known::ERR };
    writer.table(0, 1)?;
    match side.payload {
        Some(node) => payload(node, writer)?,
        None => writer.boolean(true),
    }
    writer.set_key(key);
    // A nil leaves no trace in a table, so an error that can be nil is told apart by its tag.
    if !side.is_ok && side.payload.is_some_and(|node| node.nilable) {
        writer.string(key.name().as_bytes());
        writer.set_key(&well_known::TAG);
    }
    Ok(())
}

fn case_of(tag: u32, cases: &[Case]) -> Result<&Case, Trouble> {
    cases.get(tag as usize).ok_or(Trouble::BadDiscriminant(tag))
}

fn begin_variant(case: &Case, writer: &mut dyn Writer) -> Result<(), Trouble> {
    writer.table(0, 2)?;
    writer.string(case.key.name().as_bytes());
    writer.set_key(&well_known::TAG);
    Ok(())
}

fn write_char(scalar: u32, writer: &mut dyn Writer) -> Result<(), Trouble> {
    let c = char::from_u32(scalar).ok_or(Trouble::BadChar)?;
    writer.string(c.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(())
}

fn write_case(tag: u32, cases: &[wippy_wit::Key], writer: &mut dyn Writer) -> Result<(), Trouble> {
    let case = cases.get(tag as usize).ok_or(Trouble::BadDiscriminant(tag))?;
    writer.string(case.name().as_bytes());
    Ok(())
}

fn write_flags(
    flags: &[Field],
    writer: &mut dyn Writer,
    word: impl Fn(usize) -> Result<u32, Trouble>,
) -> Result<(), Trouble> {
    writer.table(0, flags.len())?;
    for (index, flag) in flags.iter().enumerate() {
        if word(index / 32)? & (1 << (index % 32)) != 0 {
            writer.boolean(true);
            writer.set_key(&flag.key);
        }
    }
    Ok(())
}
