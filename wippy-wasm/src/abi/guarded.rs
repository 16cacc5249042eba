//! [`Guarded`]: a call in an instance for which others may wait.

use std::{
    future::Future,
    marker::{PhantomData, PhantomPinned},
    pin::Pin,
    task::{self, Poll, ready},
};

use tokio::sync::OwnedMutexGuard;
use wippy_security::{CallError, Context};
use wippy_wit::{Reader, Writer};

use crate::{
    deadline::Deadline,
    instance::{self, is_good},
    resource::{Held, Subject},
};

/// A call in an instance that it alone is in, by a guard. An instance whose call fails, or is dropped before its end, is
/// dropped.
pub(crate) struct Guarded<'a> {
    held: OwnedMutexGuard<Held>,
    subject: Subject,
    /// The call in the place refers to the subject, so that must not move.
    _pinned: PhantomPinned,
    cursors: PhantomData<(&'a mut dyn Reader, &'a mut dyn Writer, &'a Context)>,
}

impl<'a> Guarded<'a> {
    /// Starts the call that the instance was prepared for.
    pub(crate) fn start(
        held: OwnedMutexGuard<Held>,
        subject: Subject,
        deadline: Deadline,
        trace: Option<&'a Context>,
        arguments: &'a mut dyn Reader,
        result: &'a mut dyn Writer,
    ) -> Pin<Box<Self>> {
        let mut this = Box::new(Self {
            held,
            subject,
            _pinned: PhantomPinned,
            cursors: PhantomData,
        });
        if let Some(place) = &mut *this.held {
            let invocation = this.subject.invocation(trace);
            // SAFETY: the subject is pinned from here on and goes away after the call, which only this can poll; the rest
            // is borrowed for as long as this lives. If this is leaked, nobody polls the call again.
            unsafe { place.fill(invocation, deadline, arguments, result) };
        }
        Box::into_pin(this)
    }
}

impl Future for Guarded<'_> {
    type Output = Result<(), CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the subject is not moved.
        let this = unsafe { self.get_unchecked_mut() };
        let Some(place) = &mut *this.held else {
            return Poll::Ready(Err(CallError::internal("the instance is gone")));
        };
        let outcome = ready!(place.poll(cx));
        let outcome = instance::finish(this.subject.keeper.module(), &this.subject.method, outcome);
        if is_good(&outcome) {
            place.parts().0.release_callees();
        } else {
            *this.held = None;
        }
        Poll::Ready(outcome.map_err(CallError::from))
    }
}

impl Drop for Guarded<'_> {
    fn drop(&mut self) {
        if self.held.as_mut().is_some_and(super::Place::clear) {
            *self.held = None;
        }
    }
}
