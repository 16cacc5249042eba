//! Guests that trap, loop, grow and lie: the caller gets the right error and the next call works.

use std::time::{Duration, Instant};

use wippy_security::{CallError, ErrorKind};
use wippy_wasm::Limits;
use wippy_wit::Value;

use crate::support::{Wants, call, call_guest, context, prepare};

async fn failure(guest: &str, method: &str, wants: Wants, arguments: &[Value]) -> CallError {
    call_guest(guest, method, wants, arguments).await.unwrap_err()
}

fn detail<'a>(error: &'a CallError, name: &str) -> Option<&'a str> {
    error.details().get(name).and_then(Value::as_str)
}

#[tokio::test]
async fn traps_are_named_and_traced() {
    for (method, trap) in [
        ("unreachable", "unreachable"),
        ("divide-by-zero", "integer_division_by_zero"),
        ("integer-overflow", "integer_overflow"),
        ("bad-conversion", "bad_conversion_to_integer"),
        ("memory-out-of-bounds", "memory_out_of_bounds"),
        ("table-out-of-bounds", "table_out_of_bounds"),
        ("call-to-null", "indirect_call_to_null"),
        ("bad-signature", "bad_signature"),
    ] {
        let error = failure("trap", method, Wants::default(), &[]).await;
        assert_eq!(
            (error.kind(), detail(&error, "trap")),
            (ErrorKind::Internal, Some(trap)),
            "{method}"
        );
        let Some(Value::Table(frames)) = error.details().get("backtrace") else {
            panic!("{method} has no backtrace")
        };
        assert!(!frames.array.is_empty());
    }
}

#[tokio::test]
async fn a_trap_does_not_touch_the_next_call() {
    let trap = context(prepare("trap", "unreachable", Wants::default()).unwrap());
    for _ in 0..3 {
        assert_eq!(call(&trap, &[]).await.unwrap_err().kind(), ErrorKind::Internal);
    }
    let answer = call_guest("trap", "answer", Wants::default(), &[]).await;
    assert_eq!(answer, Ok(Value::Integer(42)));
}

#[tokio::test]
async fn busy_loops_end_at_their_limit() {
    for guest in [("spin", "spin"), ("spin-start", "answer")] {
        let begun = Instant::now();
        let error = failure(guest.0, guest.1, Wants::within(100), &[]).await;
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert_eq!(detail(&error, "limit"), Some("max_execution_ms"));
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn sleepers_end_at_their_limit() {
    let wants = Wants {
        limits: Wants::within(50).limits,
        ..Wants::imports(&["wasi:clocks", "wasi:poll"])
    };
    let begun = Instant::now();
    let error = failure("sleeper", "test-sleep#sleep-ms", wants, &[Value::Integer(60_000)]).await;
    assert_eq!(
        (error.kind(), detail(&error, "limit")),
        (ErrorKind::Timeout, Some("max_execution_ms"))
    );
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_busy_guest_shares_its_thread() {
    // One thread: were the guest not preempted, the timer could not fire before it ends.
    let spin = context(prepare("spin", "spin", Wants::within(400)).unwrap());
    let spinning = tokio::spawn(async move { call(&spin, &[]).await });
    tokio::task::yield_now().await;
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(
        begun.elapsed() < Duration::from_millis(250),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(spinning.await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn memory_ends_at_its_limit() {
    let limits = Limits {
        memory_bytes: 4 << 20,
        ..Limits::default()
    };
    let error = failure(
        "grow",
        "for-ever",
        Wants {
            limits,
            ..Wants::default()
        },
        &[],
    )
    .await;
    assert_eq!(
        (error.kind(), detail(&error, "limit")),
        (ErrorKind::Internal, Some("max_memory_bytes"))
    );
    assert_eq!(error.details().get("value"), Some(&Value::Integer(4 << 20)));
    assert!(error.message().contains("max_memory_bytes"), "{error}");
}

#[tokio::test]
async fn recursion_ends() {
    let error = failure("deep", "for-ever", Wants::default(), &[]).await;
    assert_eq!(
        (error.kind(), detail(&error, "trap")),
        (ErrorKind::Internal, Some("stack_overflow"))
    );
}

#[tokio::test]
async fn results_that_break_the_abi() {
    for (guest, methods) in [
        (
            "bad-utf8",
            &["invalid", "cut", "surrogate", "nested", "letter"][..],
        ),
        (
            "bad-pointer",
            &[
                "past-the-end",
                "wraps-around",
                "too-long",
                "misaligned",
                "area-outside",
                "area-misaligned",
            ],
        ),
        ("bad-discriminant", &["color", "shape", "answer", "maybe"]),
    ] {
        for method in methods {
            let error = failure(guest, method, Wants::default(), &[]).await;
            assert_eq!(error.kind(), ErrorKind::Internal, "{guest} {method}: {error}");
            assert!(
                error.message().contains("broke its contract"),
                "{guest} {method}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn allocators_that_lie() {
    for guest in ["bad-realloc", "bad-realloc-misaligned", "trap-realloc"] {
        let method = if guest == "bad-realloc-misaligned" {
            "take-numbers"
        } else {
            "take-string"
        };
        let argument = if method == "take-numbers" {
            Value::array([Value::Integer(1), Value::Integer(2)])
        } else {
            Value::from("text")
        };
        let error = failure(guest, method, Wants::default(), &[argument]).await;
        assert_eq!(error.kind(), ErrorKind::Internal, "{guest}: {error}");
    }
}

#[tokio::test]
async fn a_dropped_call_leaves_nothing_behind() {
    let spin = context(prepare("spin", "spin", Wants::default()).unwrap());
    for _ in 0..20 {
        let dropped = tokio::time::timeout(Duration::from_millis(10), call(&spin, &[])).await;
        assert!(dropped.is_err());
    }
}
