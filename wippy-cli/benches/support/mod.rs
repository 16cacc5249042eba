//! The rig of the benchmarks: an application in one process, the floors beside it, and how both are timed.
#![allow(
    dead_code,
    unused_must_use,
    reason = "each benchmark uses a part of it, and no results of guests"
)]

pub mod bare;

use std::{
    alloc::{GlobalAlloc, Layout},
    collections::{BTreeMap, BTreeSet},
    ffi::c_int,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use mlua::{Lua, ffi};
use tokio::runtime::{Builder, Runtime};
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    component::{Component, ComponentType, Instance, Lift, Linker, Lower},
};
use wippy_lua::{LuaFunction, Services, Source};
use wippy_registry::EntryId;
use wippy_security::{Context, Dispatcher, DispatcherConfig};
use wippy_wasm::{
    Allocator, Binary, Content, Engine, EngineConfig, Limits, PoolConfig, Spec, WasiConfig, WasmFunction,
};
use wippy_wit::{Value, ValueReader, ValueWriter};

/// Counts allocations, and leaves them to the allocator that the program has.
pub struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is handed through.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { mimalloc::MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { mimalloc::MiMalloc.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { mimalloc::MiMalloc.realloc(pointer, layout, size) }
    }
}

/// Allocations of this process so far.
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Nanoseconds for one round of `body`.
pub fn time(loops: u64, mut body: impl FnMut()) -> f64 {
    let begun = Instant::now();
    for _ in 0..loops {
        body();
    }
    begun.elapsed().as_nanos() as f64 / loops as f64
}

/// The script whose loops are timed.
const SCRIPT: &str = r#"
local funcs = require("funcs")

local text = ("x"):rep(100)
local bytes = ("y"):rep(1 << 20)
local users = {}
for i = 1, 1000 do
    users[i] = {id = i, name = "user-name-" .. i, email = "user" .. i .. "@example.org", active = i % 2 == 0}
end

local loops = {}

function loops.add(n)
    local x = 0
    for i = 1, n do x = funcs.call("bench:add", i, 1) end
    return x
end

function loops.sum(n)
    local x = 0
    for i = 1, n do x = funcs.call("bench:sum", 1) end
    return x
end

function loops.div(n)
    local x = 0
    for i = 1, n do x = funcs.call("bench:div", i, 1) end
    return x
end

function loops.echo_string(n)
    for _ = 1, n do funcs.call("bench:echo_string", text) end
end

function loops.greet(n)
    for _ = 1, n do funcs.call("bench:greet", text) end
end

function loops.echo_bytes(n)
    for _ = 1, n do funcs.call("bench:echo_bytes", bytes) end
end

function loops.echo_users(n)
    for _ = 1, n do funcs.call("bench:echo_users", users) end
end

-- The loop is the guest's.
function loops.import(n)
    assert(funcs.call("bench:relay", "bench:echo", text, n) == n)
end

function loops.method(n)
    local counter <close> = assert(funcs.call("bench:counter", 0))
    local x = 0
    for _ = 1, n do x = counter:increment(1) end
    assert(x == n)
end

return {run = function(name, n) return loops[name](n) end}
"#;

/// What guests of the benchmark call.
const ECHO: &str = "return {run = function(text) return text end}";

/// The modules: entry, binary, method, imports.
const MODULES: &[(&str, &str, &str, &[&str])] = &[
    ("bench:add", "bench", "add", &[]),
    ("bench:sum", "bench", "sum", &[]),
    ("bench:div", "bench", "div", &[]),
    ("bench:echo_string", "bench", "echo_string", &[]),
    ("bench:greet", "greet", "greet", &[]),
    ("bench:echo_bytes", "bench", "echo_bytes", &[]),
    ("bench:echo_users", "bench", "echo_users", &[]),
    ("bench:relay", "bench-import", "relay", &["funcs"]),
    ("bench:counter", "counters", "counters#[constructor]counter", &[]),
];

