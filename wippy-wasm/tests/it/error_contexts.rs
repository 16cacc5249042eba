//! Error contexts in both directions, and guests that do with them what they should not.

use wippy_security::{CallError, ErrorKind};
use wippy_wasm::Limits;
use wippy_wit::{Table, Value};

use crate::{
    streams::{call_kept, channel, next, outlet},
    support::{Wants, prepare_text},
};

async fn run(method: &str, arguments: &[Value]) -> Result<Value, CallError> {
    call_kept("complain", method, Wants::default(), arguments).await
}

/// An error that a script could have made.
fn error(message: &'static str) -> Value {
    Value::Foreign(std::sync::Arc::new(CallError::new(ErrorKind::NotFound, message)))
}

/// What the error says that `value` is.
fn message(value: &Value) -> &str {
    let Value::Foreign(foreign) = value else {
        panic!("expected an error, got {value:?}")
    };
    foreign.message().unwrap()
}

#[tokio::test]
async fn a_guest_makes_one_and_reads_one() {
    for text in ["it broke", "", "é\0"] {
        let made = run("make", &[Value::from(text)]).await.unwrap();
        assert_eq!(message(&made), text);
        for given in [Value::from(text), made] {
            assert_eq!(run("tell", &[given]).await, Ok(Value::from(text)));
        }
    }
    let told = run("tell", &[error("no such thing")]).await;
    assert_eq!(told, Ok(Value::from("no such thing")));
    let refused = run("tell", &[Value::Integer(5)]).await.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.message()),
        (
            ErrorKind::Invalid,
            "test:tell: argument 1 (context): expected error or string, got integer"
        )
    );
}

#[tokio::test]
async fn it_is_the_error_of_a_function() {
    assert_eq!(run("check", &[Value::from("")]).await, Ok(Value::Boolean(true)));
    for (text, kind, said) in [
        ("it broke", ErrorKind::Unknown, "it broke"),
        (
            "NOT_FOUND: there is no such user",
            ErrorKind::NotFound,
            "there is no such user",
        ),
    ] {
        let failed = run("check", &[Value::from(text)]).await.unwrap_err();
        assert_eq!((failed.kind(), failed.message()), (kind, said));
    }
}

#[tokio::test]
async fn it_is_a_part_of_other_values() {
    let by_name = Value::record([("c", Value::from("3")), ("d", error("4"))]);
    let report = Value::record([
        ("all", Value::array([error("1"), Value::from("2")])),
        ("first", Value::from("first")),
        ("by-name", by_name),
    ]);
    let passed = run("pass", &[report]).await.unwrap();
    let part = |name: &str| passed.get(name).unwrap();
    let Value::Table(all) = part("all") else { panic!() };
    assert_eq!(all.array.iter().map(message).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(message(part("first")), "first");
    let by_name = part("by-name");
    assert_eq!(message(by_name.get("c").unwrap()), "3");
    assert_eq!(message(by_name.get("d").unwrap()), "4");

    let all = Value::Table(Box::new(Table {
        array: vec![Value::from("1"), Value::Boolean(true)],
        pairs: Vec::new(),
    }));
    let report = Value::record([("all", all), ("by-name", Value::record::<&str>([]))]);
    let refused = run("pass", &[report]).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "test:pass: argument 1 (report).all[2]: expected error or string, got boolean"
    );
}

#[tokio::test]
async fn one_that_was_given_up_after_it_was_returned_still_says_it() {
    let made = run("make-later", &[Value::from("later")]).await.unwrap();
    assert_eq!(message(&made), "later");
}

#[tokio::test]
async fn they_come_in_streams() {
    let many = run("make-many", &[Value::from("again"), Value::Integer(100)])
        .await
        .unwrap();
    let mut outlet = outlet(&many);
    let mut count = 0;
    while let Some(made) = next(&mut outlet).await {
        assert_eq!(message(&made.unwrap()), "again");
        count += 1;
    }
    assert_eq!(count, 100);
    let contexts = channel([Value::from("ab"), error("cde"), Value::from("")]);
    assert_eq!(run("measure", &[contexts]).await, Ok(Value::Integer(5)));
    let many = run(
        "make-many",
        &[Value::from("from guest to guest"), Value::Integer(3)],
    )
    .await
    .unwrap();
    assert_eq!(run("measure", &[many]).await, Ok(Value::Integer(57)));
    let refused = run("measure", &[channel([Value::from("ab"), Value::Integer(5)])])
        .await
        .unwrap_err();
    assert_eq!(
        (refused.kind(), refused.message()),
        (
            ErrorKind::Invalid,
            "test:measure: value 2 of a channel: expected error or string, got integer"
        )
    );
}

