//! A supervised tree under a killer: whoever is ended, what others hear of it is told exactly once, and everything comes back.
//!
//! `WIPPY_TREE_SECONDS` says how long the killer goes on; two seconds if nothing is said.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use wippy_cli::supervisor::State;
use wippy_security::{Ended, Letter, Mailbox, Permit, Process, ProcessFuture, Processes, Spawn, Start};
use wippy_wit::Value;

use crate::{
    shell,
    stage::{Stage, id},
};

/// Guards, which are services, and the workers that each keeps.
const GUARDS: usize = 4;
const WORKERS: usize = 6;

/// A guard counts what it hears of each worker, and starts another when it has heard both of its end. A worker sends numbers
/// to the auditor. Every second worker is a guest, which only waits.
const INDEX: &str = r#"namespace: app
entries:
{files}
  - name: host
    kind: process.host
    lifecycle: { auto_start: true, stop_timeout: 1s }
  - name: guest
    kind: process.wasm
{guest}
    imports: [process]
    method: relay
  - name: worker
    kind: process.lua
    method: main
    modules: [time]
    source: |
      local time = require("time")
      return { main = function()
        local number = 0
        while true do
          number = number + 1
          while not process.send("auditor", "number", number) do time.sleep("1ms") end
          time.sleep("1ms")
        end
      end }
  - name: guard
    kind: process.lua
    method: main
    source: |
      local function wrong(what) process.send("auditor", "wrong", what) end
      return { main = function(name, workers)
        process.set_options({ trap_links = true })
        process.registry.register(name)
        local events, inbox = process.events(), process.inbox()
        local exits, downs, started = {}, {}, 0
        local function start()
          started = started + 1
          local entry, argument = "app:worker", nil
          if started % 2 == 0 then entry, argument = "app:guest", "nobody" end
          local pid, err = process.spawn_linked_monitored(entry, "app:host", argument)
          if err then return wrong("cannot start: " .. err:message()) end
          exits[pid], downs[pid] = 0, 0
        end
        for _ = 1, workers do start() end
        while true do
          local result = channel.select({ events:case_receive(), inbox:case_receive() })
          local it = result.value
          if result.channel == inbox then
            local half, count = 0, 0
            for pid in pairs(exits) do
              count = count + 1
              if exits[pid] + downs[pid] ~= 0 then half = half + 1 end
            end
            process.send(it:from() or "auditor", "report", { half = half, workers = count, started = started })
          elseif it.kind == process.event.CANCEL then
            return
          else
            local counts = it.kind == process.event.EXIT and exits or downs
            if not it.result.error then wrong("an end without its error") end
            if not counts[it.from] then
              wrong("told of a stranger or once too often: " .. it.kind)
            else
              counts[it.from] = counts[it.from] + 1
              if counts[it.from] > 1 then wrong("told twice: " .. it.kind) end
              if exits[it.from] == 1 and downs[it.from] == 1 then
                exits[it.from], downs[it.from] = nil, nil
                start()
              end
            end
          end
        end
      end }
"#;

/// Who reads what the tree sends: whether numbers come in their order, and what is wrong.
#[derive(Default)]
struct Auditor(Mutex<Audit>);

#[derive(Default)]
struct Audit {
    last: HashMap<String, i64>,
    numbers: u64,
    wrong: Vec<String>,
    reports: Vec<Value>,
}

impl Auditor {
    async fn read(&self, mailbox: Mailbox) {
        loop {
            let Letter::Message(message, _place) = mailbox.next().await else {
                continue;
            };
            let from = message.from.map(|pid| pid.to_string()).unwrap_or_default();
            let payload = message.payloads.into_iter().next().unwrap_or_default();
            let mut audit = self.0.lock().unwrap();
            match (&*message.topic, payload) {
                ("number", Value::Integer(number)) => {
                    audit.numbers += 1;
                    let last = audit.last.insert(from.clone(), number).unwrap_or_default();
                    if number != last + 1 {
                        audit.wrong.push(format!("{from}: {number} after {last}"));
                    }
                }
                ("report", report) => audit.reports.push(report),
                (_, payload) => audit.wrong.push(format!("{from}: {payload:?}")),
            }
        }
    }
}

impl Auditor {
    /// Nothing was wrong, and there was something to be wrong.
    fn check(&self, killed: usize) {
        let audit = self.0.lock().unwrap();
        assert!(audit.wrong.is_empty(), "{:#?}", audit.wrong);
        let numbers = audit.numbers;
        assert!(numbers > 0 && killed > 10, "{killed} killed, {numbers} numbers");
    }
}