/// An application in this process: guests, and scripts that call them.
pub struct Rig {
    pub runtime: Runtime,
    context: Context,
    engine: Arc<Engine>,
}

impl Rig {
    /// The guests of the table of calls, and a script that calls them in loops.
    pub fn new() -> Self {
        Self::empty(64).with_loops()
    }

    /// The same in a process that cannot reserve much, such as one that a profiler looks at.
    pub fn small() -> Self {
        let config = EngineConfig {
            allocator: Allocator::OnDemand,
            ..EngineConfig::default()
        };
        Self::on(config).with_loops()
    }

    fn with_loops(self) -> Self {
        for (name, guest, method, imports) in MODULES {
            self.guest(name, guest, method, imports, PoolConfig::default());
        }
        self.script("bench:run", SCRIPT);
        self.script("bench:echo", ECHO);
        self
    }

    /// Nothing yet, and room for so many instances.
    pub fn empty(instances_max: u32) -> Self {
        Self::on(EngineConfig {
            instances_max,
            ..EngineConfig::default()
        })
    }

    fn on(config: EngineConfig) -> Self {
        let engine = Engine::new(config);
        let dispatcher = Dispatcher::new(DispatcherConfig::default());
        Self {
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            context: Context::root(dispatcher),
            engine: engine.unwrap(),
        }
    }

    /// Makes the method of a committed guest callable as `name`.
    pub fn guest(
        &self,
        name: &str,
        guest: &str,
        method: &str,
        imports: &[&str],
        pool: PoolConfig,
    ) -> Arc<WasmFunction> {
        let content = Content::new(std::fs::read(fixtures::wasm(guest)).unwrap());
        let id = EntryId::parse(name).unwrap();
        let module = self.engine.prepare(Spec {
            id: id.clone(),
            binary: Binary::Wasm {
                content: &content,
                hash: &content.hash(),
            },
            wit: None,
            method,
            imports: &imports
                .iter()
                .map(|&import| import.to_owned())
                .collect::<Vec<_>>(),
            wasi: WasiConfig::default(),
            limits: Limits::default(),
        });
        let function = Arc::new(WasmFunction::new(module.unwrap(), pool));
        self.context.dispatcher().insert(id, function.clone());
        function
    }

    /// Makes the function `run` of a script callable as `name`.
    pub fn script(&self, name: &str, text: &str) {
        let id = EntryId::parse(name).unwrap();
        let source = Source {
            id: id.clone(),
            name: "bench.lua".into(),
            text: text.into(),
            method: "run".into(),
            modules: BTreeSet::from(["funcs".to_owned()]),
            imports: BTreeMap::new(),
        };
        let function = LuaFunction::new(source, Services::default(), wippy_lua::Config::default()).unwrap();
        self.context.dispatcher().insert(id, function);
    }

    /// A context for calls from outside.
    pub fn context(&self) -> Context {
        self.context.with_own_execution()
    }

    /// Calls `name` and waits for it.
    pub fn call(&self, name: &str, arguments: &[Value]) -> Value {
        self.runtime.block_on(call(&self.context, name, arguments))
    }

    /// Nanoseconds for one round of the loop `name` in `bench:run`.
    pub fn run(&self, name: &str, loops: u64) -> f64 {
        let begun = Instant::now();
        let result = self.call("bench:run", &[Value::from(name), Value::Integer(loops as i64)]);
        black_box(result);
        begun.elapsed().as_nanos() as f64 / loops as f64
    }

    /// Heap allocations for one round: what two counts with a thousand rounds between them differ by, each.
    pub fn allocations(&self, name: &str) -> f64 {
        self.allocations_in(name, 1_000)
    }

    /// The same for rounds that take long.
    pub fn allocations_in(&self, name: &str, rounds: u64) -> f64 {
        let count = |loops| {
            let before = allocations();
            self.run(name, loops);
            allocations() - before
        };
        count(10);
        let (few, many) = (count(10), count(10 + rounds));
        (many.saturating_sub(few)) as f64 / rounds as f64
    }
}

