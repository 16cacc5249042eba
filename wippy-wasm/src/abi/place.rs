//! [`Place`]: an instance with room for one call, so that calls of it, one after the other, need no memory of their own.
//!
//! The engine's future of a call is more than a kilobyte. In a box of its own it would be allocated, filled and freed
//! with every call; here it is made where the one before it was.

use std::{
    future::Future,
    mem::ManuallyDrop,
    pin::Pin,
    ptr::{self, NonNull},
    sync::Arc,
    task::{self, Poll},
};

use wasmtime::Store;
use wippy_security::{Call, CallError, CallFuture, Context, Resident};
use wippy_wit::{Reader, Writer};

use super::{Arguments, Export, Job, Lifted, Running, erase_invocation, erase_reader, erase_writer};
use crate::{
    component::Method,
    deadline::{Deadline, Timer},
    instance::{Instance, Invocation, Outcome},
    state::GuestState,
};

/// What surrounds the calls of a [`Place`] that one execution has for itself.
pub(crate) trait Surroundings: Send {
    /// The method that is called.
    fn method(&self) -> &Arc<Method>;

    /// A call came to its end. Says what its caller hears.
    fn ended(&mut self, outcome: Outcome) -> Result<(), CallError>;

    /// A call was dropped before its end: its instance is only good for dropping.
    fn cancelled(&mut self);
}

/// An instance, and where its call runs.
pub(crate) struct Place<S>(Inner<S>);

struct Inner<S> {
    /// The call, in the future that the engine makes of it.
    room: Pin<Box<dyn Room>>,
    /// Owned, by a pointer because what is in the room borrows from it.
    instance: NonNull<Instance>,
    timer: Timer,
    surroundings: S,
}

// SAFETY: it owns an instance, and a future that borrows from that; both are `Send`, and so is the rest.
unsafe impl<S: Send> Send for Inner<S> {}

impl<S> Place<S> {
    /// A place for the calls of `instance`.
    pub(crate) fn new(instance: Box<Instance>, surroundings: S) -> Self {
        Self(Inner {
            room: room(|store, export, arguments| export.0.call_async(store, arguments)),
            instance: NonNull::from(Box::leak(instance)),
            timer: Timer::default(),
            surroundings,
        })
    }

    /// What is around the instance.
    pub(crate) fn surroundings(&mut self) -> &mut S {
        &mut self.0.surroundings
    }

    /// The instance and what is around it; a call that was left in it is dropped.
    pub(crate) fn parts(&mut self) -> (&mut Instance, &mut S) {
        let Inner {
            room,
            instance,
            surroundings,
            ..
        } = &mut self.0;
        room.as_mut().clear();
        // SAFETY: it is owned, and nothing in the room borrows from it any more.
        (unsafe { instance.as_mut() }, surroundings)
    }

    /// Gives everything back.
    pub(crate) fn into_parts(mut self) -> (Box<Instance>, S) {
        self.0.room.as_mut().clear();
        let inner = ManuallyDrop::new(self.0);
        // SAFETY: each field is moved out or dropped once, since `inner` itself never is. The instance came out of a box,
        // and nothing in the room borrows from it any more.
        unsafe {
            drop(ptr::read(&raw const inner.room));
            drop(ptr::read(&raw const inner.timer));
            (
                Box::from_raw(inner.instance.as_ptr()),
                ptr::read(&raw const inner.surroundings),
            )
        }
    }

    /// Polls the call that is in it.
    pub(super) fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Outcome> {
        self.0.poll(cx)
    }

    /// Drops what is left of a call; whether anything was.
    pub(super) fn clear(&mut self) -> bool {
        self.0.clear()
    }

    /// Puts in the call that the instance was prepared for.
    ///
    /// # Safety
    /// What `invocation` refers to, and the cursors, outlive every poll of the call.
    #[inline]
    pub(super) unsafe fn fill(
        &mut self,
        invocation: Invocation<'_>,
        deadline: Deadline,
        arguments: &mut dyn Reader,
        result: &mut dyn Writer,
    ) {
        let inner = &mut self.0;
        inner.timer.set(deadline);
        let invocation = erase_invocation(invocation);
        let reader = erase_reader(arguments);
        // SAFETY: it is owned, and nothing is in the room.
        let error_contexts = unsafe { inner.instance.as_ref() }.error_contexts();
        let job = Job::new(invocation, error_contexts, erase_writer(result));
        // SAFETY: the instance outlives what is in the room, which is dropped first, and is not touched meanwhile.
        let (store, export) = unsafe { inner.instance.as_mut().engine_parts() };
        inner
            .room
            .as_mut()
            .fill(store, export, Arguments { invocation, reader }, job);
    }
}

