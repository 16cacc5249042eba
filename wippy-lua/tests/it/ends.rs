//! The end of a process: what it called ends with it, its memory is bounded, and who watches it learns why and where.

use std::{sync::atomic::Ordering, time::Duration};

use wippy_security::{Launched, Spawn};
use wippy_wit::Value;

use crate::{
    processes::{application, run},
    support::{App, id, text},
};

fn launch(app: &App, name: &str) -> Launched {
    let spawn = Spawn::new(id(name), id("test:host"), Vec::new());
    let processes = app.dispatcher.processes();
    processes.launch(&app.context(), spawn, Vec::new()).unwrap()
}

async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .expect("it takes too long");
}

#[tokio::test]
async fn what_a_process_called_ends_with_it() {
    let app = application(&[(
        "test:calls",
        "local funcs = require('funcs')
        return { main = function()
            coroutine.spawn(function() funcs.call('test:never') end)
            local future = funcs.async('test:never')
            coroutine.wrap(function() funcs.call('test:never') end)()
        end }",
    )]);
    for ends in [
        (|calls: &Launched| calls.terminate("enough")) as fn(&Launched),
        // Nobody has asked for its events, so it does not heed this and is ended.
        |calls| calls.cancel(tokio::time::Instant::now(), "enough"),
    ] {
        let calls = launch(&app, "test:calls");
        until(|| app.waiting.load(Ordering::SeqCst) == 3).await;
        ends(&calls);
        assert!(calls.exit().await.is_abnormal());
        until(|| app.waiting.load(Ordering::SeqCst) == 0).await;
    }
}

#[tokio::test]
async fn a_process_has_so_much_memory_and_not_more() {
    let greedy = "return { main = function()
        local kept = {}
        while true do kept[#kept + 1] = ('x'):rep(1 << 16) .. #kept end
    end }";
    let modest = "return { main = function() return #('x'):rep(1 << 16) end }";
    let app = application(&[("test:greedy", greedy), ("test:modest", modest)]);
    let error = run(&app, "test:greedy", Vec::new()).await.unwrap_err();
    assert_eq!(error.details().get("limit"), Some(&Value::from("memory")));
    let fine = run(&app, "test:modest", Vec::new()).await.unwrap();
    assert_eq!(fine, Value::Integer(1 << 16));
}

#[tokio::test]
async fn an_exit_has_the_value_or_the_error_with_its_kind_and_place() {
    let app = application(&[
        ("test:well", "return { main = function() return { answer = 42 } end }"),
        (
            "test:badly",
            "local function inner()
                error(errors.new({ message = 'no such thing', kind = errors.NOT_FOUND, details = { id = 7 } }))
            end
            return { main = function() inner() end }",
        ),
        (
            "test:watches",
            "return { main = function()
                process.set_options({ trap_links = true })
                local events, said = process.events(), {}
                local function say(text) said[#said + 1] = text end
                process.spawn_monitored('test:well', 'test:host')
                say(tostring(events:receive().result.value.answer))
                local first = process.spawn_linked_monitored('test:badly', 'test:host')
                for _ = 1, 2 do
                    local event = events:receive()
                    local err = event.result.error
                    say(event.kind .. ' ' .. err:kind() .. ' ' .. err:message() .. ' ' .. err:details().id)
                    say(tostring(event.result.value) .. ' ' .. tostring(event.from == first))
                    say(tostring(err:stack():find('src/script.lua:2', 1, true) ~= nil))
                end
                table.sort(said)
                return table.concat(said, '; ')
            end }",
        ),
    ]);
    let said = run(&app, "test:watches", Vec::new()).await.unwrap();
    assert_eq!(
        text(&said),
        "42; nil true; nil true; pid.exit NOT_FOUND no such thing 7; pid.link.down NOT_FOUND no such thing 7; true; true"
    );
}
