//! [`Calling`]: a call in progress.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};
use wippy_registry::EntryId;

use crate::{Call, CallError, ErrorKind, Object, dispatcher::Function};

/// What a callee returns: the call itself, to be polled. Dropping it cancels the call.
#[must_use = "a call need not do anything until it is polled"]
pub enum CallFuture<'a> {
    /// A call that came to its end already, as nothing in it could wait; none once it was told.
    Ended(Option<Result<(), CallError>>),
    /// A call with memory of its own.
    Boxed(Pin<Box<dyn Future<Output = Result<(), CallError>> + Send + 'a>>),
    /// A call that lives in its callee, so that nothing is allocated for it.
    Resident(ResidentCall<'a>),
}

/// The borrow of a callee for as long as a call lives in it, and what it is lent at each poll.
pub struct ResidentCall<'a> {
    callee: &'a mut dyn Resident,
    lent: Option<Call<'a>>,
}

/// A callee that has room for one call within itself.
pub trait Resident: Send {
    /// Polls the call. After it was ready, there is none. `lent` is what the call was [begun with](CallFuture::lent), if
    /// it does not keep that itself.
    fn poll(
        &mut self,
        cx: &mut task::Context<'_>,
        lent: Option<&mut Call<'_>>,
    ) -> Poll<Result<(), CallError>>;

    /// Drops whatever is left of the call; a call that came to its end leaves nothing.
    fn cancel(&mut self);
}

impl<'a> CallFuture<'a> {
    /// The call that `callee` has begun, and knows all about.
    pub fn resident(callee: &'a mut dyn Resident) -> Self {
        Self::Resident(ResidentCall { callee, lent: None })
    }

    /// The call that `callee` has begun, which is lent `call` whenever it is polled.
    pub fn lent(callee: &'a mut dyn Resident, call: Call<'a>) -> Self {
        let lent = Some(call);
        Self::Resident(ResidentCall { callee, lent })
    }

    /// A call that came to its end already.
    pub fn ended(outcome: Result<(), CallError>) -> Self {
        Self::Ended(Some(outcome))
    }

    /// A call that failed with `error` before anything was done.
    pub fn refused(error: CallError) -> Self {
        Self::ended(Err(error))
    }

    /// How the call ended, if it came to its end already.
    pub fn try_outcome(&mut self) -> Option<Result<(), CallError>> {
        match self {
            Self::Ended(outcome) => outcome.take(),
            Self::Boxed(_) | Self::Resident(_) => None,
        }
    }
}

impl<'a, F> From<Pin<Box<F>>> for CallFuture<'a>
where
    F: Future<Output = Result<(), CallError>> + Send + 'a,
{
    fn from(future: Pin<Box<F>>) -> Self {
        Self::Boxed(future)
    }
}

impl Future for CallFuture<'_> {
    type Output = Result<(), CallError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Ended(outcome) => Poll::Ready(outcome.take().unwrap_or_else(|| Err(polled_again()))),
            Self::Boxed(future) => future.as_mut().poll(cx),
            Self::Resident(resident) => resident.callee.poll(cx, resident.lent.as_mut()),
        }
    }
}

#[cold]
fn polled_again() -> CallError {
    CallError::internal("a call was polled after its end")
}

impl Drop for ResidentCall<'_> {
    fn drop(&mut self) {
        self.callee.cancel();
    }
}

/// A call in progress. It ends by the deadline of its context; dropping it cancels the call.
#[must_use = "a call need not do anything until it is polled"]
pub struct Calling<'a> {
    future: CallFuture<'a>,
    deadline: Option<Instant>,
    /// Made when the call first has to wait: most never do.
    sleep: Option<Pin<Box<Sleep>>>,
    callee: Callee<'a>,
}

/// Who is called.
pub(crate) enum Callee<'a> {
    Function(&'a Function),
    Object(&'a Arc<dyn Object>),
}

impl Callee<'_> {
    fn id(&self) -> &EntryId {
        match self {
            Self::Function(function) => function.id(),
            Self::Object(object) => object.entry(),
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

    /// How the call ended, if it came to its end already.
    #[inline]
    pub fn try_outcome(&mut self) -> Option<Result<(), CallError>> {
        self.future.try_outcome()
    }
}

impl Future for Calling<'_> {
    type Output = Result<(), CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Poll::Ready(outcome) = Pin::new(&mut this.future).poll(cx) {
            return Poll::Ready(outcome);
        }
        let Some(deadline) = this.deadline else {
            return Poll::Pending;
        };
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        sleep.as_mut().poll(cx).map(|()| Err(timed_out(this.callee.id())))
    }
}

#[cold]
fn timed_out(id: &EntryId) -> CallError {
    let message = format!("the call of `{id}` did not end before its deadline");
    CallError::new(ErrorKind::Timeout, message)
}
