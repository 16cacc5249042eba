//! Calls by a binding that are asked once how they went when they begin.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use wippy_security::{
    Begun, Binding, Call, CallError, Context, Dispatcher, DispatcherConfig, ErrorKind, Handler, Permit,
};
use wippy_wit::{Value, ValueReader, ValueWriter};

use crate::support::id;

/// Answers after so many milliseconds; for a negative number, never.
struct Slow;

#[async_trait]
impl Handler for Slow {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        call.arguments.enter_index(0)?;
        let Value::Integer(millis) = Value::read(call.arguments)? else {
            return Err(CallError::invalid("not a number"));
        };
        match u64::try_from(millis) {
            Ok(0) => {}
            Ok(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
            Err(_) => std::future::pending().await,
        }
        call.result.integer(7);
        Ok(())
    }
}

fn slow() -> (Context, Binding) {
    let dispatcher = Dispatcher::new(DispatcherConfig::default());
    dispatcher.insert(id("app:slow"), Arc::new(Slow));
    let function = dispatcher.resolve(&id("app:slow")).unwrap();
    (Context::root(dispatcher), Binding::new(function))
}

/// Begins a call and polls it only when it wakes its task. Says whether it ended at once, and how it ended.
async fn call(context: &Context, binding: &mut Binding, millis: i64) -> (bool, Result<Value, CallError>) {
    let arguments = [Value::Integer(millis)];
    let (mut reader, mut writer) = (ValueReader::arguments(&arguments), ValueWriter::default());
    let begun = {
        let mut parts = Some((binding, &mut reader, &mut writer));
        let mut running = None;
        poll_fn(move |cx| {
            if let Some((binding, reader, writer)) = parts.take() {
                let call = Call {
                    context,
                    arguments: reader,
                    result: writer,
                };
                match binding.begin(call, || Some(cx.waker())) {
                    Begun::Ended(outcome) => return Poll::Ready((true, outcome)),
                    Begun::Running(calling) => running = Some(calling),
                }
                return Poll::Pending;
            }
            match &mut running {
                Some(calling) => Pin::new(calling).poll(cx).map(|outcome| (false, outcome)),
                None => Poll::Pending,
            }
        })
    };
    // What wakes it late is this.
    let since = Instant::now();
    let begun = tokio::time::timeout(Duration::from_secs(20), begun);
    let (at_once, outcome) = begun.await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(10), "the call woke nobody");
    (at_once, outcome.map(|()| writer.finish()))
}

#[tokio::test]
async fn a_call_that_answers_at_once_need_not_be_kept() {
    let (context, mut binding) = slow();
    for _ in 0..3 {
        assert_eq!(
            call(&context, &mut binding, 0).await,
            (true, Ok(Value::Integer(7)))
        );
    }
}

#[tokio::test]
async fn a_call_that_waits_wakes_whom_it_was_begun_by() {
    let (context, mut binding) = slow();
    assert_eq!(
        call(&context, &mut binding, 5).await,
        (false, Ok(Value::Integer(7)))
    );
}

#[tokio::test]
async fn a_call_that_was_begun_ends_by_its_deadline() {
    let (context, mut binding) = slow();
    let hurried = context.with_timeout(Duration::from_millis(10));
    let (at_once, outcome) = call(&hurried, &mut binding, -1).await;
    assert_eq!(
        (at_once, outcome.unwrap_err().kind()),
        (false, ErrorKind::Timeout)
    );
}

#[tokio::test]
async fn a_call_that_nobody_may_be_woken_for_is_polled_by_whoever_has_it() {
    let (context, mut binding) = slow();
    let arguments = [Value::Integer(5)];
    let (mut reader, mut writer) = (ValueReader::arguments(&arguments), ValueWriter::default());
    let call = Call {
        context: &context,
        arguments: &mut reader,
        result: &mut writer,
    };
    let begun = binding.begin(call, || None);
    assert!(matches!(begun, Begun::Running(_)));
    begun.outcome().await.unwrap();
    assert_eq!(writer.finish(), Value::Integer(7));
}
