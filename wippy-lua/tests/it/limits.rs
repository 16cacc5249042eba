//! Deadlines, memory, preemption, and what a script must not reach.

use std::time::{Duration, Instant};

use wippy_lua::Config;
use wippy_security::ErrorKind;
use wippy_wit::Value;

use crate::support::{App, text};

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_sleeping_script() {
    let app = App::new();
    app.add(
        "test:sleeps",
        "return { main = function() require('time').sleep('1h') end }",
    );
    let context = app.context().with_timeout(Duration::from_millis(20));
    let error = app.call_in(&context, "test:sleeps", &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

/// Busy scripts need the real clock.
async fn busy(body: &str) -> wippy_security::CallError {
    let app = App::new();
    app.add(
        "test:busy",
        &format!("return {{ main = function()\n{body}\nend }}"),
    );
    let started = Instant::now();
    let context = app.context().with_timeout(Duration::from_millis(50));
    let error = app.call_in(&context, "test:busy", &[]).await.unwrap_err();
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    error
}

#[tokio::test]
async fn a_deadline_ends_a_busy_script() {
    assert_eq!(busy("while true do end").await.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_deadline_cannot_be_caught() {
    assert_eq!(
        busy("while true do pcall(function() while true do end end) end")
            .await
            .kind(),
        ErrorKind::Timeout
    );
    let body = "while true do pcall(coroutine.wrap(function() while true do end end)) end";
    assert_eq!(busy(body).await.kind(), ErrorKind::Timeout);
    let body = "table.sort({1, 2, 3}, function() while true do end end)";
    assert_eq!(busy(body).await.kind(), ErrorKind::Timeout);
    let body = "local t = setmetatable({}, {__close = function() while true do end end}) local x <close> = t";
    assert_eq!(busy(body).await.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_process_that_never_blocks_can_be_dropped() {
    let app = App::new();
    let process = app.process("return { main = function() while true do end end }", Vec::new());
    let outcome = tokio::time::timeout(Duration::from_millis(50), process).await;
    assert!(outcome.is_err(), "the loop let others run");
}

#[tokio::test]
async fn a_script_that_waited_may_be_busy_afterwards() {
    let body = "
        local time, funcs = require('time'), require('funcs')
        local sum = 0
        for _ = 1, 3 do
            time.sleep('1ms')
            for i = 1, 1000000 do sum = sum + 1 end
            sum = sum + funcs.call('test:sleep', 1, 1)
            for i = 1, 1000000 do sum = sum + 1 end
        end
        return sum";
    let outcome = tokio::time::timeout(Duration::from_mins(1), App::new().run(body)).await;
    assert_eq!(outcome.unwrap().unwrap(), Value::Integer(6_000_003));
}

#[tokio::test]
async fn a_busy_script_gives_others_their_turn_again_and_again() {
    // The other task has to run many times while the script computes, wherever the script is when its time is up.
    for body in [
        "for i = 1, 30000000 do end",
        "local f = coroutine.wrap(function() for i = 1, 30000000 do end end) f()",
        "for i = 1, 300 do local f = coroutine.wrap(function() for i = 1, 100000 do end end) f() end",
        "for i = 1, 3000000 do pcall(function() return i end) end",
        "local s = 0 for i = 1, 2000000 do s = s + #tostring(i) end",
        "local funcs = require('funcs') for i = 1, 20000 do funcs.call('test:add', i, i) end",
        "local funcs = require('funcs') for i = 1, 100 do funcs.call('test:count', 300000) end",
    ] {
        let app = App::new();
        app.add(
            "test:count",
            "return { main = function(n) local s = 0 for i = 1, n do s = s + i end return s end }",
        );
        let turns = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counting = turns.clone();
        let other = tokio::spawn(async move {
            loop {
                counting.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let started = Instant::now();
        app.run(body).await.unwrap();
        other.abort();
        let (turns, took) = (
            turns.load(std::sync::atomic::Ordering::Relaxed),
            started.elapsed(),
        );
        let least = took.as_millis() / 200;
        assert!(u128::from(turns) >= least, "{turns} turns in {took:?}: {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_coroutine_lets_others_run() {
    let app = App::new();
    let body = "
        local stop = false
        coroutine.spawn(function() stop = true end)
        local rounds = 0
        while not stop do rounds = rounds + 1 end
        return rounds > 0";
    assert_eq!(app.run(body).await.unwrap(), Value::Boolean(true));
}

#[tokio::test(start_paused = true)]
async fn the_memory_limit_is_an_error_and_the_next_call_works() {
    let mut app = App::new();
    app.config = Config {
        memory_limit: 2 << 20,
        ..app.config
    };
    app.add(
        "test:memory",
        "return { main = function(greedy)
            if not greedy then return 'fine' end
            local t = {}
            for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end
        end }",
    );
    for _ in 0..3 {
        let error = app
            .call("test:memory", &[Value::Boolean(true)])
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(
            error.details().get("limit"),
            Some(&Value::from("memory")),
            "{error}"
        );
        assert_eq!(
            app.call("test:memory", &[Value::Boolean(false)]).await.unwrap(),
            Value::from("fine")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn arguments_and_results_beyond_the_memory_limit_are_errors() {
    let mut app = App::new();
    app.config = Config {
        memory_limit: 2 << 20,
        ..app.config
    };
    app.add("test:length", "return { main = function(text) return #text end }");
    let large = Value::string(vec![b'x'; 8 << 20]);
    let error = app
        .call("test:length", std::slice::from_ref(&large))
        .await
        .unwrap_err();
    assert!(error.message().contains("memory limit"), "{error}");
    assert_eq!(
        app.call("test:length", &["abc".into()]).await.unwrap(),
        Value::Integer(3)
    );
    // The result of a call that does not fit is an error value, and the caller goes on.
    app.config.memory_limit = 64 << 20;
    app.add(
        "test:large",
        "return { main = function() return ('x'):rep(8 * 1024 * 1024) end }",
    );
    app.config.memory_limit = 2 << 20;
    let body = "local v, err = require('funcs').call('test:large') return err:message()";
    assert!(text(&app.run(body).await.unwrap()).contains("memory limit"));
}

/// A string goes to a script without protection where memory suffices for sure, and with it elsewhere. Both sides of that
/// line, and of the limit, are walked over, in states with more and less in them.
#[tokio::test(start_paused = true)]
async fn strings_of_any_size_fit_or_are_errors() {
    let mut app = App::new();
    app.config.memory_limit = 2 << 20;
    app.add(
        "test:keeps",
        "return { main = function(text, count)
            kept = {}
            for i = 1, count do kept[i] = ('%d '):format(i):rep(16) end
            return #text
        end }",
    );
    let (mut fit, mut refused) = (0, 0);
    for count in [0, 1_000, 6_000] {
        let body = format!(
            "local funcs = require('funcs')
            assert(funcs.call('test:keeps', '', {count}))
            local fit, refused = 0, 0
            for size = 0, 2 << 20, 37000 do
                local length, err = funcs.call('test:keeps', ('x'):rep(size), {count})
                if length then
                    assert(length == size)
                    fit = fit + 1
                else
                    assert(err:message():find('memory', 1, true), err:message())
                    refused = refused + 1
                end
                length, err = funcs.call('test:keeps', 'abc', {count})
                assert(length == 3, tostring(err))
            end
            return {{ fit, refused }}"
        );
        let config = app.config.clone();
        app.config.memory_limit = 64 << 20;
        let counts = app.run(&body).await.unwrap();
        app.config = config;
        let Value::Table(counts) = counts else {
            panic!("{counts:?}")
        };
        let [Value::Integer(fits), Value::Integer(fails)] = counts.array.as_slice() else {
            panic!("{counts:?}")
        };
        fit += fits;
        refused += fails;
    }
    assert!(fit > 0 && refused > 0, "{fit} fit, {refused} did not");
}

#[tokio::test(start_paused = true)]
async fn endless_recursion_is_an_error() {
    let app = App::new();
    let error = app
        .run("local function f() return 1 + f() end return f()")
        .await
        .unwrap_err();
    assert!(error.message().contains("stack overflow"), "{error}");
    let error = app.run(
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end return t.x",
    );
    let error = error.await.unwrap_err();
    assert!(error.message().contains("stack overflow"), "{error}");
    let error = app
        .run("local function f() coroutine.wrap(f)() end f()")
        .await
        .unwrap_err();
    assert!(error.message().contains("stack overflow"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn cyclic_and_deep_values_are_errors() {
    let app = App::new();
    let body =
        "local t = {} t.self = t local v, err = require('funcs').call('test:echo', t) return err:kind()";
    assert_eq!(app.run(body).await.unwrap(), Value::from("INVALID"));
    let body =
        "local t = {} for i = 1, 5000 do t = {t} end local v, err = require('funcs').call('test:echo', t)
        return err:kind()";
    assert_eq!(app.run(body).await.unwrap(), Value::from("INVALID"));
}

#[tokio::test(start_paused = true)]
async fn nothing_dangerous_is_in_reach() {
    let app = App::new();
    let body = "
        local found = {}
        for _, path in ipairs {
            'io', 'package', 'load', 'loadstring', 'loadfile', 'dofile', 'collectgarbage', 'warn', 'os.execute', 'os.exit',
            'os.getenv', 'os.remove', 'os.rename', 'os.tmpname', 'os.setlocale', 'string.dump', 'debug.getregistry',
            'debug.sethook', 'debug.getinfo', 'debug.getupvalue', 'debug.setmetatable', 'debug.upvaluejoin',
        } do
            local value = _G
            for name in path:gmatch('[^.]+') do value = type(value) == 'table' and value[name] or nil end
            if value ~= nil then found[#found + 1] = path end
        end
        return table.concat(found, ' ')";
    assert_eq!(text(&app.run(body).await.unwrap()), "");
}

#[tokio::test(start_paused = true)]
async fn the_globals_are_known() {
    let app = App::new();
    let body = "
        local names = {}
        for name in pairs(_G) do names[#names + 1] = name end
        for name in pairs(os) do names[#names + 1] = 'os.' .. name end
        for name in pairs(debug) do names[#names + 1] = 'debug.' .. name end
        table.sort(names)
        return table.concat(names, ' ')";
    insta::assert_snapshot!(text(&app.run(body).await.unwrap()), @"_G _VERSION assert channel coroutine debug debug.traceback error errors getmetatable ipairs math next os os.clock os.date os.difftime os.platform os.time pairs payload pcall print process rawequal rawget rawlen rawset require select setmetatable string table tonumber tostring type unpack utf8 xpcall");
}

#[tokio::test(start_paused = true)]
async fn finalizers_and_metatables_are_out_of_reach() {
    let app = App::new();
    let body = "
        local err = errors.new('x')
        return {
            pcall(setmetatable, {}, {__gc = print}), getmetatable(''), getmetatable(err), pcall(setmetatable, err, {}),
            getmetatable(require('time').now()) ~= nil,
        }";
    let shown = wippy_wit::json::from_value(&app.run(body).await.unwrap())
        .unwrap()
        .to_string();
    insta::assert_snapshot!(shown, @r#"[false,"string","error",false,true]"#);
}

#[tokio::test]
async fn loops_in_c_cannot_block_the_thread() {
    let app = App::new();
    let started = Instant::now();
    for body in [
        "table.move({}, 1, math.maxinteger - 1, 2)",
        "table.insert(setmetatable({}, {__len = function() return 1 << 60 end}), 1, 'x')",
        "table.remove(setmetatable({}, {__len = function() return 1 << 60 end}), 1)",
        "table.sort(setmetatable({}, {__len = function() return 2^31 - 2 // 1 | 0 end}), rawequal)",
    ] {
        app.run(body).await.unwrap_err();
    }
    assert_eq!(
        app.run("return (''):rep(1 << 60)").await.unwrap(),
        Value::from("")
    );
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// Lua's own matcher goes back and forth for ever, and nothing could interrupt it.
#[tokio::test]
async fn patterns_that_take_too_long_are_errors() {
    let app = App::new();
    for body in [
        "return (('a'):rep(60)):find(('a?'):rep(60) .. ('a'):rep(60))",
        "return (('a'):rep(1000000)):match('.-.-b')",
        "return (('('):rep(300000)):gsub('%b()', '')",
        "return string.gmatch(12345678901234, ('%d-'):rep(60) .. 'x')()",
        "return (('a'):rep(20000000)):find(('a'):rep(10000000) .. 'b', 1, true)",
        "return (('a'):rep(20000000)):find(('a'):rep(10000000) .. 'b')",
    ] {
        let error = app.run(body).await.unwrap_err();
        let expected = "this pattern takes too long on this text";
        assert!(error.message().contains(expected), "{body}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn patterns_that_are_quick_stay_what_they_were() {
    let app = App::new();
    let body = r#"
        local long = ("key = value; "):rep(20000)
        local function count(pattern) local _, found = long:gsub(pattern, "%0") return found end
        local function fails(...) return select(2, pcall(...)):match("malformed pattern") or select(2, pcall(...)) end
        local words = {}
        for word in ("one two  three"):gmatch("%a+") do words[#words + 1] = word end
        return {
            count("(%w+)%s*=%s*(%w+)"), count("[%w_]-;"), count("%f[%a]%a+%f[%A]"), count("^key"), long:find("^.-(v.-;).*$"),
            #long:match("^%s*(.-)%s*$"), long:find("=", 1, true), long:find("x", -5), long:find("", #long + 1),
            (("f(a(b)c)d "):rep(9000)):gsub("%b()", ""):sub(1, 6), ("x"):find("x", 5), string.find(12, "2"), ("a.b"):find("."),
            table.concat(words, ","), ("hello"):gsub("l", { l = "L" }), ("hello"):gsub("l", "%0%0", 1),
            ("abcabc"):find("(abc)%1"), ("]"):find("[]]"), ("^x"):match("[%^x]+"), ("a-b"):match("[a%-]+"),
            fails(string.find, long, "[a"), fails(string.find, long, "%"),
        }"#;
    let shown = wippy_wit::json::from_value(&app.run(body).await.unwrap()).unwrap();
    insta::assert_snapshot!(shown.to_string(), @r#"[20000,20000,40000,1,1,259999,5,null,260001,"fd fd ",null,2,1,"one,two,three","heLLo","helllo",1,1,"^x","a-","malformed pattern","malformed pattern"]"#);
}

/// A future is small in Lua's eyes; the call behind it and its outcome are not.
#[tokio::test]
async fn futures_count_against_the_limit() {
    let mut app = App::new();
    app.config.memory_limit = 4 << 20;
    for (call, count) in [
        ("funcs.async('test:never')", 100_000),
        ("funcs.async('test:echo', large)", 200),
    ] {
        let body = format!(
            "local funcs, large, kept = require('funcs'), ('x'):rep(100000), {{}}
             for i = 1, {count} do kept[i] = {call} end
             for i = 1, {count} do local _, err = kept[i]:await() if err then error(err) end end"
        );
        let error = app.run(&body).await.unwrap_err();
        assert!(error.message().contains("more memory"), "{call}: {error}");
    }
    // Those that nobody keeps make room again.
    let body = "
        local funcs = require('funcs')
        for i = 1, 20000 do funcs.async('test:add', 1, 2):await() end
        return 'done'";
    assert_eq!(text(&app.run(body).await.unwrap()), "done");
}

#[tokio::test(start_paused = true)]
async fn what_a_userdata_holds_counts_against_the_limit() {
    let mut app = App::new();
    app.config.memory_limit = 4 << 20;
    for make in [
        "security.new_actor('a' .. i, { text = large })",
        "funcs.new():with_context({ text = large })",
        "base:with_context({ number = i })",
        "base:with_actor(security.new_actor('a' .. i, { text = large }))",
    ] {
        let body = |keep: &str| {
            format!(
                "local security, funcs = require('security'), require('funcs')
                 local large, kept = ('x'):rep(100000), {{}}
                 local base = funcs.new():with_context({{ text = large }})
                 for i = 1, 200 do kept[{keep}] = {make} end
                 return 'done'"
            )
        };
        assert_eq!(text(&app.run(&body("1")).await.unwrap()), "done", "{make}");
        let error = app.run(&body("i")).await.unwrap_err();
        assert!(error.message().contains("more memory"), "{make}: {error}");
    }
}
