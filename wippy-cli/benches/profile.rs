//! One loop of calls from Lua to WebAssembly and nothing else, for a profiler to look at; `instructions.py` does.
//!
//! `cargo bench -p wippy-cli --bench profile -- add 10000`; `floor:add` for the engine's statically typed call.
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

use support::{Rig, Typed};

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let [name, loops] = words.as_slice() else {
        // Every benchmark is run when none is named.
        println!("usage: profile NAME LOOPS");
        return;
    };
    let (rig, loops) = (Rig::small(), loops.parse().unwrap());
    match name.strip_prefix("floor:") {
        Some(name) => Typed::new(&rig, name).run(loops),
        None => rig.run(name, loops),
    };
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
