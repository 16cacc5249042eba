//! What a second core brings: calls on two threads and on one, of guests that are used again and of guests that are made afresh.
//!
//! As many callers as threads call through the dispatcher, each an execution of its own. Turns of one and of two threads,
//! and of all subjects, alternate. Two ratios are told: calls a second, the median and the range of the turns, which needs a
//! machine whose second core has nothing else to do, and calls for a second of processor time, twice: what two cores would
//! bring if both were ours alone.
//!
//! What threads share costs more at some times than at others, depending on where virtual processors are, which no guest can
//! see. The engine alone is measured beside ours for that reason: the bare loop shares nothing.
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

use support::{Rig, bare::Bare, median};
use tokio::runtime::{Builder, Runtime};
use wippy_security::Context;
use wippy_wasm::{PoolConfig, Reuse};
use wippy_wit::Value;

/// How long one turn lasts.
const TURN: Duration = Duration::from_millis(200);
const TURNS: usize = 21;

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
        "{:<24} {:>14} {:>14} {:>7} {:>10} {:>9} {:>7}",
        "calls a second", "one thread", "two threads", "ratio", "range", "of time", "target"
    );
    let call = |target: &'static str, arguments, each| Work::Call {
        target,
        arguments,
        each,
    };
    let numbers = || vec![Value::Integer(1), Value::Integer(2)];
    let rounds = vec![Value::from("bench:reused"), Value::Integer(100)];
    let subjects = [
        ("bare loop", Work::Loop),
        ("engine alone, fresh", Work::Engine(Arc::new(Bare::new("bench")))),
        ("wasm, reused", call("bench:reused", numbers(), 1)),
        ("wasm, fresh", call("bench:fresh", numbers(), 1)),
        ("lua to wasm, reused", call("bench:run", rounds, 100)),
    ];
    let runtimes = [1, 2].map(runtime);
    let wanted = |title: &str| {
        filter
            .as_ref()
            .is_none_or(|filter| title.contains(filter.as_str()))
    };
    let mut rows: Vec<_> = subjects
        .into_iter()
        .filter(|(title, _)| wanted(title))
        .map(|(title, work)| (title, work, [Vec::new(), Vec::new()]))
        .collect();
    for _ in 0..TURNS {
        for (_, work, turns) in &mut rows {
            for (index, runtime) in runtimes.iter().enumerate() {
                turns[index].push(turn(runtime, index + 1, &rig, work));
            }
        }
    }
    for (title, work, turns) in &rows {
        print(title, work, turns);
    }
}

fn print(title: &str, work: &Work, [one, two]: &[Vec<Turn>; 2]) {
    let rates = |turns: &[Turn]| -> Vec<f64> {
        let rate = |turn: &Turn| turn.calls / turn.wall * work.each();
        turns.iter().map(rate).collect()
    };
    let (mut ones, mut twos) = (rates(one), rates(two));
    let mut ratios: Vec<f64> = ones.iter().zip(&twos).map(|(one, two)| two / one).collect();
    let efficiency = |turns: &[Turn]| {
        let calls: f64 = turns.iter().map(|turn| turn.calls).sum();
        calls / turns.iter().map(|turn| turn.processor).sum::<f64>()
    };
    let ratio = median(&mut ratios);
    println!(
        "{title:<24} {:>14.0} {:>14.0} {ratio:>7.2} {:>5.2}-{:.2} {:>9.2} {:>7.2}",
        median(&mut ones),
        median(&mut twos),
        ratios[0],
        ratios[ratios.len() - 1],
        2.0 * efficiency(two) / efficiency(one),
        1.8
    );
}

/// What is done again and again.
#[derive(Clone)]
enum Work {
    /// Nothing: what the machine gives.
    Loop,
    /// An instance is made, called and dropped, by the engine without us.
    Engine(Arc<Bare>),
    /// A call of ours, which stands for so many.
    Call {
        target: &'static str,
        arguments: Vec<Value>,
        each: u32,
    },
}

impl Work {
    fn each(&self) -> f64 {
        match self {
            Self::Call { each, .. } => f64::from(*each),
            Self::Loop | Self::Engine(_) => 1.0,
        }
    }

    async fn run(&self, context: &Context) {
        match self {
            Self::Loop => (0..1_000).for_each(|number| {
                std::hint::black_box(number);
            }),
            Self::Engine(bare) => {
                let (mut store, add) = bare.ready().await;
                std::hint::black_box(add.call_async(&mut store, (1, 2)).await.unwrap());
            }
            Self::Call {
                target, arguments, ..
            } => {
                support::call(context, target, arguments).await;
            }
        }
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

/// So many callers work for a while.
fn turn(runtime: &Runtime, callers: usize, rig: &Rig, work: &Work) -> Turn {
    let waiting = Arc::new(AtomicUsize::new(callers));
    let (before, begun) = (processor_seconds(), Instant::now());
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (context, work) = (rig.context(), work.clone());
            let waiting = Arc::clone(&waiting);
            runtime.spawn(async move {
                // Nobody begins before all have a thread.
                waiting.fetch_sub(1, Ordering::SeqCst);
                while waiting.load(Ordering::SeqCst) > 0 {
                    std::hint::spin_loop();
                }
                caller(&context, &work, begun).await
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

/// Works until the turn is over; how often.
async fn caller(context: &Context, work: &Work, begun: Instant) -> u32 {
    let mut rounds = 0;
    while begun.elapsed() < TURN {
        for _ in 0..16 {
            work.run(context).await;
        }
        rounds += 16;
    }
    rounds
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
