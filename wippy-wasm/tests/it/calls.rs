//! Calls that go well, and calls whose arguments do not fit.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use wippy_security::{Context, Dispatcher, DispatcherConfig, ErrorKind};
use wippy_wasm::{PoolConfig, Reuse, WasmFunction};
use wippy_wit::Value;

use crate::support::{Wants, call, call_guest, call_named, context, id, prepare, prepare_text};

fn user(id: i64, name: &str, tags: &[&str], active: bool) -> Value {
    Value::record([
        ("id", Value::Integer(id)),
        ("name", Value::string(name)),
        (
            "email",
            Value::string(format!("{}@example.org", name.to_lowercase())),
        ),
        ("tags", Value::array(tags.iter().map(Value::string))),
        ("active", Value::Boolean(active)),
    ])
}

#[tokio::test]
async fn scalars() {
    let product = call_guest(
        "compute",
        "compute",
        Wants::default(),
        &[Value::Integer(6), Value::Integer(7)],
    )
    .await;
    assert_eq!(product, Ok(Value::Integer(42)));
}

#[tokio::test]
async fn records_and_nested_lists() {
    let users = Value::array([
        user(1, "Ada", &["math", "engines"], true),
        user(2, "Bob", &[], false),
    ]);
    let views = call_guest("users", "transform_users", Wants::default(), &[users])
        .await
        .unwrap();
    let Value::Table(views) = views else {
        panic!("expected a table")
    };
    assert_eq!(views.array.len(), 2);
    assert_eq!(views.array[0].get("tag-count"), Some(&Value::Integer(2)));
    assert_eq!(
        views.array[0].get("tags"),
        Some(&Value::array(["engines", "math"].map(Value::from)))
    );
    assert_eq!(
        views.array[1].get("domain").and_then(Value::as_str),
        Some("example.org")
    );
}

#[tokio::test]
async fn a_guests_own_error() {
    let divide = context(prepare("compute", "divide", Wants::default()).unwrap());
    assert_eq!(
        call(&divide, &[Value::Integer(7), Value::Integer(2)]).await,
        Ok(Value::Integer(3))
    );
    let error = call(&divide, &[Value::Integer(7), Value::Integer(0)])
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Unknown, "division by zero")
    );
    assert_eq!(error.details(), &Value::from("division by zero"));
    // The guest reported an error; it did not fail.
    assert_eq!(
        call(&divide, &[Value::Integer(9), Value::Integer(3)]).await,
        Ok(Value::Integer(3))
    );
}

#[tokio::test]
async fn core_modules_with_a_signature() {
    let wat = "(module (func (export \"answer\") (result i32) i32.const 42))";
    let answer = prepare_text(wat, Some("answer: func() -> s32;"), "answer").unwrap();
    assert_eq!(call(&context(answer), &[]).await, Ok(Value::Integer(42)));
}

#[tokio::test]
async fn core_modules_that_export_snake_case() {
    let wat =
        "(module (func (export \"plus_one\") (param i32) (result i32) local.get 0 i32.const 1 i32.add))";
    let plus_one = prepare_text(wat, Some("plus-one: func(n: s32) -> s32;"), "plus_one").unwrap();
    assert_eq!(
        call(&context(plus_one), &[Value::Integer(1)]).await,
        Ok(Value::Integer(2))
    );
}

