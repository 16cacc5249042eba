//! What asynchronous calls and streams cost from Lua, beside the engine's own statically typed way, in one process.
//!
//! `cargo bench -p wippy-cli --bench streams`; `SAMPLES=n` for more samples. Only the ratios mean anything elsewhere.
#![allow(
    unsafe_code,
    dead_code,
    unused_must_use,
    unreachable_pub,
    missing_docs,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a benchmark, beside the rig of others"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    hint::black_box,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context as Waking, Poll},
    time::Instant,
};

use support::Row;
use tokio::runtime::{Builder, Runtime};
use wasmtime::{
    AsContextMut as _, Config, Store, StoreContextMut,
    component::{Component, Instance, Linker, Source, StreamConsumer, StreamReader, StreamResult},
};
use wippy_lua::{LuaFunction, Services};
use wippy_registry::EntryId;
use wippy_security::{Context, Dispatcher, DispatcherConfig};
use wippy_wasm::{Binary, Content, Engine, EngineConfig, Limits, PoolConfig, Spec, WasiConfig, WasmFunction};
use wippy_wit::{Value, ValueReader, ValueWriter};

/// How many values each stream has.
const VALUES: u32 = 1000;

const SCRIPT: &str = r#"
local funcs = require("funcs")
local loops = {}

function loops.add(n)
    local x = 0
    for i = 1, n do x = funcs.call("bench:add", i, 1) end
    return x
end

function loops.count(n)
    for _ = 1, n do
        local numbers, sum = funcs.call("bench:count", 1000), 0
        while true do
            local number, ok = numbers:receive()
            if not ok then break end
            sum = sum + number
        end
        assert(sum == 500500)
    end
end

function loops.sum(n)
    for _ = 1, n do
        local numbers = channel.new(64)
        coroutine.spawn(function()
            for number = 1, 1000 do numbers:send(number) end
            numbers:close()
        end)
        assert(funcs.call("bench:sum", numbers) == 500500)
    end
end

return {run = function(name, n) return loops[name](n) end}
"#;

#[global_allocator]
static ALLOCATOR: support::Counting = support::Counting;

fn main() {
    let rig = Rig::new();
    let mut rows = Vec::new();
    for (name, floor_name, target, loops) in [
        ("add", "typed call_concurrent", 2.0, 5_000),
        (
            "count",
            "typed call_concurrent, 1,000 u32 to a typed consumer",
            4.0,
            20,
        ),
        ("sum", "typed call_concurrent, 1,000 u32 of a vector", 10.0, 20),
    ] {
        let mut typed = Typed::new(&rig);
        let row = Row::measure(|| typed.run(name, loops), || rig.run(name, loops));
        rows.push(row.named(name, floor_name, target, rig.allocations(name)));
    }
    support::print(&rows);
}

/// An application in this process.
struct Rig {
    runtime: Runtime,
    context: Context,
}

impl Rig {
    fn new() -> Self {
        let engine = Engine::new(EngineConfig {
            instances_max: 64,
            ..EngineConfig::default()
        })
        .unwrap();
        let dispatcher = Dispatcher::new(DispatcherConfig::default());
        let content = Content::new(std::fs::read(fixtures::wasm("streams")).unwrap());
        for name in ["add", "count", "sum"] {
            let id = EntryId::parse(&format!("bench:{name}")).unwrap();
            let module = engine.prepare(Spec {
                id: id.clone(),
                binary: Binary::Wasm {
                    content: &content,
                    hash: &content.hash(),
                },
                wit: None,
                method: name,
                imports: &[],
                wasi: WasiConfig::default(),
                limits: Limits::default(),
            });
            let function = WasmFunction::new(module.unwrap(), PoolConfig::default());
            dispatcher.insert(id, Arc::new(function));
        }
        let id = EntryId::parse("bench:run").unwrap();
        let source = wippy_lua::Source {
            id: id.clone(),
            name: "bench.lua".into(),
            text: SCRIPT.into(),
            method: "run".into(),
            modules: BTreeSet::from(["funcs".to_owned()]),
            imports: BTreeMap::new(),
        };
        let function = LuaFunction::new(source, Services::default(), wippy_lua::Config::default()).unwrap();
        dispatcher.insert(id, function);
        Self {
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            context: Context::root(dispatcher),
        }
    }

    /// Nanoseconds for one round of the loop `name`.
    fn run(&self, name: &str, loops: u64) -> f64 {
        let begun = Instant::now();
        self.call(name, loops);
        begun.elapsed().as_nanos() as f64 / loops as f64
    }