#[tokio::test]
async fn handles_that_name_nothing_cost_the_instance_only() {
    for (method, argument) in [
        ("forge", Value::Integer(0)),
        ("forge", Value::Integer(1)),
        ("forge", Value::Integer(0xFFFF_FFFF)),
        ("tell-dropped", Value::from("x")),
        ("drop-twice", Value::from("x")),
    ] {
        let failed = run(method, std::slice::from_ref(&argument)).await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Internal, "{method}");
        let problem = match method {
            "forge" => "a handle in the result names nothing that the guest has",
            _ => "a handle names no error context that the guest has",
        };
        assert!(failed.message().contains(problem), "{method}: {failed}");
    }
    assert_eq!(run("tell", &[Value::from("fine")]).await, Ok(Value::from("fine")));
}

#[tokio::test]
async fn what_a_guest_keeps_is_limited() {
    let few = || Wants {
        limits: Limits {
            resources: 100,
            host_bytes: 10_000,
            ..Limits::default()
        },
        ..Wants::default()
    };
    let run = async |method: &str, n: i64, text: String| {
        call_kept("complain", method, few(), &[Value::Integer(n), Value::from(text)]).await
    };
    assert_eq!(run("hoard", 100, "x".to_owned()).await, Ok(Value::Integer(100)));
    let failed = run("hoard", 101, "x".to_owned()).await.unwrap_err();
    assert!(failed.message().contains("`max_resources` of 100"), "{failed}");
    let failed = run("hoard", 100, "x".repeat(101)).await.unwrap_err();
    assert!(failed.message().contains("`max_host_bytes` of 10000"), "{failed}");
    // What it gives up does not count.
    assert_eq!(
        run("churn", 50_000, "x".to_owned()).await,
        Ok(Value::Integer(50_000))
    );
}

/// A component whose only use of an error context is within: nobody outside is to know of it.
#[tokio::test]
async fn a_component_may_use_them_for_itself() {
    let text = r#"(component
      (core module $memory (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 256)))
      (core instance $memory (instantiate $memory))
      (alias core export $memory "memory" (core memory $m))
      (alias core export $memory "cabi_realloc" (core func $realloc))
      (core func $new (canon error-context.new (memory $m) string-encoding=utf16))
      (core func $message (canon error-context.debug-message (memory $m) (realloc $realloc) string-encoding=utf16))
      (core func $drop (canon error-context.drop))
      (core module $guest
        (import "host" "memory" (memory 1))
        (import "host" "new" (func $new (param i32 i32) (result i32)))
        (import "host" "message" (func $message (param i32 i32)))
        (import "host" "drop" (func $drop (param i32)))
        (data (i32.const 64) "a\00b\00c\00")
        (func (export "length") (result i32) (local $context i32)
          (local.set $context (call $new (i32.const 64) (i32.const 3)))
          (call $message (local.get $context) (i32.const 16))
          (call $drop (local.get $context))
          (i32.load (i32.const 20))))
      (core instance $guest (instantiate $guest
        (with "host" (instance
          (export "memory" (memory $m))
          (export "new" (func $new))
          (export "message" (func $message))
          (export "drop" (func $drop))))))
      (type $unused (func (param "x" error-context)))
      (func (export "length") (result u32) (canon lift (core func $guest "length"))))"#;
    let context = crate::support::context(prepare_text(text, None, "length").unwrap());
    assert_eq!(crate::support::call(&context, &[]).await, Ok(Value::Integer(3)));
}

/// Types of the outermost component are named from within by their position, which moves.
#[tokio::test]
async fn what_is_within_still_finds_what_is_outside() {
    let text = r#"(component
      (type $context error-context)
      (type $pair (tuple $context u32))
      (component $inner
        (alias outer 1 $pair (type $pair))
        (import "f" (func $f (param "pair" $pair) (result u32)))
        (export "g" (func $f)))
      (core module $guest
        (func (export "second") (param i32 i32) (result i32) (local.get 1)))
      (core instance $guest (instantiate $guest))
      (func $second (param "pair" $pair) (result u32) (canon lift (core func $guest "second")))
      (instance $inner (instantiate $inner (with "f" (func $second))))
      (export "second" (func $inner "g")))"#;
    let context = crate::support::context(prepare_text(text, None, "second").unwrap());
    let pair = Value::array([Value::from("x"), Value::Integer(7)]);
    assert_eq!(
        crate::support::call(&context, &[pair]).await,
        Ok(Value::Integer(7))
    );
}

#[test]
fn components_within_another_do_not_make_any() {
    let text = r#"(component
      (component $inner (core func (canon error-context.drop)))
      (instance (instantiate $inner))
      (core module $guest (func (export "f")))
      (core instance $guest (instantiate $guest))
      (func (export "f") (canon lift (core func $guest "f"))))"#;
    let errors = prepare_text(text, None, "f").map(|_| ()).unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "a component within it makes or reads `error-context`: only the outermost one can"
    );
}
