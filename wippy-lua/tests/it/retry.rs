//! Trying again: which errors, how often, how long between, and not beyond a deadline.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use wippy_lua::{LuaFunction, Retry, Retrying};
use wippy_security::ErrorKind;
use wippy_wit::Value;

use crate::{
    support::{App, id, source},
    world::shown,
};

/// Counts its calls, and works at the one that it is told.
const FLAKY: &str = "
    local errors = require('errors')
    count = 0
    return { main = function(works_at, kind)
        count = count + 1
        if count < works_at then return nil, errors.new{ message = 'call ' .. count, kind = kind or errors.UNAVAILABLE } end
        return count
    end }";

fn retrying(app: &App, retry: Retry) {
    let function = LuaFunction::new(
        source("test:flaky", FLAKY),
        app.services.clone(),
        app.config.clone(),
    );
    let retrying = Retrying::new(id("test:flaky"), function.unwrap(), retry);
    app.dispatcher.insert(id("test:flaky"), retrying);
}

#[tokio::test(start_paused = true)]
async fn what_may_help_is_tried_again_later_each_time() {
    let app = App::new();
    retrying(&app, Retry::default());
    let begin = Instant::now();
    let value = app.call("test:flaky", &[Value::Integer(3)]).await.unwrap();
    assert_eq!((value, begin.elapsed().as_millis()), (Value::Integer(3), 300));
}

#[tokio::test(start_paused = true)]
async fn attempts_come_to_an_end() {
    let app = App::new();
    retrying(
        &app,
        Retry {
            max_attempts: 4,
            max_delay: Duration::from_millis(150),
            ..Retry::default()
        },
    );
    let begin = Instant::now();
    let error = app.call("test:flaky", &[Value::Integer(9)]).await.unwrap_err();
    assert_eq!((error.message(), begin.elapsed().as_millis()), ("call 4", 400));
    // What does not help is not done.
    let error = app
        .call("test:flaky", &[Value::Integer(9), "INVALID".into()])
        .await
        .unwrap_err();
    assert_eq!(error.message(), "call 1");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_it() {
    let app = App::new();
    retrying(&app, Retry::default());
    let context = app.context().with_timeout(Duration::from_millis(250));
    let begin = Instant::now();
    let error = app
        .call_in(&context, "test:flaky", &[Value::Integer(9)])
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.message(), begin.elapsed().as_millis()),
        (ErrorKind::Unavailable, "call 2", 100)
    );
}

#[tokio::test(start_paused = true)]
async fn callers_may_ask_for_it() {
    let app = App::new();
    app.add("test:flaky", FLAKY);
    let body = "
        local funcs = require('funcs')
        local exec = funcs.new():with_options{ retry = { max_attempts = 5, initial_delay = 10, backoff_factor = 1 } }
        local first = exec:call('test:flaky', 4)
        local future = exec:async('test:flaky', 7)
        local second = future:response():receive():data()
        local ok, wrong = pcall(exec.with_options, exec, { retry = { attempts = 3 } })
        return { first, second, ok, tostring(wrong):match('`retry.attempts`') }";
    let begin = Instant::now();
    let value = app.run(body).await.unwrap();
    insta::assert_snapshot!(shown(&value), @r#"[4,7,false,"`retry.attempts`"]"#);
    assert_eq!(begin.elapsed().as_millis(), 50);
}

#[test]
fn options_are_read_from_json() {
    let retry = Retry::from_json(&json!({ "max_attempts": 5, "initial_delay": 1500, "backoff_factor": 1.5 }))
        .unwrap();
    assert_eq!(
        retry,
        Retry {
            max_attempts: 5,
            initial_delay: Duration::from_millis(1500),
            backoff_factor: 1.5,
            ..Retry::default()
        }
    );
    for (wrong, message) in [
        (json!(3), "`retry` is a mapping"),
        (json!({ "max_attempts": 0 }), "one or more"),
        (json!({ "max_attempts": 1.5 }), "one or more"),
        (json!({ "initial_delay": -1 }), "zero or more"),
        (json!({ "delay": 1 }), "no such field"),
    ] {
        let error = Retry::from_json(&wrong).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    assert_eq!(
        Retry::from_json(&json!({ "max_attempts": 1_000_000 }))
            .unwrap()
            .max_attempts,
        1000
    );
}
