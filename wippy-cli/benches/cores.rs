//! What a second core brings: calls on two threads and on one, of guests that are used again and of guests that are made afresh.
//!
//! As many callers as threads call through the dispatcher, each an execution of its own. Turns of one and of two threads
//! alternate. Two ratios are told: calls a second, which needs a machine whose second core has nothing else to do, and
//! calls for a second of processor time, twice: what two cores would bring if both were ours alone.
//!
//! `cargo bench -p wippy-cli --bench cores [FILTER]`.
#![allow(
    unsafe_code,
    unreachable_pub,
    missing_docs,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark is a program that prints, and stops at the first problem"
)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use support::{Rig, median};
use tokio::runtime::{Builder, Runtime};
use wippy_security::Context;
use wippy_wasm::{PoolConfig, Reuse};
use wippy_wit::Value;

/// How long one turn lasts.
const TURN: Duration = Duration::from_millis(400);
const TURNS: usize = 9;

/// Calls a guest from Lua, as applications do, for as many rounds.
const SCRIPT: &str = r#"
local funcs = require("funcs")
return {run = function(target, n)
    for i = 1, n do funcs.call(target, i, 1) end
end}
"#;

fn main() {
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let rig = Rig::empty(400);
    let pool = |reuse| PoolConfig {
        reuse,
        ..PoolConfig::default()
    };
    rig.guest("bench:reused", "bench", "add", &[], pool(Reuse::Caller));
    rig.guest("bench:fresh", "bench", "add", &[], pool(Reuse::Never));
    rig.script("bench:run", SCRIPT);

    println!(
        "{:<24} {:>14} {:>14} {:>7} {:>9} {:>7}",
        "calls a second", "one thread", "two threads", "ratio", "of time", "target"
    );
    let name = |name: &str| Value::from(name);
    let subjects: [(&str, &str, Vec<Value>, u64); 4] = [
        ("bare loop", "", Vec::new(), 1),
        (
            "wasm, reused",
            "bench:reused",
            vec![Value::Integer(1), Value::Integer(2)],
            1,
        ),
        (
            "wasm, fresh",
            "bench:fresh",
            vec![Value::Integer(1), Value::Integer(2)],
            1,
        ),
        (
            "lua to wasm, reused",
            "bench:run",
            vec![name("bench:reused"), Value::Integer(100)],
            100,
        ),
    ];
    let runtimes = [1, 2].map(runtime);
    for (title, target, arguments, each) in subjects {
        if filter
            .as_ref()
            .is_some_and(|filter| !title.contains(filter.as_str()))
        {
            continue;
        }
        let mut turns = [Vec::new(), Vec::new()];
        for _ in 0..TURNS {
            for (index, runtime) in runtimes.iter().enumerate() {
                turns[index].push(turn(runtime, index + 1, &rig, target, &arguments));
            }
        }
        let [one, two] = turns;
        let rate = |turns: &[Turn]| {
            let mut rates: Vec<f64> = turns.iter().map(|turn| turn.calls / turn.wall).collect();
            median(&mut rates) * each as f64
        };
        let efficiency = |turns: &[Turn]| {
            let calls: f64 = turns.iter().map(|turn| turn.calls).sum();
            calls / turns.iter().map(|turn| turn.processor).sum::<f64>()
        };
        println!(
            "{title:<24} {:>14.0} {:>14.0} {:>7.2} {:>9.2} {:>7.2}",
            rate(&one),
            rate(&two),
            rate(&two) / rate(&one),
            2.0 * efficiency(&two) / efficiency(&one),
            1.8
        );
    }
}

/// What one turn came to.
struct Turn {
    calls: f64,
    /// Seconds.
    wall: f64,
    /// Seconds that processors were busy with it.
    processor: f64,
}

fn runtime(threads: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads).enable_all().build().unwrap()
}

/// So many callers call for a while. An empty target is a loop that calls nothing: what the machine gives.
fn turn(runtime: &Runtime, callers: usize, rig: &Rig, target: &str, arguments: &[Value]) -> Turn {
    let waiting = Arc::new(AtomicUsize::new(callers));
    let (before, begun) = (processor_seconds(), Instant::now());
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (context, target, arguments) = (rig.context(), target.to_owned(), arguments.to_vec());
            let waiting = Arc::clone(&waiting);
            runtime.spawn(async move {
                // Nobody begins before all have a thread.
                waiting.fetch_sub(1, Ordering::SeqCst);
                while waiting.load(Ordering::SeqCst) > 0 {
                    std::hint::spin_loop();
                }
                caller(&context, &target, &arguments, begun).await
            })
        })
        .collect();
    let calls = runtime.block_on(async {
        let mut calls = 0;
        for task in tasks {
            calls += task.await.unwrap();
        }
        calls
    });
    Turn {
        calls: f64::from(calls),
        wall: begun.elapsed().as_secs_f64(),
        processor: processor_seconds() - before,
    }
}

/// Calls until the turn is over; how often.
async fn caller(context: &Context, target: &str, arguments: &[Value], begun: Instant) -> u32 {
    let mut calls = 0;
    while begun.elapsed() < TURN {
        for _ in 0..16 {
            if target.is_empty() {
                (0..1_000).for_each(|number| {
                    std::hint::black_box(number);
                });
            } else {
                support::call(context, target, arguments).await;
            }
        }
        calls += 16;
    }
    calls
}

/// Seconds that processors were busy with this process so far.
fn processor_seconds() -> f64 {
    let mut total = 0.0;
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        // A thread may end meanwhile.
        let text = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap_or_default();
        total += text
            .split(' ')
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0.0);
    }
    total / 1e9
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
