//! The tasks of the comparison, done by the `extism` crate: see the README one folder up for what is asked and answered.
//!
//! A plugin takes bytes and gives bytes, so numbers are packed and records are JSON, both on the host's side only: the
//! guest hands everything back as the other peers' guest does.

use std::{
    io::{BufRead as _, Write as _},
    time::Instant,
};

use extism::{CompiledPlugin, Manifest, Plugin, PluginBuilder, Wasm};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct User {
    id: u32,
    name: String,
    email: String,
    active: bool,
}

fn main() -> Result<(), extism::Error> {
    let manifest = Manifest::new([Wasm::data(include_bytes!("../plugin.wat").as_slice())]);
    let compiled = PluginBuilder::new(manifest).with_wasi(false).compile()?;
    let mut plugin = Plugin::new_from_compiled(&compiled)?;
    let users: Vec<User> = (1..=1000)
        .map(|id| User {
            id,
            name: format!("user-name-{id}"),
            email: format!("user{id}@example.org"),
            active: id % 2 == 0,
        })
        .collect();
    let (text, bytes) = ("x".repeat(100), vec![b'y'; 64 << 10]);

    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (task, loops) = line.split_once(' ').unwrap_or((&line, "1"));
        let loops: u32 = loops.parse()?;
        let begun = Instant::now();
        for number in 0..loops {
            match task {
                "add" => assert_eq!(add(&mut plugin, number)?, number + 1),
                "string" => assert_eq!(plugin.call::<_, String>("echo", &text)?.len(), 100),
                "bytes" => assert_eq!(plugin.call::<_, Vec<u8>>("echo", &bytes)?.len(), 64 << 10),
                "bytes-untouched" => {
                    assert_eq!(plugin.call::<_, Vec<u8>>("echo_untouched", &bytes)?.len(), 64 << 10);
                }
                "users" => {
                    let input = serde_json::to_vec(&users)?;
                    let output: &[u8] = plugin.call("echo_untouched", input)?;
                    assert_eq!(serde_json::from_slice::<Vec<User>>(output)?.len(), 1000);
                }
                "fresh" => assert_eq!(fresh(&compiled, number)?, number + 1),
                other => panic!("there is no task {other}"),
            }
        }
        let nanoseconds = begun.elapsed().as_nanos() as f64 / f64::from(loops);
        println!("{nanoseconds}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn add(plugin: &mut Plugin, number: u32) -> Result<u32, extism::Error> {
    let mut input = [0; 8];
    input[..4].copy_from_slice(&number.to_le_bytes());
    input[4..].copy_from_slice(&1_u32.to_le_bytes());
    let output: &[u8] = plugin.call("add", input.as_slice())?;
    Ok(u32::from_le_bytes(output.try_into()?))
}

fn fresh(compiled: &CompiledPlugin, number: u32) -> Result<u32, extism::Error> {
    add(&mut Plugin::new_from_compiled(compiled)?, number)
}
