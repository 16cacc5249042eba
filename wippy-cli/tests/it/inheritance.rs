//! What a callee inherits, whatever way it was called: every row of [`ROWS`] against every column of [`COLUMNS`].
//!
//! Each row calls three levels deep through real scripts and a real WebAssembly guest; at the end stands a handler that
//! shows the context it was called with. A new way to call is one more row.

mod edges;
mod messages;
mod way;

use std::sync::Arc;

use wippy_security::Context;

use self::way::Way;
use crate::stage::id;

/// One way to be called.
struct Row {
    name: &'static str,
    /// The entries that are passed through; `row` is the script below.
    path: &'static str,
    /// How the script calls `target` with `rest`.
    script: &'static str,
}

const ROWS: &[Row] = &[
    Row {
        name: "Lua to Lua",
        path: "app:row|app:lua|app:wasm|app:lua|test:probe",
        script: "return funcs.call(target, rest)",
    },
    Row {
        name: "Lua to WebAssembly",
        path: "app:row|app:wasm|app:lua|test:probe",
        script: "return funcs.call(target, rest)",
    },
    Row {
        name: "WebAssembly to Lua",
        path: "app:wasm|app:lua|app:wasm|test:probe",
        script: "",
    },
    Row {
        name: "WebAssembly to WebAssembly",
        path: "app:wasm|app:wasm|app:lua|test:probe",
        script: "",
    },
    Row {
        name: "a coroutine of the script",
        path: "app:row|app:wasm|app:lua|test:probe",
        script: "return coroutine.wrap(function() return funcs.call(target, rest) end)()",
    },
    Row {
        name: "coroutine.spawn",
        path: "app:row|app:wasm|app:lua|test:probe",
        script: "
            local value, err, done
            coroutine.spawn(function() value, err = funcs.call(target, rest) done = true end)
            while not done do time.sleep('1ms') end
            return value, err",
    },
    Row {
        name: "funcs.async",
        path: "app:row|app:wasm|app:lua|test:probe",
        script: "return funcs.async(target, rest):await()",
    },
    Row {
        name: "executor:call",
        path: "app:row|app:wasm|app:lua|test:probe",
        script: "return funcs.new():call(target, rest)",
    },
    Row {
        name: "executor:async",
        path: "app:row|app:wasm|app:lua|test:probe",
        script: "return funcs.new():async(target, rest):await()",
    },
    Row {
        name: "an executor with a longer timeout",
        path: "app:row|app:wasm|app:lua|test:probe",
        script: "return funcs.new():with_options({ timeout = 3600000 }):call(target, rest)",
    },
    Row {
        name: "process.exec",
        path: "app:row|app:wasm|app:lua|test:probe",
        script: "return process.exec('app:worker', 'app:host', target, rest)",
    },
];

/// Ways to start a process, and to go on as another. It has the identity and the values of who started it, and otherwise lives on its own.
const SPAWNS: &[Row] = &[
    Row {
        name: "process.spawn",
        path: "app:row|app:wasm|app:lua|test:probe",
        script: "return process.exec('app:parent', 'app:host', 'spawn_monitored', target, rest)",
    },
    Row {
        name: "process.spawn_linked",
        path: "app:row|app:wasm|app:lua|test:probe",
        script: "return process.exec('app:parent', 'app:host', 'spawn_linked_monitored', target, rest)",
    },
    Row {
        name: "a message",
        path: "app:row|app:wasm|app:lua|test:probe",
        script: "return process.exec('app:parent', 'app:host', 'message', target, rest)",
    },
    Row {
        name: "a spawner",
        path: "app:row|app:wasm|app:lua|test:probe",
        script: "return process.exec('app:parent', 'app:host', 'spawner', target, rest)",
    },
    Row {
        name: "a spawner that a coroutine uses",
        path: "app:row|app:wasm|app:lua|test:probe",
        script: "return process.exec('app:parent', 'app:host', 'coroutine', target, rest)",
    },
    Row {
        name: "process.upgrade of a spawned process",
        path: "app:row|app:wasm|app:lua|test:probe",
        script: "return process.exec('app:parent', 'app:host', 'upgrading', target, rest)",
    },
    Row {
        name: "a spawning WebAssembly process",
        path: "app:row|app:wasm|app:lua|test:probe",
        // The guest can hand no arguments on: what it spawns knows the way.
        script: "
            local letter, err = process.exec('app:watcher', 'app:host', 'app:knows', 'app:host')
            if letter and letter:find('may not do') then return nil, errors.new(letter) end
            return letter, err",
    },
];