/// Calls `name` for `context`.
pub async fn call(context: &Context, name: &str, arguments: &[Value]) -> Value {
    let dispatcher = context.dispatcher();
    let function = dispatcher.resolve(&EntryId::parse(name).unwrap()).unwrap();
    let (mut reader, mut writer) = (ValueReader::arguments(arguments), ValueWriter::default());
    let calling = dispatcher.call(context, &function, &mut reader, &mut writer);
    calling.unwrap().await.unwrap();
    writer.finish()
}

/// The engine alone, set as it has to be for what we promise: a pool of slots, and guests that can be interrupted.
pub fn bare_engine(instances: u32) -> wasmtime::Engine {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances * 4)
        .total_memories(instances)
        .total_tables(instances)
        .total_stacks(instances);
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes)
            .linear_memory_keep_resident(2 << 20);
    }
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        .concurrency_support(false)
        .wasm_component_model_async(false);
    wasmtime::Engine::new(&config).unwrap()
}

/// A user of the `bench` guest, for the engine's statically typed calls.
#[derive(ComponentType, Lift, Lower, Clone, Debug)]
#[component(record)]
pub struct User {
    pub id: u32,
    pub name: String,
    pub email: String,
    pub active: bool,
}

/// The users that the script has too.
pub fn users() -> Vec<User> {
    (1..=1000)
        .map(|id| User {
            id,
            name: format!("user-name-{id}"),
            email: format!("user{id}@example.org"),
            active: id % 2 == 0,
        })
        .collect()
}

/// The engine's statically typed call of one function, asynchronous, on a warm instance.
pub struct Typed<'a> {
    rig: &'a Rig,
    name: String,
    store: Store<()>,
    instance: Instance,
    text: String,
    bytes: Vec<u8>,
    users: Vec<User>,
}

impl<'a> Typed<'a> {
    pub fn new(rig: &'a Rig, name: &str) -> Self {
        let engine = bare_engine(8);
        let binary = match name {
            "import" => "bench-import",
            "greet" => "greet",
            _ => "bench",
        };
        let component = Component::from_file(&engine, fixtures::wasm(binary)).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1 << 40);
        store.set_hostcall_fuel(1 << 30);
        let mut linker = Linker::new(&engine);
        let mut funcs = linker.instance("wippy:runtime/funcs@0.1.0").unwrap();
        funcs
            .func_wrap("call-string", |_, (_, input): (String, String)| {
                Ok((Ok::<String, String>(input),))
            })
            .unwrap();
        let instance = rig
            .runtime
            .block_on(linker.instantiate_async(&mut store, &component))
            .unwrap();
        let (text, bytes) = ("x".repeat(100), vec![b'y'; 1 << 20]);
        Self {
            rig,
            name: name.to_owned(),
            store,
            instance,
            text,
            bytes,
            users: users(),
        }
    }

    /// Nanoseconds for one call.
    pub fn run(&mut self, loops: u64) -> f64 {
        let Self {
            rig,
            name,
            store,
            instance,
            text,
            bytes,
            users,
        } = self;
        macro_rules! calls {
            ($export:literal, $params:ty, $result:ty, $arguments:expr) => {{
                let function = instance
                    .get_typed_func::<$params, $result>(&mut *store, $export)
                    .unwrap();
                rig.runtime.block_on(async {
                    let begun = Instant::now();
                    for _ in 0..loops {
                        black_box(function.call_async(&mut *store, $arguments).await.unwrap());
                    }
                    begun.elapsed().as_nanos() as f64 / loops as f64
                })
            }};
        }
        match name.as_str() {
            "add" => calls!("add", (i32, i32), (i32,), (7, 1)),
            "sum" => calls!("sum", (i32,), (i32,), (1,)),
            "div" => calls!("div", (i32, i32), (Result<i32, String>,), (7, 1)),
            // One call, in which the guest loops.
            "import" => {
                let relay = instance
                    .get_typed_func::<(&str, &str, u32), (u32,)>(&mut *store, "relay")
                    .unwrap();
                rig.runtime.block_on(async {
                    let begun = Instant::now();
                    let times = loops as u32;
                    let arguments = ("bench:echo", text.as_str(), times);
                    let (good,) = relay.call_async(&mut *store, arguments).await.unwrap();
                    assert_eq!(good, times);
                    begun.elapsed().as_nanos() as f64 / loops as f64
                })
            }
            "echo_string" => calls!("echo-string", (&str,), (String,), (text.as_str(),)),
            "greet" => calls!("greet", (&str,), (String,), (text.as_str(),)),
            "echo_bytes" => calls!("echo-bytes", (&[u8],), (Vec<u8>,), (bytes.as_slice(),)),
            // A list that is looked at lazily, and never is: only lowering is paid for.
            "lower_users" => {
                calls!(
                    "echo-users",
                    (&[User],),
                    (wasmtime::component::WasmList<User>,),
                    (users.as_slice(),)
                )
            }
            other => panic!("no floor for {other}"),
        }
    }
}

