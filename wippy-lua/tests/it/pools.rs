//! Pools: how many calls run at once, which states are ready, and that nobody finds what another left.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use wippy_lua::{LuaFunction, PoolConfig, Ready, Reuse, Source};
use wippy_security::{Actor, Context, ErrorKind, Handler as _};
use wippy_wit::Value;

use crate::{
    support::{App, id, library, source, text},
    world::Files,
};

/// Names every place where it finds something that an earlier call left there, and leaves something in each of them.
const LEAVES: &str = "
    local json = require('json')
    local count, kept, suspended = 0, {}, nil
    local Metatable = {}
    local object = setmetatable({}, Metatable)

    local function main()
        local found = {}
        local function look(place, is_there)
            if is_there then found[#found + 1] = place end
        end
        look('global', left ~= nil)
        look('upvalue', count > 0)
        look('table of an upvalue', kept.left ~= nil)
        look('metatable', object.left ~= nil)
        look('strings', ('').left ~= nil)
        look('library', math.left ~= nil)
        look('module', json.left ~= nil)
        look('global module', errors.left ~= nil)
        look('coroutine', suspended ~= nil and suspended() ~= nil)
        look('random numbers', kept.random == math.random(1 << 62))
        look('required again', require('json').left ~= nil or require('funcs').left ~= nil)
        look('method of a string', pcall(function() return ('x'):left() end))
        look('channels', channel.left ~= nil or process.left ~= nil)
        look('part of a module', require('crypto').random.left ~= nil or require('time').left ~= nil)
        look('lazy module', require('http').left ~= nil or require('http').STATUS.left ~= nil)
        look('payload', payload.left ~= nil)
        look('environment', _ENV.hidden ~= nil or _G.hidden ~= nil or rawget(_G, 'hidden') ~= nil)

        left, count, kept.left, Metatable.__index = 1, count + 1, 1, { left = 1 }
        string.left, math.left, json.left, errors.left = function() return 1 end, 1, 1, 1
        require('funcs').left, channel.left, process.left, payload.left = 1, 1, 1, 1
        require('crypto').random.left, require('time').left = 1, 1
        require('http').left, require('http').STATUS.left = 1, 1
        rawset(_G, 'hidden', 1)
        suspended = coroutine.wrap(function() while true do coroutine.yield(count) end end)
        suspended()
        math.randomseed(1)
        kept.random = math.random(1 << 62)
        math.randomseed(1)
        return table.concat(found, ', ')
    end
    return { main = main }";

const EVERYTHING: &str = "global, upvalue, table of an upvalue, metatable, strings, library, module, global module, \
                          coroutine, random numbers, required again, method of a string, channels, part of a module, \
                          lazy module, payload, environment";

const SHAPES: [(&str, usize, Ready); 4] = [
    ("inline", 100, Ready::Nothing),
    ("lazy", 8, Ready::Nothing),
    ("static", 4, Ready::Always(4)),
    ("adaptive", 8, Ready::Following),
];

/// An application with the function `test:f` in this pool.
fn pooled(script: &str, pool: PoolConfig) -> (App, Arc<LuaFunction>) {
    let mut app = App::new();
    app.config.pool = pool;
    let function = LuaFunction::new(source("test:f", script), app.services.clone(), app.config.clone());
    let function = function.unwrap();
    app.dispatcher.insert(id("test:f"), function.clone());
    (app, function)
}

/// An execution of its own, in which `actor` acts.
fn acting(app: &App, actor: &str) -> Context {
    app.context()
        .with_identity(Some(Arc::new(Actor::new(actor))), None)
}

async fn found(app: &App, context: &Context) -> String {
    text(&app.call_in(context, "test:f", &[]).await.unwrap()).to_owned()
}

#[tokio::test]
async fn nobody_finds_what_another_left() {
    for (shape, max_size, ready) in SHAPES {
        for reuse in [Reuse::Never, Reuse::Caller, Reuse::Actor, Reuse::Always] {
            let pool = PoolConfig {
                max_size,
                reuse,
                ready,
                ..PoolConfig::default()
            };
            let (app, _) = pooled(LEAVES, pool);
            let case = format!("{shape} {reuse:?}");
            let (ada, again, bob) = (acting(&app, "ada"), acting(&app, "ada"), acting(&app, "bob"));
            assert_eq!(found(&app, &ada).await, "", "{case}: at first");
            let expected = |is_found: bool| if is_found { EVERYTHING } else { "" };
            let own = expected(reuse != Reuse::Never);
            assert_eq!(found(&app, &ada).await, own, "{case}: the same execution");
            let same = expected(matches!(reuse, Reuse::Actor | Reuse::Always));
            assert_eq!(found(&app, &again).await, same, "{case}: the same actor");
            let other = expected(reuse == Reuse::Always);
            assert_eq!(found(&app, &bob).await, other, "{case}: another actor");
        }
    }
}

/// As above, by way of `funcs.call`: the caller's state holds what it may keep.
#[tokio::test]
async fn a_script_finds_its_own_and_leaves_nothing_to_the_next() {
    let (app, _) = pooled(LEAVES, PoolConfig::default());
    app.add(
        "test:twice",
        "local funcs = require('funcs')
        return { main = function() return funcs.call('test:f') .. '|' .. funcs.call('test:f') end }",
    );
    for _ in 0..3 {
        let found = app.call("test:twice", &[]).await.unwrap();
        assert_eq!(text(&found), format!("|{EVERYTHING}"));
    }
}

#[tokio::test]
async fn what_nobody_acts_for_is_not_shared_by_actor() {
    let pool = PoolConfig {
        reuse: Reuse::Actor,
        ..PoolConfig::default()
    };
    let (app, function) = pooled(LEAVES, pool);
    for _ in 0..3 {
        assert_eq!(found(&app, &app.context()).await, "");
    }
    assert_eq!(function.stocked(), (0, 1), "wiped, it is anybody's");
}

/// Lua itself seeds by the second and by an address, which is the same for all that a state serves.
#[tokio::test]
async fn random_numbers_do_not_repeat_from_one_execution_to_the_next() {
    let script = "return { main = function() return tostring(math.random(1 << 62)) end }";
    let (app, function) = pooled(script, PoolConfig::default());
    let mut numbers = BTreeSet::new();
    for _ in 0..20 {
        numbers.insert(found(&app, &app.context()).await);
    }
    assert_eq!(numbers.len(), 20, "{numbers:?}");
    assert_eq!(function.pool().unwrap().created, 1);
}

/// What a call came to that ran on its own is kept outside of the state, and charged to whoever has that.
#[tokio::test]
async fn what_nobody_looked_at_is_not_charged_to_the_next() {
    let script = "local funcs, time = require('funcs'), require('time')
        return { main = function()
            kept = {}
            for i = 1, 3 do kept[i] = funcs.async('test:big') end
            time.sleep('50ms')
            local failures = {}
            for i = 1, 3 do failures[i] = tostring(kept[i]:error()) end
            return table.concat(failures, ' ')
        end }";
    let mut app = App::new();
    app.config.memory_limit = 7 << 19;
    app.add(
        "test:big",
        "return { main = function() return ('x'):rep(1 << 20) end }",
    );
    let function = LuaFunction::new(source("test:f", script), app.services.clone(), app.config.clone());
    let function = function.unwrap();
    app.dispatcher.insert(id("test:f"), function.clone());
    for _ in 0..5 {
        assert_eq!(found(&app, &app.context()).await, "nil nil nil");
    }
    assert_eq!(function.pool().unwrap().created, 1);
}

/// A state is made once and serves one execution after the other: what one opened is closed, what it took is given back.
#[tokio::test]
async fn a_state_whose_execution_ended_is_as_good_as_new() {
    let (app, function) = pooled(LEAVES, PoolConfig::default());
    for _ in 0..100 {
        assert_eq!(found(&app, &app.context()).await, "");
    }
    let counts = function.clone().pool().unwrap();
    assert_eq!((counts.created, function.stocked()), (1, (0, 1)));
    // One that failed, or is large, is not worth it.
    let script = "local kept return { main = function(how)
        if how == 'raise' then error('no') end
        if how == 'grow' then kept = {} for i = 1, 100000 do kept[i] = i end end
        if how == 'spawn' then coroutine.spawn(function() require('time').sleep('1h') end) end
        return 1
    end }";
    for (how, kept) in [("raise", 0), ("spawn", 0), ("grow", 1), ("return", 1)] {
        let (app, function) = pooled(script, PoolConfig::default());
        let _ = app.call_in(&app.context(), "test:f", &[how.into()]).await;
        assert_eq!(function.stocked(), (0, kept), "{how}");
        assert!(function.pool().unwrap().memory_bytes < 100_000, "{how}");
    }
    // Only those that are used by nobody else are wiped.
    let never = PoolConfig {
        reuse: Reuse::Never,
        ..PoolConfig::default()
    };
    let (app, function) = pooled(LEAVES, never);
    found(&app, &app.context()).await;
    assert_eq!(function.stocked(), (0, 0));
}