/// Whether what is seen at the end is what the call began with.
type Column = (&'static str, fn(&Context, &Context) -> bool);

const COLUMNS: &[Column] = &[
    ("actor", |began, seen| began.actor() == seen.actor()),
    ("scope", |began, seen| began.scope() == seen.scope()),
    ("values", |began, seen| began.values() == seen.values()),
    ("deadline", |began, seen| began.deadline() == seen.deadline()),
    ("call id", |began, seen| began.call_id() == seen.call_id()),
    ("depth", |began, seen| seen.depth() >= began.depth() + 3),
];

#[test]
fn every_way_to_call_hands_everything_on() {
    let mut wrong = Vec::new();
    for row in ROWS {
        let mut cell = |column: &str, holds: bool| {
            if !holds {
                wrong.push(format!("{} / {column}", row.name));
            }
        };
        let way = Way::new(row.script);
        way.stage.runtime.block_on(async {
            let began = way.context();
            match way.look(&began, row.path).await {
                Ok(seen) => COLUMNS
                    .iter()
                    .for_each(|(column, holds)| cell(column, holds(&began, &seen))),
                Err(error) => cell(&format!("all: {error}"), false),
            }
            cell("cancellation", way.ends_when_dropped(&began, row.path).await);
            cell(
                "cancellation by deadline",
                way.ends_by_deadline(&began, row.path).await,
            );
        });
    }
    assert!(wrong.is_empty(), "not handed on:\n  {}", wrong.join("\n  "));
}

#[test]
fn every_way_to_spawn_hands_identity_and_values_on() {
    let mut wrong = Vec::new();
    for row in SPAWNS {
        let way = Way::new(row.script);
        way.stage.runtime.block_on(async {
            let began = way.context();
            let seen = way
                .look(&began, row.path)
                .await
                .unwrap_or_else(|error| panic!("{}: {error}", row.name));
            for (column, holds) in COLUMNS {
                let is_own = matches!(*column, "deadline" | "depth");
                if !is_own && !holds(&began, &seen) {
                    wrong.push(format!("{} / {column}", row.name));
                }
            }
            if seen.deadline().is_some() {
                wrong.push(format!("{} / a deadline of somebody else", row.name));
            }
        });
    }
    assert!(wrong.is_empty(), "not handed on:\n  {}", wrong.join("\n  "));
}

/// What a script changes for its callees, and the column that shows it.
const CHANGES: &[(&str, &str)] = &[
    (
        "actor",
        "with_actor(security.new_actor('other', { role = 'guest' }))",
    ),
    ("scope", "with_scope(security.named_scope('app:others'))"),
    ("values", "with_context({ tenant = 'theirs' })"),
    ("deadline", "with_options({ timeout = 30000 })"),
];

#[test]
fn what_a_builder_changes_is_handed_on_and_the_rest_stays() {
    let mut wrong = Vec::new();
    for (changed, builder) in CHANGES {
        let way = Way::new(&format!("return funcs.new():{builder}:call(target, rest)"));
        way.stage.runtime.block_on(async {
            let began = way.context();
            let seen = way
                .look(&began, "app:row|app:wasm|app:lua|test:probe")
                .await
                .unwrap_or_else(|error| panic!("{builder}: {error}"));
            for (column, holds) in COLUMNS {
                if holds(&began, &seen) == (column == changed) {
                    wrong.push(format!("{builder} / {column}"));
                }
            }
            if *changed == "deadline" && seen.deadline() > began.deadline() {
                wrong.push(format!("{builder} / longer than its caller may take"));
            }
        });
    }
    assert!(wrong.is_empty(), "changed wrongly:\n  {}", wrong.join("\n  "));
}

#[test]
fn what_the_caller_may_not_do_its_callees_may_not_either() {
    for row in ROWS.iter().chain(SPAWNS) {
        let way = Way::new(row.script);
        way.stage.runtime.block_on(async {
            let policies = way.stage.app.dispatcher().policies();
            let scope = policies
                .gather([], &[id("app:everything"), id("app:no_probe")])
                .unwrap();
            let began = way.context();
            let began = began.with_identity(began.actor().cloned(), Some(Arc::new(scope)));
            let error = way.look(&began, row.path).await.unwrap_err();
            let expected = "actor `ada` may not do `funcs.call` on `test:probe`";
            assert!(error.message().contains(expected), "{}: {error}", row.name);
        });
    }
}
