//! Calls between entries: answered at once, later, with errors, and never.

use std::{sync::atomic::Ordering, time::Duration};

use wippy_security::ErrorKind;
use wippy_wit::Value;

use crate::support::{App, id, source, text};

const CALL: &str = "local funcs = require('funcs') ";

#[tokio::test(start_paused = true)]
async fn a_ready_call_gives_its_value() {
    let app = App::new();
    let sum = app
        .run(&format!("{CALL} return funcs.call('test:add', 1, 2, 39)"))
        .await;
    assert_eq!(sum.unwrap(), Value::Integer(42));
}

#[tokio::test(start_paused = true)]
async fn a_ready_call_gives_tables() {
    let app = App::new();
    let body = format!("{CALL} local t = funcs.call('test:echo', {{1, {{a = 'b'}}, 3}}) return t[2].a .. #t");
    assert_eq!(app.run(&body).await.unwrap(), Value::from("b3"));
}

#[tokio::test(start_paused = true)]
async fn a_suspended_call_reads_its_arguments_later() {
    let app = App::new();
    let body = format!(
        "{CALL} local t = funcs.call('test:sleep', 50, {{x = 'y', z = {{1, 2}}}}) return t.x .. t.z[2]"
    );
    assert_eq!(app.run(&body).await.unwrap(), Value::from("y2"));
}

#[tokio::test(start_paused = true)]
async fn a_result_written_before_waiting_is_kept() {
    let app = App::new();
    let body = format!(
        "{CALL} local out = {{}}
        for i = 1, 3 do coroutine.spawn(function() out[i] = funcs.call('test:late', {{i}})[1] end) end
        local own = funcs.call('test:late', 'own')
        require('time').sleep('10ms')
        return own .. out[1] .. out[2] .. out[3]"
    );
    assert_eq!(app.run(&body).await.unwrap(), Value::from("own123"));
}

#[tokio::test(start_paused = true)]
async fn many_calls_leave_no_trace_on_the_stack() {
    let app = App::new();
    let body = format!(
        "{CALL} local sum = 0
        for i = 1, 20000 do
            sum = sum + funcs.call('test:add', i, 1)
            local v, err = funcs.call('test:fail')
            assert(v == nil and err:kind() == 'RATE_LIMITED')
            assert(funcs.call('test:echo', {{i}})[1] == i)
        end
        return sum"
    );
    assert_eq!(app.run(&body).await.unwrap(), Value::Integer(200_030_000));
}

#[tokio::test(start_paused = true)]
async fn an_error_keeps_kind_retryable_and_details() {
    let app = App::new();
    let body = format!(
        "{CALL} local value, err = funcs.call('test:fail')
        return {{ value == nil, err:kind(), err:message(), err:retryable(), err:details().seconds, tostring(err) }}"
    );
    let shown = wippy_wit::json::from_value(&app.run(&body).await.unwrap())
        .unwrap()
        .to_string();
    insta::assert_snapshot!(shown, @r#"[true,"RATE_LIMITED","slow down",true,30,"slow down"]"#);
}

#[tokio::test(start_paused = true)]
async fn an_error_object_crosses_from_script_to_script() {
    let app = App::new();
    app.add(
        "test:inner",
        "return { main = function() return nil, errors.new{kind = errors.CONFLICT, message = 'taken', retryable = true,
            details = {by = 'me'}} end }",
    );
    app.add(
        "test:outer",
        "return { main = function() local v, err = require('funcs').call('test:inner') return nil, err end }",
    );
    let error = app.call("test:outer", &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(error.message(), "taken");
    assert!(error.retryable());
    assert_eq!(error.details().get("by"), Some(&Value::from("me")));
    assert!(
        error.stack().unwrap().contains("src/script.lua:1"),
        "{:?}",
        error.stack()
    );
}

#[tokio::test(start_paused = true)]
async fn a_raised_error_object_keeps_its_kind() {
    let app = App::new();
    let error = app
        .run("error(errors.new('NOT_FOUND', 'no such thing'))")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.message(), "no such thing");
}

