//! Spans: what is told of a call, to whom it belongs, and how that is written down.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use proptest::prelude::*;
use wippy_security::{
    Call, CallError, Context, Dispatcher, DispatcherConfig, ErrorKind, Handler, Permit, Span, SpanKind,
    SpanRecord, TracePlace, Tracer, traced,
};
use wippy_wit::{Value, ValueReader, ValueWriter};

use crate::support::id;

/// Keeps every span.
#[derive(Default)]
struct Notebook {
    samples: bool,
    spans: Mutex<Vec<SpanRecord>>,
}

impl Tracer for Notebook {
    fn samples(&self) -> bool {
        self.samples
    }

    fn record(&self, span: SpanRecord) {
        self.spans.lock().unwrap().push(span);
    }
}

/// Calls the function that its argument names, or fails if that is nobody.
struct Relay;

#[async_trait]
impl Handler for Relay {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        call.arguments.enter_index(0)?;
        let target = Value::read(call.arguments)?;
        let context = call.context.callee();
        if let Some(target) = target.as_str().filter(|target| !target.is_empty()) {
            ask(&context, target, "").await?;
        }
        call.result.nil();
        Ok(())
    }
}

async fn ask(context: &Context, target: &str, argument: &str) -> Result<(), CallError> {
    let arguments = [Value::from(argument)];
    let (mut reader, mut writer) = (ValueReader::arguments(&arguments), ValueWriter::default());
    let function = context.dispatcher().resolve(&id(target))?;
    let calling = context
        .dispatcher()
        .call(context, &function, &mut reader, &mut writer)?;
    calling.await
}

fn stage(samples: bool) -> (Context, Arc<Notebook>) {
    let notebook = Arc::new(Notebook {
        samples,
        ..Notebook::default()
    });
    let dispatcher = Dispatcher::new(DispatcherConfig {
        tracer: Some(notebook.clone()),
        ..DispatcherConfig::default()
    });
    for name in ["app:outer", "app:inner"] {
        dispatcher.insert(id(name), traced(id(name), Arc::new(Relay)));
    }
    (Context::root(dispatcher), notebook)
}

fn entry(span: &SpanRecord) -> &str {
    let named = span.attributes.iter().find(|(name, _)| *name == "wippy.entry");
    &named.unwrap().1
}

#[tokio::test]
async fn a_call_is_a_part_of_the_call_that_made_it() {
    let (context, notebook) = stage(true);
    ask(&context, "app:outer", "app:inner").await.unwrap();
    let spans = notebook.spans.lock().unwrap();
    let [inner, outer] = spans.as_slice() else {
        panic!("{spans:?}")
    };
    assert_eq!((entry(outer), entry(inner)), ("app:outer", "app:inner"));
    assert_eq!((outer.name.as_str(), outer.parent), ("call", None));
    assert_eq!(inner.parent, Some(outer.place.span()));
    assert_eq!(inner.place.trace(), outer.place.trace());
    assert_eq!((outer.failure, inner.failure), (None, None));
    assert!(outer.duration >= inner.duration);
}

#[tokio::test]
async fn a_trace_from_outside_goes_on() {
    let (context, notebook) = stage(false);
    let place: TracePlace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        .parse()
        .unwrap();
    let error = ask(&context.with_trace(place), "app:outer", "app:nobody").await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    let spans = notebook.spans.lock().unwrap();
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].place.trace(), place.trace());
    assert_eq!(spans[0].parent, Some(place.span()));
    assert_eq!(spans[0].failure, Some(ErrorKind::NotFound));
}

#[tokio::test]
async fn what_is_not_sampled_is_not_recorded() {
    let (context, notebook) = stage(false);
    ask(&context, "app:outer", "app:inner").await.unwrap();
    let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let (context, sampling) = {
        let (context, notebook) = stage(true);
        (context.with_trace(unsampled.parse().unwrap()), notebook)
    };
    ask(&context, "app:outer", "app:inner").await.unwrap();
    assert!(notebook.spans.lock().unwrap().is_empty());
    assert!(sampling.spans.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_given_up_ends_as_cancelled() {
    let (context, notebook) = stage(true);
    let (span, inner) = Span::enter(&context, SpanKind::Server, "GET");
    drop(Span::begin(&inner, "part"));
    drop(span);
    let spans = notebook.spans.lock().unwrap();
    let ends: Vec<_> = spans
        .iter()
        .map(|span| (span.name.as_str(), span.failure))
        .collect();
    let canceled = Some(ErrorKind::Canceled);
    assert_eq!(ends, [("part", canceled), ("GET", canceled)]);
    assert_eq!(spans[0].parent, Some(spans[1].place.span()));
}

#[test]
fn without_a_tracer_nothing_begins() {
    let context = Context::root(Dispatcher::new(DispatcherConfig::default()));
    let (span, inner) = Span::enter(&context, SpanKind::Server, "GET");
    assert!(span.is_none() && inner.trace().is_none());
    let traced = context.with_trace(TracePlace::root(true));
    assert!(Span::begin(&traced, "call").is_none());
    // What came from outside is handed on as it came.
    assert_eq!(traced.callee().trace(), traced.trace());
}

#[test]
fn a_place_is_written_as_the_standard_says() {
    let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let place: TracePlace = text.parse().unwrap();
    assert_eq!(place.to_string(), text);
    assert_eq!(place.span(), 0xb7ad_6b71_6920_3331);
    assert!(place.is_sampled());
    let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes";
    assert_eq!(later.parse(), Ok(place));
    for wrong in [
        "",
        "00",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
        "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        assert_eq!(wrong.parse::<TracePlace>(), Err(()), "{wrong}");
    }
}

#[test]
fn places_are_new_every_time() {
    let root = TracePlace::root(true);
    let mut spans: Vec<u64> = (0..10_000).map(|_| root.child().span()).collect();
    spans.sort_unstable();
    spans.dedup();
    assert_eq!(spans.len(), 10_000);
}

proptest! {
    #[test]
    fn any_header_is_read_or_refused(text in ".{0,80}") {
        if let Ok(place) = text.parse::<TracePlace>() {
            let place: TracePlace = place;
            prop_assert_eq!(place.to_string().parse(), Ok(place));
        }
    }
}