impl Process for Auditor {
    fn start(self: Arc<Self>, _: Permit, start: Start) -> ProcessFuture {
        Box::pin(async move {
            self.read(start.mailbox).await;
            Ok(Ended::Value(Value::Nil))
        })
    }
}

fn project() -> tempfile::TempDir {
    let project = tempfile::tempdir().unwrap();
    let guest = shell::guest(project.path(), "actor");
    let guards: Vec<String> = (0..GUARDS)
        .map(|number| {
            format!(
                "  - name: guard{number}\n    kind: process.service\n    process: guard\n    host: host\n    \
                 input: [guard{number}, {WORKERS}]\n    lifecycle: {{ auto_start: true, \
                 restart: {{ initial_delay: 1ms, max_delay: 5ms }} }}\n"
            )
        })
        .collect();
    let index = INDEX
        .replace("{files}\n", shell::FILES)
        .replace("{guest}\n", &guest);
    shell::write(project.path(), "src/_index.yaml", &(index + &guards.concat()));
    project
}

/// Ends a process now and then, any but the auditor.
async fn kill(stage: &Stage, auditor: &str, until: Instant) -> usize {
    let processes = stage.app.dispatcher().processes();
    let (mut killed, mut random) = (0, 0x9E37_79B9_7F4A_7C15_u64);
    while Instant::now() < until {
        let mut all = processes.all();
        all.retain(|record| record.pid().as_str() != auditor);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let chosen = usize::try_from(random >> 33).unwrap() % all.len().max(1);
        if let Some(record) = all.get(chosen) {
            processes
                .terminate(&stage.app.context(), record.pid().as_str())
                .unwrap();
            killed += 1;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    killed
}

async fn within(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_mins(1), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What each guard says of its workers.
async fn reports(processes: &Processes, stage: &Stage, auditor: &Auditor) -> Vec<Value> {
    auditor.0.lock().unwrap().reports.clear();
    for number in 0..GUARDS {
        let name = format!("guard{number}");
        processes
            .send(&stage.app.context(), &name, "report".into(), Vec::new())
            .unwrap();
    }
    within("a guard does not answer", || {
        auditor.0.lock().unwrap().reports.len() == GUARDS
    })
    .await;
    auditor.0.lock().unwrap().reports.clone()
}

#[test]
fn every_end_is_told_once_and_everything_comes_back() {
    let seconds: u64 = std::env::var("WIPPY_TREE_SECONDS").map_or(2, |text| text.parse().unwrap());
    let stage = Stage::new(project());
    stage.runtime.block_on(async {
        let (app, auditor) = (&stage.app, Arc::<Auditor>::default());
        let processes = app.dispatcher().processes();
        processes.insert(id("app:auditor"), auditor.clone());
        let spawn = Spawn {
            name: Some("auditor".into()),
            ..Spawn::new(id("app:auditor"), id("app:host"), Vec::new())
        };
        let audited = processes.launch(&app.context(), spawn, Vec::new()).unwrap();
        let services = app.start_services();
        services.settled().await;

        let until = Instant::now() + Duration::from_secs(seconds);
        let killed = kill(&stage, audited.pid().as_str(), until).await;

        let everybody = 1 + GUARDS * (1 + WORKERS);
        within("not everything is back", || {
            processes.len() == everybody
                && services
                    .states()
                    .iter()
                    .all(|(_, state)| *state == State::Running)
        })
        .await;
        for report in reports(processes, &stage, &auditor).await {
            let count = |name: &str| report.get(name).cloned().unwrap();
            assert_eq!(
                (count("half"), count("workers")),
                (Value::Integer(0), Value::Integer(i64::try_from(WORKERS).unwrap())),
            );
        }
        auditor.check(killed);

        let watched: Vec<_> = processes.all().iter().map(Arc::downgrade).collect();
        services.stop().await;
        audited.terminate("enough");
        audited.exit().await;
        within("something still runs", || processes.is_empty()).await;
        drop(audited);
        let counts = processes.counts();
        assert_eq!(counts.started, counts.ended);
        assert_eq!(processes.named("auditor").or(processes.named("guard0")), None);
        // Nobody holds what is left of them.
        within("a record is leaked", || {
            watched.iter().all(|record| record.upgrade().is_none())
        })
        .await;
    });
}
