//! [`Deadline`]: when a call must be over, by what its caller set and by the entry's own limit.
//!
//! Most calls are over before anybody asks, so the clock is read when somebody first does: when the call has to wait, or
//! when the guest has run for a tick of its engine. A limit is therefore up to one tick longer than it says.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::limits::{Exceeded, Limits};

/// When something must be over, and which limit says so.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Deadline {
    at: Option<(Instant, Exceeded)>,
    /// Counts from when it is first asked about.
    limit: Option<Duration>,
}

impl Deadline {
    /// That of a call that begins.
    pub(crate) fn of(context: &wippy_security::Context, limits: &Limits) -> Self {
        Self {
            at: context.deadline().map(|deadline| (deadline, Exceeded::Deadline)),
            limit: limits.execution,
        }
    }

    /// That of something that begins and may take as long as `limit`, if there is one.
    pub(crate) fn after(limit: Option<Duration>) -> Self {
        Self { at: None, limit }
    }

    /// Counts from now, if it did not before. What consists of several steps says this before the first of them.
    #[must_use]
    pub(crate) fn begun(mut self) -> Self {
        self.at();
        self
    }

    fn at(&mut self) -> Option<(Instant, Exceeded)> {
        if let Some(limit) = self.limit.take() {
            let own = Instant::now() + limit;
            if self.at.is_none_or(|(at, _)| own < at) {
                self.at = Some((own, Exceeded::Execution(limit)));
            }
        }
        self.at
    }

    /// Which limit has passed, if one has.
    pub(crate) fn passed(&mut self) -> Option<Exceeded> {
        let (at, exceeded) = self.at()?;
        (Instant::now() >= at).then_some(exceeded)
    }
}

/// A deadline with the timer that wakes whoever waits. It is only made when something first has to wait: most never
/// does, and a guest that runs without waiting is stopped by its engine's epochs.
#[derive(Default)]
pub(crate) struct Timer {
    deadline: Deadline,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// A timer for `deadline`.
    pub(crate) fn new(deadline: Deadline) -> Self {
        Self {
            deadline,
            sleep: None,
        }
    }

    /// Times something else.
    #[inline]
    pub(crate) fn set(&mut self, deadline: Deadline) {
        self.deadline = deadline;
        self.sleep = None;
    }

    /// Forgets whom it would wake.
    #[inline]
    pub(crate) fn stop(&mut self) {
        self.sleep = None;
    }

    /// Ready once the deadline has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Exceeded> {
        let Some((at, exceeded)) = self.deadline.at() else {
            return Poll::Pending;
        };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        sleep.as_mut().poll(cx).map(|()| exceeded)
    }
}

pin_project_lite::pin_project! {
    /// A future that ends by a deadline.
    pub(crate) struct Within<F> {
        #[pin]
        future: F,
        timer: Timer,
    }
}

/// Runs `future` until `deadline`.
pub(crate) fn within<F>(deadline: Deadline, future: F) -> Within<F> {
    Within {
        future,
        timer: Timer::new(deadline),
    }
}

impl<F: Future> Future for Within<F> {
    type Output = Result<F::Output, Exceeded>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.future.poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(Ok(outcome)),
            Poll::Pending => this.timer.poll(cx).map(Err),
        }
    }
}
