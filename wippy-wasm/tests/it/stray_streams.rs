//! Guests that misuse streams and futures: each ends with a clear error, and nothing of it is left.

use std::time::Duration;

use wippy_security::{CallError, Context, ErrorKind};
use wippy_wasm::Limits;
use wippy_wit::Value;

use crate::{
    streams::{call_kept, next, open_channel, outlet},
    support::{Wants, call, call_guest, context, prepare},
};

async fn run(method: &str, wants: Wants, arguments: &[Value]) -> Result<Value, CallError> {
    call_kept("stray-streams", method, wants, arguments).await
}

/// The error that the stream of a result ends with, and how many values came before.
async fn ending(value: &Value) -> (usize, Option<CallError>) {
    let mut outlet = outlet(value);
    let mut before = 0;
    loop {
        match next(&mut outlet).await {
            Some(Ok(_)) => before += 1,
            Some(Err(error)) => return (before, Some(error)),
            None => return (before, None),
        }
    }
}

#[tokio::test]
async fn a_trap_comes_after_what_was_written() {
    let result = run("trap-after", Wants::default(), &[Value::Integer(5)])
        .await
        .unwrap();
    let (before, error) = ending(&result).await;
    let error = error.unwrap();
    assert_eq!(before, 5);
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(
        error.message().starts_with("test:trap-after: the guest trapped"),
        "{error}"
    );
}

#[tokio::test]
async fn a_stream_that_is_never_written_ends_by_the_deadline() {
    let result = run("forget", Wants::within(200), &[]).await.unwrap();
    let (before, error) = ending(&result).await;
    assert_eq!(before, 0);
    assert_eq!(error.unwrap().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn an_endless_stream_ends_by_the_deadline() {
    let result = run("endless", Wants::within(200), &[]).await.unwrap();
    let (before, error) = ending(&result).await;
    assert!(before > 0);
    assert_eq!(error.unwrap().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_future_that_never_gets_its_value_ends_by_the_deadline() {
    let result = run("unresolved", Wants::within(200), &[]).await.unwrap();
    let (before, error) = ending(&result).await;
    assert_eq!((before, error.unwrap().kind()), (0, ErrorKind::Timeout));
}

#[tokio::test]
async fn waiting_for_nothing_is_a_deadlock() {
    let error = run("stuck", Wants::default(), &[]).await.unwrap_err();
    assert!(error.message().contains("deadlock"), "{error}");
}

/// The engine hands a result over when its guest next waits.
#[tokio::test]
async fn a_guest_that_computes_on_keeps_its_caller_waiting_until_the_deadline() {
    let error = run("churn", Wants::within(100), &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn elements_outside_of_memory_are_refused() {
    let result = run("outside", Wants::default(), &[]).await.unwrap();
    let (before, error) = ending(&result).await;
    let error = error.unwrap();
    assert_eq!(before, 0);
    assert!(error.message().contains("broke its contract"), "{error}");
}

#[tokio::test]
async fn fuel_is_counted_after_the_return() {
    let limits = Limits {
        fuel: Some(1_000_000),
        ..Limits::default()
    };
    let wants = Wants {
        limits,
        ..Wants::default()
    };
    let result = run("endless", wants, &[]).await.unwrap();
    let error = ending(&result).await.1.unwrap();
    assert!(error.message().contains("max_fuel"), "{error}");
}

#[tokio::test]
async fn what_waits_for_a_reader_is_bounded() {
    let limits = Limits {
        host_bytes: 1 << 20,
        ..Limits::default()
    };
    let wants = Wants {
        limits,
        ..Wants::default()
    };
    let result = run("heavy", wants, &[]).await.unwrap();
    let error = ending(&result).await.1.unwrap();
    assert!(error.message().contains("max_host_bytes"), "{error}");
}

/// The engine of these tests has 256 slots: were instances not released, it would run out.
#[tokio::test]
async fn an_instance_goes_with_its_last_reader() {
    let context = context(prepare("stray-streams", "endless", Wants::default()).unwrap());
    for _ in 0..600 {
        let result = call(&context, &[]).await.unwrap();
        let mut outlet = outlet(&result);
        assert_eq!(next(&mut outlet).await, Some(Ok(Value::Integer(1))));
        drop((outlet, result));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_instance_goes_with_its_execution() {
    for method in ["forget", "linger"] {
        let module = prepare("stray-streams", method, Wants::default()).unwrap();
        for _ in 0..300 {
            let context = context(module.clone());
            let result = call(&context, &[]).await.unwrap();
            drop(context);
            if method == "forget" {
                assert_eq!(ending(&result).await.1.unwrap().kind(), ErrorKind::Canceled);
            }
            // The task is dropped when it has its turn.
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_guest_that_wants_no_more_is_no_failure() {
    let (argument, inlet) = open_channel();
    for number in [3, 4, 5] {
        inlet.put(Value::Integer(number));
    }
    let first = run("first", Wants::default(), &[argument]).await;
    assert_eq!(first, Ok(Value::Integer(3)));
    let is_open = std::future::poll_fn(|waking| inlet.poll_room(waking)).await;
    assert!(!is_open, "whoever writes hears that nobody reads");
}

#[tokio::test]
async fn what_goes_on_counts_as_a_running_call() {
    let module = prepare("stray-streams", "forget", Wants::default()).unwrap();
    let pool = wippy_wasm::PoolConfig {
        max_size: 1,
        queue: 0,
        ..wippy_wasm::PoolConfig::default()
    };
    let context = Context::root(wippy_security::Dispatcher::new(
        wippy_security::DispatcherConfig::default(),
    ));
    context.dispatcher().insert(
        crate::support::id("f"),
        std::sync::Arc::new(wippy_wasm::WasmFunction::new(module, pool)),
    );
    let first = call(&context, &[]).await.unwrap();
    let error = call(&context, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    drop(first);
    // The place is free as soon as the task has ended.
    let mut again = call(&context, &[]).await;
    while again.is_err() {
        tokio::task::yield_now().await;
        again = call(&context, &[]).await;
    }
}

#[tokio::test]
async fn a_failing_channel_fails_who_reads_it() {
    let failing = run("trap-after", Wants::default(), &[Value::Integer(2)])
        .await
        .unwrap();
    let error = call_kept("streams", "sum", Wants::default(), &[failing])
        .await
        .unwrap_err();
    assert!(
        error
            .message()
            .starts_with("test:sum: test:trap-after: the guest trapped"),
        "{error}"
    );
}

#[tokio::test]
async fn cancelling_a_call_lets_go_of_its_arguments() {
    let (argument, inlet) = open_channel();
    let calling = call_guest(
        "streams",
        "sum",
        Wants::default(),
        std::slice::from_ref(&argument),
    );
    let timed_out = tokio::time::timeout(Duration::from_millis(20), calling).await;
    assert!(timed_out.is_err());
    assert!(!std::future::poll_fn(|waking| inlet.poll_room(waking)).await);
}
