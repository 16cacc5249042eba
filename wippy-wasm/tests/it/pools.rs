//! Pools: how many calls run at once, which instances are ready, and that nobody finds what another left.
//!
//! `WIPPY_SECRETS=100000` says how many secrets are left in each pool.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use wippy_security::{Actor, CallError, Context, Dispatcher, DispatcherConfig, ErrorKind};
use wippy_wasm::{Engine, EngineConfig, Limits, PoolConfig, Ready, Reuse, WasmFunction};
use wippy_wit::Value;

use crate::support::{Wants, call, call_named, id, prepare, prepare_on};

/// A context that knows a guest as `test:f`, and the function behind it.
fn pooled(guest: &str, method: &str, wants: Wants, pool: PoolConfig) -> (Context, Arc<WasmFunction>) {
    let function = Arc::new(WasmFunction::new(prepare(guest, method, wants).unwrap(), pool));
    let dispatcher = Dispatcher::new(DispatcherConfig::default());
    dispatcher.insert(id("f"), function.clone());
    (Context::root(dispatcher), function)
}

fn acting(context: &Context, actor: u64) -> Context {
    let actor = Arc::new(Actor::new(format!("actor {actor}")));
    context.with_own_execution().with_identity(Some(actor), None)
}

/// Leaves `secret`; what lay there before.
async fn swap(context: &Context, secret: u64) -> Vec<u64> {
    let found = call(context, &[Value::from(secret)]).await.unwrap();
    let Value::Table(found) = found else {
        panic!("{found:?}")
    };
    let number = |value: &Value| match value {
        Value::Integer(number) => u64::try_from(*number).unwrap(),
        other => panic!("{other:?}"),
    };
    found.array.iter().map(number).collect()
}

const SHAPES: [(&str, usize, Ready); 4] = [
    ("inline", 100, Ready::Nothing),
    ("lazy", 8, Ready::Nothing),
    ("static", 4, Ready::Always(4)),
    ("adaptive", 8, Ready::Following),
];

const ACTORS: u64 = 4;
const EXECUTIONS: u64 = 16;
/// How many calls each pool gets.
fn secrets() -> u64 {
    let count = std::env::var("WIPPY_SECRETS").ok();
    count.map_or(1_600, |count| count.parse().unwrap())
}