/// A library's chunk runs once for each execution, with globals of its own, though its code is kept.
#[tokio::test]
async fn a_library_starts_anew_in_every_execution() {
    let text = "local json, count = require('json'), 0
        return { count = function()
            count, all, json.calls = count + 1, (all or 0) + 1, (json.calls or 0) + 1
            return count, all, json.calls
        end }";
    let script = "local lib = require('lib')
        return { main = function()
            lib.count()
            local count, all, calls = lib.count()
            return table.concat({ count, all, calls, tostring(_G.all), ('x'):rep(2) }, ' ')
        end }";
    let app = App::new();
    let source = Source {
        imports: [("lib".to_owned(), library("test:lib", text, &["json"]))].into(),
        ..source("test:f", script)
    };
    let function = LuaFunction::new(source, app.services.clone(), app.config.clone()).unwrap();
    app.dispatcher.insert(id("test:f"), function.clone());
    for _ in 0..5 {
        assert_eq!(found(&app, &app.context()).await, "2 2 2 nil xx");
    }
    assert_eq!(function.pool().unwrap().created, 1);
}

/// What a script leaves behind that is open elsewhere is not left to the collector, which comes when it likes.
#[tokio::test]
async fn what_holds_something_outside_is_given_up_at_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "").unwrap();
    let path = folder.path().join("a").canonicalize().unwrap();
    let is_open = || {
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
        descriptors
            .flatten()
            .any(|descriptor| std::fs::read_link(descriptor.path()).is_ok_and(|target| target == path))
    };
    let script = "local fs = require('fs')
        return { main = function() kept = assert(fs.get('test:files'):open('/a', 'r')) end }";
    let mut app = App::new();
    app.services.world.volumes = Some(Arc::new(Files::new(folder.path(), 0o750)));
    let function = LuaFunction::new(source("test:f", script), app.services.clone(), app.config.clone());
    let function = function.unwrap();
    app.dispatcher.insert(id("test:f"), function.clone());
    for _ in 0..5 {
        let context = app.context();
        app.call_in(&context, "test:f", &[]).await.unwrap();
        assert!(is_open(), "the execution has not ended");
        drop(context);
        assert!(!is_open());
    }
    assert_eq!(function.pool().unwrap().created, 1);
}

