//! `events`: who receives what, in which order, for how long.

use std::sync::Arc;

use async_trait::async_trait;
use wippy_lua::{Bus, Event, Subscriber};
use wippy_security::{Call, CallError, ErrorKind, Execution, Handler, Permit};
use wippy_wit::Value;

use crate::{
    support::{App, id},
    world::{only, shown},
};

fn event(system: &str, kind: &str) -> Event {
    Event {
        system: system.to_owned(),
        kind: kind.to_owned(),
        path: "/".to_owned(),
        data: Value::Nil,
    }
}

/// Sends a secret, whoever calls.
struct Secret(Bus);

#[async_trait]
impl Handler for Secret {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        self.0.send(event("secret", "k"));
        call.result.boolean(true);
        Ok(())
    }
}

fn fits(pattern: &str, text: &str) -> bool {
    let bus = Bus::default();
    let _subscription = bus.subscribe(pattern, None, Subscriber::default()).unwrap();
    bus.send(event(text, "kind")) == 1
}

#[test]
fn patterns_fit_parts_of_names() {
    for (pattern, fitting, others) in [
        ("registry", &["registry"][..], &["registry.create", "other"][..]),
        ("*", &["registry"], &["registry.create"]),
        (
            "registry.*",
            &["registry.create"],
            &["registry", "registry.entry.create"],
        ),
        (
            "registry.**",
            &["registry", "registry.create", "registry.entry.create"],
            &["other.registry"],
        ),
        ("**", &["a", "a.b.c"], &[]),
        ("**.end", &["end", "a.end", "a.b.end"], &["a.end.b"]),
        ("a.**.z", &["a.z", "a.b.z", "a.z.z"], &["a", "a.z.b"]),
        ("a.**.m.**.z", &["a.m.z", "a.b.m.m.z"], &["a.z", "a.b.z"]),
        ("on.(a|b)x", &["on.ax", "on.bx"], &["on.a", "on.cx", "on"]),
    ] {
        for text in fitting {
            assert!(fits(pattern, text), "`{pattern}` should fit `{text}`");
        }
        for text in others {
            assert!(!fits(pattern, text), "`{pattern}` should not fit `{text}`");
        }
    }
    for pattern in ["", "a..b", "a*", "(a", "a)", "(a)(b)", &["*"; 33].join(".")] {
        let refused = Bus::default().subscribe(pattern, None, Subscriber::default());
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid, "`{pattern}`");
    }
}

#[tokio::test]
async fn a_slow_subscriber_misses_the_oldest_events() {
    let bus = Bus::default();
    let slow = bus.subscribe("s", None, Subscriber::default()).unwrap();
    for number in 0..Bus::EVENTS_MAX + 3 {
        bus.send(event("s", &number.to_string()));
    }
    assert_eq!(slow.dropped(), 3);
    assert_eq!(slow.recv().await.unwrap().kind, "3");
    slow.close();
    bus.send(event("s", "late"));
    let mut last = None;
    while let Some(event) = slow.recv().await {
        last = Some(event);
    }
    assert_eq!(last.unwrap().kind, (Bus::EVENTS_MAX + 2).to_string());
}

#[tokio::test]
async fn subscriptions_are_bounded_and_end_with_their_execution() {
    let bus = Bus::default();
    let execution = Arc::new(Execution::default());
    let subscribe = |execution: Option<&Arc<Execution>>| {
        bus.subscribe(
            "s",
            None,
            Subscriber {
                execution: execution.map(Arc::downgrade),
                ..Subscriber::default()
            },
        )
    };
    let own = subscribe(None).unwrap();
    let mut held = Vec::new();
    for _ in 1..Bus::SUBSCRIPTIONS_MAX {
        held.push(subscribe(Some(&execution)).unwrap());
    }
    assert_eq!(subscribe(None).unwrap_err().kind(), ErrorKind::RateLimited);
    assert_eq!(bus.send(event("s", "k")), Bus::SUBSCRIPTIONS_MAX);
    drop(execution);
    assert_eq!(bus.send(event("s", "k")), 1);
    subscribe(None).unwrap();
    assert_eq!(own.try_recv().unwrap().kind, "k");
}

#[tokio::test(start_paused = true)]
async fn a_script_listens_and_another_speaks() {
    let app = App::new();
    app.add(
        "test:speak",
        "return { main = function(number)
            local events = require('events')
            events.send('orders.eu', 'order.created', '/orders/' .. number, { total = number })
            events.send('orders.eu', 'order.paid', '/orders/' .. number)
            events.send('users', 'user.created', '/users/1')
            return true
        end }",
    );
    let body = "
        local events, funcs = require('events'), require('funcs')
        local created = events.subscribe('orders.*', 'order.created')
        local all = events.subscribe('**')
        for number = 1, 2 do funcs.call('test:speak', number) end
        local seen = {}
        local ch = created:channel()
        for number = 1, 2 do
            local event, ok = ch:receive()
            seen[#seen + 1] = { event.system, event.kind, event.path, event.data.total, ok }
        end
        created:close()
        created:close()
        local nothing, ok = ch:receive()
        local count = 0
        all:close()
        local everything = all:channel()
        while true do
            local event, more = everything:receive()
            if not more then break end
            count = count + 1
        end
        return { seen, nothing == nil, ok, count }";
    insta::assert_snapshot!(shown(&app.run(body).await.unwrap()), @r#"[[["orders.eu","order.created","/orders/1",1,true],["orders.eu","order.created","/orders/2",2,true]],true,false,6]"#);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_listener_is_woken() {
    let app = App::new();
    app.add(
        "test:later",
        "return { main = function()
            require('time').sleep('1s')
            return require('events').send('s', 'k', '/p', 'news')
        end }",
    );
    let body = "
        local events, funcs = require('events'), require('funcs')
        local sub = events.subscribe('s')
        funcs.async('test:later')
        return sub:channel():receive().data";
    assert_eq!(shown(&app.run(body).await.unwrap()), "\"news\"");
}

#[tokio::test(start_paused = true)]
async fn a_wide_pattern_shows_only_what_is_permitted() {
    let app = App::new();
    app.add(
        "test:script",
        "return { main = function()
            local events = require('events')
            local all = events.subscribe('(open|secret)')
            local none, refused = events.subscribe('secret')
            local _, unsent = events.send('secret', 'k', '/')
            local _, empty = events.send('', 'k', '/')
            events.send('open', 'k', '/')
            -- Sent by somebody who may.
            require('funcs').call('test:secret')
            all:close()
            local ch, seen = all:channel(), {}
            while true do
                local event, ok = ch:receive()
                if not ok then break end
                seen[#seen + 1] = event.system
            end
            return { none == nil, refused:kind(), unsent:kind(), empty:kind(), seen }
        end }",
    );
    app.dispatcher.insert(
        id("test:secret"),
        Arc::new(Secret(app.services.world.events.clone())),
    );
    let context = only(
        &app,
        &[
            ("events.subscribe", "(open|secret)"),
            ("events.subscribe", "open"),
            ("events.send", "open"),
        ],
    );
    let value = app.call_in(&context, "test:script", &[]).await.unwrap();
    insta::assert_snapshot!(shown(&value), @r#"[true,"PERMISSION_DENIED","PERMISSION_DENIED","INVALID",["open"]]"#);
}