/// Each pool and each reuse, from sixteen executions of four actors at once. Every call leaves a secret in memory, a
/// global and a table and looks for another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_finds_what_another_left() {
    let mut table = BTreeMap::new();
    for (shape, max_size, ready) in SHAPES {
        for reuse in [Reuse::Never, Reuse::Caller, Reuse::Actor, Reuse::Always] {
            let pool = PoolConfig {
                max_size,
                reuse,
                ready,
                ..PoolConfig::default()
            };
            let (context, _) = pooled("secrets", "swap", Wants::default(), pool);
            let found = Arc::new([const { AtomicU64::new(0) }; 3]);
            let executions = (0..EXECUTIONS).map(|execution| {
                let context = acting(&context, execution % ACTORS);
                let found = Arc::clone(&found);
                // Small enough to be the size of a table.
                let secret = 1_000 + execution;
                tokio::spawn(async move {
                    for _ in 0..secrets() / EXECUTIONS {
                        for left in swap(&context, secret).await {
                            if let Some(whose) = whose(left, secret) {
                                found[whose as usize].fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                })
            });
            for execution in executions.collect::<Vec<_>>() {
                execution.await.unwrap();
            }
            let [own, actors, others] = [0, 1, 2].map(|whose| found[whose].load(Ordering::Relaxed));
            table.insert(format!("{shape} {reuse:?}"), (own, actors, others));
            let found = (own > 0, actors > 0, others > 0);
            let right = match reuse {
                Reuse::Never => found == (false, false, false),
                Reuse::Caller => found == (true, false, false),
                // Whether an execution finds its own again is chance.
                Reuse::Actor => (found.1, found.2) == (true, false),
                Reuse::Always => found.2,
            };
            assert!(right, "{shape} {reuse:?}: {table:#?}");
        }
    }
    println!("own, the actor's others', strangers' secrets found: {table:#?}");
}

/// Whose secret was found.
enum Whose {
    Own,
    SameActor,
    Stranger,
}

fn whose(left: u64, secret: u64) -> Option<Whose> {
    match left {
        0 => None,
        left if left == secret => Some(Whose::Own),
        left if (left - 1_000) % ACTORS == (secret - 1_000) % ACTORS => Some(Whose::SameActor),
        _ => Some(Whose::Stranger),
    }
}

#[tokio::test]
async fn what_nobody_acts_for_is_not_shared_by_actor() {
    let pool = PoolConfig {
        reuse: Reuse::Actor,
        ..PoolConfig::default()
    };
    let (context, function) = pooled("secrets", "swap", Wants::default(), pool);
    for _ in 0..3 {
        assert_eq!(swap(&context, 7).await, [0, 0, 0]);
    }
    assert_eq!(function.stocked(), (0, 0));
    let ada = acting(&context, 1);
    assert_eq!(swap(&ada, 8).await, [0, 0, 0]);
    // Another execution of the same actor.
    assert_eq!(swap(&acting(&context, 1), 9).await, [8, 8, 8]);
    assert_eq!(swap(&acting(&context, 2), 9).await, [0, 0, 0]);
    assert_eq!(function.stocked(), (0, 2));
}

#[tokio::test]
async fn an_instance_that_trapped_is_not_used_again() {
    for reuse in [Reuse::Caller, Reuse::Actor, Reuse::Always] {
        let pool = PoolConfig {
            reuse,
            ..PoolConfig::default()
        };
        let (context, function) = pooled("secrets", "fail", Wants::default(), pool);
        let ada = acting(&context, 1);
        for _ in 0..3 {
            let error = call(&ada, &[Value::Integer(5)]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal);
            assert_eq!(function.stocked(), (0, 0), "{reuse:?}");
        }
    }
}

#[tokio::test]
async fn a_large_instance_is_not_kept() {
    let grown = async |retained_bytes_max| {
        let pool = PoolConfig {
            reuse: Reuse::Always,
            retained_bytes_max,
            ..PoolConfig::default()
        };
        let (context, function) = pooled("grow", "by", Wants::default(), pool);
        call(&context, &[Value::Integer(3)]).await.unwrap();
        function.stocked().1
    };
    assert_eq!(grown(None).await, 1);
    assert_eq!(grown(Some(4 << 16)).await, 1);
    assert_eq!(grown(Some(3 << 16)).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_used_instance_that_nobody_wants_is_dropped() {
    let pool = PoolConfig {
        reuse: Reuse::Always,
        ..PoolConfig::default()
    };
    let (context, function) = pooled("bench", "add", Wants::default(), pool);
    let arguments = [Value::Integer(1), Value::Integer(2)];
    call(&context, &arguments).await.unwrap();
    assert_eq!(function.stocked(), (0, 1));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(function.stocked(), (0, 1));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(function.stocked(), (0, 0));
    // And the next one is looked after again.
    call(&context, &arguments).await.unwrap();
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(function.stocked(), (0, 0));
}

/// A guest that sleeps for as long as it is told, in a pool.
fn sleeper(pool: PoolConfig) -> (Context, Arc<WasmFunction>) {
    let wants = Wants::imports(&["wasi:clocks", "wasi:poll"]);
    pooled("sleeper", "test-sleep#sleep-ms", wants, pool)
}

/// Starts so many calls at once, each of an execution of its own.
fn sleep(context: &Context, count: usize, ms: i64) -> Vec<tokio::task::JoinHandle<Result<Value, CallError>>> {
    (0..count)
        .map(|_| {
            let context = context.with_own_execution();
            tokio::spawn(async move { call(&context, &[Value::Integer(ms)]).await })
        })
        .collect()
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let pool = PoolConfig {
        max_size: 2,
        queue: 3,
        ready: Ready::Always(2),
        ..PoolConfig::default()
    };
    let (context, _) = sleeper(pool);
    let mut refused = 0;
    for call in sleep(&context, 8, 200) {
        if let Err(error) = call.await.unwrap() {
            assert_eq!(error.kind(), ErrorKind::RateLimited);
            assert!(error.retryable());
            assert_eq!(
                error.message(),
                "test:sleep-ms: 2 calls run and 3 wait, try again later"
            );
            refused += 1;
        }
    }
    assert_eq!(refused, 3);
}

#[tokio::test]
async fn waiting_for_a_slot_ends_with_the_call() {
    let pool = PoolConfig {
        max_size: 1,
        ..PoolConfig::default()
    };
    let (context, _) = sleeper(pool);
    let running = sleep(&context, 1, 300);
    tokio::task::yield_now().await;
    // Its deadline passes while it waits.
    let hurried = context
        .with_own_execution()
        .with_timeout(Duration::from_millis(50));
    let error = call(&hurried, &[Value::Integer(1)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    // It is given up while it waits, and takes no slot with it.
    for call in sleep(&context, 3, 1) {
        call.abort();
    }
    for call in running {
        call.await.unwrap().unwrap();
    }
    assert!(call(&context, &[Value::Integer(1)]).await.is_ok());
}

/// Its first call holds the only slot while it waits for the second, which must not wait for that slot.
#[tokio::test]
async fn a_guest_that_calls_itself_does_not_wait_for_its_own_slot() {
    let only = PoolConfig {
        max_size: 1,
        ..PoolConfig::default()
    };
    let module = prepare("recurse", "again", Wants::imports(&["funcs"])).unwrap();
    let function = Arc::new(WasmFunction::new(module, only));
    let dispatcher = Dispatcher::new(DispatcherConfig::default());
    dispatcher.insert(id("recurse"), function);
    let context = Context::root(dispatcher);
    for _ in 0..3 {
        let arguments = ["x".into()];
        let called = call_named(&context, "recurse", &arguments);
        let outcome = tokio::time::timeout(Duration::from_mins(1), called).await;
        // Each level hands on why the one below failed, and the lowest was one too many.
        let error = outcome.expect("it waits for itself").unwrap_err();
        assert!(error.message().contains("nested too deeply"), "{error}");
    }
}

#[tokio::test]
async fn a_static_pool_has_its_instances_from_the_start() {
    let pool = PoolConfig {
        max_size: 3,
        ready: Ready::Always(3),
        ..PoolConfig::default()
    };
    let (context, function) = pooled("bench", "add", Wants::default(), pool);
    assert_eq!(function.stocked(), (0, 0));
    function.warm().await.unwrap();
    assert_eq!(function.stocked(), (3, 0));
    let arguments = [Value::Integer(1), Value::Integer(2)];
    assert_eq!(call(&context, &arguments).await, Ok(Value::Integer(3)));
    until(|| function.stocked() == (3, 0)).await;
}

#[tokio::test]
async fn a_start_function_that_loops_keeps_no_pool_waiting() {
    let pool = PoolConfig {
        ready: Ready::Always(3),
        ..PoolConfig::default()
    };
    let (_, function) = pooled("spin-start", "answer", Wants::within(50), pool);
    assert_eq!(function.warm().await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn an_adaptive_pool_follows_the_load() {
    let pool = PoolConfig {
        max_size: 6,
        reuse: Reuse::Never,
        ready: Ready::Following,
        ..PoolConfig::default()
    };
    let (context, function) = sleeper(pool);
    assert_eq!(function.stocked(), (0, 0));
    // Four at once, then more than there are slots.
    for (count, ready) in [(4, 4), (20, 6)] {
        let calls = sleep(&context, count, 100);
        until(|| function.stocked().0 == ready).await;
        for call in calls {
            call.await.unwrap().unwrap();
        }
    }
    // It falls by and by, to nothing.
    let mut last = 6;
    until(|| {
        let ready = function.stocked().0;
        assert!(ready <= last, "{ready} after {last}");
        last = ready;
        ready == 0
    })
    .await;
}

/// Gusts of four calls with a calm between them, then nothing: the pool rises once and falls once.
#[tokio::test(start_paused = true)]
async fn an_adaptive_pool_does_not_swing_with_every_gust() {
    let pool = PoolConfig {
        max_size: 16,
        reuse: Reuse::Never,
        ready: Ready::Following,
        ..PoolConfig::default()
    };
    let (context, function) = sleeper(pool);
    let mut sizes = Vec::new();
    for _ in 0..10 {
        for call in sleep(&context, 4, 50) {
            call.await.unwrap().unwrap();
        }
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            sizes.push(function.stocked().0);
        }
    }
    let in_gusts = sizes.len();
    for _ in 0..80 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        sizes.push(function.stocked().0);
    }
    sizes.dedup();
    println!("a second apart, {in_gusts} looks, then eight seconds of calm: {sizes:?}");
    assert_eq!(sizes.first(), Some(&4));
    assert_eq!(sizes.last(), Some(&0));
    assert!(sizes.is_sorted_by(|earlier, later| earlier > later), "{sizes:?}");
}

/// What executions keep is theirs while there is room: most slots may be idle, never all of them.
#[tokio::test]
async fn idle_instances_leave_slots_for_others() {
    let few = EngineConfig {
        instances_max: 16,
        ..EngineConfig::default()
    };
    let engine = Engine::new(few).unwrap();
    let module = prepare_on(&engine, "bench", "add", Wants::default()).unwrap();
    let context = crate::support::context(module);
    let executions: Vec<Context> = (0..40).map(|_| context.with_own_execution()).collect();
    let arguments = [Value::Integer(1), Value::Integer(2)];
    for _ in 0..2 {
        for execution in &executions {
            assert_eq!(call(execution, &arguments).await, Ok(Value::Integer(3)));
        }
    }
}

/// Waits until something is so.
async fn until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to be so");
}

#[tokio::test]
async fn instances_with_variables_are_not_made_ahead() {
    let pool = PoolConfig {
        ready: Ready::Always(3),
        ..PoolConfig::default()
    };
    let mut wants = Wants::imports(&["wasi:clocks", "wasi:poll"]);
    wants.limits = Limits::default();
    wants.wasi.env = vec![wippy_wasm::EnvironmentVariable {
        id: id("key"),
        name: "KEY".to_owned(),
        required: false,
    }];
    let (_, function) = pooled("sleeper", "test-sleep#sleep-ms", wants, pool);
    function.warm().await.unwrap();
    assert_eq!(function.stocked(), (0, 0));
}
