//! Guests that wait cost memory, not threads: thousands of them sleep at once on two threads, and all wake.
//!
//! `WIPPY_SLEEPERS=10000` says how many; the test prints what each costs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use wippy_security::{Context, Dispatcher, DispatcherConfig, ErrorKind};
use wippy_wasm::{Allocator, Engine, EngineConfig, PoolConfig, WasmFunction};
use wippy_wit::Value;

use crate::{
    alone::{in_own_process, usage},
    support::{Wants, call, id, prepare_on},
};

/// How many sleep at once.
fn count() -> usize {
    let count = std::env::var("WIPPY_SLEEPERS").ok();
    count.map_or(2_000, |count| count.parse().unwrap())
}

#[test]
fn thousands_sleep_at_once() {
    if in_own_process("sleepers::thousands_sleep_at_once") {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(runtime.spawn(sleep_at_once(count()))).unwrap();
    }
}

async fn sleep_at_once(count: usize) {
    let context = sleeper(EngineConfig::default(), count);
    // One first, so that what is made once is not counted.
    assert!(call(&context, &[Value::Integer(1)]).await.is_ok());
    let before = usage();

    let begun = Instant::now();
    let sleep = Duration::from_secs(2 + count as u64 / 1_000);
    let sleeping: Vec<_> = (0..count)
        .map(|_| {
            let (context, ms) = (context.clone(), sleep.as_millis().try_into().unwrap());
            tokio::spawn(async move { call(&context, &[Value::Integer(ms)]).await })
        })
        .collect();
    // By then all have begun, and none has woken.
    tokio::time::sleep(sleep.mul_f64(0.8)).await;
    let during = usage();

    let mut woken = 0;
    for sleeper in sleeping {
        let slept = sleeper.await.unwrap();
        assert!(
            matches!(slept, Ok(Value::Integer(ms)) if ms >= 2_000),
            "{slept:?}"
        );
        woken += 1;
    }
    let each = (during.memory_bytes - before.memory_bytes) / count;
    println!(
        "{woken} of {count} woke after {:?}, asleep for {sleep:?}; {} KiB each, {} threads",
        begun.elapsed(),
        each / 1024,
        during.threads,
    );
    assert_eq!(woken, count);
    assert!(during.threads < before.threads + 4, "{before:?} {during:?}");
    assert!(each < 512 << 10, "{each} bytes each");
}

/// More than the engine has slots: what cannot sleep is refused, can be tried again, and says whose it was.
#[tokio::test]
async fn more_than_there_are_slots() {
    for allocator in [Allocator::Pooling, Allocator::OnDemand] {
        let few = EngineConfig {
            instances_max: 16,
            allocator,
            ..EngineConfig::default()
        };
        more_than_sixteen(&sleeper(few, 100)).await;
    }
}

async fn more_than_sixteen(context: &Context) {
    let sleeping: Vec<_> = (0..20)
        .map(|_| {
            let context = context.with_own_execution();
            tokio::spawn(async move { call(&context, &[Value::Integer(300)]).await })
        })
        .collect();
    let mut refused = 0;
    for sleeper in sleeping {
        if let Err(error) = sleeper.await.unwrap() {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.retryable());
            assert_eq!(
                error.message(),
                "test:sleep-ms: all instance slots of the engine are taken"
            );
            refused += 1;
        }
    }
    assert_eq!(refused, 4);
    assert!(call(context, &[Value::Integer(1)]).await.is_ok());
}

/// A context that knows a guest of which so many may sleep.
fn sleeper(engine: EngineConfig, count: usize) -> Context {
    let engine = Engine::new(engine).unwrap();
    let wants = Wants::imports(&["wasi:clocks", "wasi:poll"]);
    let module = prepare_on(&engine, "sleeper", "test-sleep#sleep-ms", wants).unwrap();
    let pool = PoolConfig {
        max_size: count,
        ..PoolConfig::default()
    };
    let dispatcher = Dispatcher::new(DispatcherConfig::default());
    dispatcher.insert(id("f"), Arc::new(WasmFunction::new(module, pool)));
    Context::root(dispatcher)
}
