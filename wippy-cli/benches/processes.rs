//! What processes cost on a host of an application: memory, starting, talking, and sharing two threads with busy loops.
//!
//! `cargo bench -p wippy-cli --bench processes`; a word as argument runs only the part of that name: `lua`, `wasm`, `ping`,
//! `busy`. `LUA_PROCESSES` and `WASM_PROCESSES` say how many are alive at once.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark is a program that prints, and stops at the first problem"
)]

use std::{
    fs,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use wippy_cli::{App, Config};
use wippy_registry::EntryId;
use wippy_security::{Exit, Launched, Spawn};
use wippy_wit::Value;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Processes that echo, ask, wait and compute.
const INDEX: &str = include_str!("support/crowd.yaml");

struct Bench {
    app: App,
    runtime: Runtime,
    _project: TempDir,
}

impl Bench {
    fn new() -> Self {
        let project = tempfile::tempdir().unwrap();
        let bytes = fs::read(fixtures::wasm("actor")).unwrap();
        let actor = format!(
            "fs: files\n    path: actor.wasm\n    hash: {}",
            wippy_wasm::sha256(&bytes)
        );
        fs::write(project.path().join("actor.wasm"), bytes).unwrap();
        fs::create_dir(project.path().join("src")).unwrap();
        fs::write(
            project.path().join("src/_index.yaml"),
            INDEX.replace("{actor}", &actor),
        )
        .unwrap();
        let app = App::load(project.path(), &Config::default());
        Self {
            app: app.unwrap_or_else(|problems| panic!("{}", problems.render())),
            runtime: Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap(),
            _project: project,
        }
    }

    fn start(&self, name: &str, arguments: Vec<Value>) -> Launched {
        let spawn = Spawn::new(id(name), id("bench:host"), arguments);
        let processes = self.app.dispatcher().processes();
        processes.launch(&self.app.context(), spawn, Vec::new()).unwrap()
    }

    async fn run(&self, name: &str, arguments: Vec<Value>) -> Exit {
        let exit = self.start(name, arguments).exit().await;
        assert!(exit.is_ok(), "{exit:?}");
        exit
    }

    /// Sends each of `pids` a message, and waits until all have answered.
    async fn ask(&self, pids: &[Value], topic: &str) {
        let list = Value::array(pids.iter().cloned());
        self.run("bench:ask", vec![list, Value::from(topic)]).await;
    }

    /// `count` idle processes: what each takes, how fast they start, and that all answer.
    fn idle(&self, what: &str, name: &str, arguments: &[Value], topic: &str, count: usize) {
        self.runtime.block_on(async {
            // What is made once is made before.
            let first = self.start(name, arguments.to_vec());
            self.ask(&[Value::from(first.pid().as_str())], topic).await;
            first.terminate("enough");
            let _ = first.exit().await;
            let (before, begun) = (resident(), Instant::now());
            let mut pids = Vec::with_capacity(count);
            for index in 0..count {
                pids.push(Value::from(self.start(name, arguments.to_vec()).pid().as_str()));
                if index % 512 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            // The last has started when it answers; the others began before it.
            self.ask(&pids[count - 1..], topic).await;
            let elapsed = begun.elapsed();
            settled().await;
            let idle = (resident() - before) as f64 / count as f64 / 1024.0;
            let begun = Instant::now();
            for some in pids.chunks(1000) {
                self.ask(some, topic).await;
            }
            let answered = begun.elapsed();
            settled().await;
            let after = (resident() - before) as f64 / count as f64 / 1024.0;
            println!(
                "{what}: {count} alive, {:.0} started a second",
                rate(count, elapsed)
            );
            println!("{what}: {idle:.1} KiB each when idle, {after:.1} KiB each after a message");
            println!(
                "{what}: all {count} answered, {:.0} a second",
                rate(count, answered)
            );
            let begun = Instant::now();
            for pid in &pids {
                let pid = pid.as_str().unwrap();
                let processes = self.app.dispatcher().processes();
                processes.terminate(&self.app.context(), pid).unwrap();
            }
            drop(pids);
            while !self.app.dispatcher().processes().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            println!("{what}: {:.0} ended a second", rate(count, begun.elapsed()));
        });
    }

    fn ping(&self) {
        self.runtime.block_on(async {
            for pairs in [1, 16] {
                let rounds = 200_000 / pairs;
                let begun = Instant::now();
                let pings: Vec<_> = (0..pairs)
                    .map(|_| self.start("bench:ping", vec![Value::Integer(rounds)]).exit())
                    .collect();
                for ping in pings {
                    assert!(ping.await.is_ok());
                }
                let rounds = usize::try_from(rounds * pairs).unwrap();
                println!(
                    "{pairs} pairs: {:.0} round trips a second",
                    rate(rounds, begun.elapsed())
                );
            }
        });
    }

    /// 1,000 echo processes beside four busy loops in Lua and four in WebAssembly, on two threads.
    fn busy(&self) {
        self.runtime.block_on(async {
            let echoes: Vec<_> = (0..1000).map(|_| self.start("bench:echo", Vec::new())).collect();
            let pids = || Value::array(echoes.iter().map(|echo| Value::from(echo.pid().as_str())));
            self.waits("alone", pids()).await;
            let loops: Vec<_> = ["bench:loop", "bench:spin"]
                .into_iter()
                .flat_map(|name| (0..4).map(move |_| name))
                .map(|name| self.start(name, Vec::new()))
                .collect();
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.waits("beside eight busy loops", pids()).await;
            let mut slowest = Duration::ZERO;
            for one in loops {
                let begun = Instant::now();
                one.terminate("enough");
                let _ = one.exit().await;
                slowest = slowest.max(begun.elapsed());
            }
            println!("busy loops: the slowest of eight ended {slowest:.1?} after it was terminated");
            for echo in &echoes {
                echo.terminate("enough");
            }
        });
    }

    /// How long echoes take, seen by a process that asks one after the other.
    async fn waits(&self, what: &str, pids: Value) {
        let exit = self.run("bench:clock", vec![pids, Value::Integer(500)]).await;
        let Ok(Value::Table(table)) = &*exit else {
            panic!("{exit:?}")
        };
        let mut waits: Vec<f64> = table
            .array
            .iter()
            .filter_map(|wait| {
                if let Value::Integer(wait) = wait {
                    Some(*wait as f64)
                } else {
                    None
                }
            })
            .collect();
        waits.sort_by(f64::total_cmp);
        let at = |share: f64| waits[(waits.len() as f64 * share) as usize] / 1000.0;
        println!("echoes {what}: p50 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99));
    }
}

fn id(text: &str) -> EntryId {
    text.parse().unwrap()
}

fn rate(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// Lets everything come to rest.
async fn settled() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

/// Memory of this program, in bytes.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn count(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn main() {
    let bench = Bench::new();
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    if wanted("ping") {
        bench.ping();
    }
    if wanted("busy") {
        bench.busy();
    }
    if wanted("wasm") {
        let (to, count) = (Value::from("asker"), count("WASM_PROCESSES", 10_000));
        bench.idle("wasm", "bench:relay", &[to], "relayed", count);
    }
    if wanted("lua") {
        bench.idle("lua", "bench:echo", &[], "hello", count("LUA_PROCESSES", 100_000));
    }
}
