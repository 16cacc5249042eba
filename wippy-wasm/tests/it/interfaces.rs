//! `wippy:runtime`: what guests learn of their call, what they log, and how errors come through them.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing_subscriber::fmt::MakeWriter;
use wippy_security::{Actor, CallError, Context, Dispatcher, DispatcherConfig, ErrorKind};
use wippy_wasm::{Limits, PoolConfig, WasmFunction};
use wippy_wit::Value;

use crate::support::{Wants, call, call_guest, call_named, context, id, prepare};

/// A context whose dispatcher knows the guest that calls itself through the host.
fn recursing(limits: Limits) -> Context {
    let wants = Wants {
        limits,
        ..Wants::imports(&["funcs"])
    };
    let module = prepare("recurse", "again", wants).unwrap();
    let function = WasmFunction::new(module, PoolConfig::default());
    let dispatcher = Dispatcher::new(DispatcherConfig::default());
    dispatcher.insert(id("recurse"), Arc::new(function));
    Context::root(dispatcher)
}

#[tokio::test]
async fn a_kind_survives_any_number_of_guests() {
    // Each level hears of the refusal from the one below as a string, and returns that string.
    let chain = recursing(Limits::default());
    let error = call_named(&chain, "recurse", &[Value::from("")])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(
        error.message(),
        "calls are nested too deeply at `test:recurse`: the limit `max_call_depth` is 64"
    );
}

#[tokio::test]
async fn an_entry_may_limit_how_deep_calls_are_below_it() {
    let shallow = recursing(Limits {
        call_depth: Some(3),
        ..Limits::default()
    });
    let error = call_named(&shallow, "recurse", &[Value::from("")])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.message(),
        "calls are nested too deeply: the limit `max_call_depth` of the caller is 3"
    );
}

async fn ask(context: &Context, method: &str, arguments: &[Value]) -> Result<Value, CallError> {
    let module = prepare("asks-context", method, Wants::imports(&["wippy:runtime/context"])).unwrap();
    context.dispatcher().insert(
        id("asks"),
        Arc::new(WasmFunction::new(module, PoolConfig::default())),
    );
    call_named(context, "asks", arguments).await
}

#[tokio::test]
async fn guests_learn_for_whom_they_run() {
    let actor = Actor {
        id: "ada".into(),
        meta: Value::record([("role", Value::from("admin"))]),
    };
    let values = [
        ("tenant".into(), Value::from("acme")),
        (
            "flags".into(),
            Value::array([Value::Integer(1), Value::Boolean(true)]),
        ),
    ];
    let context = Context::root(Dispatcher::new(DispatcherConfig::default()))
        .with_identity(Some(Arc::new(actor)), None)
        .with_values(values.into_iter().collect())
        .with_call_id("request-7");
    for (method, arguments, answer) in [
        ("actor-id", vec![], Value::from("ada")),
        ("actor-meta", vec![], Value::from(r#"{"role":"admin"}"#)),
        ("value", vec![Value::from("tenant")], Value::from(r#""acme""#)),
        ("value", vec![Value::from("flags")], Value::from("[1,true]")),
        ("value", vec![Value::from("missing")], Value::Nil),
        ("call-id", vec![], Value::from("request-7")),
    ] {
        assert_eq!(ask(&context, method, &arguments).await, Ok(answer), "{method}");
    }
}

#[tokio::test]
async fn nobody_is_told_apart_from_somebody() {
    let context = Context::root(Dispatcher::new(DispatcherConfig::default()));
    for method in ["actor-id", "actor-meta", "call-id"] {
        assert_eq!(ask(&context, method, &[]).await, Ok(Value::Nil), "{method}");
    }
}

/// What was logged while it lives, one JSON record a line.
#[derive(Clone, Default)]
struct Records(Arc<Mutex<Vec<u8>>>);

impl io::Write for Records {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Records {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Records {
    fn collect(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt()
            .json()
            .without_time()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(self.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// Those of guests.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let guests = text.lines().filter(|line| line.contains("wippy::guest"));
        guests.map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn records_carry_level_entry_call_and_fields() {
    let records = Records::default();
    let _collecting = records.collect();
    let logs =
        context(prepare("logs", "log", Wants::imports(&["logger"])).unwrap()).with_call_id("request-7");
    let field = |key: &str, value: &str| Value::array([Value::from(key), Value::from(value)]);
    let fields = Value::array([field("user", "ada"), field("quote", "\"\n")]);
    for level in ["debug", "info", "warn", "error"] {
        let arguments = [Value::from(level), Value::from("hello"), fields.clone()];
        assert_eq!(call(&logs, &arguments).await, Ok(Value::Nil));
    }
    insta::assert_snapshot!(records.lines().join("\n"));
}

#[tokio::test]
async fn what_is_printed_becomes_one_record_a_line() {
    let records = Records::default();
    let _collecting = records.collect();
    let print = prepare(
        "greedy",
        "print",
        Wants::imports(&["wasi:cli", "wasi:io", "wasi:random"]),
    )
    .unwrap();
    let print = context(print).with_call_id("request-8");
    let lines = Value::array([Value::from("one"), Value::from("two\r\nthree")]);
    call(&print, &[lines]).await.unwrap();
    insta::assert_snapshot!(records.lines().join("\n"));
}

#[tokio::test]
async fn the_budget_of_the_log_is_each_calls_own() {
    let limits = Limits {
        output_bytes: 1000,
        ..Limits::default()
    };
    let wants = Wants {
        limits,
        ..Wants::imports(&["logger"])
    };
    let logs = context(prepare("logs", "log", wants).unwrap());
    let arguments = |length: usize| {
        [
            Value::from("info"),
            Value::from("x".repeat(length)),
            Value::array([]),
        ]
    };
    // The execution keeps its instance, and with it what was left.
    for _ in 0..5 {
        assert_eq!(call(&logs, &arguments(900)).await, Ok(Value::Nil));
    }
    let error = call(&logs, &arguments(1001)).await.unwrap_err();
    assert_eq!(
        error.details().get("limit"),
        Some(&Value::from("max_stdout_bytes")),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_not_granted_is_not_there() {
    for (guest, method, import) in [
        ("asks-context", "actor-id", "wippy:runtime/context"),
        ("logs", "log", "wippy:runtime/logger"),
    ] {
        let errors = prepare(guest, method, Wants::imports(&["funcs"])).unwrap_err();
        let help = errors.first().and_then(wippy_wasm::Error::help);
        assert_eq!(help, Some(format!("add `- {import}` to the entry's `imports`")));
    }
}

#[tokio::test]
async fn work_is_counted_when_asked_for() {
    let wants = |fuel| Wants {
        limits: Limits {
            fuel: Some(fuel),
            ..Limits::default()
        },
        ..Wants::default()
    };
    // Each call has its own, also in an instance that is kept.
    let deep = context(prepare("deep", "to", wants(10_000)).unwrap());
    for _ in 0..3 {
        assert_eq!(call(&deep, &[Value::Integer(100)]).await, Ok(Value::Integer(100)));
    }
    let error = call(&deep, &[Value::Integer(10_000)]).await.unwrap_err();
    assert_eq!(
        error.details().get("limit"),
        Some(&Value::from("max_fuel")),
        "{error}"
    );
    let error = call_guest("spin-start", "answer", wants(10_000), &[])
        .await
        .unwrap_err();
    assert_eq!(
        error.details().get("value"),
        Some(&Value::Integer(10_000)),
        "{error}"
    );
}
