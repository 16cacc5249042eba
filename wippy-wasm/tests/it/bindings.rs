//! A function as one execution holds it: calls one after the other in the instance that it keeps.

use std::task::Waker;

use wippy_security::{Begun, Binding, Call, CallError, Context};
use wippy_wit::{Value, ValueReader, ValueWriter};

use crate::support::{context, id, prepare_text};

/// Counts its calls, never returns for 0, and traps for 13.
const GUEST: &str = r#"(module
    (memory (export "memory") 1)
    (global $calls (mut i32) (i32.const 0))
    (func (export "f") (param i32) (result i32)
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (loop $again (br_if $again (i32.eqz (local.get 0))))
        (if (i32.eq (local.get 0) (i32.const 13)) (then (unreachable)))
        (global.get $calls)))"#;

fn guest() -> (Context, Binding) {
    let context = context(prepare_text(GUEST, Some("f: func(x: u32) -> u32;"), "f").unwrap());
    let function = context.dispatcher().resolve(&id("f")).unwrap();
    (context, Binding::new(function))
}

async fn call(context: &Context, binding: &mut Binding, argument: i64) -> Result<Value, CallError> {
    let arguments = [Value::Integer(argument)];
    let (mut reader, mut writer) = (ValueReader::arguments(&arguments), ValueWriter::default());
    let call = Call {
        context,
        arguments: &mut reader,
        result: &mut writer,
    };
    binding.begin(call, || None).outcome().await?;
    Ok(writer.finish())
}

#[tokio::test]
async fn calls_share_an_instance_until_one_fails() {
    let (context, mut binding) = guest();
    for expected in 1..=5 {
        assert_eq!(
            call(&context, &mut binding, 1).await.unwrap(),
            Value::Integer(expected)
        );
    }
    call(&context, &mut binding, 13).await.unwrap_err();
    assert_eq!(call(&context, &mut binding, 1).await.unwrap(), Value::Integer(1));
    // An argument that does not fit is found before the guest runs, or costs the instance: never a call of it.
    call(&context, &mut binding, -1).await.unwrap_err();
    let next = call(&context, &mut binding, 1).await.unwrap();
    assert!(next == Value::Integer(1) || next == Value::Integer(2), "{next:?}");
}

/// What becomes of a call that does not end, once the guest has given its thread up.
#[derive(Clone, Copy)]
enum Then {
    Drop,
    Forget,
}

fn interrupted(context: &Context, binding: &mut Binding, then: Then) {
    let arguments = [Value::Integer(0)];
    let (mut reader, mut writer) = (ValueReader::arguments(&arguments), ValueWriter::default());
    let call = Call {
        context,
        arguments: &mut reader,
        result: &mut writer,
    };
    let Begun::Running(calling) = binding.begin(call, || Some(Waker::noop())) else {
        panic!("a loop came to its end");
    };
    match then {
        Then::Drop => drop(calling),
        Then::Forget => std::mem::forget(calling),
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_costs_its_instance_only() {
    let (context, mut binding) = guest();
    for _ in 0..3 {
        for expected in 1..=3 {
            assert_eq!(
                call(&context, &mut binding, 1).await.unwrap(),
                Value::Integer(expected)
            );
        }
        interrupted(&context, &mut binding, Then::Drop);
    }
    interrupted(&context, &mut binding, Then::Drop);
    drop(binding);
}

/// Nobody does that, but nothing may break by it either.
#[tokio::test]
async fn a_call_that_is_forgotten_costs_its_instance_only() {
    let (context, mut binding) = guest();
    for _ in 0..3 {
        assert_eq!(call(&context, &mut binding, 1).await.unwrap(), Value::Integer(1));
        interrupted(&context, &mut binding, Then::Forget);
    }
    drop(binding);
}

#[tokio::test]
async fn a_call_that_was_interrupted_goes_on() {
    let (context, mut binding) = guest();
    call(&context, &mut binding, 1).await.unwrap();
    let context = context.with_timeout(std::time::Duration::from_millis(60));
    let error = call(&context, &mut binding, 0).await.unwrap_err();
    assert_eq!(error.kind(), wippy_security::ErrorKind::Timeout, "{error}");
}