impl<S: Surroundings> Place<S> {
    /// Starts the call that the instance was prepared for.
    #[inline]
    pub(crate) fn start<'a>(
        &'a mut self,
        deadline: Deadline,
        trace: Option<&'a Context>,
        arguments: &'a mut dyn Reader,
        result: &'a mut dyn Writer,
    ) -> CallFuture<'a> {
        let invocation = erase_invocation(Invocation {
            method: self.0.surroundings.method(),
            keeper: None,
            receiver: None,
            trace,
        });
        // SAFETY: all of it is borrowed for as long as what is returned lives, and only that can poll the call; if that is
        // leaked, what is left in the room never looks at them again. The surroundings stay as they are meanwhile.
        unsafe { self.fill(invocation, deadline, arguments, result) };
        CallFuture::resident(&mut self.0)
    }
}

impl<S> Inner<S> {
    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Outcome> {
        if let Poll::Ready(outcome) = self.room.as_mut().poll(cx) {
            self.timer.stop();
            return Poll::Ready(Ok(outcome));
        }
        self.timer.poll(cx).map(|exceeded| {
            self.clear();
            Err(exceeded)
        })
    }

    fn clear(&mut self) -> bool {
        self.timer.stop();
        self.room.as_mut().clear()
    }
}

impl<S: Surroundings> Resident for Inner<S> {
    fn poll(&mut self, cx: &mut task::Context<'_>, _: Option<&mut Call<'_>>) -> Poll<Result<(), CallError>> {
        Inner::poll(self, cx).map(|outcome| self.surroundings.ended(outcome))
    }

    fn cancel(&mut self) {
        if self.clear() {
            self.surroundings.cancelled();
        }
    }
}

impl<S> Drop for Inner<S> {
    fn drop(&mut self) {
        self.room.as_mut().clear();
        // SAFETY: it came out of a box, and nothing in the room borrows from it any more.
        unsafe { drop(Box::from_raw(self.instance.as_ptr())) }
    }
}

/// The memory of one call.
trait Room: Send {
    /// Makes a call.
    fn fill(
        self: Pin<&mut Self>,
        store: &'static mut Store<GuestState>,
        export: &'static Export,
        arguments: Arguments,
        job: Job,
    );

    /// Polls the call, which is gone once it is ready.
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<wasmtime::Result<super::Returned>>;

    /// Drops the call; whether there was one.
    fn clear(self: Pin<&mut Self>) -> bool;
}

/// A room for the futures that `make` makes.
fn room<F, M>(make: M) -> Pin<Box<dyn Room>>
where
    F: Future<Output = wasmtime::Result<Lifted>> + Send + 'static,
    M: Fn(&'static mut Store<GuestState>, &'static Export, Arguments) -> F + Send + 'static,
{
    Box::pin(RoomFor { make, running: None })
}

pin_project_lite::pin_project! {
    struct RoomFor<F, M> {
        make: M,
        #[pin]
        running: Option<Running<F>>,
    }
}

impl<F, M> Room for RoomFor<F, M>
where
    F: Future<Output = wasmtime::Result<Lifted>> + Send,
    M: Fn(&'static mut Store<GuestState>, &'static Export, Arguments) -> F + Send,
{
    fn fill(
        self: Pin<&mut Self>,
        store: &'static mut Store<GuestState>,
        export: &'static Export,
        arguments: Arguments,
        job: Job,
    ) {
        let mut this = self.project();
        this.running.set(Some(Running {
            future: (this.make)(store, export, arguments),
            job,
        }));
    }

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<wasmtime::Result<super::Returned>> {
        let mut running = self.project().running;
        let Some(call) = running.as_mut().as_pin_mut() else {
            return Poll::Ready(Err(wasmtime::format_err!("a call was polled after its end")));
        };
        let polled = call.poll(cx);
        if polled.is_ready() {
            running.set(None);
        }
        polled
    }

    fn clear(self: Pin<&mut Self>) -> bool {
        let mut running = self.project().running;
        let was_there = running.is_some();
        if was_there {
            running.set(None);
        }
        was_there
    }
}
