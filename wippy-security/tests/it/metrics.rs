//! Calls that are counted: how many, how long, and why they failed.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use wippy_security::{
    Binding, Bound, Call, CallError, CallFuture, CallMetrics, Context, Dispatcher, DispatcherConfig,
    Durations, ErrorKind, Handler, Permit,
};
use wippy_wit::{Value, ValueReader, ValueWriter};

use crate::support::id;

/// Returns, fails or waits for ever, as its argument says.
struct Asked;

async fn answer(call: Call<'_>) -> Result<(), CallError> {
    call.arguments.enter_index(0)?;
    let asked = Value::read(call.arguments)?;
    match asked.as_str() {
        Some("wait") => std::future::pending().await,
        Some("missing") => Err(CallError::new(ErrorKind::NotFound, "nothing there")),
        _ => {
            call.result.nil();
            Ok(())
        }
    }
}

#[async_trait]
impl Handler for Asked {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        answer(call).await
    }

    fn bind(self: Arc<Self>) -> Option<Box<dyn Bound>> {
        Some(Box::new(BoundAsked))
    }
}

struct BoundAsked;

impl Bound for BoundAsked {
    fn call<'a>(&'a mut self, _permit: Permit, call: Call<'a>) -> CallFuture<'a> {
        Box::pin(answer(call)).into()
    }
}

struct Counted {
    context: Context,
    metrics: Arc<CallMetrics>,
}

impl Counted {
    fn new() -> Self {
        let dispatcher = Dispatcher::new(DispatcherConfig::default());
        let metrics = Arc::new(CallMetrics::default());
        dispatcher.insert(id("app:f"), metrics.around(Arc::new(Asked)));
        let context = Context::root(dispatcher);
        Self { context, metrics }
    }

    async fn call(&self, context: &Context, argument: &str) -> Result<(), CallError> {
        let arguments = [Value::from(argument)];
        let (mut reader, mut writer) = (ValueReader::arguments(&arguments), ValueWriter::default());
        let function = context.dispatcher().resolve(&id("app:f"))?;
        let calling = context
            .dispatcher()
            .call(context, &function, &mut reader, &mut writer)?;
        calling.await
    }

    fn errors(&self) -> Vec<(&'static str, u64)> {
        let errors = self.metrics.errors().filter(|(_, count)| *count > 0);
        errors.map(|(kind, count)| (kind.as_str(), count)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_counts_however_it_ends() {
    let counted = Counted::new();
    let context = &counted.context;
    for _ in 0..3 {
        counted.call(context, "answer").await.unwrap();
    }
    assert!(counted.call(context, "missing").await.is_err());
    let hurried = context.with_timeout(Duration::from_millis(10));
    let error = counted.call(&hurried, "wait").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let cancelled = tokio::time::timeout(Duration::from_millis(10), counted.call(context, "wait"));
    assert!(cancelled.await.is_err());

    assert_eq!(counted.metrics.durations().count(), 6);
    assert_eq!(
        counted.errors(),
        [("NOT_FOUND", 1), ("CANCELED", 1), ("TIMEOUT", 1)]
    );
}

#[tokio::test]
async fn calls_through_a_binding_count_too() {
    let counted = Counted::new();
    let function = counted.context.dispatcher().resolve(&id("app:f")).unwrap();
    let mut binding = Binding::new(function);
    for argument in ["answer", "missing", "answer"] {
        let arguments = [Value::from(argument)];
        let (mut reader, mut writer) = (ValueReader::arguments(&arguments), ValueWriter::default());
        let call = Call {
            context: &counted.context,
            arguments: &mut reader,
            result: &mut writer,
        };
        let outcome = binding.begin(call, || None).outcome().await;
        assert_eq!(outcome.is_err(), argument == "missing");
    }
    assert_eq!(counted.metrics.durations().count(), 3);
    assert_eq!(counted.errors(), [("NOT_FOUND", 1)]);
}

#[test]
fn times_fall_into_the_bucket_that_bounds_them() {
    let durations = Durations::default();
    for micros in [0, 1, 2, 300, 20_000_000] {
        durations.add(Duration::from_micros(micros));
    }
    let counts = durations.counts();
    assert_eq!(counts.count(), 5);
    assert_eq!(counts.sum(), Duration::from_micros(20_000_303));
    let held: Vec<_> = counts.buckets().filter(|(_, count)| *count > 0).collect();
    let nanos = |nanos| Some(Duration::from_nanos(nanos));
    assert_eq!(
        held,
        [
            (nanos(1_000), 2),
            (nanos(2_500), 1),
            (nanos(500_000), 1),
            (None, 1)
        ]
    );
}

#[test]
fn threads_that_count_at_once_lose_nothing() {
    let durations = Durations::default();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..10_000).for_each(|_| durations.add(Duration::from_micros(1))));
        }
    });
    assert_eq!(durations.counts().count(), 80_000);
    assert_eq!(durations.counts().sum(), Duration::from_millis(80));
}
