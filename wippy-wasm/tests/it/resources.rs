//! Resources: handles of things inside an instance, their methods, and what ends them.

use std::{sync::Arc, time::Duration};

use wippy_security::{
    Begun, Call, CallError, Context, Dispatcher, DispatcherConfig, ErrorKind, Handle, Object,
};
use wippy_wasm::{PoolConfig, WasmFunction};
use wippy_wit::{Value, ValueReader, ValueWriter};

use crate::support::{Wants, call_named, id, prepare, prepare_text};

/// A context that knows every function of the `counters` guest by its short name.
fn counters() -> Context {
    let dispatcher = Dispatcher::new(DispatcherConfig::default());
    for (name, method) in [
        ("counter", "counters#[constructor]counter"),
        ("merge", "counters#merge"),
        ("checked", "counters#checked"),
        ("total", "counters#total"),
        ("consume", "counters#consume"),
        ("make", "counters#make"),
        ("explode", "counters#explode"),
    ] {
        let module = prepare("counters", method, Wants::default()).unwrap();
        dispatcher.insert(
            id(name),
            Arc::new(WasmFunction::new(module, PoolConfig::default())),
        );
    }
    Context::root(dispatcher)
}

fn object(value: &Value) -> Arc<dyn Object> {
    let Value::Foreign(foreign) = value else {
        panic!("expected a handle, got {value:?}")
    };
    Handle::of(&**foreign).unwrap().object().clone()
}

/// Calls the method `name` of what `handle` is a handle of.
pub async fn method(
    context: &Context,
    handle: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, CallError> {
    let (mut reader, mut writer) = (ValueReader::arguments(arguments), ValueWriter::default());
    let object = object(handle);
    let call = Call {
        context,
        arguments: &mut reader,
        result: &mut writer,
    };
    let begun = context.dispatcher().begin_object(&*object, name, call, || None);
    begun.outcome().await?;
    Ok(writer.finish())
}

async fn counter(context: &Context, start: i64) -> Value {
    call_named(context, "counter", &[Value::Integer(start)])
        .await
        .unwrap()
}

#[tokio::test]
async fn constructors_and_methods() {
    let context = counters();
    let handle = counter(&context, 5).await;
    assert_eq!(
        method(&context, &handle, "increment", &[Value::Integer(2)]).await,
        Ok(Value::Integer(7))
    );
    assert_eq!(
        method(&context, &handle, "value", &[]).await,
        Ok(Value::Integer(7))
    );
    let error = method(&context, &handle, "increment", &[Value::from("2")])
        .await
        .unwrap_err();
    assert_eq!(
        error.message(),
        "test:counter: argument 1 (by): expected s32, got string"
    );
    let error = method(&context, &handle, "increment", &[]).await.unwrap_err();
    assert!(
        error
            .message()
            .starts_with("test:counter: expected 1 argument, got 0"),
        "{error}"
    );
    let error = method(&context, &handle, "explode", &[]).await.unwrap_err();
    assert_eq!(error.message(), "the resource counter has no method `explode`");
}

#[tokio::test]
async fn handles_are_lent_and_given() {
    let context = counters();
    let Ok(Value::Table(made)) = call_named(&context, "make", &[Value::Integer(3)]).await else {
        panic!()
    };
    let [first, second, third] = <[Value; 3]>::try_from(made.array).unwrap();
    for (handle, by) in [(&first, 1), (&second, 10), (&third, 100)] {
        method(&context, handle, "increment", &[Value::Integer(by)])
            .await
            .unwrap();
    }
    let all = Value::array([first.clone(), second.clone(), third.clone()]);
    let before = call_named(&context, "total", std::slice::from_ref(&all))
        .await
        .unwrap();
    assert_eq!(
        call_named(&context, "total", &[all]).await.unwrap(),
        before,
        "a borrow takes nothing"
    );

    call_named(&context, "consume", std::slice::from_ref(&third))
        .await
        .unwrap();
    let error = method(&context, &third, "value", &[]).await.unwrap_err();
    assert!(
        error.message().contains("the resource counter is closed"),
        "{error}"
    );
    assert!(method(&context, &first, "value", &[]).await.is_ok());
}

#[tokio::test]
async fn handles_of_another_instance_are_refused() {
    let context = counters();
    let (one, other) = (counter(&context, 1).await, counter(&context, 2).await);
    let error = call_named(&context, "total", &[Value::array([one, other])])
        .await
        .unwrap_err();
    assert_eq!(
        error.message(),
        "test:counter: argument 1 (counters)[2]: the resource counter belongs to another instance"
    );
    let error = call_named(&context, "consume", &[Value::Integer(4)])
        .await
        .unwrap_err();
    assert!(
        error
            .message()
            .ends_with("expected resource counter, got integer"),
        "{error}"
    );
}

#[tokio::test]
async fn closing_ends_a_handle() {
    let context = counters();
    let handle = counter(&context, 1).await;
    object(&handle).close().await.unwrap();
    object(&handle).close().await.unwrap();
    let error = method(&context, &handle, "value", &[]).await.unwrap_err();
    assert!(error.message().contains("is closed"), "{error}");
}

#[tokio::test]
async fn a_trap_closes_all_handles_of_its_instance() {
    let context = counters();
    let Ok(Value::Table(made)) = call_named(&context, "make", &[Value::Integer(2)]).await else {
        panic!()
    };
    assert!(call_named(&context, "explode", &made.array[..1]).await.is_err());
    for handle in &made.array {
        let error = method(&context, handle, "value", &[]).await.unwrap_err();
        assert_eq!(error.message(), "the resource is closed: its instance failed");
    }
}

/// The engine of these tests has 256 slots: were instances not released with their last handle, it would run out.
#[tokio::test]
async fn instances_go_with_their_last_handle() {
    let context = counters();
    for round in 0..1000 {
        let handle = counter(&context, round).await;
        assert_eq!(
            method(&context, &handle, "value", &[]).await,
            Ok(Value::Integer(round))
        );
    }
}

/// Counters whose `increment` first loops: for a while, or for ever if it is given a negative number.
const SLOW: &str = "(local $left i32) (local.set $left (i32.const 20_000_000))
    (loop $again
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br_if $again (i32.lt_s (local.get 1) (i32.const 0)))
        (br_if $again (local.get $left)))";

