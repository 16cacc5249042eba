//! Deadlines of calls: the earlier of what the caller set and what the entry's limit says.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};
use wippy_security::Context;

use crate::limits::{Exceeded, Limits};

/// When a call that begins now must be over, and what says so.
pub(crate) fn of(context: &Context, limits: &Limits) -> Option<(Instant, Exceeded)> {
    let own = limits.execution.map(after);
    let caller = context.deadline().map(|deadline| (deadline, Exceeded::Deadline));
    [own, caller].into_iter().flatten().min_by_key(|(at, _)| *at)
}

/// The deadline of something that begins now and may take as long as `limit`.
pub(crate) fn after(limit: Duration) -> (Instant, Exceeded) {
    (Instant::now() + limit, Exceeded::Execution(limit))
}

/// Runs `future` until `deadline`. The timer is only made when the future first has to wait: most never do, and a
/// guest that runs without waiting is stopped by its engine's epochs.
pub(crate) async fn within<T>(
    deadline: Option<(Instant, Exceeded)>,
    future: impl Future<Output = T>,
) -> Result<T, Exceeded> {
    let mut future = pin!(future);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(outcome) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(outcome));
        }
        let Some((at, exceeded)) = deadline else { return Poll::Pending };
        timer.get_or_insert_with(|| Box::pin(sleep_until(at))).as_mut().poll(cx).map(|()| Err(exceeded))
    })
    .await
}
