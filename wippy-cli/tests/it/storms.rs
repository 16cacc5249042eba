//! Storms over a whole application: entries that change under load, and calls that are given up on their way through both
//! languages. No call fails, and every slot comes back.
//!
//! `WIPPY_UPDATES=6000` says how many changes there are, ten milliseconds apart; `WIPPY_CANCELLED=100000` how many calls are given
//! up. The tests print what came of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::TempDir;
use tokio::{
    runtime::{Builder, Runtime},
    time::{MissedTickBehavior, interval},
};
use wippy_cli::{App, Config};
use wippy_registry::{ChangeSet, Entry, EntryId};
use wippy_wit::Value;

use crate::shell::{FILES, guest, project, write};

/// `both` asks a module, a script and, through a guest, the script again; `nap` waits as long as it is told.
const INDEX: &str = r#"version: "1.0"
namespace: app
entries:
  - name: both
    kind: function.lua
    modules: [funcs]
    pool: { type: lazy, max_size: 4 }
    method: run
    source: |
      local funcs = require("funcs")
      return { run = function()
        local module, err = funcs.call("app:module")
        if err then error(err) end
        local script, err = funcs.call("app:script")
        if err then error(err) end
        local relayed, err = funcs.call("app:relay", "app:text", "x")
        if err then error(err) end
        return module, nil
      end }
  - name: script
    kind: function.lua
    method: run
    source: "return { run = function() return 0 end }"
  - name: text
    kind: function.lua
    modules: [funcs]
    method: run
    source: |
      return { run = function() return tostring(require("funcs").call("app:script")) end }
  - name: module
    kind: function.wat
    source: (module (func (export "answer") (result i32) i32.const 0))
    wit: "answer: func() -> s32;"
    method: answer
    pool: { type: static, workers: 4 }
  - name: nap
    kind: function.lua
    modules: [time]
    pool: { type: lazy, max_size: 4 }
    method: run
    source: |
      local time = require("time")
      return { run = function(ms) time.sleep(ms .. "ms") return ms end }
  - name: through
    kind: function.lua
    modules: [funcs]
    pool: { type: lazy, max_size: 4 }
    method: run
    source: |
      local funcs = require("funcs")
      return { run = function(ms)
        local future = funcs.async("app:nap", "1")
        local answer, err = funcs.call("app:relay", "app:nap", ms)
        if err then error(err) end
        future:cancel()
        return answer
      end }
"#;

fn load(pool: &str) -> (Arc<App>, TempDir) {
    let folder = project("");
    let relay = guest(folder.path(), "calls-funcs");
    let index = format!(
        "{INDEX}{FILES}  - name: relay\n    kind: function.wasm\n{relay}    method: relay\n    imports: [funcs]\n    pool: {pool}\n"
    );
    write(folder.path(), "src/_index.yaml", &index);
    let app = App::load(folder.path(), &Config::default());
    let app = app.unwrap_or_else(|problems| panic!("{}", problems.render()));
    (Arc::new(app), folder)
}

fn id(text: &str) -> EntryId {
    text.parse().unwrap()
}