#[tokio::test(start_paused = true)]
async fn a_raised_string_names_its_place() {
    let app = App::new();
    let error = app.run("local x\nlocal y = x.field").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_eq!(
        error.message(),
        "src/script.lua:3: attempt to index a nil value (local 'x')"
    );
    assert!(
        error.stack().unwrap().contains("src/script.lua:3: in"),
        "{:?}",
        error.stack()
    );
}

#[tokio::test(start_paused = true)]
async fn a_misused_module_names_the_place_too() {
    let app = App::new();
    let error = app.run("\nrequire('time').sleep({})").await.unwrap_err();
    assert_eq!(
        error.message(),
        "src/script.lua:3: expected a duration (`\"250ms\"` or `5 * time.SECOND`), got table"
    );
}

#[tokio::test(start_paused = true)]
async fn errors_of_modules_have_the_methods_of_errors() {
    let app = App::new();
    let body =
        "local ok, err = pcall(require('time').sleep, 'soon') return err:kind() .. ' ' .. err:message()";
    assert_eq!(
        text(&app.run(body).await.unwrap()),
        "INVALID src/script.lua:2: `soon` is no duration: write `250ms`, `1.5s` or `1h30m`"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unknown_function_is_an_error_value() {
    let app = App::new();
    let body =
        format!("{CALL} local v, err = funcs.call('test:nobody') return err:kind() .. ': ' .. err:message()");
    assert_eq!(
        text(&app.run(&body).await.unwrap()),
        "NOT_FOUND: there is no function `test:nobody`"
    );
}

#[tokio::test(start_paused = true)]
async fn arguments_that_cannot_be_sent_are_errors() {
    let app = App::new();
    let body = format!("{CALL} local v, err = funcs.call('test:echo', {{f = print}}) return err:message()");
    assert_eq!(
        text(&app.run(&body).await.unwrap()),
        ".f: a function cannot be sent"
    );
    app.add("test:takes", "return { main = function(users) return users end }");
    let body = format!(
        "{CALL} local v, err = funcs.call('test:takes', {{ {{ name = print }} }}) return err:message()"
    );
    let message = app.run(&body).await.unwrap();
    assert_eq!(
        text(&message),
        "test:takes: argument 1 (users)[1].name: a function cannot be sent"
    );
}

#[tokio::test(start_paused = true)]
async fn deep_recursion_between_scripts_is_an_error() {
    let app = App::new();
    app.add(
        "test:recurse",
        "return { main = function(n)
            local v, err = require('funcs').call('test:recurse', n + 1)
            if err then return nil, err end
            return v
        end }",
    );
    let error = app.call("test:recurse", &[Value::Integer(1)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("max_call_depth"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn calls_at_once_have_states_of_their_own() {
    let app = App::new();
    app.add(
        "test:state",
        "local busy = false
        return { main = function(n)
            assert(not busy, 'shared by two calls')
            busy = true
            require('time').sleep('10ms')
            busy = false
            return n
        end }",
    );
    let arguments: Vec<_> = (0..8).map(|n| [Value::Integer(n)]).collect();
    let context = app.context();
    let mut tasks = tokio::task::JoinSet::new();
    for argument in arguments {
        let (dispatcher, context) = (app.dispatcher.clone(), context.clone());
        tasks.spawn(async move {
            let function = dispatcher.resolve(&id("test:state")).unwrap();
            let mut reader = wippy_wit::ValueReader::arguments(&argument);
            let mut writer = wippy_wit::ValueWriter::default();
            dispatcher
                .call(&context, &function, &mut reader, &mut writer)
                .unwrap()
                .await
                .unwrap();
            assert_eq!(writer.finish(), argument[0]);
        });
    }
    let started = tokio::time::Instant::now();
    while let Some(outcome) = tasks.join_next().await {
        outcome.unwrap();
    }
    // Two states at most: eight calls of 10 ms take four rounds.
    assert_eq!(started.elapsed().as_millis(), 40);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_cancels_what_it_waits_for() {
    let app = App::new();
    app.add(
        "test:waits",
        "local funcs = require('funcs')
        return { main = function()
            coroutine.spawn(function() funcs.call('test:never') end)
            funcs.async('test:never')
            coroutine.wrap(function() funcs.call('test:never', {1, 2, 3}) end)()
        end }",
    );
    let outcome = tokio::time::timeout(Duration::from_millis(20), app.call("test:waits", &[])).await;
    assert!(outcome.is_err());
    tokio::task::yield_now().await;
    assert_eq!(app.waiting.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_method_that_is_missing_lists_those_that_exist() {
    let app = App::new();
    let mut source = source(
        "test:methods",
        "return { one = print, two = function() end, three = 3 }",
    );
    source.method = "four".into();
    let function = wippy_lua::LuaFunction::new(source, app.services.clone(), app.config.clone()).unwrap();
    app.dispatcher.insert(id("test:methods"), function);
    let error = app.call("test:methods", &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.message(),
        "`test:methods` has no method `four`: `src/script.lua` returns `one`, `two`"
    );
}

#[tokio::test(start_paused = true)]
async fn futures_answer_when_they_are_done() {
    let app = App::new();
    let body = format!(
        "{CALL}
        local future = funcs.async('test:sleep', 30, 'later')
        local before = future:is_complete()
        local value, ok = future:response():receive()
        local again, err = future:result()
        return {{ before, value:data(), ok, again:data(), future:is_complete(), future:is_canceled() }}"
    );
    let expected = [
        false.into(),
        "later".into(),
        true.into(),
        "later".into(),
        true.into(),
        false.into(),
    ];
    assert_eq!(app.run(&body).await.unwrap(), Value::array(expected));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_future_says_so() {
    let app = App::new();
    let body = format!(
        "{CALL}
        local future = funcs.async('test:never')
        require('time').sleep('1ms')
        future:cancel()
        local value, err = future:await()
        return {{ future:is_canceled(), err:kind() }}"
    );
    assert_eq!(
        app.run(&body).await.unwrap(),
        Value::array([true.into(), "CANCELED".into()])
    );
    tokio::task::yield_now().await;
    assert_eq!(app.waiting.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn an_executor_carries_context_and_timeout() {
    let app = App::new();
    app.add(
        "test:reads",
        "return { main = function() return require('ctx').get('tenant') end }",
    );
    let body = format!(
        "{CALL}
        local plain = funcs.new()
        local with = plain:with_context({{tenant = 'acme'}})
        local none, err = plain:call('test:reads')
        local late, timeout = plain:with_options({{timeout = 20}}):call('test:never')
        return {{ with:call('test:reads'), err:kind(), timeout:kind() }}"
    );
    let expected = ["acme".into(), "NOT_FOUND".into(), "TIMEOUT".into()];
    assert_eq!(app.run(&body).await.unwrap(), Value::array(expected));
}

#[tokio::test(start_paused = true)]
async fn handles_have_methods_and_are_closed() {
    let app = App::new();
    let body = format!(
        "{CALL}
        local kept
        do
            local counter <close> = funcs.call('test:counter')
            counter:increment(2)
            kept = counter:increment(3)
        end
        local other = funcs.call('test:counter')
        local again = funcs.call('test:echo', {{other}})[1]
        other:increment(1)
        local ok, err = pcall(function() return other:reset() end)
        local dotted, usage = pcall(function() return other.increment(1) end)
        return {{ kept, again:increment(1), tostring(other), err:message(), usage:message(), other:close() }}"
    );
    let shown = wippy_wit::json::from_value(&app.run(&body).await.unwrap())
        .unwrap()
        .to_string();
    insta::assert_snapshot!(shown, @r#"[5,2,"resource counter","src/script.lua:12: a resource counter has no method `reset`","src/script.lua:13: use `handle:increment(...)`, with a colon",true]"#);
    assert_eq!(app.closed.load(Ordering::SeqCst), 2);
}
