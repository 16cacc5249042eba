//! [`Calling`]: a call in progress.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};
use wippy_registry::EntryId;

use crate::{CallError, ErrorKind, Object, dispatcher::Function};

/// What a callee returns: the call itself, to be polled.
pub type CallFuture<'a> = Pin<Box<dyn Future<Output = Result<(), CallError>> + Send + 'a>>;

/// A call in progress. It ends by the deadline of its context; dropping it cancels the call.
#[must_use = "a call does nothing until it is polled"]
pub struct Calling<'a> {
    future: CallFuture<'a>,
    deadline: Option<Instant>,
    /// Made when the call first has to wait: most never do.
    sleep: Option<Pin<Box<Sleep>>>,
    callee: Callee<'a>,
}

/// Who is called.
pub(crate) enum Callee<'a> {
    Function(Arc<Function>),
    Borrowed(&'a Function),
    Object(Arc<dyn Object>),
}

impl Callee<'_> {
    fn id(&self) -> &EntryId {
        match self {
            Self::Function(function) => function.id(),
            Self::Borrowed(function) => function.id(),
            Self::Object(object) => object.entry(),
        }
    }

    fn record(&self, failed: bool) {
        match self {
            Self::Function(function) => function.record(failed),
            Self::Borrowed(function) => function.record(failed),
            Self::Object(_) => {}
        }
    }
}

impl<'a> Calling<'a> {
    pub(crate) fn new(future: CallFuture<'a>, deadline: Option<Instant>, callee: Callee<'a>) -> Self {
        Self {
            future,
            deadline,
            sleep: None,
            callee,
        }
    }
}

impl Future for Calling<'_> {
    type Output = Result<(), CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let outcome = match this.future.as_mut().poll(cx) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => {
                let Some(deadline) = this.deadline else {
                    return Poll::Pending;
                };
                let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                match sleep.as_mut().poll(cx) {
                    Poll::Ready(()) => Err(timed_out(this.callee.id())),
                    Poll::Pending => return Poll::Pending,
                }
            }
        };
        this.callee.record(outcome.is_err());
        Poll::Ready(outcome)
    }
}

#[cold]
fn timed_out(id: &EntryId) -> CallError {
    let message = format!("the call of `{id}` did not end before its deadline");
    CallError::new(ErrorKind::Timeout, message)
}
