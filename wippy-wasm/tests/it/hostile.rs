//! Guests that mean harm, beside one that does not: each ends with the right error, every time, and nobody notices.
//!
//! The rows are in [`rows`]. Each runs a hundred times in a process of its own, in which one well-behaved guest is
//! called throughout; afterwards the process holds what it held before, and nothing outside of what the guests were
//! given has changed.
//!
//! `WIPPY_HOSTILE_ROUNDS=100` takes more rounds, to see what grows and what only fills; the test prints what it holds
//! after each.

mod rows;
mod slots;

use std::{
    fmt::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{io::AsyncReadExt as _, net::TcpListener};
use wippy_security::{CallError, Context, Dispatcher, DispatcherConfig, Host, Running, Spawn};
use wippy_wasm::{Binary, Content, PoolConfig, Spec, WasmFunction, WasmProcess};
use wippy_wit::Value;

use self::rows::{How, Row, rows};
use crate::{
    alone::{Usage, in_own_process, usage},
    mounts::{self, Place},
    support::{Wants, call_named, engine, id, prepare},
};

/// How often each guest tries in each of the [`rounds`].
const RUNS_A_ROUND: usize = 10;

/// How many rounds there are.
fn rounds() -> usize {
    let rounds = std::env::var("WIPPY_HOSTILE_ROUNDS").ok();
    rounds.map_or(10, |rounds| rounds.parse().unwrap())
}

/// How long the well-behaved guest is called alone in each round.
const ALONE: Duration = Duration::from_millis(200);

/// The well-behaved guest's calls may be so much slower beside the others, in half of the rounds: a machine that has
/// something else to do for a while is no failure, and calls alone that it was slow for are no excuse.
const SLOWER_MAX: f64 = 3.0;

/// What is quicker than this may be slower by any factor: that is the machine's doing.
const QUICK: Duration = Duration::from_micros(100);

/// How long the runtime keeps a thread that has nothing to do.
const KEEP_ALIVE: Duration = Duration::from_millis(100);

/// What may be allocated after the rounds that was not before. One guest of them all that leaves a KiB
/// behind each time is one too many.
const HEAP_GROWN_MAX: usize = 64 << 10;

/// What of the machine's memory may be taken after the rounds that was not before. More than what is allocated: how
/// the allocator's free memory lies, and when it gives it back, is its own affair.
const MEMORY_GROWN_MAX: usize = 4 << 20;

#[test]
fn the_table() {
    if in_own_process("hostile::the_table") {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            // Threads that wait for more to do are nobody's leak.
            .thread_keep_alive(KEEP_ALIVE)
            .enable_all()
            .build()
            .unwrap();
        runtime
            .block_on(runtime.spawn(the_table_beside_others()))
            .unwrap();
    }
}

async fn the_table_beside_others() {
    let place = Place::new();
    let server = SilentServer::start().await;
    let rows = rows(&place, server.port);
    let context = application(&rows, &place);
    mounts::make_links(&context, LINKS).await;
    let outside = || ["outside", "fixed"].map(|folder| place.content(folder));
    let before = outside();

    let mut outcomes = Vec::new();
    for row in &rows {
        outcomes.push(attempt(&context, row).await);
    }
    slots::fill(&context).await;
    let mut rounds = Vec::with_capacity(self::rounds());
    for _ in 0..self::rounds() {
        let alone = Calls::during(&context, tokio::time::sleep(ALONE)).await;
        let beside = Calls::during(&context, async {
            for _ in 0..RUNS_A_ROUND {
                for (row, outcome) in rows.iter().zip(&outcomes) {
                    assert_eq!(attempt(&context, row).await, *outcome, "{}", row.name);
                }
            }
        });
        let beside = beside.await;
        server.settle().await;
        tokio::time::sleep(KEEP_ALIVE * 3).await;
        let held = usage();
        rounds.push(Round { alone, beside, held });
    }

    println!(
        "{} guests, {} times each",
        rows.len(),
        rounds.len() * RUNS_A_ROUND
    );
    for round in &rounds {
        println!("{round}");
    }
    insta::assert_snapshot!(table(&rows, &outcomes));
    for (row, outcome) in rows.iter().zip(&outcomes) {
        let is_expected = row.says.is_empty() || row.says.iter().any(|says| outcome.contains(says));
        assert!(
            is_expected && !outcome.starts_with("returned"),
            "{}: {outcome}",
            row.name
        );
    }
    assert_eq!(outside(), before);
    let mut slower: Vec<_> = rounds.iter().map(Round::slower).collect();
    slower.sort_by(f64::total_cmp);
    let slower = slower[slower.len() / 2];
    assert!(
        slower <= SLOWER_MAX,
        "{slower:.1} times slower in half of the rounds"
    );
    // The first round fills what the process keeps: interned names, the allocator's arenas.
    let (before, after) = (rounds.first().unwrap().held, rounds.last().unwrap().held);
    assert_eq!(after.files, before.files);
    assert!(after.threads <= before.threads + 2, "{before:?} {after:?}");
    let grown = after.heap_bytes.saturating_sub(before.heap_bytes);
    assert!(grown < HEAP_GROWN_MAX, "{grown} bytes more are allocated");
    let grown = after.memory_bytes.saturating_sub(before.memory_bytes);
    assert!(grown < MEMORY_GROWN_MAX, "{grown} bytes more than before");
}

/// The guest that makes links before the rows that follow them, and the one that renames while others look.
const LINKS: &str = "links";
const SWAP: &str = "swap";

/// An application with the well-behaved guest and all others.
fn application(rows: &[Row], place: &Place) -> Context {
    // Each level of a recursion takes a slot of its own.
    let shallow = DispatcherConfig {
        depth_max: 16,
        ..DispatcherConfig::default()
    };
    let context = Context::root(Dispatcher::new(shallow));
    context
        .dispatcher()
        .processes()
        .insert_host(id("host"), Arc::new(Terminal));
    let files = || Wants {
        wasi: place.wasi(),
        ..Wants::imports(mounts::IMPORTS)
    };
    insert(&context, "well", "bench", "echo-string", Wants::default());
    insert(&context, LINKS, "files", "attempt", files());
    insert(&context, SWAP, "files", "swap", files());
    for row in rows {
        let wants = Wants {
            limits: row.limits.clone(),
            wasi: row.wasi.clone(),
            ..Wants::imports(row.imports)
        };
        match &row.how {
            How::Call | How::Race => insert(&context, &entry(&row.name), row.guest, row.method, wants),
            How::Process => {
                let module = prepare(row.guest, row.method, wants).unwrap();
                let process = Arc::new(WasmProcess::new(module));
                context
                    .dispatcher()
                    .processes()
                    .insert(id(&entry(&row.name)), process);
            }
            How::Prepare(_) => {}
        }
    }
    context
}

/// A host whose processes own the terminal.
struct Terminal;

impl Host for Terminal {
    fn run(&self, running: Running) -> Result<(), CallError> {
        tokio::spawn(running);
        Ok(())
    }

    fn has_terminal(&self) -> bool {
        true
    }
}

/// A server that takes every connection, reads what comes and never says anything.
struct SilentServer {
    port: u16,
    /// One more for each connection, beside this one and the server's own.
    connections: Arc<()>,
}

impl SilentServer {
    /// Longer than any guest here may wait.
    const PATIENCE: Duration = Duration::from_millis(500);

    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections: Arc<()> = Arc::default();
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let connection = Arc::clone(&counted);
                tokio::spawn(async move {
                    while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {}
                    // That nothing more comes is not said either, as long as somebody may listen.
                    tokio::time::sleep(Self::PATIENCE).await;
                    drop((stream, connection));
                });
            }
        });
        Self { port, connections }
    }

    /// Waits until every connection is closed.
    async fn settle(&self) {
        while Arc::strong_count(&self.connections) > 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn table(rows: &[Row], outcomes: &[String]) -> String {
    let mut table = String::new();
    let shown = rows.iter().zip(outcomes).filter(|(row, _)| row.says.is_empty());
    for (row, outcome) in shown {
        writeln!(table, "{:32} {outcome}", row.name).unwrap();
    }
    table
}

fn insert(context: &Context, name: &str, guest: &str, method: &str, wants: Wants) {
    let module = prepare(guest, method, wants).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
    let function = WasmFunction::new(module, PoolConfig::default());
    context.dispatcher().insert(id(name), Arc::new(function));
}

/// The entry's name of a row.
fn entry(name: &str) -> String {
    match name {
        // It names itself.
        "recursion through funcs" => "recurse".to_owned(),
        _ => name
            .chars()
            .map(|letter| {
                if letter.is_ascii_alphanumeric() {
                    letter
                } else {
                    '-'
                }
            })
            .collect(),
    }
}

/// One try of a hostile guest, as the table shows it.
async fn attempt(context: &Context, row: &Row) -> String {
    // Nothing is kept for the next try.
    let context = &context.with_own_execution();
    let name = entry(&row.name);
    let outcome = match &row.how {
        How::Call => call_named(context, &name, &row.arguments).await,
        How::Process => {
            let spawn = Spawn::new(id(&name), id("host"), row.arguments.clone());
            let processes = context.dispatcher().processes();
            let launched = processes.launch(context, spawn, Vec::new()).unwrap();
            (*launched.exit().await).clone()
        }
        How::Race => {
            mounts::race(context, &name, SWAP, 20).await;
            return "saw nothing of what lies outside".to_owned();
        }
        How::Prepare(bytes) => return refused(bytes, row),
    };
    match outcome {
        Ok(value) => format!("returned {value:?}"),
        Err(error) => describe(&error),
    }
}

/// What is said of bytes that are no component.
fn refused(bytes: &[u8], row: &Row) -> String {
    let content = Content::new(bytes.to_vec());
    let prepared = engine().prepare(Spec {
        id: id("broken"),
        binary: Binary::Wasm {
            content: &content,
            hash: &content.hash(),
        },
        wit: None,
        method: row.method,
        imports: &[],
        wasi: row.wasi.clone(),
        limits: row.limits.clone(),
    });
    match prepared {
        Ok(_) => "is made ready".to_owned(),
        Err(errors) => format!("diagnostic: {}", errors[0]),
    }
}

fn describe(error: &CallError) -> String {
    let detail = |name| error.details().get(name).and_then(Value::as_str);
    let what = detail("limit").or(detail("trap")).unwrap_or("-");
    format!("{:12} {what:22} {}", error.kind().as_str(), error.message())
}

/// The well-behaved guest alone, and right after that beside the others; and what the process held then.
struct Round {
    alone: Calls,
    beside: Calls,
    held: Usage,
}

impl Round {
    /// How much slower the calls were beside the others, where that says something.
    fn slower(&self) -> f64 {
        self.beside.slower_than(self.alone.p99.max(QUICK))
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { alone, beside, held } = self;
        write!(
            f,
            "well-behaved: {} calls alone, p99 {:?}; {} beside, p99 {:?}: {:.2} times; then {} KiB allocated, {} KiB taken, \
             {} files, {} threads",
            alone.count,
            alone.p99,
            beside.count,
            beside.p99,
            beside.slower_than(alone.p99),
            held.heap_bytes >> 10,
            held.memory_bytes >> 10,
            held.files,
            held.threads,
        )
    }
}

/// The calls of the well-behaved guest.
struct Calls {
    count: usize,
    p99: Duration,
}

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
        Self {
            count: taken.len(),
            p99: taken[taken.len() * 99 / 100],
        }
    }

    fn slower_than(&self, floor: Duration) -> f64 {
        self.p99.as_secs_f64() / floor.as_secs_f64()
    }
}
