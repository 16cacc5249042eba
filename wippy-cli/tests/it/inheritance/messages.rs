//! What handlers of messages and events act as: the process that they belong to, whoever sent what they handle.

use std::time::Duration;

use wippy_security::{Actor, Context, Launched, Spawn};
use wippy_wit::Value;

use super::{COLUMNS, way::Way};
use crate::stage::id;

/// Ways to handle what comes in.
const HANDLERS: &[&str] = &[
    "process.inbox",
    "process.listen",
    "process.listen in a coroutine",
    "events.subscribe",
];

const HANDLER: &str = "  - name: handler
    kind: process.lua
    method: main
    modules: [funcs, events, channel]
    source: |
      local funcs, events, channel = require('funcs'), require('events'), require('channel')
      local function handle(path)
        local target, rest = path:match('^([^|]*)|(.*)$')
        return funcs.call(target, rest)
      end
      local function main(how)
        if how == 'process.inbox' then
          process.registry.register('handler')
          return handle(process.inbox():receive():payload():data())
        elseif how == 'process.listen' then
          local messages = process.listen('work')
          process.registry.register('handler')
          return handle(messages:receive())
        elseif how == 'process.listen in a coroutine' then
          local done = channel.new()
          coroutine.spawn(function()
            local messages = process.listen('work')
            process.registry.register('handler')
            done:send(handle(messages:receive()))
          end)
          return done:receive()
        elseif how == 'events.subscribe' then
          local subscription = events.subscribe('work')
          process.registry.register('handler')
          return handle(subscription:channel():receive().data)
        end
      end
      return { main = main }
  - name: sender
    kind: function.lua
    method: main
    modules: [events]
    source: |
      local events = require('events')
      return { main = function(how, path)
        if how == 'events.subscribe' then return events.send('work', 'asked', '/', path) end
        return process.send('handler', 'work', path)
      end }
";

/// Somebody else, who hands over everything that could be handed over.
fn eve(way: &Way) -> Context {
    way.stage
        .acting(Actor::new("eve"), &["app:others", "app:send"])
        .with_values([("tenant".into(), Value::from("theirs"))].into())
        .with_timeout(Duration::from_mins(5))
}

const SEND: &str = "  - name: send
    kind: security.policy
    policy: { actions: [process.send, events.send], resources: '*', effect: allow }
";

/// Starts the handler for Ada, and when it is ready has Eve send it this path.
async fn handled(way: &Way, how: &str, path: &str) -> (Context, Launched) {
    let began = way.context();
    let processes = way.stage.app.dispatcher().processes();
    let spawn = Spawn::new(id("app:handler"), id("app:host"), vec![how.into()]);
    let handler = processes.launch(&began, spawn, Vec::new()).unwrap();
    while processes.lookup("handler").is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let arguments = [Value::from(how), Value::from(path)];
    let sent = way.stage.call_within(&eve(way), "app:sender", &arguments).await;
    assert_eq!(sent, Ok(Value::Boolean(true)), "{how}");
    (began, handler)
}

#[test]
fn handlers_act_as_their_process_and_not_as_the_sender() {
    let way = Way::with("", &format!("{HANDLER}{SEND}"));
    for how in HANDLERS {
        way.stage.runtime.block_on(async {
            let (began, handler) = handled(&way, how, "app:wasm|app:lua|test:probe").await;
            let seen = way.seen().await;
            for (column, holds) in COLUMNS {
                let is_own = matches!(*column, "deadline" | "depth");
                assert!(is_own || holds(&began, &seen), "{how} / {column}");
            }
            assert_eq!(seen.deadline(), None, "{how}");
            assert_eq!(*handler.exit().await, Ok(Value::from("seen")), "{how}");
        });
    }
}

#[test]
fn a_process_that_is_terminated_ends_what_its_handlers_do() {
    let way = Way::with("", &format!("{HANDLER}{SEND}"));
    for how in HANDLERS {
        way.stage.runtime.block_on(async {
            let (_, handler) = handled(&way, how, "app:wasm|app:lua|test:probe|wait").await;
            // What sent the message has ended meanwhile, and that ends nothing here.
            way.is_waited_in().await;
            handler.terminate("no more");
            assert!(way.has_ended().await, "{how}");
            // Its name is free only when everything of it is gone.
            handler.exit().await;
        });
    }
}
