//! Guests that mean harm, beside one that does not: each ends with the right error, every time, and nobody notices.
//!
//! The rows are in [`rows`]. Each runs a hundred times in a process of its own, in which one well-behaved guest is
//! called throughout; afterwards the process holds what it held before.

mod rows;

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use wippy_security::{CallError, Context, Dispatcher, DispatcherConfig};
use wippy_wasm::{PoolConfig, WasmFunction};
use wippy_wit::Value;

use self::rows::{Row, rows};
use crate::{
    alone::{in_own_process, usage},
    support::{Wants, call_named, id, prepare},
};

/// How often each guest tries.
const RUNS: usize = 100;

/// A guest may be so much slower beside the others; a loaded machine is no failure, a starved guest is.
const SLOWER_MAX: u32 = 10;

/// What is quicker than this may be slower by any factor: that is the machine's doing.
const QUICK: Duration = Duration::from_millis(1);

#[test]
fn the_table() {
    if in_own_process("hostile::the_table") {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime
            .block_on(runtime.spawn(the_table_beside_others()))
            .unwrap();
    }
}

async fn the_table_beside_others() {
    // Each level of a recursion takes a slot of its own.
    let shallow = DispatcherConfig {
        depth_max: 16,
        ..DispatcherConfig::default()
    };
    let context = Context::root(Dispatcher::new(shallow));
    insert(&context, "well", "bench", "echo-string", Wants::default());
    let rows = rows();
    for row in &rows {
        let wants = Wants {
            limits: row.limits.clone(),
            ..Wants::imports(row.imports)
        };
        insert(&context, row.name, row.guest, row.method, wants);
    }

    let alone = Calls::during(&context, tokio::time::sleep(Duration::from_secs(1))).await;
    let mut outcomes = Vec::new();
    for row in &rows {
        outcomes.push(attempt(&context, row).await);
    }
    let mut held = Vec::new();
    let beside = Calls::during(&context, async {
        for round in 1..RUNS {
            for (row, outcome) in rows.iter().zip(&outcomes) {
                assert_eq!(attempt(&context, row).await, *outcome, "{}", row.name);
            }
            if round % (RUNS / 4) == 0 {
                held.push(usage());
            }
        }
    })
    .await;
    held.push(usage());

    let slower = beside.p99().as_secs_f64() / alone.p99().as_secs_f64();
    println!(
        "{} guests, {RUNS} times each; well-behaved calls: {} alone, p99 {:?}; {} beside, p99 {:?}: {slower:.1} times",
        rows.len(),
        alone.0.len(),
        alone.p99(),
        beside.0.len(),
        beside.p99(),
    );
    println!("held after each quarter: {held:#?}");
    insta::assert_snapshot!(table(&rows, &outcomes));
    assert!(
        beside.p99() < alone.p99().max(QUICK) * SLOWER_MAX,
        "{slower} times slower"
    );
    // The first rounds fill what the process keeps: warm slots, the allocator's arenas, interned names.
    let (before, after) = (held[0], held[held.len() - 1]);
    assert_eq!(after.files, before.files);
    assert!(after.threads <= before.threads + 2, "{before:?} {after:?}");
    let grown = after.memory_bytes.saturating_sub(before.memory_bytes);
    assert!(grown < 16 << 20, "{grown} bytes more than before");
}

fn table(rows: &[Row], outcomes: &[String]) -> String {
    let mut table = String::new();
    for (row, outcome) in rows.iter().zip(outcomes) {
        writeln!(table, "{:32} {outcome}", row.name).unwrap();
    }
    table
}

fn insert(context: &Context, name: &str, guest: &str, method: &str, wants: Wants) {
    let module = prepare(guest, method, wants).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
    let function = WasmFunction::new(module, PoolConfig::default());
    context.dispatcher().insert(id(&entry(name)), Arc::new(function));
}

/// The entry's name of a row.
fn entry(name: &str) -> String {
    match name {
        // It names itself.
        "recursion through funcs" => "recurse".to_owned(),
        _ => name.replace(' ', "-"),
    }
}

/// One call of a hostile guest, as the table shows it.
async fn attempt(context: &Context, row: &Row) -> String {
    match call_named(context, &entry(row.name), &row.arguments).await {
        Ok(value) => format!("returned {value:?}"),
        Err(error) => describe(&error),
    }
}

fn describe(error: &CallError) -> String {
    let detail = |name| error.details().get(name).and_then(Value::as_str);
    let what = detail("limit").or(detail("trap")).unwrap_or("-");
    format!("{:12} {what:22} {}", error.kind().as_str(), error.message())
}

/// How long each call of the well-behaved guest took.
struct Calls(Vec<Duration>);

impl Calls {
    /// Calls it one time after the other for as long as `work` takes.
    async fn during(context: &Context, work: impl Future<Output = ()>) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let calling = tokio::spawn({
            let (context, done) = (context.clone(), Arc::clone(&done));
            async move {
                let mut taken = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let text = Value::from(format!("call {}", taken.len()));
                    let begun = Instant::now();
                    let answer = call_named(&context, "well", std::slice::from_ref(&text)).await;
                    taken.push(begun.elapsed());
                    assert_eq!(answer, Ok(text));
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
                taken
            }
        });
        work.await;
        done.store(true, Ordering::Relaxed);
        let mut taken = calling.await.unwrap();
        taken.sort();
        Self(taken)
    }

    fn p99(&self) -> Duration {
        self.0[self.0.len() * 99 / 100]
    }
}
