//! What processes cost without any language in them: `cargo bench -p wippy-security --bench process`.
//!
//! Each figure stands beside its floor: the same with tokio's own tasks and channels.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]
#![expect(clippy::unwrap_used, reason = "a benchmark may fail like a test")]

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use wippy_security::{
    CallError, Context, Dispatcher, DispatcherConfig, Ended, Host, Letter, Permit, Process, ProcessFuture,
    Running, Spawn, Start,
};
use wippy_wit::Value;

const SPAWNS: u32 = 100_000;
const PAIRS: usize = 16;
const ROUNDS: u32 = 20_000;

struct Threads;

impl Host for Threads {
    fn run(&self, running: Running) -> Result<(), CallError> {
        tokio::spawn(running);
        Ok(())
    }
}

struct Program<F>(F);

impl<F, R> Process for Program<F>
where
    F: Fn(Start) -> R + Send + Sync,
    R: Future<Output = Result<Ended, CallError>> + Send + 'static,
{
    fn start(self: Arc<Self>, _: Permit, start: Start) -> ProcessFuture {
        Box::pin((self.0)(start))
    }
}

fn spawn(name: &str) -> Spawn {
    Spawn::new(name.parse().unwrap(), "app:host".parse().unwrap(), Vec::new())
}

async fn echo(start: Start) -> Result<Ended, CallError> {
    let processes = start.context.dispatcher().processes();
    loop {
        let Letter::Message(message, place) = start.mailbox.next().await else {
            return Ok(Ended::Value(Value::Nil));
        };
        drop(place);
        let from = message.from.map_or_else(String::new, |from| from.to_string());
        processes.send(&start.context, &from, message.topic, message.payloads)?;
    }
}

async fn ping(start: Start) -> Result<Ended, CallError> {
    let processes = start.context.dispatcher().processes();
    let echo = processes.spawn(&start.context, spawn("app:echo"))?;
    let topic: Arc<str> = "ping".into();
    for number in 0..ROUNDS {
        let payload = vec![Value::Integer(number.into())];
        processes.send(&start.context, echo.as_str(), topic.clone(), payload)?;
        drop(start.mailbox.next().await);
    }
    processes.cancel(&start.context, echo.as_str(), None, None)?;
    Ok(Ended::Value(Value::Nil))
}

fn report(what: &str, count: u32, elapsed: Duration) {
    let rate = f64::from(count) / elapsed.as_secs_f64();
    println!("{what:<44}{rate:>14.0} /s");
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let root = Context::root(Dispatcher::new(DispatcherConfig::default()));
    let processes = root.dispatcher().processes();
    processes.insert_host("app:host".parse().unwrap(), Arc::new(Threads));
    processes.insert("app:echo".parse().unwrap(), Arc::new(Program(echo)));
    processes.insert("app:ping".parse().unwrap(), Arc::new(Program(ping)));

    let started = Instant::now();
    let tasks: Vec<_> = (0..SPAWNS)
        .map(|_| tokio::spawn(Box::pin(std::future::pending::<()>())))
        .collect();
    report("floor: spawn a task", SPAWNS, started.elapsed());
    tasks.iter().for_each(tokio::task::JoinHandle::abort);

    let started = Instant::now();
    let before = resident_bytes();
    let launched: Vec<_> = (0..SPAWNS)
        .map(|_| processes.launch(&root, spawn("app:echo"), Vec::new()).unwrap())
        .collect();
    report("start a process", SPAWNS, started.elapsed());
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        let each = after.saturating_sub(before) / u64::from(SPAWNS);
        println!("{:<44}{each:>14} bytes", "a process that waits for a message");
    }
    let started = Instant::now();
    let exits: Vec<_> = launched.iter().map(|process| (process, process.exit())).collect();
    for (process, exit) in exits {
        process.terminate("enough");
        exit.await;
    }
    report("terminate it and see its end", SPAWNS, started.elapsed());

    let count = ROUNDS * u32::try_from(PAIRS).unwrap();
    let started = Instant::now();
    let pairs: Vec<_> = (0..PAIRS).map(|_| tokio::spawn(floor())).collect();
    for pair in pairs {
        pair.await.unwrap();
    }
    report("floor: round trip through channels", count, started.elapsed());

    let started = Instant::now();
    let pairs: Vec<_> = (0..PAIRS)
        .map(|_| {
            processes
                .launch(&root, spawn("app:ping"), Vec::new())
                .unwrap()
                .exit()
        })
        .collect();
    for pair in pairs {
        pair.await.as_ref().unwrap();
    }
    report("round trip between processes", count, started.elapsed());
}

/// The memory that this program has, where the system says so.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

async fn floor() {
    let (sender, mut requests) = mpsc::channel::<Vec<Value>>(1024);
    let (answerer, mut answers) = mpsc::channel::<Vec<Value>>(1024);
    tokio::spawn(async move {
        while let Some(message) = requests.recv().await {
            answerer.send(message).await.unwrap();
        }
    });
    for number in 0..ROUNDS {
        sender.send(vec![Value::Integer(number.into())]).await.unwrap();
        answers.recv().await.unwrap();
    }
}
