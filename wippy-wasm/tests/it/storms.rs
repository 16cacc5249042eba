//! Storms: calls that are given up at random times, from many at once. None of the others fails, every slot comes back,
//! and nothing stays alive.
//!
//! `WIPPY_CANCELLED=100000` says how many calls are given up, over all pools together; the test prints what became of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use wippy_security::{Actor, Context, Dispatcher, DispatcherConfig};
use wippy_wasm::{Engine, EngineConfig, PoolConfig, Ready, Reuse, WasmFunction};
use wippy_wit::Value;

use crate::support::{Wants, call_named, id, prepare_on};

/// How many calls are given up.
fn count() -> usize {
    let count = std::env::var("WIPPY_CANCELLED").ok();
    count.map_or(1_600, |count| count.parse().unwrap())
}

/// Calls of one function that run at once.
const SLOTS: usize = 4;
/// Those who call; more than there are slots.
const CALLERS: u64 = 16;
/// Instances of the engine.
const INSTANCES: usize = 64;

const SHAPES: [(&str, Ready); 3] = [
    ("lazy", Ready::Nothing),
    ("static", Ready::Always(SLOTS)),
    ("adaptive", Ready::Following),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_given_up_leave_nothing_behind() {
    let reuses = [Reuse::Never, Reuse::Caller, Reuse::Actor, Reuse::Always];
    let each = count().div_ceil(SHAPES.len() * reuses.len());
    for (shape, ready) in SHAPES {
        for reuse in reuses {
            let storm = Storm::new(reuse, ready);
            let (given_up, ended) = storm.rage(each).await;
            println!("{shape} {reuse:?}: {given_up} given up, {ended} ended before");
            storm.settle().await;
        }
    }
}

/// Three guests in pools of the same kind: one that waits in the host, one that computes for ever, one that answers at once.
struct Storm {
    engine: Arc<Engine>,
    context: Context,
}

impl Storm {
    fn new(reuse: Reuse, ready: Ready) -> Self {
        let engine = Engine::new(EngineConfig {
            instances_max: INSTANCES.try_into().unwrap(),
            ..EngineConfig::default()
        })
        .unwrap();
        let context = Context::root(Dispatcher::new(DispatcherConfig::default()));
        let storm = Self { engine, context };
        let pool = PoolConfig {
            max_size: SLOTS,
            reuse,
            ready,
            ..PoolConfig::default()
        };
        storm.function("sleep", "sleeper", "test-sleep#sleep-ms", pool);
        storm.function("spin", "spin", "spin", pool);
        storm.function("add", "bench", "add", pool);
        storm
    }

    fn function(&self, name: &str, guest: &str, method: &str, pool: PoolConfig) {
        let wants = match guest {
            "sleeper" => Wants::imports(&["wasi:clocks", "wasi:poll"]),
            _ => Wants::default(),
        };
        let module = prepare_on(&self.engine, guest, method, wants).unwrap();
        let function = WasmFunction::new(module, pool);
        self.context.dispatcher().insert(id(name), Arc::new(function));
    }

    /// Gives up so many calls; how many were, and how many ended before they could be.
    async fn rage(&self, count: usize) -> (usize, usize) {
        let left = Arc::new(AtomicUsize::new(count));
        let callers = (0..CALLERS).map(|number| {
            let actor = Arc::new(Actor::new(format!("actor {}", number % 3)));
            let context = self.context.with_identity(Some(actor), None);
            tokio::spawn(caller(context, Chance(number + 1), Arc::clone(&left)))
        });
        let mut ended = 0;
        for caller in callers.collect::<Vec<_>>() {
            ended += caller.await.unwrap();
        }
        (count, ended)
    }

    /// As many calls at once as there are slots, and as many instances as there can be.
    async fn settle(self) {
        let all = |name: &'static str, count: usize| {
            let calls = (0..count).map(|_| {
                let context = self.context.with_own_execution();
                tokio::spawn(async move { call_named(&context, name, &[Value::Integer(100)]).await })
            });
            calls.collect::<Vec<_>>()
        };
        for call in all("sleep", SLOTS) {
            assert!(call.await.unwrap().is_ok());
        }
        for name in ["sleep", "spin", "add"] {
            self.context.dispatcher().remove(&id(name));
        }
        // What waited for a call goes with its pool; whoever was making one ahead notices a moment later.
        let pool = PoolConfig {
            max_size: INSTANCES,
            reuse: Reuse::Never,
            ..PoolConfig::default()
        };
        self.function("crowd", "sleeper", "test-sleep#sleep-ms", pool);
        let mut outcomes = Vec::new();
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            outcomes.clear();
            for call in all("crowd", INSTANCES) {
                outcomes.push(call.await.unwrap());
            }
            if outcomes.iter().all(Result::is_ok) {
                return;
            }
        }
        panic!("instances are missing: {outcomes:?}");
    }
}

/// Calls until enough were given up; how many ended before. One that ends has to end well.
async fn caller(context: Context, mut chance: Chance, left: Arc<AtomicUsize>) -> usize {
    let mut ended = 0;
    loop {
        let context = context.with_own_execution();
        // Some executions make several calls, and keep an instance for them.
        for _ in 0..=chance.below(4) {
            if left.load(Ordering::Relaxed) == 0 {
                return ended;
            }
            let (name, arguments) = match chance.below(64) {
                0 => ("spin", Vec::new()),
                1..32 => ("sleep", vec![Value::from(chance.below(3))]),
                _ => ("add", vec![Value::Integer(20), Value::Integer(22)]),
            };
            let patience = chance.below(100);
            tokio::select! {
                biased;
                outcome = call_named(&context, name, &arguments) => {
                    let value = outcome.unwrap();
                    assert!(name == "sleep" || value == Value::Integer(42), "{name}: {value:?}");
                    ended += 1;
                }
                () = wait(patience) => {
                    let one_less = |left: usize| left.checked_sub(1);
                    let _ = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
                }
            }
        }
    }
}

/// Some turns of the scheduler, or some milliseconds.
async fn wait(patience: u64) {
    if patience >= 80 {
        return tokio::time::sleep(Duration::from_millis(patience - 80) / 8).await;
    }
    for _ in 0..patience / 4 {
        tokio::task::yield_now().await;
    }
}

/// Numbers that nobody expects, the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        // Steele and Vigna, SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
