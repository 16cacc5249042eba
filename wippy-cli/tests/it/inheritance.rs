//! What a callee inherits, whatever way it was called: every row of [`ROWS`] against every column of [`COLUMNS`].
//!
//! Each row calls three levels deep through real scripts and a real WebAssembly guest; at the end stands a handler that
//! shows the context it was called with. A new way to call is one more row.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc};
use wippy_security::{Actor, Call, CallError, Context, ErrorKind, Handler, Permit, authorize};
use wippy_wit::{Datum, Value};

use crate::{
    shell::{FILES, guest, project, write},
    stage::{Stage, id},
};

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

/// Ways to start a process. It has the identity and the values of who started it, and otherwise lives on its own.
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

/// An application with a script, a guest and a probe.
struct Way {
    stage: Stage,
    probe: Arc<Probe>,
    ended: tokio::sync::Mutex<mpsc::UnboundedReceiver<()>>,
}

const PATIENCE: Duration = Duration::from_secs(20);

impl Way {
    fn new(script: &str) -> Self {
        let index = format!("namespace: app\nentries:\n{FILES}");
        let project = project(&index);
        let wasm = guest(project.path(), "passes-on");
        let lua = |name: &str, script: &str| {
            format!(
                "  - name: {name}
    kind: function.lua
    method: main
    modules: [funcs, time, security]
    source: |
      local funcs, time, security = require('funcs'), require('time'), require('security')
      local function main(path)
        local target, rest = path:match('^([^|]*)|?(.*)$')
        {}
      end
      return {{ main = main }}
",
                script.replace('\n', "\n        ")
            )
        };
        let index = format!(
            "{index}  - name: wasm\n    kind: function.wasm\n    method: pass-on\n    imports: [funcs]\n{wasm}{}{}{PROCESSES}{POLICIES}",
            lua("lua", "return funcs.call(target, rest)"),
            lua("row", script),
        );
        write(project.path(), "src/_index.yaml", &index);
        let stage = Stage::new(project);
        let (sender, ended) = mpsc::unbounded_channel();
        let probe = Arc::new(Probe {
            seen: Mutex::default(),
            waits: Notify::new(),
            waiting: AtomicUsize::new(0),
            ended: sender,
        });
        stage.app.dispatcher().insert(id("test:probe"), probe.clone());
        Self {
            stage,
            probe,
            ended: ended.into(),
        }
    }

    /// Where calls begin: everything that can be inherited is there.
    fn context(&self) -> Context {
        let actor = Actor {
            id: "ada".into(),
            meta: Value::record([("role", Value::from("editor"))]),
        };
        self.stage
            .acting(actor, &["app:everything"])
            .with_values([("tenant".into(), Value::from("ours"))].into())
            .with_timeout(Duration::from_mins(10))
    }

    async fn call(&self, context: &Context, path: &str) -> Result<Value, CallError> {
        let (first, rest) = path.split_once('|').unwrap();
        self.stage.call_within(context, first, &[rest.into()]).await
    }

    /// The context that the probe is called with.
    async fn look(&self, began: &Context, path: &str) -> Result<Context, CallError> {
        self.call(began, path).await?;
        let seen = self.probe.seen.lock().unwrap().take();
        seen.ok_or_else(|| CallError::internal("the probe was not called"))
    }

    /// Whether the probe ends when nobody waits for the first call any more.
    async fn ends_when_dropped(&self, began: &Context, path: &str) -> bool {
        let path = format!("{path}|wait");
        tokio::select! {
            _ = self.call(began, &path) => return false,
            () = self.probe.waits.notified() => {}
        }
        self.has_ended().await
    }

    /// Whether the call and the probe end when the time of the first call is over. A machine that is too busy to come
    /// as far as the probe in that time gets more.
    async fn ends_by_deadline(&self, began: &Context, path: &str) -> bool {
        for timeout in [300, 3_000, 30_000].map(Duration::from_millis) {
            let before = self.probe.waiting.load(Ordering::SeqCst);
            let began = began.with_timeout(timeout);
            let error = self.call(&began, &format!("{path}|wait")).await.unwrap_err();
            if self.probe.waiting.load(Ordering::SeqCst) == before {
                continue;
            }
            let timed_out = error.kind() == ErrorKind::Timeout || error.message().contains("TIMEOUT");
            return timed_out && self.has_ended().await;
        }
        false
    }

    async fn has_ended(&self) -> bool {
        let mut ended = self.ended.lock().await;
        tokio::time::timeout(PATIENCE, ended.recv()).await.is_ok()
    }
}

const PROCESSES: &str = "  - { name: host, kind: process.host }
  - name: worker
    kind: process.lua
    method: main
    modules: [funcs]
    source: |
      local funcs = require('funcs')
      local function main(target, rest)
        if not target then
          local message = process.inbox():receive():payload():data()
          target, rest = message.target, message.rest
        end
        return funcs.call(target, rest)
      end
      return { main = main }
  - name: parent
    kind: process.lua
    method: main
    source: |
      local function main(how, target, rest)
        process.set_options({ trap_links = true })
        if how == 'message' then
          local pid = assert(process.spawn_monitored('app:worker', 'app:host'))
          process.send(pid, 'work', { target = target, rest = rest })
        elseif how == 'spawner' then
          assert(process.with_options({}):spawn_monitored('app:worker', 'app:host', target, rest))
        else
          assert(process[how]('app:worker', 'app:host', target, rest))
        end
        repeat local event = process.events():receive()
          if event.kind == process.event.EXIT then return event.result.value, event.result.error end
        until false
      end
      return { main = main }
";

const POLICIES: &str = "  - name: everything
    kind: security.policy
    policy: { actions: '*', resources: '*', effect: allow }
    groups: [others]
  - name: others
    kind: security.policy
    policy: { actions: funcs.call, resources: '*', effect: allow }
    groups: [others]
  - name: no_probe
    kind: security.policy
    policy: { actions: funcs.call, resources: 'test:probe', effect: deny }
";

/// Shows the context it is called with, or waits to be cancelled.
struct Probe {
    seen: Mutex<Option<Context>>,
    waits: Notify,
    /// How many calls waited so far.
    waiting: AtomicUsize,
    ended: mpsc::UnboundedSender<()>,
}

struct Ending(mpsc::UnboundedSender<()>);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[async_trait]
impl Handler for Probe {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        call.arguments.enter_index(0)?;
        if matches!(call.arguments.datum(), Datum::String(b"wait")) {
            let _ending = Ending(self.ended.clone());
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.waits.notify_one();
            std::future::pending::<()>().await;
        }
        *self.seen.lock().unwrap() = Some(call.context.clone());
        call.result.string(b"seen");
        // What is inherited is also what decides.
        authorize(call.context, "test.look", "probe").map(drop)
    }
}
