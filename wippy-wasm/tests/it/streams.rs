//! Asynchronous functions, and streams and futures in both directions.

use std::{
    future::poll_fn,
    sync::{Arc, atomic::Ordering},
};

use wippy_security::{CallError, Context, Gauge, Inlet, Outlet, Stream, stream};
use wippy_wit::{Foreign, Value};

use crate::support::{Wants, call, context, prepare};

/// The committed guest with `method` as `test:f`.
fn streams(method: &str) -> Context {
    context(prepare("streams", method, Wants::default()).unwrap())
}

async fn run(method: &str, arguments: &[Value]) -> Result<Value, CallError> {
    call_kept("streams", method, Wants::default(), arguments).await
}

/// Calls a guest for an execution that never ends: its streams do not end with it.
pub async fn call_kept(
    guest: &str,
    method: &str,
    wants: Wants,
    arguments: &[Value],
) -> Result<Value, CallError> {
    let context = context(prepare(guest, method, wants).unwrap());
    let outcome = call(&context, arguments).await;
    std::mem::forget(context);
    outcome
}

/// A channel that gives `values` and ends.
pub fn channel(values: impl IntoIterator<Item = Value>) -> Value {
    let (value, inlet) = open_channel();
    values.into_iter().for_each(|value| inlet.put(value));
    value
}

/// A channel, and the end that values are put into.
pub fn open_channel() -> (Value, Inlet) {
    let (inlet, outlet) = stream(Gauge::default());
    let foreign: Arc<dyn Foreign> = Arc::new(Stream::new(outlet));
    (Value::Foreign(foreign), inlet)
}

/// The end that the values of a result are taken out of.
pub fn outlet(value: &Value) -> Outlet {
    let Value::Foreign(foreign) = value else {
        panic!("expected a stream, got {value:?}")
    };
    Stream::of(&**foreign).unwrap().take(usize::MAX).unwrap()
}

pub async fn next(outlet: &mut Outlet) -> Option<Result<Value, CallError>> {
    poll_fn(|waking| outlet.poll_next(waking)).await
}

/// Everything that comes out of the stream that a result is.
async fn all(value: &Value) -> Vec<Value> {
    let mut outlet = outlet(value);
    let mut all = Vec::new();
    while let Some(value) = next(&mut outlet).await {
        all.push(value.unwrap());
    }
    all
}

fn numbers(numbers: impl IntoIterator<Item = i64>) -> Vec<Value> {
    numbers.into_iter().map(Value::Integer).collect()
}

#[tokio::test]
async fn asynchronous_functions_return_as_others_do() {
    assert_eq!(
        run("add", &numbers([2, 40])).await,
        Ok(Value::Integer(42)),
        "one value"
    );
    assert_eq!(
        run("swap", &numbers([1, 2])).await,
        Ok(Value::array(numbers([2, 1]))),
        "a result in memory"
    );
    assert_eq!(run("nothing", &[]).await, Ok(Value::Nil), "no result");
    assert_eq!(
        run("named", &[Value::from("Ada")]).await,
        Ok(Value::from("Ada")),
        "three values"
    );
    let error = run("named", &[Value::from("")]).await.unwrap_err();
    assert_eq!(error.message(), "a name is missing");
    assert_eq!(
        run("wide", &[]).await,
        Ok(Value::array(numbers(0..20))),
        "too many values to be returned directly"
    );
    let error = run("add", &[Value::from("2"), Value::Integer(1)])
        .await
        .unwrap_err();
    assert_eq!(
        error.message(),
        "test:add: argument 1 (a): expected s32, got string"
    );
}

#[tokio::test]
async fn an_execution_keeps_the_instance_of_an_asynchronous_function() {
    let context = streams("add");
    for number in 0..500 {
        let sum = call(&context, &numbers([number, 1])).await;
        assert_eq!(sum, Ok(Value::Integer(number + 1)));
    }
}

#[tokio::test]
async fn streams_come_out_of_a_guest() {
    for count in [0, 1, 64, 65, 1000] {
        let result = run("count", &numbers([count])).await.unwrap();
        assert_eq!(all(&result).await, numbers(1..=count), "{count}");
    }
    let points = run("points", &[Value::from("p"), Value::Integer(5)])
        .await
        .unwrap();
    let point = |x| Value::record([("x", Value::Integer(x)), ("label", Value::from("p"))]);
    assert_eq!(all(&points).await, (1..=5).map(point).collect::<Vec<_>>());
    let ticks = run("ticks", &numbers([3])).await.unwrap();
    assert_eq!(all(&ticks).await, vec![Value::Boolean(true); 3]);
}

#[tokio::test]
async fn a_stream_is_a_part_of_a_result() {
    let Ok(Value::Table(opened)) = run("open", &numbers([3])).await else {
        panic!()
    };
    let [stream, count] = <[Value; 2]>::try_from(opened.array).unwrap();
    assert_eq!(count, Value::Integer(3));
    assert_eq!(all(&stream).await, numbers(1..=3));
    let error = run("open", &numbers([0])).await.unwrap_err();
    assert_eq!(error.message(), "a name is missing");
}