async fn slow_counter() -> (Context, Value) {
    let wat = include_str!("bounded/counter.wat").replace("(;more;)", SLOW);
    let constructor = prepare_text(&wat, None, "[constructor]counter").unwrap();
    let dispatcher = Dispatcher::new(DispatcherConfig::default());
    dispatcher.insert(
        id("counter"),
        Arc::new(WasmFunction::new(constructor, PoolConfig::default())),
    );
    let context = Context::root(dispatcher);
    let handle = counter(&context, 5).await;
    (context, handle)
}

#[tokio::test]
async fn methods_of_one_instance_take_turns() {
    let (context, handle) = slow_counter().await;
    let increment = async |by| method(&context, &handle, "increment", &[Value::Integer(by)]).await;
    // The loops take far longer than a thread is left to one of them.
    let values = tokio::join!(
        increment(1),
        increment(10),
        method(&context, &handle, "value", &[])
    );
    let expected = [6, 16, 16].map(|value| Ok(Value::Integer(value)));
    assert_eq!(values, expected.into());
}

#[tokio::test]
async fn a_method_that_is_cancelled_takes_its_instance_along() {
    let (context, handle) = slow_counter().await;
    let endless = [Value::Integer(-1)];
    let calling = method(&context, &handle, "increment", &endless);
    let waiting = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        method(&context, &handle, "value", &[]).await
    };
    let cancelled = tokio::time::timeout(Duration::from_millis(50), calling);
    let (cancelled, waited) = tokio::join!(cancelled, waiting);
    assert!(cancelled.is_err());
    let error = waited.unwrap_err();
    assert_eq!(error.message(), "the resource is closed: its instance failed");
}

#[tokio::test]
async fn a_method_that_is_given_up_before_it_began_leaves_its_instance() {
    let (context, handle) = slow_counter().await;
    let (object, arguments) = (object(&handle), [Value::Integer(1)]);
    let (mut reader, mut writer) = (ValueReader::arguments(&arguments), ValueWriter::default());
    let call = Call {
        context: &context,
        arguments: &mut reader,
        result: &mut writer,
    };
    let begun = context
        .dispatcher()
        .begin_object(&*object, "increment", call, || None);
    assert!(matches!(begun, Begun::Running(_)));
    drop(begun);
    let value = method(&context, &handle, "value", &[]).await;
    assert_eq!(value, Ok(Value::Integer(5)));
}

#[tokio::test]
async fn who_waits_for_an_instance_does_so_until_the_deadline() {
    let (context, handle) = slow_counter().await;
    let endless = [Value::Integer(-1)];
    let calling = method(&context, &handle, "increment", &endless);
    let hurried = context.with_timeout(Duration::from_millis(30));
    let waiting = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        method(&hurried, &handle, "value", &[]).await
    };
    tokio::select! {
        biased;
        outcome = calling => panic!("an endless loop ended: {outcome:?}"),
        waited = waiting => assert_eq!(waited.unwrap_err().kind(), ErrorKind::Timeout),
    }
}
