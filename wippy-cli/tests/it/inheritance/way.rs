//! [`Way`]: an application whose functions and processes call each other along a path, and what is seen at its end.

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

/// An application with a script, a guest and a probe.
pub(super) struct Way {
    pub(super) stage: Stage,
    pub(super) probe: Arc<Probe>,
    ended: tokio::sync::Mutex<mpsc::UnboundedReceiver<()>>,
}

const PATIENCE: Duration = Duration::from_secs(20);

/// A deadline that a call meets, if the machine lets it come as far as the probe before.
pub(super) const SHORT: [Duration; 3] = [
    Duration::from_millis(300),
    Duration::from_secs(3),
    Duration::from_secs(30),
];

impl Way {
    /// An application whose function `row` calls `target` with `rest` as the script says.
    pub(super) fn new(script: &str) -> Self {
        Self::with(script, "")
    }

    /// The same with further entries.
    pub(super) fn with(script: &str, entries: &str) -> Self {
        let index = format!("namespace: app\nentries:\n{FILES}");
        let project = project(&index);
        let (wasm, actor) = (guest(project.path(), "passes-on"), guest(project.path(), "actor"));
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
            "{index}  - name: wasm\n    kind: function.wasm\n    method: pass-on\n    imports: [funcs]\n{wasm}  - name: watcher\n    \
             kind: process.wasm\n    method: watch\n    imports: [process]\n{actor}{}{}{PROCESSES}{POLICIES}{entries}",
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
            looked: Notify::new(),
        });
        stage.app.dispatcher().insert(id("test:probe"), probe.clone());
        Self {
            stage,
            probe,
            ended: ended.into(),
        }
    }

    /// Where calls begin: everything that can be inherited is there.
    pub(super) fn context(&self) -> Context {
        self.identity()
            .with_values([("tenant".into(), Value::from("ours"))].into())
            .with_timeout(Duration::from_mins(10))
    }

    /// Ada and what she may do, and nothing else that could be inherited. `SECURITY` says the same in YAML.
    pub(super) fn identity(&self) -> Context {
        let actor = Actor {
            id: "ada".into(),
            meta: Value::record([("role", Value::from("editor"))]),
        };
        self.stage.acting(actor, &["app:everything"])
    }

    pub(super) async fn call(&self, context: &Context, path: &str) -> Result<Value, CallError> {
        let (first, rest) = path.split_once('|').unwrap();
        self.stage.call_within(context, first, &[rest.into()]).await
    }

    /// The context that the probe is called with.
    pub(super) async fn look(&self, began: &Context, path: &str) -> Result<Context, CallError> {
        self.call(began, path).await?;
        let seen = self.probe.seen.lock().unwrap().take();
        seen.ok_or_else(|| CallError::internal("the probe was not called"))
    }

    /// Whether the probe ends when nobody waits for the first call any more.
    pub(super) async fn ends_when_dropped(&self, began: &Context, path: &str) -> bool {
        let path = format!("{path}|wait");
        tokio::select! {
            _ = self.call(began, &path) => return false,
            () = self.probe.waits.notified() => {}
        }
        self.has_ended().await
    }

    /// Whether the call and the probe end when the time of the first call is over. A machine that is too busy to come
    /// as far as the probe in that time gets more.
    pub(super) async fn ends_by_deadline(&self, began: &Context, path: &str) -> bool {
        for timeout in SHORT {
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

    /// The context that the probe is called with by something that nobody here waits for.
    pub(super) async fn seen(&self) -> Context {
        let looked = tokio::time::timeout(PATIENCE, self.probe.looked.notified());
        looked.await.expect("the probe is called");
        self.probe
            .seen
            .lock()
            .unwrap()
            .take()
            .expect("it keeps what it sees")
    }

    /// Waits until somebody waits in the probe.
    pub(super) async fn is_waited_in(&self) {
        let waits = tokio::time::timeout(PATIENCE, self.probe.waits.notified());
        waits.await.expect("the probe is called");
    }

    pub(super) async fn has_ended(&self) -> bool {
        let mut ended = self.ended.lock().await;
        tokio::time::timeout(PATIENCE, ended.recv()).await.is_ok()
    }
}

/// The identity of [`Way::identity`], as an entry's `lifecycle.security`.
pub(super) const SECURITY: &str =
    "security: { actor: { id: ada, meta: { role: editor } }, policies: [everything] }";

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
  - name: upgrading
    kind: process.lua
    method: main
    source: return { main = function(...) process.upgrade('app:worker', ...) end }
  - name: knows
    kind: process.lua
    method: main
    modules: [funcs]
    source: return { main = function() return require('funcs').call('app:wasm', 'app:lua|test:probe') end }
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
        elseif how == 'coroutine' then
          coroutine.spawn(function()
            assert(process.with_options({}):spawn_monitored('app:worker', 'app:host', target, rest))
          end)
        elseif how == 'upgrading' then
          assert(process.spawn_monitored('app:upgrading', 'app:host', target, rest))
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
pub(super) struct Probe {
    seen: Mutex<Option<Context>>,
    looked: Notify,
    waits: Notify,
    /// How many calls waited so far.
    pub(super) waiting: AtomicUsize,
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
        self.looked.notify_one();
        call.result.string(b"seen");
        // What is inherited is also what decides.
        authorize(call.context, "test.look", "probe").map(drop)
    }
}
