//! What a start costs: an application of 200 entries over 20 components, compiling them and from the cache.
//!
//! Beside it stands what the engine alone takes: compiling the 20 components on as many threads, or deserializing them.
//! The application is loaded as `wippy run` loads it: read, linked, every entry prepared, nothing started.
//!
//! `cargo bench -p wippy-cli --bench boot [FILTER]`; `SAMPLES=n` for more of them.
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

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use support::bare_engine;
use tempfile::TempDir;
use wasmtime::component::Component;
use wippy_cli::{App, Config, config::CacheConfig};
use wippy_wasm::sha256;

const COMPONENTS: usize = 20;
const ENTRIES: usize = 10;

fn main() {
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| {
        filter
            .as_ref()
            .is_none_or(|filter| name.contains(filter.as_str()))
    };
    let application = Application::new();
    println!(
        "{} entries over {COMPONENTS} components of {} KiB",
        COMPONENTS * ENTRIES,
        application.components[0].len() >> 10
    );
    println!(
        "{:<20} {:>10} {:>10} {:>7} {:>7}",
        "boot", "floor", "ours", "ratio", "target"
    );
    if wanted("cold") {
        let row = Turns::measure(samples(3), || application.compile(), || application.boot(false));
        row.print("cold", 1.2);
    }
    if wanted("cached") {
        application.boot(true);
        let row = Turns::measure(
            samples(15),
            || application.deserialize(),
            || application.boot(true),
        );
        row.print("from the cache", 3.0);
    }
    if wanted("slots") {
        let reserve = |slots| {
            let begun = Instant::now();
            let engine = bare_engine(slots);
            let took = begun.elapsed();
            drop(engine);
            took
        };
        let row = Turns::measure(samples(5), || reserve(64), || reserve(10_000));
        row.print("slots: 64, 10,000", f64::INFINITY);
    }
}

fn samples(usual: usize) -> usize {
    std::env::var("SAMPLES").map_or(usual, |samples| samples.parse().unwrap())
}

/// A project, and its components.
struct Application {
    folder: TempDir,
    components: Vec<Vec<u8>>,
    artifacts: Vec<std::path::PathBuf>,
}

impl Application {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for name in ["src", "components", "artifacts"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        let mut index = String::from(
            "version: \"1.0\"\nnamespace: many\nentries:\n  - { name: files, kind: fs.directory, directory: \
             ./components }\n",
        );
        let engine = bare_engine(8);
        let (mut components, mut artifacts) = (Vec::new(), Vec::new());
        for number in 0..COMPONENTS {
            let bytes = component(number);
            let name = format!("c{number}.wasm");
            fs::write(path.join("components").join(&name), &bytes).unwrap();
            let hash = sha256(&bytes);
            for entry in 0..ENTRIES {
                let _ = writeln!(
                    index,
                    "  - {{ name: c{number}_{entry}, kind: function.wasm, fs: files, path: {name}, hash: \"{hash}\", \
                     method: f{entry} }}"
                );
            }
            let artifact = path.join("artifacts").join(number.to_string());
            let compiled = Component::new(&engine, &bytes).unwrap();
            fs::write(&artifact, compiled.serialize().unwrap()).unwrap();
            components.push(bytes);
            artifacts.push(artifact);
        }
        fs::write(path.join("src/_index.yaml"), index).unwrap();
        Self {
            folder,
            components,
            artifacts,
        }
    }

    /// How long the application takes until every entry is ready.
    fn boot(&self, cached: bool) -> Duration {
        let mut config = Config::default();
        config.wasm.cache = CacheConfig {
            enabled: cached,
            dir: Some(self.folder.path().join("cache")),
            max_bytes: None,
        };
        let begun = Instant::now();
        let app = load(self.folder.path(), &config);
        let took = begun.elapsed();
        drop(app);
        took
    }

    /// How long the engine takes to compile the components, each on the next free thread.
    fn compile(&self) -> Duration {
        let begun = Instant::now();
        let engine = bare_engine(8);
        on_all_cores(&self.components, |bytes| {
            Component::new(&engine, bytes).unwrap();
        });
        begun.elapsed()
    }

    /// How long the engine takes to read and deserialize them, one after the other.
    fn deserialize(&self) -> Duration {
        let engine = bare_engine(8);
        let begun = Instant::now();
        let loaded: Vec<Component> = self
            .artifacts
            .iter()
            .map(|path| {
                let bytes = fs::read(path).unwrap();
                // SAFETY: this program wrote it a moment ago.
                unsafe { Component::deserialize(&engine, bytes) }.unwrap()
            })
            .collect();
        let took = begun.elapsed();
        drop(loaded);
        took
    }
}

fn load(folder: &Path, config: &Config) -> App {
    App::load(folder, config).unwrap_or_else(|problems| panic!("{}", problems.render()))
}

fn on_all_cores<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().unwrap().get();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}

/// A component with sixty functions of some length, of which ten are exported as `f0` to `f9`.
fn component(number: usize) -> Vec<u8> {
    let function = |index: usize| {
        let step = format!("local.get 0 i32.const {index} i32.mul i32.const {number} i32.add local.set 0 ");
        let export = if index < ENTRIES {
            format!("(export \"f{index}\")")
        } else {
            String::new()
        };
        format!(
            "(func {export} (param i32) (result i32) {}local.get 0)\n",
            step.repeat(20)
        )
    };
    let functions: String = (0..60).map(function).collect();
    let mut module = wat::parse_str(format!("(module {functions})")).unwrap();
    let mut text = String::from("package many:many; world many {\n");
    for index in 0..ENTRIES {
        let _ = writeln!(text, "export f{index}: func(x: s32) -> s32;");
    }
    text.push('}');
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_source("many.wit", &text).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding).unwrap();
    wit_component::ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .encode()
        .unwrap()
}

/// What the turns of both came to.
struct Turns {
    floors: Vec<f64>,
    ours: Vec<f64>,
    ratios: Vec<f64>,
}

impl Turns {
    fn measure(turns: usize, floor: impl Fn() -> Duration, ours: impl Fn() -> Duration) -> Self {
        let mut all = Self {
            floors: Vec::new(),
            ours: Vec::new(),
            ratios: Vec::new(),
        };
        for _ in 0..turns {
            let (floor, ours) = (floor().as_secs_f64(), ours().as_secs_f64());
            all.floors.push(floor);
            all.ours.push(ours);
            all.ratios.push(ours / floor);
        }
        all
    }

    fn print(mut self, name: &str, target: f64) {
        let ratio = support::median(&mut self.ratios);
        println!(
            "{name:<20} {:>7.2} ms {:>7.2} ms {ratio:>7.2} {target:>7.2}{}",
            support::median(&mut self.floors) * 1e3,
            support::median(&mut self.ours) * 1e3,
            if ratio <= target { "" } else { "  over" }
        );
    }
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
