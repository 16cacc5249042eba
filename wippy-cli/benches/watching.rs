//! What counting a call costs: the same loop of a script that calls a guest, in applications without metrics and with
//! them; without them twice, so that the noise of the machine shows beside the difference.
//!
//! `cargo bench -p wippy-cli --bench watching`; `SAMPLES=n` for more of them.
#![allow(
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark"
)]

use std::{fs, path::Path, time::Instant};

use tokio::runtime::Runtime;
use wippy_cli::{App, Config, config::PrometheusConfig};
use wippy_wit::Value;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Calls of one sample.
const CALLS: i64 = 20_000;

/// One loop calls the same instance again and again, the other makes every call in a fresh one.
const INDEX: &str = r#"namespace: bench
entries:
  - { name: files, kind: fs.directory, directory: . }
  - { name: warm, kind: function.wasm, fs: files, path: bench.wasm, hash: HASH, method: add }
  - { name: fresh, kind: function.wasm, fs: files, path: bench.wasm, hash: HASH, method: add, pool: { type: inline } }
  - name: run
    kind: function.lua
    method: run
    modules: [funcs]
    source: |
      local funcs = require("funcs")
      return { run = function(name, n)
        local x = 0
        for i = 1, n do x = funcs.call(name, i, 1) end
        return x
      end }
"#;

/// An application and the runtime that it runs on.
struct Rig {
    name: &'static str,
    runtime: Runtime,
    app: App,
}

impl Rig {
    fn new(name: &'static str, folder: &Path, prometheus: Option<PrometheusConfig>) -> Self {
        let config = Config {
            prometheus,
            ..Config::default()
        };
        let app = App::load(folder, &config).unwrap_or_else(|problems| panic!("{}", problems.render()));
        Self {
            name,
            runtime: Runtime::new().unwrap(),
            app,
        }
    }

    /// Nanoseconds a call.
    fn sample(&self, function: &str) -> f64 {
        let arguments = vec![Value::from(function), Value::Integer(CALLS)];
        let begun = Instant::now();
        let run = "bench:run".parse().unwrap();
        self.runtime.block_on(self.app.call(&run, arguments)).unwrap();
        begun.elapsed().as_nanos() as f64 / CALLS as f64
    }
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(fixtures::wasm("bench")).unwrap();
    fs::write(folder.path().join("bench.wasm"), &bytes).unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    let index = INDEX.replace("HASH", &wippy_wasm::sha256(&bytes));
    fs::write(folder.path().join("src/_index.yaml"), index).unwrap();

    let on = || Some(PrometheusConfig::default());
    let rigs = [
        Rig::new("off", folder.path(), None),
        Rig::new("off again", folder.path(), None),
        Rig::new("metrics on", folder.path(), on()),
    ];
    let samples = std::env::var("SAMPLES").map_or(25, |samples| samples.parse().unwrap());
    for function in ["bench:warm", "bench:fresh"] {
        let mut times = rigs.each_ref().map(|_| Vec::new());
        for _ in 0..=samples {
            for (rig, times) in rigs.iter().zip(&mut times) {
                times.push(rig.sample(function));
            }
        }
        println!("{function}, {CALLS} calls a sample, medians of {samples}");
        let mut off = 0.0;
        for (rig, times) in rigs.iter().zip(&mut times) {
            // The first warmed up.
            let median = median(&mut times[1..]);
            if off == 0.0 {
                off = median;
            }
            println!("  {:<12} {median:>8.1} ns   {:.3}", rig.name, median / off);
        }
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
