//! What an instance costs: a call in a fresh one, in one that was made ahead, in one that is used again, and a thousand idle ones.
//!
//! Each row is a loop in a script that calls the guest `bench` through `funcs.call`, beside what the engine alone takes
//! for the same from Rust, plus a call of a C function from Lua. Samples of both alternate.
//!
//! `cargo bench -p wippy-cli --bench instances [FILTER]`; `SAMPLES=n` for more of them.
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

use std::{hint::black_box, process::Command, time::Instant};

use support::{Rig, Row, bare::Bare, lua_c_call};
use wippy_wasm::{PoolConfig, Ready, Reuse};

const SCRIPT: &str = r#"
local funcs = require("funcs")
return {run = function(name, n)
    local target = "bench:" .. name
    for i = 1, n do funcs.call(target, i, 1) end
end}
"#;

/// Instances that are made ahead, and calls between two looks at whether all are there.
const AHEAD: usize = 1_000;
const BURST: u64 = 500;

fn main() {
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| {
        filter
            .as_ref()
            .is_none_or(|filter| name.contains(filter.as_str()))
    };
    if let Some(guest) = filter.as_deref().and_then(|word| word.strip_prefix("idle:")) {
        return idle(guest);
    }
    calls(&wanted);
    if wanted("idle") {
        println!(
            "\n{:<16} {:>12} {:>12} {:>7}",
            "one idle of", "floor KiB", "ours KiB", "ratio"
        );
        for guest in ["bench", "users"] {
            // What other measurements left behind would be used again, so each has a process of its own.
            let program = std::env::current_exe().unwrap();
            let status = Command::new(program).arg(format!("idle:{guest}")).status();
            assert!(status.unwrap().success());
        }
    }
}

fn calls(wanted: &dyn Fn(&str) -> bool) {
    let rig = Rig::empty(4_000);
    let pool = |reuse, ready| PoolConfig {
        max_size: AHEAD,
        reuse,
        ready,
        ..PoolConfig::default()
    };
    let guest = |name: &str, pool| rig.guest(name, "bench", "add", &[], pool);
    guest("bench:fresh", pool(Reuse::Never, Ready::Nothing));
    let ahead = guest("bench:ahead", pool(Reuse::Never, Ready::Always(AHEAD)));
    guest("bench:caller", pool(Reuse::Caller, Ready::Nothing));
    guest("bench:always", pool(Reuse::Always, Ready::Nothing));
    rig.script("bench:run", SCRIPT);

    let bare = Bare::new("bench");
    let lua_call = lua_c_call();
    let mut rows = Vec::new();
    if wanted("fresh") {
        let row = Row::measure(|| bare.fresh(&rig, 2_000) + lua_call, || rig.run("fresh", 2_000));
        let floor = "InstancePre from the pool, typed call_async, drop";
        rows.push(row.named("fresh", floor, 1.5, rig.allocations("fresh")));
    }
    if wanted("ahead") {
        let row = Row::measure(
            || bare.ahead(&rig) + lua_call,
            || {
                rig.runtime.block_on(ahead.warm()).unwrap();
                rig.run("ahead", BURST)
            },
        );
        let floor = "typed call_async in an instance that is there, drop";
        rows.push(row.named("ahead", floor, 1.5, rig.allocations("ahead")));
    }
    for name in ["caller", "always"] {
        if wanted(name) {
            let row = Row::measure(|| bare.warm(&rig, 20_000) + lua_call, || rig.run(name, 20_000));
            let floor = "typed call_async in a warm instance";
            rows.push(row.named(name, floor, 1.2, rig.allocations(name)));
        }
    }
    support::print(&rows);
}

/// What each of a thousand idle instances adds to the process.
fn idle(guest: &str) {
    let method = if guest == "users" {
        "transform-users"
    } else {
        "add"
    };
    let bare = Bare::new(guest);
    let rig = Rig::empty(2_000);
    let pool = PoolConfig {
        max_size: AHEAD,
        ready: Ready::Always(AHEAD),
        ..PoolConfig::default()
    };
    let function = rig.guest("bench:idle", guest, method, &[], pool);
    // The first ones bring along what all share.
    let first = rig.runtime.block_on(bare.instance());
    let before = resident();
    let instances: Vec<_> = (0..AHEAD)
        .map(|_| rig.runtime.block_on(bare.instance()))
        .collect();
    let floor = resident() - before;
    let before = resident();
    rig.runtime.block_on(function.warm()).unwrap();
    let ours = resident() - before;
    assert_eq!(function.stocked(), (AHEAD, 0));
    drop((first, instances));
    let each = AHEAD as f64 * 1024.0;
    println!(
        "{guest:<16} {:>12.1} {:>12.1} {:>7.2}",
        floor as f64 / each,
        ours as f64 / each,
        ours as f64 / floor as f64
    );
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// What a call takes in the engine alone.
trait Floors {
    fn fresh(&self, rig: &Rig, loops: u64) -> f64;
    fn ahead(&self, rig: &Rig) -> f64;
    fn warm(&self, rig: &Rig, loops: u64) -> f64;
}

impl Floors for Bare {
    fn fresh(&self, rig: &Rig, loops: u64) -> f64 {
        rig.runtime.block_on(async {
            let begun = Instant::now();
            for _ in 0..loops {
                let (mut store, add) = self.ready().await;
                black_box(add.call_async(&mut store, (7, 1)).await.unwrap());
            }
            begun.elapsed().as_nanos() as f64 / loops as f64
        })
    }

    fn ahead(&self, rig: &Rig) -> f64 {
        rig.runtime.block_on(async {
            let mut ready = Vec::new();
            for _ in 0..AHEAD {
                ready.push(self.ready().await);
            }
            let begun = Instant::now();
            for (mut store, add) in ready.drain(AHEAD - BURST as usize..) {
                black_box(add.call_async(&mut store, (7, 1)).await.unwrap());
            }
            begun.elapsed().as_nanos() as f64 / BURST as f64
        })
    }

    fn warm(&self, rig: &Rig, loops: u64) -> f64 {
        rig.runtime.block_on(async {
            let (mut store, add) = self.ready().await;
            store.set_hostcall_fuel(1 << 30);
            let begun = Instant::now();
            for _ in 0..loops {
                black_box(add.call_async(&mut store, (7, 1)).await.unwrap());
            }
            begun.elapsed().as_nanos() as f64 / loops as f64
        })
    }
}

#[global_allocator]
static COUNTING: support::Counting = support::Counting;
