//! [`Guarded`]: a call in an instance for which others may wait.

use std::{
    future::Future,
    pin::Pin,
    task::{self, Poll, ready},
};

use tokio::sync::OwnedMutexGuard;
use wippy_security::{Call, CallError};

use super::Place;
use crate::{
    deadline::Deadline,
    instance::{self, is_good},
    resource::{Held, Subject, closed_by_trap},
};

/// A call in an instance that it alone is in, by a guard. It begins when it is first polled: the arguments are looked at
/// and given to the guest without anybody else running in between, and a call that is dropped before that leaves the
/// instance as it was. An instance whose call fails, or is dropped before its end, is dropped.
pub(crate) struct Guarded<'a> {
    held: OwnedMutexGuard<Held>,
    subject: Subject<'a>,
    /// What the call begins with, until it does.
    beginning: Option<(Call<'a>, Deadline)>,
}

impl<'a> Guarded<'a> {
    /// A call in the instance that `held` holds.
    pub(crate) fn new(
        held: OwnedMutexGuard<Held>,
        subject: Subject<'a>,
        call: Call<'a>,
        deadline: Deadline,
    ) -> Self {
        Self {
            held,
            subject,
            beginning: Some((call, deadline)),
        }
    }
}

impl Future for Guarded<'_> {
    type Output = Result<(), CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(place) = &mut *this.held else {
            return Poll::Ready(Err(closed_by_trap()));
        };
        if let Some((call, deadline)) = this.beginning.take() {
            let (instance, ()) = place.parts();
            let invocation = this
                .subject
                .prepare(instance, call.context, call.arguments, deadline)?;
            // SAFETY: what the subject refers to, the cursors and the context are borrowed for as long as this lives, and only
            // this can poll the call. If this is leaked, nobody does so again.
            unsafe { place.fill(invocation, deadline, call.arguments, call.result) };
        }
        let outcome = ready!(place.poll(cx));
        let outcome = instance::finish(this.subject.keeper.module(), this.subject.method, outcome);
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
        if self.held.as_mut().is_some_and(Place::clear) {
            *self.held = None;
        }
    }
}
