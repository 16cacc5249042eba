//! Traces: which call was made on behalf of which, told to a [`Tracer`] as spans.
//!
//! A [`Context`] carries its place in a trace, as an edge found it in a request (`traceparent`) or as the first call
//! began it, and hands it down. A [`Span`] is begun under a context and ends when it is dropped. Where there is no tracer,
//! functions are not decorated and a place that came from outside is handed on as it came; where there is one, what is not
//! sampled costs one look at the context.

mod place;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use wippy_registry::EntryId;

pub use self::place::TracePlace;
use crate::{Bound, Call, CallError, CallFuture, Context, ErrorKind, Handler, Permit, PoolCounts};

/// Takes spans in.
pub trait Tracer: Send + Sync {
    /// Whether a trace that begins here is recorded.
    fn samples(&self) -> bool;

    /// A span has ended. This is called where the work was done, so it must neither wait nor take long.
    fn record(&self, span: SpanRecord);

    /// Hands on what it still has. This may wait, and what ends later may be lost.
    fn finish(&self) {}
}

/// What a span is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// A part of what the application does.
    Internal,
    /// The answer to a request from outside.
    Server,
}

/// A span that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanRecord {
    /// What was done: `call`, `instantiate`, `lower`, `run`, `lift`, or a request's method and route.
    pub name: String,
    /// What it is about.
    pub kind: SpanKind,
    /// Where it stands in its trace.
    pub place: TracePlace,
    /// The span that it is a part of.
    pub parent: Option<u64>,
    /// When it began.
    pub begun: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// The kind of error that it ended with.
    pub failure: Option<ErrorKind>,
    /// What else there is to say, by the names that the conventions for spans have for it.
    pub attributes: Vec<(&'static str, String)>,
}

/// Something that is being done. Dropped before it was told how that ended, it was cancelled.
pub struct Span {
    tracer: Arc<dyn Tracer>,
    begun: Instant,
    /// Taken when it ends.
    record: Option<SpanRecord>,
}

impl Span {
    /// Begins a span under `context`, if that is traced and recorded.
    pub fn begin(context: &Context, name: &'static str) -> Option<Self> {
        let parent = context.traced()?.trace()?;
        let tracer = Arc::clone(context.dispatcher().tracer()?);
        let place = parent.child();
        Some(Self::new(
            tracer,
            name,
            SpanKind::Internal,
            place,
            Some(parent.span()),
        ))
    }

    /// Begins the span of something that comes from outside, with `parent` if that came along. What it does, it does
    /// under the context that is returned: also where nothing is recorded, so that callees do not ask again.
    pub fn enter(context: &Context, kind: SpanKind, name: impl Into<String>) -> (Option<Self>, Context) {
        let Some(tracer) = context.dispatcher().tracer() else {
            return (None, context.clone());
        };
        let parent = context.trace();
        let place = match parent {
            Some(parent) => parent.child(),
            None => TracePlace::root(tracer.samples()),
        };
        let inner = context.with_trace(place);
        if !place.is_sampled() {
            return (None, inner);
        }
        let span = Self::new(
            Arc::clone(tracer),
            name,
            kind,
            place,
            parent.map(|parent| parent.span()),
        );
        (Some(span), inner)
    }

    /// Begins the span of a call of the function `id`, which is made under the context that is returned.
    pub fn call(context: &Context, id: &EntryId) -> (Option<Self>, Context) {
        let (mut span, context) = Self::enter(context, SpanKind::Internal, "call");
        if let Some(span) = &mut span {
            span.set("wippy.entry", id.as_str());
        }
        (span, context)
    }

    /// Tells of a part of what is done under `context` after the fact, if that is traced and recorded.
    pub fn tell(
        context: &Context,
        name: &'static str,
        begun: Instant,
        ended: Instant,
        failure: Option<ErrorKind>,
    ) {
        let Some(mut span) = Self::begin(context, name) else {
            return;
        };
        if let Some(mut record) = span.record.take() {
            record.begun = SystemTime::now()
                .checked_sub(begun.elapsed())
                .unwrap_or(record.begun);
            record.duration = ended.saturating_duration_since(begun);
            record.failure = failure;
            span.tracer.record(record);
        }
    }