/// Nanoseconds for a call of a C function from a Lua loop.
pub fn lua_c_call() -> f64 {
    unsafe extern "C-unwind" fn add(l: *mut ffi::lua_State) -> c_int {
        // SAFETY: reads numbers and pushes one; nothing raises.
        unsafe {
            let sum = ffi::lua_tointegerx(l, 1, std::ptr::null_mut())
                + ffi::lua_tointegerx(l, 2, std::ptr::null_mut());
            ffi::lua_pushinteger(l, sum);
        }
        1
    }
    let lua = Lua::new();
    // SAFETY: `add` keeps to the protocol of C functions.
    let add = unsafe { lua.create_c_function(add) }.unwrap();
    let body =
        "local add = ... return function(n) local x = 0 for i = 1, n do x = add(i, 1) end return x end";
    let body: mlua::Function = lua.load(body).call(add).unwrap();
    let mut samples: Vec<f64> = (0..25)
        .map(|_| {
            let begun = Instant::now();
            black_box(body.call::<i64>(100_000).unwrap());
            begun.elapsed().as_nanos() as f64 / 100_000.0
        })
        .collect();
    median(&mut samples)
}

/// The median.
pub fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// One line of the table.
pub struct Row {
    name: String,
    floor_name: String,
    floor: f64,
    ours: f64,
    ratio: f64,
    target: f64,
    allocations: f64,
}

impl Row {
    /// Takes samples of both in turns.
    pub fn measure(mut floor: impl FnMut() -> f64, mut ours: impl FnMut() -> f64) -> Self {
        let samples = std::env::var("SAMPLES")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(25);
        floor();
        ours();
        let (mut floors, mut all_ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..samples {
            let (floor, ours) = (floor(), ours());
            ratios.push(ours / floor);
            floors.push(floor);
            all_ours.push(ours);
        }
        Self {
            name: String::new(),
            floor_name: String::new(),
            floor: median(&mut floors),
            ours: median(&mut all_ours),
            ratio: median(&mut ratios),
            target: 0.0,
            allocations: 0.0,
        }
    }

    pub fn named(self, name: &str, floor_name: &str, target: f64, allocations: f64) -> Self {
        Self {
            name: name.to_owned(),
            floor_name: floor_name.to_owned(),
            target,
            allocations,
            ..self
        }
    }
}

/// Prints the table.
pub fn print(rows: &[Row]) {
    println!(
        "{:<16} {:>12} {:>12} {:>7} {:>7} {:>8}  floor is",
        "call", "floor ns", "ours ns", "ratio", "target", "allocs"
    );
    for row in rows {
        let verdict = if row.ratio <= row.target { "" } else { "  over" };
        println!(
            "{:<16} {:>12.0} {:>12.0} {:>7.2} {:>7.2} {:>8.2}  {}{verdict}",
            row.name, row.floor, row.ours, row.ratio, row.target, row.allocations, row.floor_name
        );
    }
}
