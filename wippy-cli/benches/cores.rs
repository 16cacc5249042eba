//! What a second core brings: calls a second on two threads, and on one, of guests that compute and of guests that are made afresh.
//!
//! As many callers as threads call through the dispatcher, each an execution of its own. Turns of one and of two threads
//! alternate; the ratio is what the second one brings. It needs a machine whose second core is idle.
//!
//! `cargo bench -p wippy-cli --bench cores [FILTER]`; `SAMPLES=n` for more of them.
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
        "{:<24} {:>14} {:>14} {:>7} {:>7}",
        "calls a second", "one thread", "two threads", "ratio", "target"
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
        let mut rates = [Vec::new(), Vec::new()];
        let mut ratios = Vec::new();
        for _ in 0..TURNS {
            let turn = [0, 1].map(|index| turn(&runtimes[index], index + 1, &rig, target, &arguments));
            for (rate, turn) in rates.iter_mut().zip(turn) {
                rate.push(turn * each as f64);
            }
            ratios.push(turn[1] / turn[0]);
        }
        let [mut one, mut two] = rates;
        println!(
            "{title:<24} {:>14.0} {:>14.0} {:>7.2} {:>7.2}",
            median(&mut one),
            median(&mut two),
            median(&mut ratios),
            1.8
        );
    }
}

fn runtime(threads: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads).enable_all().build().unwrap()
}

/// Calls a second of so many callers at once. An empty target is a loop that calls nothing: what the machine gives.
fn turn(runtime: &Runtime, callers: usize, rig: &Rig, target: &str, arguments: &[Value]) -> f64 {
    let begun = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (context, target, arguments) = (rig.context(), target.to_owned(), arguments.to_vec());
            let begun = Arc::clone(&begun);
            runtime.spawn(async move {
                // Nobody begins before all have a thread.
                begun.fetch_add(1, Ordering::SeqCst);
                while begun.load(Ordering::SeqCst) < callers {
                    tokio::task::yield_now().await;
                }
                caller(&context, &target, &arguments).await
            })
        })
        .collect();
    runtime.block_on(async {
        let mut rate = 0.0;
        for task in tasks {
            rate += task.await.unwrap();
        }
        rate
    })
}

/// Calls a second.
async fn caller(context: &Context, target: &str, arguments: &[Value]) -> f64 {
    let begun = Instant::now();
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
    f64::from(calls) / begun.elapsed().as_secs_f64()
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