#[tokio::test]
async fn streams_go_into_a_guest() {
    assert_eq!(run("sum", &[channel([])]).await, Ok(Value::Integer(0)));
    assert_eq!(
        run("sum", &[channel(numbers(1..=100))]).await,
        Ok(Value::Integer(5050))
    );
    let point = |x, label: &str| Value::record([("x", Value::Integer(x)), ("label", Value::from(label))]);
    assert_eq!(
        run(
            "measure",
            &[channel([
                point(1, "a"),
                point(2, "bc"),
                point(-4, "déf"),
                point(5, ""),
                point(6, "g")
            ])]
        )
        .await,
        Ok(Value::array(numbers([10, 8])))
    );
    let ticks = channel(vec![Value::Boolean(true); 25]);
    assert_eq!(run("tally", &[ticks]).await, Ok(Value::Integer(25)));
}

#[tokio::test]
async fn streams_go_through_a_guest_while_both_ends_work() {
    let (argument, inlet) = open_channel();
    let result = run("double", &[argument]).await.unwrap();
    let mut outlet = outlet(&result);
    for number in 1..=200 {
        inlet.put(Value::Integer(number));
        assert_eq!(next(&mut outlet).await, Some(Ok(Value::Integer(2 * number))));
    }
    drop(inlet);
    assert_eq!(next(&mut outlet).await, None);
}

#[tokio::test]
async fn a_stream_that_comes_back_is_the_same_stream() {
    let result = run("same", &[channel(numbers(1..=100))]).await.unwrap();
    assert_eq!(all(&result).await, numbers(1..=100));
    let result = run("same", &[channel([])]).await.unwrap();
    assert_eq!(all(&result).await, []);
}

#[tokio::test]
async fn bytes_are_strings() {
    let text = |values: Vec<Value>| {
        let bytes = values.into_iter().map(|value| match value {
            Value::String(bytes) => bytes.into_vec(),
            other => panic!("{other:?}"),
        });
        String::from_utf8(bytes.flatten().collect()).unwrap()
    };
    let result = run("upper", &[Value::from("a string")]).await.unwrap();
    assert_eq!(text(all(&result).await), "A STRING");
    let chunks = [
        Value::from("chunks, "),
        Value::from(""),
        Value::array(numbers([98, 121])),
        Value::Integer(116),
        Value::from("es"),
    ];
    let result = run("upper", &[channel(chunks)]).await.unwrap();
    assert_eq!(text(all(&result).await), "CHUNKS, BYTES");
    let long = "x".repeat(300_000);
    let result = run("upper", &[Value::from(long.as_str())]).await.unwrap();
    assert_eq!(text(all(&result).await), "X".repeat(300_000));
}

#[tokio::test]
async fn futures_are_streams_of_one_value() {
    let result = run("later", &numbers([7])).await.unwrap();
    assert_eq!(all(&result).await, numbers([7]));
    assert_eq!(
        run("plus-one", &[channel(numbers([41]))]).await,
        Ok(Value::Integer(42))
    );
    let (argument, inlet) = open_channel();
    let waiting = tokio::spawn(async move { run("plus-one", &[argument]).await });
    tokio::task::yield_now().await;
    inlet.put(Value::Integer(1));
    assert_eq!(waiting.await.unwrap(), Ok(Value::Integer(2)));
}

#[tokio::test]
async fn the_stream_of_one_guest_is_the_argument_of_another() {
    let counted = run("count", &numbers([100])).await.unwrap();
    let doubled = run("double", &[counted]).await.unwrap();
    assert_eq!(run("sum", &[doubled]).await, Ok(Value::Integer(10_100)));
}

#[tokio::test]
async fn what_does_not_fit_is_explained() {
    let message = async |method, argument| run(method, &[argument]).await.unwrap_err().message().to_owned();
    assert_eq!(
        message("sum", Value::Integer(1)).await,
        "test:sum: argument 1 (numbers): expected channel, got integer"
    );
    assert_eq!(
        message("upper", Value::Boolean(true)).await,
        "test:upper: argument 1 (text): expected channel or string, got boolean"
    );
    assert_eq!(
        message("sum", channel([Value::Integer(1), Value::from("two")])).await,
        "test:sum: value 2 of a channel: expected u32, got string"
    );
    let point = Value::record([("x", Value::from("one")), ("label", Value::from(""))]);
    assert_eq!(
        message("measure", channel([point])).await,
        "test:measure: value 1 of a channel: .x: expected s32, got string"
    );
    assert_eq!(
        message("plus-one", channel([])).await,
        "test:plus-one: a channel that stands for a future was closed before it gave its value"
    );
    let twice = channel([]);
    run("sum", std::slice::from_ref(&twice)).await.unwrap();
    assert_eq!(
        message("sum", twice).await,
        "test:sum: argument 1 (numbers): the channel has been given to somebody else already"
    );
}

#[tokio::test]
async fn a_reader_that_does_not_read_stops_the_guest() {
    let gauge = Gauge::default();
    let (inlet, outlet) = stream(gauge.clone());
    let foreign: Arc<dyn Foreign> = Arc::new(Stream::new(outlet));
    let result = run("double", &[Value::Foreign(foreign)]).await.unwrap();
    for number in 0..1000 {
        inlet.put(Value::Integer(number));
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let waiting = gauge.load(Ordering::Relaxed) / Value::Integer(0).weight();
    assert!(waiting >= 1000 - 2 * 64 - 2, "the guest took all but {waiting}");
    assert_eq!(all_of(&result, 1000).await, 1000);
}

/// How many of the next `count` values come.
async fn all_of(value: &Value, count: usize) -> usize {
    let mut outlet = outlet(value);
    let mut came = 0;
    while came < count && next(&mut outlet).await.is_some() {
        came += 1;
    }
    came
}
