//! The same component, called from Lua here and from what one would use instead: Python, Node, and the `extism` crate.
//!
//! Every peer is a process that reads tasks and answers with nanoseconds, so that the samples of all alternate in one run;
//! the README beside this file says what each task is. Peers come from their package registries and are kept below
//! `target/tmp`; one that cannot be had is left out, and the run says why.
//!
//! `cargo bench -p wippy-cli --bench peers [TASK]`; `SAMPLES=n` for more of them.
#![allow(
    unsafe_code,
    unreachable_pub,
    missing_docs,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark is a program that prints, and stops at the first problem"
)]

#[path = "../support/mod.rs"]
mod support;

use std::{
    error::Error,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use support::{Rig, median};
use wippy_wasm::{PoolConfig, Reuse};

const WASMTIME_PY: &str = "50.0.1";
const JCO: &str = "1.35.0";
const EXTISM: &str = "1.30.0";

const TASKS: [&str; 6] = ["add", "string", "bytes", "bytes-untouched", "users", "fresh"];

/// Nanoseconds that one sample is to take.
const SAMPLE: f64 = 60e6;

const SCRIPT: &str = r#"
local funcs = require("funcs")

local text = ("x"):rep(100)
local bytes = ("y"):rep(64 << 10)
local users = {}
for i = 1, 1000 do
    users[i] = {id = i, name = "user-name-" .. i, email = "user" .. i .. "@example.org", active = i % 2 == 0}
end

local tasks = {}

function tasks.add(n)
    for i = 1, n do assert(funcs.call("bench:add", i, 1) == i + 1) end
end

function tasks.string(n)
    for _ = 1, n do assert(#funcs.call("bench:echo_string", text) == 100) end
end

function tasks.bytes(n)
    for _ = 1, n do assert(#funcs.call("bench:echo_bytes", bytes) == 64 << 10) end
end

function tasks.users(n)
    for _ = 1, n do assert(#funcs.call("bench:echo_users", users) == 1000) end
end

function tasks.fresh(n)
    for i = 1, n do assert(funcs.call("bench:fresh", i, 1) == i + 1) end
end

return {run = function(name, n) return tasks[name](n) end}
"#;

fn main() {
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let rig = Rig::empty(64);
    for name in ["add", "echo_string", "echo_bytes", "echo_users"] {
        rig.guest(
            &format!("bench:{name}"),
            "bench",
            name,
            &[],
            PoolConfig::default(),
        );
    }
    let pool = PoolConfig {
        reuse: Reuse::Never,
        ..PoolConfig::default()
    };
    rig.guest("bench:fresh", "bench", "add", &[], pool);
    rig.script("bench:run", SCRIPT);

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers");
    let mut peers = vec![Peer::here(&rig)];
    for (name, install) in [
        ("Python", python as fn(&Path) -> Installed),
        ("Node", node),
        ("Extism", extism),
    ] {
        match install(&folder) {
            Ok((version, command)) => peers.push(Peer::process(name, version, command)),
            Err(error) => println!("{name} is left out: {error}"),
        }
    }
    for peer in &peers {
        println!("{}: {}", peer.name, peer.version);
    }
    let names: Vec<_> = peers.iter().map(|peer| peer.name).collect();
    println!("\n| task | {} |", names.join(" | "));
    println!("|---|{}", "---|".repeat(names.len()));
    for task in TASKS {
        if filter.as_ref().is_none_or(|filter| filter == task) {
            println!("| {task} | {} |", row(task, &mut peers).join(" | "));
        }
    }
}

/// The medians of all who do `task`, and their ratios to the first, which is ours.
fn row(task: &str, peers: &mut [Peer<'_>]) -> Vec<String> {
    let samples: usize = std::env::var("SAMPLES").map_or(9, |text| text.parse().unwrap());
    let loops: Vec<u32> = peers.iter_mut().map(|peer| peer.calibrate(task)).collect();
    let mut all = vec![Vec::new(); peers.len()];
    for _ in 0..samples {
        for ((peer, loops), taken) in peers.iter_mut().zip(&loops).zip(&mut all) {
            if *loops > 0 {
                taken.push(peer.run(task, *loops));
            }
        }
    }
    let medians: Vec<Option<f64>> = all
        .iter_mut()
        .map(|taken| (!taken.is_empty()).then(|| median(taken)))
        .collect();
    let text = |taken: Option<f64>| match (taken, medians[0]) {
        (Some(taken), Some(ours)) => format!("{} ({:.2})", duration(taken), taken / ours),
        (Some(taken), None) => duration(taken),
        (None, _) => "–".to_owned(),
    };
    medians.iter().map(|taken| text(*taken)).collect()
}

fn duration(nanoseconds: f64) -> String {
    if nanoseconds < 1e4 {
        format!("{nanoseconds:.0} ns")
    } else if nanoseconds < 1e7 {
        format!("{:.1} µs", nanoseconds / 1e3)
    } else {
        format!("{:.1} ms", nanoseconds / 1e6)
    }
}

/// Somebody who does the tasks.
struct Peer<'a> {
    name: &'static str,
    version: String,
    way: Way<'a>,
}

enum Way<'a> {
    Here(&'a Rig),
    Process(Child, ChildStdin, BufReader<ChildStdout>),
}

impl<'a> Peer<'a> {
    fn here(rig: &'a Rig) -> Self {
        Self {
            name: "Wippy",
            version: format!("{}, wasmtime 48.0.8, from Lua 5.4", env!("CARGO_PKG_VERSION")),
            way: Way::Here(rig),
        }
    }

    fn process(name: &'static str, version: String, mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let way = Way::Process(child, input, BufReader::new(output));
        Self { name, version, way }
    }

    /// Nanoseconds for one round of `task`.
    fn run(&mut self, task: &str, loops: u32) -> f64 {
        match &mut self.way {
            Way::Here(rig) => rig.run(task, loops.into()),
            Way::Process(_, input, output) => {
                writeln!(input, "{task} {loops}").unwrap();
                input.flush().unwrap();
                let mut line = String::new();
                output.read_line(&mut line).unwrap();
                line.trim()
                    .parse()
                    .unwrap_or_else(|_| panic!("{}: {task}", self.name))
            }
        }
    }

    /// How many rounds make a sample; none if this peer does not do `task`. Runs it until a compiler had its time, too.
    fn calibrate(&mut self, task: &str) -> u32 {
        if task == "bytes-untouched" && self.name != "Extism" {
            return 0;
        }
        let mut loops = 1_u32;
        loop {
            let taken = self.run(task, loops) * f64::from(loops);
            if taken > SAMPLE / 2.0 || loops > 1 << 20 {
                return ((f64::from(loops) * SAMPLE / taken) as u32).max(1);
            }
            loops *= 2;
        }
    }
}

impl Drop for Peer<'_> {
    fn drop(&mut self) {
        if let Way::Process(child, ..) = &mut self.way {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a peer is, and how it is started.
type Installed = Result<(String, Command), Box<dyn Error>>;

fn python(folder: &Path) -> Installed {
    let folder = folder.join("python");
    let python = folder.join("bin/python");
    if !python.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    }
    let package = format!("wasmtime=={WASMTIME_PY}");
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", &package]))?;
    let version = run(Command::new(&python).arg("--version"))?;
    let mut command = Command::new(python);
    command.arg(here("python.py")).arg(fixtures::wasm("bench"));
    Ok((format!("package wasmtime {WASMTIME_PY}, {version}"), command))
}

fn node(folder: &Path) -> Installed {
    let folder = folder.join("node");
    fs::create_dir_all(&folder)?;
    fs::write(
        folder.join("package.json"),
        r#"{"private": true, "type": "module"}"#,
    )?;
    let package = format!("@bytecodealliance/jco@{JCO}");
    let mut npm = Command::new("npm");
    run(npm
        .current_dir(&folder)
        .args(["install", "--no-audit", "--no-fund", "--silent", &package]))?;
    let output = folder.join("bench");
    run(Command::new(folder.join("node_modules/.bin/jco"))
        .args([
            "transpile",
            "--quiet",
            "--instantiation",
            "sync",
            "--name",
            "bench",
            "--out-dir",
        ])
        .arg(&output)
        .arg(fixtures::wasm("bench")))?;
    let version = run(Command::new("node").arg("--version"))?;
    let mut command = Command::new("node");
    command.arg(here("node.mjs")).arg(output);
    Ok((format!("jco {JCO}, Node {version}"), command))
}

fn extism(folder: &Path) -> Installed {
    let folder = folder.join("extism");
    run(Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--locked", "--manifest-path"])
        .arg(here("extism/Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder))?;
    let command = Command::new(folder.join("release/wippy-bench-extism"));
    Ok((
        format!("crate extism {EXTISM}, wasmtime 43.0.2, from Rust"),
        command,
    ))
}

/// A file beside this one.
fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("benches/peers")
        .join(name)
}

/// What a command prints when it goes well.
fn run(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}", said.trim()).into())
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
