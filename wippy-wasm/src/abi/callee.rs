//! [`Callee`]: a function that a guest calls, with room for the call.
//!
//! Most functions answer when they are first asked. What such a call needs is then where that of the call before it was, and
//! the engine is given an answer instead of a future of the call.

use std::{
    future::poll_fn,
    pin::Pin,
    ptr::NonNull,
    sync::Arc,
    task::{self, Poll, Waker, ready},
};

use wasmtime::StoreContextMut;
use wippy_security::{Begun, Binding, Call, CallError, Calling, Function, stack::StackMark};

use super::{
    JOB,
    passed::{Bytes, Passed},
};
use crate::{
    state::GuestState,
    text::{Text, TextArgument, TextResult},
};

/// A function that a guest calls with a string, for a string, as the instance holds it; with room for one call.
pub(crate) struct Callee(NonNull<Room>);

/// A raw pointer leads to it rather than a box, because a call borrows from its own room.
struct Room {
    /// Borrows the other parts, so it is dropped before they change.
    calling: Option<Calling<'static>>,
    /// For whom it was polled when it began, until it is polled again.
    begun_for: Option<Waker>,
    /// The name that the guest has for the function.
    name: Box<str>,
    binding: Binding,
    /// What the argument reads.
    input: Bytes,
    argument: TextArgument<'static>,
    result: TextResult,
}

// SAFETY: it owns what it points to, all of which is `Send`; what is passed goes along with the guest's store, as in `Passed`.
unsafe impl Send for Callee {}

impl Callee {
    /// The function that the guest calls by `name`.
    pub(crate) fn new(name: Box<str>, function: Arc<Function>) -> Self {
        let room = Room {
            calling: None,
            begun_for: None,
            name,
            binding: Binding::new(function),
            input: Bytes::none(),
            argument: TextArgument::new(&[]),
            result: TextResult::default(),
        };
        Self(NonNull::from(Box::leak(Box::new(room))))
    }

    /// The name that the guest has for it.
    pub(crate) fn name(&self) -> &str {
        // SAFETY: it is owned, and the name never changes.
        unsafe { &(*self.0.as_ptr()).name }
    }

    /// Gives up what is kept for the next call.
    pub(crate) fn release(&mut self) {
        // SAFETY: it is owned; a call that borrows from it is dropped first.
        unsafe {
            let room = self.0.as_ptr();
            (*room).calling = None;
            (*room).binding.release();
        }
    }

    /// Begins a call for the context of the guest in `store`, and says how it ended, if it has. If it has not, it is
    /// [waited for](Self::wait). It [ends](Self::end) before anything is done with the store again.
    pub(crate) fn begin<T: ?Sized>(
        &mut self,
        store: &StoreContextMut<'_, GuestState>,
        input: Passed<T>,
    ) -> Option<Result<(), CallError>> {
        let Some(context) = &store.data().context else {
            return Some(Err(CallError::internal("a guest has no context")));
        };
        let context = NonNull::from(context);
        let room = self.0.as_ptr();
        let _on_its_stack = StackMark::guest();
        // SAFETY: it is owned, so nobody else looks at it. The call that is made borrows parts which only change once it is
        // dropped, and never move. The guest waits until the call has ended, as for `Passed`: what the host keeps for it stays
        // as it is, and where it is.
        unsafe {
            (*room).calling = None;
            (*room).input = input.into_bytes();
            (*room).argument = TextArgument::new((*room).input.forever());
            let call = Call {
                context: context.as_ref(),
                arguments: &mut (*room).argument,
                result: &mut (*room).result,
            };
            let waker = waker();
            match (*room).binding.begin(call, || waker) {
                Begun::Ended(outcome) => Some(outcome),
                Begun::Running(calling) => {
                    (*room).calling = Some(calling);
                    (*room).begun_for = waker.cloned();
                    None
                }
            }
        }
    }

    /// Waits for the end of a call that has not ended.
    pub(crate) async fn wait(&mut self) -> Result<(), CallError> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), CallError>> {
        // SAFETY: it is owned, and nothing borrows this.
        let begun_for = unsafe { (*self.0.as_ptr()).begun_for.take() };
        if begun_for.is_some_and(|waker| waker.will_wake(cx.waker())) {
            // It has just been polled, and whoever runs gives others a turn before they go on.
            return Poll::Pending;
        }
        let _on_its_stack = StackMark::guest();
        // SAFETY: it is owned. The call borrows other parts of the room, which are not touched while it lives.
        let calling = unsafe { &mut (*self.0.as_ptr()).calling };
        let Some(call) = calling else {
            return Poll::Ready(Err(CallError::internal("there is no call that could be polled")));
        };
        let outcome = ready!(Pin::new(call).poll(cx));
        *calling = None;
        Poll::Ready(outcome)
    }

    /// The string that was returned, or the type of what was returned instead. Of a call that failed it means nothing.
    pub(crate) fn end(&mut self) -> Result<Text, &'static str> {
        // SAFETY: it is owned; a call that borrows from it is dropped first.
        unsafe {
            let room = self.0.as_ptr();
            (*room).calling = None;
            (*room).argument = TextArgument::new(&[]);
            (*room).input = Bytes::none();
            (*room).result.take()
        }
    }
}

/// Who is to be woken if the guest that runs on this thread is to go on, if that is known. It may be somebody who waits for
/// that guest, so whoever is polled for it is polled once more.
fn waker<'a>() -> Option<&'a Waker> {
    // SAFETY: see the second point of `super`. A job is set for as long as it is polled, which is when its waker is.
    unsafe { Some(JOB.get().as_ref()?.waker.get()?.as_ref()) }
}

impl Drop for Callee {
    fn drop(&mut self) {
        // SAFETY: made by `Box::leak` and owned by this pointer alone; `calling` is dropped first, as the first field.
        unsafe { drop(Box::from_raw(self.0.as_ptr())) }
    }
}
