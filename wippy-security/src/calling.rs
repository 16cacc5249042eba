//! [`Calling`]: a call in progress.

use std::{
    future::Future,
    pin::Pin,
    task::{self, Poll, Waker},
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

/// A call that was begun, and asked how it went. Most have an answer by then, and need not be kept anywhere.
#[must_use = "a call that goes on has to be polled"]
pub enum Begun<'a> {
    /// It came to its end.
    Ended(Result<(), CallError>),
    /// It goes on. Unless nobody could be woken, it was polled once.
    Running(Calling<'a>),
}

impl<'a> Begun<'a> {
    /// Waits for its end.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn outcome(self) -> Result<(), CallError> {
        match self {
            Self::Ended(outcome) => outcome,
            Self::Running(calling) => calling.await,
        }
    }

    #[inline]
    pub(crate) fn new<'w>(
        future: Result<CallFuture<'a>, CallError>,
        waker: impl FnOnce() -> Option<&'w Waker>,
        deadline: Option<Instant>,
        callee: Callee<'a>,
    ) -> Self {
        let mut future = match future {
            Ok(future) => future,
            Err(error) => return Self::Ended(Err(error)),
        };
        if let Some(outcome) = future.try_outcome() {
            return Self::Ended(outcome);
        }
        let Some(waker) = waker() else {
            return Self::Running(Calling::new(future, deadline, callee));
        };
        let mut waking = task::Context::from_waker(waker);
        if let Poll::Ready(outcome) = Pin::new(&mut future).poll(&mut waking) {
            return Self::Ended(outcome);
        }
        let mut calling = Calling::new(future, deadline, callee);
        match calling.poll_deadline(&mut waking) {
            Poll::Ready(outcome) => Self::Ended(outcome),
            Poll::Pending => Self::Running(calling),
        }
    }
}

/// Who is called.
pub(crate) enum Callee<'a> {
    Function(&'a Function),
    Object(&'a dyn Object),
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
}

impl Calling<'_> {
    /// Waits for the deadline, if there is one.
    fn poll_deadline(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), CallError>> {
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        sleep.as_mut().poll(cx).map(|()| Err(timed_out(self.callee.id())))
    }
}

impl Future for Calling<'_> {
    type Output = Result<(), CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        match Pin::new(&mut self.future).poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => self.poll_deadline(cx),
        }
    }
}

#[cold]
fn timed_out(id: &EntryId) -> CallError {
    let message = format!("the call of `{id}` did not end before its deadline");
    CallError::new(ErrorKind::Timeout, message)
}