#[tokio::test]
async fn errors_point_into_the_value() {
    let users = context(prepare("users", "transform_users", Wants::default()).unwrap());
    let mut third = user(3, "Eve", &["x"], true);
    if let Value::Table(table) = &mut third {
        table.pairs[3].1 = Value::array([Value::Integer(5)]);
    }
    let list = Value::array([user(1, "Ada", &[], true), user(2, "Bob", &[], true), third]);
    let error = call(&users, &[list]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(
        error.message(),
        "test:transform_users: argument 1 (users)[3].tags[1]: expected string, got integer"
    );

    let error = call(&users, &[]).await.unwrap_err();
    assert_eq!(
        error.message(),
        "test:transform_users: expected 1 argument, got 0: transform_users(users: {User}) -> {UserView}"
    );
    // A refused argument costs the instance, not the function.
    assert!(
        call(&users, &[Value::array([user(1, "Ada", &[], true)])])
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn ranges_are_named() {
    let error = call_guest(
        "compute",
        "compute",
        Wants::default(),
        &[Value::Integer(1 << 31), Value::Integer(1)],
    )
    .await;
    let error = error.unwrap_err();
    assert_eq!(
        error.message(),
        "test:compute: argument 1 (a): expected s32 (-2147483648..2147483647), got 2147483648"
    );
}

/// `bench` counts nothing, but a memory-hungry guest shows whether its instance is kept: its memory stays grown.
#[tokio::test]
async fn instances_are_kept_for_their_execution_only() {
    let grown_by = |reuse| {
        let module = prepare("grow", "by", Wants::default()).unwrap();
        let dispatcher = Dispatcher::new(DispatcherConfig::default());
        let pool = PoolConfig {
            reuse,
            ..PoolConfig::default()
        };
        dispatcher.insert(id("f"), Arc::new(WasmFunction::new(module, pool)));
        Context::root(dispatcher)
    };
    // `memory.grow` gives the size before it.
    let kept = grown_by(Reuse::Caller);
    let first = call(&kept, &[Value::Integer(3)]).await.unwrap();
    let second = call(&kept, &[Value::Integer(3)]).await.unwrap();
    assert_ne!(
        first, second,
        "the same execution finds the instance as it left it"
    );
    let other = call(&kept.with_own_execution(), &[Value::Integer(3)])
        .await
        .unwrap();
    assert_eq!(first, other, "another execution never does");

    let fresh = grown_by(Reuse::Never);
    assert_eq!(
        call(&fresh, &[Value::Integer(3)]).await,
        call(&fresh, &[Value::Integer(3)]).await
    );
}

#[tokio::test]
async fn guests_call_functions() {
    let dispatcher = Dispatcher::new(DispatcherConfig {
        depth_max: 8,
        ..DispatcherConfig::default()
    });
    let relay = prepare("calls-funcs", "relay", Wants::imports(&["funcs"])).unwrap();
    dispatcher.insert(
        id("relay"),
        Arc::new(WasmFunction::new(relay, PoolConfig::default())),
    );
    let echo = prepare("bench", "echo-string", Wants::default()).unwrap();
    dispatcher.insert(
        id("echo"),
        Arc::new(WasmFunction::new(echo, PoolConfig::default())),
    );
    let context = Context::root(dispatcher);

    let echoed = call_named(&context, "relay", &["test:echo".into(), "hello".into()]).await;
    assert_eq!(echoed, Ok("hello".into()));
    let error = call_named(&context, "relay", &["test:nothing".into(), "hello".into()])
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::NotFound, "there is no function `test:nothing`")
    );
}

/// The engine's clock ticks while a short call runs as often as not, which is no reason for it to give its thread up.
#[tokio::test]
async fn a_call_of_less_than_a_tick_is_not_interrupted() {
    const TICK: Duration = Duration::from_millis(5);
    let context = context(prepare("bench", "sum", Wants::default()).unwrap());
    let (begun, mut interruptions) = (Instant::now(), 0);
    while begun.elapsed() < 40 * TICK {
        let arguments = [Value::Integer(200_000)];
        let mut running = pin!(call(&context, &arguments));
        let sum = poll_fn(|waking| {
            let polled = running.as_mut().poll(waking);
            interruptions += u128::from(polled.is_pending());
            polled
        });
        sum.await.unwrap();
    }
    let ticks = begun.elapsed().as_millis() / TICK.as_millis();
    // On a machine with much else to do, two ticks may fall into one call.
    assert!(interruptions * 2 < ticks, "{interruptions} in {ticks} ticks");
}