fn size(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn two_threads() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

/// The module, or the script, that answers with `number`.
fn answering(number: usize) -> Entry {
    if number.is_multiple_of(2) {
        let source = format!("(module (func (export \"answer\") (result i32) i32.const {number}))");
        Entry::new(id("app:module"), "function.wat").with_data(&json!({
            "source": source, "wit": "answer: func() -> s32;", "method": "answer",
            "pool": { "type": "static", "workers": 4 },
        }))
    } else {
        let source = format!("return {{ run = function() return {number} end }}");
        Entry::new(id("app:script"), "function.lua").with_data(&json!({ "source": source, "method": "run" }))
    }
}

/// An entry changes every ten milliseconds while four callers call without a pause.
#[test]
fn no_call_fails_while_entries_change() {
    let updates = size("WIPPY_UPDATES", 100);
    two_threads().block_on(async move {
        let (app, _folder) = load("{ type: lazy, max_size: 4 }");
        let stop = Arc::new(AtomicBool::new(false));
        let callers: Vec<_> = (0..4)
            .map(|_| tokio::spawn(calls_both(Arc::clone(&app), Arc::clone(&stop))))
            .collect();
        let mut beat = interval(Duration::from_millis(10));
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (before, begun) = (resident_mib(), Instant::now());
        let mut each = Vec::new();
        for number in 1..=updates {
            beat.tick().await;
            let begun = Instant::now();
            app.change(ChangeSet::new().update(answering(number)))
                .await
                .unwrap();
            each.push(begun.elapsed());
        }
        let took = begun.elapsed();
        each.sort_unstable();
        let part = |hundredths: usize| each[(each.len() - 1) * hundredths / 100];
        stop.store(true, Ordering::Relaxed);
        let mut calls = 0;
        for caller in callers {
            calls += caller.await.unwrap();
        }
        println!(
            "{updates} changes in {took:?} under {calls} calls, one in {:?}, 99 of 100 in {:?}; {before} MiB before, {} MiB after",
            part(50),
            part(99),
            resident_mib()
        );
        assert!(calls > 0);
        for (name, last) in [("app:module", updates & !1), ("app:script", (updates - 1) | 1)] {
            let answer = app.call(&id(name), Vec::new()).await;
            assert_eq!(answer, Ok(Value::Integer(last.try_into().unwrap())));
        }
    });
}

/// Calls until told to stop; how often. Answers never come from an entry as it was before one that answered already.
async fn calls_both(app: Arc<App>, stop: Arc<AtomicBool>) -> usize {
    let (mut seen, mut calls) = ((0, 0), 0);
    let both = id("app:both");
    while !stop.load(Ordering::Relaxed) {
        let answer = app.call(&both, Vec::new()).await.unwrap();
        let Value::Integer(module) = answer else {
            panic!("{answer:?}")
        };
        let script = app.call(&id("app:script"), Vec::new()).await.unwrap();
        let Value::Integer(script) = script else {
            panic!("{script:?}")
        };
        assert!(
            module >= seen.0 && script >= seen.1,
            "{module} {script} after {seen:?}"
        );
        seen = (module, script);
        calls += 1;
        tokio::task::yield_now().await;
    }
    calls
}

/// Calls from a script through a guest to a script that waits are given up at random times.
#[test]
fn calls_that_are_given_up_leave_their_slots() {
    let count = size("WIPPY_CANCELLED", 1_000);
    for pool in [
        "{ type: inline }",
        "{ type: lazy, max_size: 4 }",
        "{ type: static, workers: 4 }",
        "{ type: adaptive, max_size: 4, reuse: never }",
    ] {
        let each = count.div_ceil(4);
        let ended = two_threads().block_on(give_up(pool, each));
        println!("{pool}: {each} given up, {ended} ended before");
    }
}

/// How many ended before they could be given up.
async fn give_up(pool: &str, count: usize) -> usize {
    let (app, _folder) = load(pool);
    let left = Arc::new(AtomicUsize::new(count));
    let callers: Vec<_> = (0..8)
        .map(|number| tokio::spawn(gives_up(Arc::clone(&app), number, Arc::clone(&left))))
        .collect();
    let mut ended = 0;
    for caller in callers {
        ended += caller.await.unwrap();
    }
    // All slots of everything at once, twice over.
    for _ in 0..2 {
        let calls: Vec<_> = (0..4)
            .map(|_| {
                let app = Arc::clone(&app);
                tokio::spawn(async move { app.call(&id("app:through"), vec!["50".into()]).await })
            })
            .collect();
        for call in calls {
            let outcome = tokio::time::timeout(Duration::from_mins(1), call).await;
            assert_eq!(outcome.expect("a slot is missing").unwrap(), Ok("50".into()));
        }
    }
    ended
}

async fn gives_up(app: Arc<App>, number: usize, left: Arc<AtomicUsize>) -> usize {
    let (through, mut ended) = (id("app:through"), 0);
    for turn in 0.. {
        if left.load(Ordering::Relaxed) == 0 {
            break;
        }
        // No two of them are in step.
        let patience = (turn * 7 + number * 13) % 41;
        let waiting = async {
            for _ in 0..patience {
                tokio::task::yield_now().await;
            }
            if patience.is_multiple_of(4) {
                tokio::time::sleep(Duration::from_millis(patience as u64 / 8)).await;
            }
        };
        tokio::select! {
            biased;
            outcome = app.call(&through, vec!["1".into()]) => {
                assert_eq!(outcome, Ok("1".into()));
                ended += 1;
            }
            () = waiting => {
                let one_less = |left: usize| left.checked_sub(1);
                let _ = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
            }
        }
    }
    ended
}

/// Memory of this process.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kib.unwrap_or(0_u64) >> 10
}