    fn new(
        tracer: Arc<dyn Tracer>,
        name: impl Into<String>,
        kind: SpanKind,
        place: TracePlace,
        parent: Option<u64>,
    ) -> Self {
        let record = SpanRecord {
            name: name.into(),
            kind,
            place,
            parent,
            begun: SystemTime::now(),
            duration: Duration::ZERO,
            failure: Some(ErrorKind::Canceled),
            attributes: Vec::new(),
        };
        Self {
            tracer,
            begun: Instant::now(),
            record: Some(record),
        }
    }

    /// Says more about it.
    pub fn set(&mut self, name: &'static str, value: impl Into<String>) {
        if let Some(record) = &mut self.record {
            record.attributes.push((name, value.into()));
        }
    }

    /// Adds a word to its name, when more is known.
    pub fn append(&mut self, word: &str) {
        if let Some(record) = &mut self.record {
            record.name.push(' ');
            record.name.push_str(word);
        }
    }

    /// It has ended, well or with an error of a kind.
    pub fn end(mut self, failure: Option<ErrorKind>) {
        self.finish(failure);
    }

    fn finish(&mut self, failure: Option<ErrorKind>) {
        if let Some(mut record) = self.record.take() {
            record.duration = self.begun.elapsed();
            record.failure = failure;
            self.tracer.record(record);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.finish(Some(ErrorKind::Canceled));
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Span")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

/// `handler`, the function `id`, with a span for each of its calls.
pub fn traced(id: EntryId, handler: Arc<dyn Handler>) -> Arc<dyn Handler> {
    Arc::new(Traced { id, handler })
}

/// A handler whose calls are spans.
struct Traced {
    id: EntryId,
    handler: Arc<dyn Handler>,
}

/// Whether nothing of a call is recorded, which its context knows.
fn is_skipped(context: &Context) -> bool {
    context.trace().is_some_and(|place| !place.is_sampled())
}

#[async_trait]
impl Handler for Traced {
    async fn invoke<'a>(self: Arc<Self>, permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        if is_skipped(call.context) {
            return self.handler.clone().invoke(permit, call).await;
        }
        let (span, context) = Span::call(call.context, &self.id);
        let call = Call {
            context: &context,
            arguments: call.arguments,
            result: call.result,
        };
        let outcome = self.handler.clone().invoke(permit, call).await;
        if let Some(span) = span {
            span.end(outcome.as_ref().err().map(CallError::kind));
        }
        outcome
    }

    fn bind(self: Arc<Self>) -> Option<Box<dyn Bound>> {
        let bound = self.handler.clone().bind()?;
        Some(Box::new(TracedBound {
            id: self.id.clone(),
            bound,
            context: None,
        }))
    }

    fn signature(&self) -> Option<String> {
        self.handler.signature()
    }

    fn pool(&self) -> Option<PoolCounts> {
        self.handler.pool()
    }
}

/// A bound callee whose calls are spans.
struct TracedBound {
    id: EntryId,
    bound: Box<dyn Bound>,
    /// That of the call that runs, which borrows it.
    context: Option<Context>,
}

impl Bound for TracedBound {
    fn call<'a>(&'a mut self, permit: Permit, call: Call<'a>) -> CallFuture<'a> {
        let Self { id, bound, context } = self;
        if is_skipped(call.context) {
            return bound.call(permit, call);
        }
        let (span, inner) = Span::call(call.context, id);
        let call = Call {
            context: context.insert(inner),
            arguments: call.arguments,
            result: call.result,
        };
        let mut future = bound.call(permit, call);
        if let Some(outcome) = future.try_outcome() {
            if let Some(span) = span {
                span.end(outcome.as_ref().err().map(CallError::kind));
            }
            return CallFuture::ended(outcome);
        }
        Box::pin(Spanning { future, span }).into()
    }
}

/// A call that is a span.
struct Spanning<'a> {
    // Dropped first: what a cancelled call still does belongs to it.
    future: CallFuture<'a>,
    span: Option<Span>,
}

impl Future for Spanning<'_> {
    type Output = Result<(), CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.future).poll(cx).map(|outcome| {
            if let Some(span) = self.span.take() {
                span.end(outcome.as_ref().err().map(CallError::kind));
            }
            outcome
        })
    }
}
