//! Coroutines: the script's own, spawned ones, and blocking inside both.

use wippy_wit::Value;

use crate::support::{App, text};

#[tokio::test(start_paused = true)]
async fn stock_behaviour_is_kept() {
    let app = App::new();
    let body = "
        local log = {}
        local function note(...) log[#log + 1] = table.concat({...}, ',') end
        local co = coroutine.create(function(a, b)
            local c = coroutine.yield(a + b)
            local d, e = coroutine.yield(c * 2)
            return d + e, 'end'
        end)
        note(tostring(select(2, coroutine.resume(co, 1, 2))), coroutine.status(co))
        note(tostring(select(2, coroutine.resume(co, 10))))
        local ok, sum, word = coroutine.resume(co, 3, 4)
        note(tostring(ok), sum, word, coroutine.status(co))
        note(tostring(coroutine.resume(co)), (select(2, coroutine.resume(co))))
        local next = coroutine.wrap(function() for i = 1, 2 do coroutine.yield(i) end end)
        note(next(), next())
        local failing = coroutine.wrap(function() error('boom') end)
        note(select(2, pcall(failing)))
        local closing = coroutine.create(function() coroutine.yield() end)
        coroutine.resume(closing)
        note(tostring(coroutine.close(closing)), coroutine.status(closing))
        note(tostring(coroutine.isyieldable()), tostring(select(2, coroutine.running())))
        note(select(2, pcall(coroutine.yield)))
        return table.concat(log, '\\n')";
    insta::assert_snapshot!(text(&app.run(body).await.unwrap()), @r"
    3,suspended
    20
    true,7,end,dead
    false,cannot resume dead coroutine
    1,2
    src/script.lua:17: boom
    true,dead
    false,true
    attempt to yield from outside a coroutine
    ");
}

#[tokio::test(start_paused = true)]
async fn blocking_works_inside_nested_coroutines_and_pcall() {
    let app = App::new();
    let body = "
        local time, funcs = require('time'), require('funcs')
        local outer = coroutine.wrap(function()
            local inner = coroutine.create(function(a)
                local ok, sum = pcall(function()
                    time.sleep('5ms')
                    return funcs.call('test:sleep', 5, a + 1)
                end)
                local b = coroutine.yield(sum)
                time.sleep('5ms')
                error('from inside ' .. b)
            end)
            local _, sum = coroutine.resume(inner, 41)
            coroutine.yield(sum)
            local ok, message = coroutine.resume(inner, 'x')
            return message .. ' ' .. coroutine.status(inner)
        end)
        return outer() .. ' ' .. outer()";
    let started = tokio::time::Instant::now();
    let outcome = app.run(body).await.unwrap();
    assert_eq!(text(&outcome), "42 src/script.lua:12: from inside x dead");
    assert_eq!(started.elapsed().as_millis(), 15);
}

#[tokio::test(start_paused = true)]
async fn spawned_coroutines_run_beside_each_other() {
    let app = App::new();
    let body = "
        local time, done, order = require('time'), 0, {}
        for i = 1, 1000 do
            coroutine.spawn(function(n)
                time.sleep(n % 10 * time.MILLISECOND)
                done = done + 1
            end, i)
        end
        coroutine.spawn(function() order[#order + 1] = 'b' end)
        order[#order + 1] = 'a'
        while done < 1000 do time.sleep('1ms') end
        return order[1] .. order[2]";
    let started = tokio::time::Instant::now();
    assert_eq!(app.run(body).await.unwrap(), Value::from("ab"));
    assert!(started.elapsed().as_millis() <= 12, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_failing_spawned_coroutine_does_not_end_the_others() {
    let app = App::new();
    let body = "
        coroutine.spawn(function() error('alone') end)
        require('time').sleep('1ms')
        return 'fine'";
    assert_eq!(app.run(body).await.unwrap(), Value::from("fine"));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_coroutine_cannot_be_resumed_or_closed_by_others() {
    let app = App::new();
    let body = "
        local time, log = require('time'), {}
        local inner = coroutine.create(function() time.sleep('10ms') return 'inner done' end)
        local main = coroutine.running()
        coroutine.spawn(function()
            for _, co in ipairs { inner, main } do
                log[#log + 1] = select(2, coroutine.resume(co))
                log[#log + 1] = select(2, pcall(coroutine.close, co)):match('cannot.*')
            end
        end)
        local _, result = coroutine.resume(inner)
        return table.concat(log, '; ') .. '; ' .. result";
    assert_eq!(
        text(&app.run(body).await.unwrap()),
        "cannot resume non-suspended coroutine; cannot close a normal coroutine; \
         cannot resume non-suspended coroutine; cannot close a normal coroutine; inner done"
    );
}

#[tokio::test(start_paused = true)]
async fn waiting_under_a_c_function_is_refused() {
    let app = App::new();
    let body = "
        local time, funcs = require('time'), require('funcs')
        local sorted, why = pcall(table.sort, {2, 1}, function() time.sleep('1ms') end)
        local err
        table.sort({2, 1}, function() _, err = funcs.call('test:sleep', 1, 1) return false end)
        local inner
        table.sort({2, 1}, function()
            inner = select(2, coroutine.resume(coroutine.create(function() time.sleep('1ms') end)))
            return false
        end)
        return { sorted, tostring(why), err:message(), tostring(inner), time.sleep('1ms') == nil }";
    insta::assert_snapshot!(shown(&app.run(body).await.unwrap()), @r#"[false,"src/script.lua:4: a blocking function cannot wait here: a function written in C is on the stack","a call cannot wait here: a function written in C is on the stack","src/script.lua:9: a blocking function cannot wait here: a function written in C is on the stack",true]"#);
}

fn shown(value: &Value) -> String {
    wippy_wit::json::from_value(value).unwrap().to_string()
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_reads_its_arguments_as_they_are_by_then() {
    // The handler reads its arguments after a sleep, so another coroutine can change them first.
    let app = App::new();
    let body = "
        local time, funcs = require('time'), require('funcs')
        local shared = { a = 1 }
        coroutine.spawn(function() for i = 1, 100 do shared[i .. 'k'] = i end end)
        return funcs.call('test:sleep', 5, shared)['100k']";
    assert_eq!(app.run(body).await.unwrap(), Value::Integer(100));
}

#[tokio::test(start_paused = true)]
async fn a_script_that_waited_may_be_preempted_next() {
    let mut app = App::new();
    app.config.instruction_budget = 100;
    let body = "
        local time, count = require('time'), 0
        for _ = 1, 20 do
            time.sleep('1ms')
            for _ = 1, 500 do count = count + 1 end
        end
        return count";
    assert_eq!(app.run(body).await.unwrap(), Value::Integer(10_000));
}

#[tokio::test]
async fn a_script_that_has_waited_can_be_preempted() {
    let body = "
        local time = require('time')
        local sum = 0
        for _ = 1, 3 do
            time.sleep('1ms')
            for i = 1, 100000 do sum = sum + 1 end
        end
        return sum";
    assert_eq!(App::new().run(body).await.unwrap(), Value::Integer(300_000));
}