    fn allocations(&self, name: &str) -> f64 {
        self.call(name, 10);
        let before = support::allocations();
        self.call(name, 100);
        let hundred = support::allocations() - before;
        let before = support::allocations();
        self.call(name, 200);
        (support::allocations() - before - hundred) as f64 / 100.0
    }

    fn call(&self, name: &str, loops: u64) {
        let dispatcher = self.context.dispatcher();
        let function = dispatcher.resolve(&EntryId::parse("bench:run").unwrap()).unwrap();
        let arguments = [Value::from(name), Value::Integer(loops as i64)];
        let (mut reader, mut writer) = (ValueReader::arguments(&arguments), ValueWriter::default());
        let calling = dispatcher
            .call(&self.context, &function, &mut reader, &mut writer)
            .unwrap();
        self.runtime.block_on(calling).unwrap();
        black_box(writer.finish());
    }
}

/// The engine's own way, with types that are known beforehand, on a warm instance.
struct Typed<'a> {
    rig: &'a Rig,
    store: Store<()>,
    instance: Instance,
}

impl<'a> Typed<'a> {
    fn new(rig: &'a Rig) -> Self {
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .concurrency_support(true)
            .wasm_component_model_async(true);
        let engine = wasmtime::Engine::new(&config).unwrap();
        let component = Component::from_file(&engine, fixtures::wasm("streams")).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1 << 40);
        let linker = Linker::new(&engine);
        let instance = rig
            .runtime
            .block_on(linker.instantiate_async(&mut store, &component))
            .unwrap();
        Self { rig, store, instance }
    }

    /// Nanoseconds for one call.
    fn run(&mut self, name: &str, loops: u64) -> f64 {
        let Self { rig, store, instance } = self;
        let begun = Instant::now();
        match name {
            "add" => {
                let add = instance
                    .get_typed_func::<(i32, i32), (i32,)>(&mut *store, "add")
                    .unwrap();
                for _ in 0..loops {
                    let called = store.run_concurrent(async |accessor| {
                        add.call_concurrent(accessor, (7, 1)).await.unwrap()
                    });
                    black_box(rig.runtime.block_on(called).unwrap());
                }
            }
            "count" => {
                let count = instance
                    .get_typed_func::<(u32,), (StreamReader<u32>,)>(&mut *store, "count")
                    .unwrap();
                for _ in 0..loops {
                    let sum = Arc::new(AtomicU64::new(0));
                    let adding = Adding(sum.clone());
                    let called = store.run_concurrent(async |accessor| {
                        let (numbers,) = count.call_concurrent(accessor, (VALUES,)).await.unwrap();
                        accessor.with(|mut access| numbers.pipe(access.as_context_mut(), adding).unwrap());
                        poll_fn(|waking| accessor.poll_no_interesting_tasks(waking)).await;
                    });
                    rig.runtime.block_on(called).unwrap();
                    assert_eq!(sum.load(Ordering::Relaxed), 500_500);
                }
            }
            "sum" => {
                let sum = instance
                    .get_typed_func::<(StreamReader<u32>,), (u64,)>(&mut *store, "sum")
                    .unwrap();
                for _ in 0..loops {
                    let numbers: Vec<u32> = (1..=VALUES).collect();
                    let called = store.run_concurrent(async |accessor| {
                        let numbers = accessor.with(|access| StreamReader::new(access, numbers).unwrap());
                        sum.call_concurrent(accessor, (numbers,)).await.unwrap()
                    });
                    assert_eq!(rig.runtime.block_on(called).unwrap(), (500_500,));
                }
            }
            other => panic!("no floor for {other}"),
        }
        begun.elapsed().as_nanos() as f64 / loops as f64
    }
}

/// Adds what comes.
struct Adding(Arc<AtomicU64>);

impl StreamConsumer<()> for Adding {
    type Item = u32;

    fn poll_consume(
        self: Pin<&mut Self>,
        _: &mut Waking<'_>,
        store: StoreContextMut<'_, ()>,
        mut source: Source<'_, u32>,
        _: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut numbers = Vec::with_capacity(64);
        source.read(store, &mut numbers)?;
        let sum: u64 = numbers.into_iter().map(u64::from).sum();
        self.0.fetch_add(sum, Ordering::Relaxed);
        Poll::Ready(Ok(StreamResult::Completed))
    }
}