#[tokio::test]
async fn a_state_that_failed_is_not_used_again() {
    let pool = PoolConfig {
        reuse: Reuse::Always,
        ..PoolConfig::default()
    };
    let script = "return { main = function(how)
        if how == 'return' then return nil, 'no' end
        if how == 'spawn' then coroutine.spawn(function() require('time').sleep('1h') end) return end
        error('no')
    end }";
    let (app, function) = pooled(script, pool);
    for (how, kept) in [("raise", 0), ("spawn", 0), ("return", 1)] {
        let _ = app.call("test:f", &[how.into()]).await;
        assert_eq!(function.stocked(), (0, kept), "{how}");
    }
}

#[tokio::test]
async fn a_large_state_is_not_kept() {
    let script = "return { main = function(size) kept = ('x'):rep(size) end }";
    for (size, kept) in [(10, 1), (2 << 20, 0)] {
        let pool = PoolConfig {
            reuse: Reuse::Always,
            retained_bytes_max: Some(1 << 20),
            ..PoolConfig::default()
        };
        let (app, function) = pooled(script, pool);
        app.call("test:f", &[Value::Integer(size)]).await.unwrap();
        assert_eq!(function.stocked(), (0, kept), "{size}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_used_state_that_nobody_wants_is_dropped() {
    let pool = PoolConfig {
        reuse: Reuse::Always,
        ..PoolConfig::default()
    };
    let (app, function) = pooled(LEAVES, pool);
    found(&app, &app.context()).await;
    assert_eq!(function.stocked(), (0, 1));
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(function.stocked(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn unused_states_are_made_ahead() {
    let sleeps = "return { main = function() require('time').sleep('1s') end }";
    let pool = PoolConfig {
        max_size: 4,
        ready: Ready::Always(3),
        ..PoolConfig::default()
    };
    let (app, function) = pooled(sleeps, pool);
    assert!(function.is_cold());
    function.warm().await.unwrap();
    assert_eq!((function.stocked(), function.is_cold()), ((3, 0), false));
    app.call("test:f", &[]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(function.stocked(), (3, 0), "what was taken is replaced");

    let pool = PoolConfig {
        max_size: 8,
        ready: Ready::Following,
        ..PoolConfig::default()
    };
    let (app, function) = pooled(sleeps, pool);
    assert_eq!(function.stocked(), (0, 0));
    let context = app.context();
    let calls = (0..5).map(|_| {
        let (dispatcher, context) = (app.dispatcher.clone(), context.with_own_execution());
        tokio::spawn(async move {
            let function = dispatcher.resolve(&id("test:f")).unwrap();
            let mut result = wippy_wit::ValueWriter::default();
            let mut arguments = wippy_wit::ValueReader::arguments(&[]);
            dispatcher
                .call(&context, &function, &mut arguments, &mut result)
                .unwrap()
                .await
                .unwrap();
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert!(function.stocked().0 >= 4, "{:?}", function.stocked());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(function.stocked(), (0, 0), "nobody calls any more");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses() {
    let pool = PoolConfig {
        max_size: 2,
        queue: 3,
        ..PoolConfig::default()
    };
    let (app, _) = pooled(
        "return { main = function() require('time').sleep('1s') end }",
        pool,
    );
    let mut outcomes = BTreeSet::new();
    let calls = (0..8).map(|_| {
        let (dispatcher, context) = (app.dispatcher.clone(), app.context());
        tokio::spawn(async move {
            let function = dispatcher.resolve(&id("test:f")).unwrap();
            let mut result = wippy_wit::ValueWriter::default();
            let mut arguments = wippy_wit::ValueReader::arguments(&[]);
            dispatcher
                .call(&context, &function, &mut arguments, &mut result)
                .unwrap()
                .await
        })
    });
    let mut refused = 0;
    for call in calls.collect::<Vec<_>>() {
        if let Err(error) = call.await.unwrap() {
            assert_eq!((error.kind(), error.retryable()), (ErrorKind::RateLimited, true));
            outcomes.insert(error.message().to_owned());
            refused += 1;
        }
    }
    assert_eq!(refused, 3);
    let expected = "test:f: 2 calls run and 3 wait, try again later".to_owned();
    assert_eq!(outcomes, BTreeSet::from([expected]));
}
