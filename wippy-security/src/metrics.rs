//! What an operator asks about the calls of a function: how many, how long, how many failed and why.
//!
//! Counting is a decorator: [`CallMetrics::around`] makes a handler that counts of one that does not. Where nobody
//! counts there is no decorator, and so nothing to pay. Where somebody does, each thread adds to counters of its own, so
//! that processors do not pass a cache line back and forth; a reader adds them up.

mod durations;

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{self, Poll},
};

use async_trait::async_trait;
use tokio::time::Instant;

pub use self::durations::{DurationCounts, Durations};
use crate::{Bound, Call, CallError, CallFuture, ErrorKind, Handler, Permit};

/// Counts the calls of one function.
#[derive(Debug, Default)]
pub struct CallMetrics {
    durations: Durations,
    /// By kind, in the order of [`ErrorKind::ALL`]. Making an error costs much more than sharing these.
    errors: [AtomicU64; ErrorKind::ALL.len()],
}

/// What a pool holds, for an operator.
#[derive(Debug, Clone, Default)]
pub struct PoolCounts {
    /// Calls that run.
    pub running: usize,
    /// Calls that wait until they may.
    pub waiting: usize,
    /// Instances or states that nobody uses at the moment.
    pub idle: usize,
    /// Instances or states that were made so far.
    pub created: u64,
    /// Bytes that all of them hold, as far as that is known.
    pub memory_bytes: usize,
    /// How long those calls waited that had to.
    pub waits: DurationCounts,
    /// Where the code came from, if it is compiled.
    pub origin: Option<&'static str>,
}

impl CallMetrics {
    /// `handler`, with its calls counted here.
    pub fn around(self: &Arc<Self>, handler: Arc<dyn Handler>) -> Arc<dyn Handler> {
        Arc::new(Measured {
            handler,
            metrics: Arc::clone(self),
        })
    }

    /// Begins to time a call. One whose watch is dropped before it ended was cancelled, or did not end by `deadline`.
    pub fn watch(self: &Arc<Self>, deadline: Option<Instant>) -> Watch {
        Watch {
            metrics: Arc::clone(self),
            begun: std::time::Instant::now(),
            deadline,
            has_ended: false,
        }
    }

    /// How long the calls took; every call that ended is among them.
    pub fn durations(&self) -> DurationCounts {
        self.durations.counts()
    }

    /// How many calls failed with each kind of error.
    pub fn errors(&self) -> impl Iterator<Item = (ErrorKind, u64)> {
        let counts = self.errors.iter().map(|count| count.load(Ordering::Relaxed));
        ErrorKind::ALL.into_iter().zip(counts)
    }

    fn fail(&self, kind: ErrorKind) {
        let kinds = ErrorKind::ALL.iter().zip(&self.errors);
        for (_, count) in kinds.filter(|(known, _)| **known == kind) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Times one call.
#[derive(Debug)]
pub struct Watch {
    metrics: Arc<CallMetrics>,
    begun: std::time::Instant,
    deadline: Option<Instant>,
    has_ended: bool,
}

impl Watch {
    /// The call has ended.
    pub fn end(mut self, failure: Option<ErrorKind>) {
        self.record(failure);
    }

    fn record(&mut self, failure: Option<ErrorKind>) {
        self.has_ended = true;
        self.metrics.durations.add(self.begun.elapsed());
        if let Some(kind) = failure {
            self.metrics.fail(kind);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.has_ended {
            let is_late = self.deadline.is_some_and(|deadline| deadline <= Instant::now());
            self.record(Some(if is_late {
                ErrorKind::Timeout
            } else {
                ErrorKind::Canceled
            }));
        }
    }
}

/// A handler whose calls are counted.
struct Measured {
    handler: Arc<dyn Handler>,
    metrics: Arc<CallMetrics>,
}

#[async_trait]
impl Handler for Measured {
    async fn invoke<'a>(self: Arc<Self>, permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        let watch = self.metrics.watch(call.context.deadline());
        let future = self.handler.clone().invoke(permit, call);
        Timed {
            future: CallFuture::Boxed(future),
            watch,
        }
        .await
    }

    fn bind(self: Arc<Self>) -> Option<Box<dyn Bound>> {
        let bound = self.handler.clone().bind()?;
        Some(Box::new(MeasuredBound {
            bound,
            metrics: Arc::clone(&self.metrics),
        }))
    }

    fn signature(&self) -> Option<String> {
        self.handler.signature()
    }

    fn pool(&self) -> Option<PoolCounts> {
        self.handler.pool()
    }
}

/// A bound callee whose calls are counted.
struct MeasuredBound {
    bound: Box<dyn Bound>,
    metrics: Arc<CallMetrics>,
}

impl Bound for MeasuredBound {
    fn call<'a>(&'a mut self, permit: Permit, call: Call<'a>) -> CallFuture<'a> {
        let mut watch = self.metrics.watch(call.context.deadline());
        let mut future = self.bound.call(permit, call);
        if let Some(outcome) = future.try_outcome() {
            watch.record(outcome.as_ref().err().map(CallError::kind));
            return CallFuture::ended(outcome);
        }
        Box::pin(Timed { future, watch }).into()
    }
}

/// A call that is timed.
struct Timed<'a> {
    // Dropped first: what a cancelled call still does belongs to it.
    future: CallFuture<'a>,
    watch: Watch,
}

impl Future for Timed<'_> {
    type Output = Result<(), CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.future).poll(cx).map(|outcome| {
            let failure = outcome.as_ref().err().map(CallError::kind);
            self.watch.record(failure);
            outcome
        })
    }
}
