//! Deadlines of calls: the earlier of what the caller set and what the entry's limit says.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::limits::{Exceeded, Limits};

/// When a call that begins now must be over, and what says so.
pub(crate) fn of(context: &wippy_security::Context, limits: &Limits) -> Option<(Instant, Exceeded)> {
    let own = limits.execution.map(after);
    let caller = context.deadline().map(|deadline| (deadline, Exceeded::Deadline));
    [own, caller].into_iter().flatten().min_by_key(|(at, _)| *at)
}

/// The deadline of something that begins now and may take as long as `limit`.
pub(crate) fn after(limit: Duration) -> (Instant, Exceeded) {
    (Instant::now() + limit, Exceeded::Execution(limit))
}

pin_project_lite::pin_project! {
    /// A future that ends by a deadline.
    ///
    /// The timer is only made when the future first has to wait: most never do, and a guest that runs without waiting
    /// is stopped by its engine's epochs.
    pub(crate) struct Within<F> {
        #[pin]
        future: F,
        deadline: Option<(Instant, Exceeded)>,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

/// Runs `future` until `deadline`.
pub(crate) fn within<F>(deadline: Option<(Instant, Exceeded)>, future: F) -> Within<F> {
    Within {
        future,
        deadline,
        timer: None,
    }
}

impl<F: Future> Future for Within<F> {
    type Output = Result<F::Output, Exceeded>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(outcome) = this.future.poll(cx) {
            return Poll::Ready(Ok(outcome));
        }
        let Some((at, exceeded)) = *this.deadline else {
            return Poll::Pending;
        };
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        timer.as_mut().poll(cx).map(|()| Err(exceeded))
    }
}
