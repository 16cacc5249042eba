//! The parts of a traced call: making an instance, and the way of values in and out of it.

use std::sync::{Arc, Mutex};

use wippy_security::{Context, Dispatcher, DispatcherConfig, ErrorKind, SpanRecord, TracePlace, Tracer};
use wippy_wasm::{PoolConfig, WasmFunction};
use wippy_wit::Value;

use crate::support::{Wants, call, id, prepare};

/// Keeps every span.
#[derive(Default)]
struct Notebook(Mutex<Vec<SpanRecord>>);

impl Tracer for Notebook {
    fn samples(&self) -> bool {
        true
    }

    fn record(&self, span: SpanRecord) {
        self.0.lock().unwrap().push(span);
    }
}

impl Notebook {
    /// The parts since the last look, each within the one that was called.
    fn parts(&self, place: TracePlace) -> Vec<(String, Option<ErrorKind>)> {
        let spans = std::mem::take(&mut *self.0.lock().unwrap());
        for (earlier, later) in spans.iter().zip(spans.iter().skip(1)) {
            assert!(earlier.begun <= later.begun, "{spans:#?}");
        }
        let part = |span: SpanRecord| {
            assert_eq!(span.parent, Some(place.span()));
            assert_eq!(span.place.trace(), place.trace());
            (span.name, span.failure)
        };
        spans.into_iter().map(part).collect()
    }
}

fn guest(method: &str, guest: &str) -> (Context, Arc<Notebook>) {
    let notebook = Arc::new(Notebook::default());
    let dispatcher = Dispatcher::new(DispatcherConfig {
        tracer: Some(notebook.clone()),
        ..DispatcherConfig::default()
    });
    let module = prepare(guest, method, Wants::default()).unwrap();
    let function = WasmFunction::new(module, PoolConfig::default());
    dispatcher.insert(id("f"), Arc::new(function));
    (Context::root(dispatcher), notebook)
}

fn named(parts: &[&str]) -> Vec<(String, Option<ErrorKind>)> {
    parts.iter().map(|part| ((*part).to_owned(), None)).collect()
}

#[tokio::test]
async fn a_traced_call_shows_its_parts() {
    let (context, notebook) = guest("add", "bench");
    let place = TracePlace::root(true);
    let context = context.with_trace(place);
    let arguments = [Value::Integer(1), Value::Integer(2)];
    assert_eq!(call(&context, &arguments).await, Ok(Value::Integer(3)));
    assert_eq!(
        notebook.parts(place),
        named(&["instantiate", "lower", "run", "lift"])
    );
    // The execution has an instance now.
    assert_eq!(call(&context, &arguments).await, Ok(Value::Integer(3)));
    assert_eq!(notebook.parts(place), named(&["lower", "run", "lift"]));

    let wrong = [Value::from("one"), Value::Integer(2)];
    assert!(call(&context, &wrong).await.is_err());
    assert_eq!(
        notebook.parts(place),
        [("lower".to_owned(), Some(ErrorKind::Internal))]
    );
}

#[tokio::test]
async fn a_trap_ends_the_run() {
    let (context, notebook) = guest("fail", "secrets");
    let place = TracePlace::root(true);
    let context = context.with_trace(place);
    assert!(call(&context, &[Value::Integer(5)]).await.is_err());
    let mut expected = named(&["instantiate", "lower"]);
    expected.push(("run".to_owned(), Some(ErrorKind::Internal)));
    assert_eq!(notebook.parts(place), expected);
}

#[tokio::test]
async fn a_call_that_is_not_sampled_shows_nothing() {
    let (context, notebook) = guest("add", "bench");
    let arguments = [Value::Integer(1), Value::Integer(2)];
    for context in [context.clone(), context.with_trace(TracePlace::root(false))] {
        assert_eq!(call(&context, &arguments).await, Ok(Value::Integer(3)));
    }
    assert!(notebook.0.lock().unwrap().is_empty());
}
