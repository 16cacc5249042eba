//! What calls between guests cost: WebAssembly to Lua and to WebAssembly, Lua to Lua, and a thousand at once.
//!
//! Beside each stands what it takes without a dispatcher, contexts and permissions: the engine's host functions and
//! typed calls, Lua functions called by the binding, tasks of the scheduler. Samples of both alternate.
//!
//! `cargo bench -p wippy-cli --bench between [FILTER]`; `SAMPLES=n` for more of them.
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

use std::{hint::black_box, sync::Arc, time::Instant};

use mlua::Lua;
use support::{Rig, Row, bare_engine, lua_c_call};
use tokio::sync::Mutex;
use wasmtime::{
    Store,
    component::{Component, ComponentExportIndex, Instance, InstancePre, Linker, TypedFunc},
};
use wippy_wasm::PoolConfig;

const SCRIPT: &str = r#"
local funcs = require("funcs")
local text = ("x"):rep(100)
local loops = {}

function loops.to_lua(n)
    for _ = 1, n do assert(funcs.call("bench:relay", "bench:identity", text)) end
end

function loops.to_wasm(n)
    for _ = 1, n do assert(funcs.call("bench:relay", "bench:echo_string", text)) end
end

function loops.lua_to_lua(n)
    for i = 1, n do funcs.call("bench:plus", i, 1) end
end

function loops.async(n)
    for _ = 1, n do
        local futures = {}
        for i = 1, 1000 do futures[i] = funcs.async("bench:add", i, 1) end
        for i = 1, 1000 do
            assert(futures[i]:await() == i + 1)
        end
    end
end

return {run = function(name, n) loops[name](n) end}
"#;

const IDENTITY: &str = "return {run = function(text) return text end}";
const PLUS: &str = "return {run = function(a, b) return a + b end}";

fn main() {
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| {
        filter
            .as_ref()
            .is_none_or(|filter| name.contains(filter.as_str()))
    };
    let rig = Rig::empty(4_000);
    let pool = PoolConfig::default;
    rig.guest("bench:add", "bench", "add", &[], pool());
    rig.guest("bench:echo_string", "bench", "echo-string", &[], pool());
    rig.guest("bench:relay", "calls-funcs", "relay", &["funcs"], pool());
    rig.script("bench:identity", IDENTITY);
    rig.script("bench:plus", PLUS);
    rig.script("bench:run", SCRIPT);

    let lua_call = lua_c_call();
    let mut rows = Vec::new();
    if wanted("to_lua") {
        let lua = Lua::new();
        let mut relay = Relay::new(&rig, Target::Lua(eval(&lua, IDENTITY)));
        let row = Row::measure(|| relay.run(5_000) + lua_call, || rig.run("to_lua", 5_000));
        let floor = "typed call, host function that calls a Lua function, 100 bytes";
        rows.push(row.named("to_lua", floor, 2.0, rig.allocations("to_lua")));
    }
    if wanted("to_wasm") {
        let mut relay = Relay::new(&rig, Target::Wasm(Fresh::new()));
        let row = Row::measure(|| relay.run(5_000) + lua_call, || rig.run("to_wasm", 5_000));
        let floor = "typed call, host function that makes an instance and calls it, 100 bytes";
        rows.push(row.named("to_wasm", floor, 2.0, rig.allocations("to_wasm")));
    }
    if wanted("lua_to_lua") {
        let lua = Lua::new();
        let plus = eval(&lua, PLUS);
        let row = Row::measure(
            || plus_by_binding(&plus, 20_000) + lua_call,
            || rig.run("lua_to_lua", 20_000),
        );
        let floor = "a C function called from Lua, a Lua function called by the binding";
        rows.push(row.named("lua_to_lua", floor, 5.0, rig.allocations("lua_to_lua")));
    }
    if wanted("async") {
        let add = Arc::new(Mutex::new(Add::new(&rig)));
        let row = Row::measure(|| fan_out(&rig, &add), || rig.run("async", 1));
        let floor = "1,000 tasks of the scheduler, each a typed call in a warm instance";
        rows.push(row.named("async x1000", floor, 2.0, rig.allocations_in("async", 20)));
    }
    support::print(&rows);
}

/// The function `run` of a script.
fn eval(lua: &Lua, script: &str) -> mlua::Function {
    let table: mlua::Table = lua.load(script).eval().unwrap();
    table.get("run").unwrap()
}

fn plus_by_binding(plus: &mlua::Function, loops: u64) -> f64 {
    let mut number = 0_i64;
    support::time(loops, || {
        number += 1;
        black_box(plus.call::<i64>((number, 1)).unwrap());
    })
}

/// A warm instance of `bench`.
fn bench(rig: &Rig) -> (Store<()>, Instance) {
    let engine = bare_engine(8);
    let component = Component::from_file(&engine, fixtures::wasm("bench")).unwrap();
    let mut store = Store::new(&engine, ());
    store.set_epoch_deadline(1 << 40);
    let linker = Linker::new(&engine);
    let instance = rig
        .runtime
        .block_on(linker.instantiate_async(&mut store, &component));
    (store, instance.unwrap())
}

/// Instances that echo text, a fresh one for each call: nobody sees what another caller left.
#[derive(Clone)]
struct Fresh {
    engine: wasmtime::Engine,
    pre: InstancePre<()>,
    echo: ComponentExportIndex,
}

impl Fresh {
    fn new() -> Self {
        let engine = bare_engine(8);
        let component = Component::from_file(&engine, fixtures::wasm("bench")).unwrap();
        let echo = component.get_export_index(None, "echo-string").unwrap();
        let pre = Linker::new(&engine).instantiate_pre(&component).unwrap();
        Self { engine, pre, echo }
    }

    async fn call(&self, text: String) -> String {
        let mut store = Store::new(&self.engine, ());
        store.set_epoch_deadline(1 << 40);
        let instance = self.pre.instantiate_async(&mut store).await.unwrap();
        let echo = instance.get_typed_func::<(String,), (String,)>(&mut store, self.echo);
        echo.unwrap().call_async(&mut store, (text,)).await.unwrap().0
    }
}

/// A warm instance that adds.
struct Add {
    store: Store<()>,
    add: TypedFunc<(i32, i32), (i32,)>,
}

impl Add {
    fn new(rig: &Rig) -> Self {
        let (mut store, instance) = bench(rig);
        let add = instance.get_typed_func(&mut store, "add").unwrap();
        Self { store, add }
    }

    async fn call(&mut self, number: i32) -> i32 {
        self.add.call_async(&mut self.store, (number, 1)).await.unwrap().0
    }
}

/// What the host function calls.
#[derive(Clone)]
enum Target {
    Lua(mlua::Function),
    Wasm(Fresh),
}

/// A warm instance of `calls-funcs` whose host calls one thing and looks nothing up.
struct Relay<'a> {
    rig: &'a Rig,
    store: Store<()>,
    function: TypedFunc<(&'static str, &'static str), (Result<String, String>,)>,
}

impl<'a> Relay<'a> {
    fn new(rig: &'a Rig, target: Target) -> Self {
        let engine = bare_engine(8);
        let component = Component::from_file(&engine, fixtures::wasm("calls-funcs")).unwrap();
        let mut linker = Linker::new(&engine);
        let mut funcs = linker.instance("wippy:runtime/funcs@0.1.0").unwrap();
        funcs
            .func_wrap_async("call-string", move |_, (_, text): (String, String)| {
                let target = target.clone();
                Box::new(async move {
                    Ok((Ok::<String, String>(match target {
                        Target::Lua(function) => function.call(text).unwrap(),
                        Target::Wasm(fresh) => fresh.call(text).await,
                    }),))
                })
            })
            .unwrap();
        funcs
            .func_wrap_async("call-bytes", |_, (_, bytes): (String, Vec<u8>)| {
                Box::new(async move { Ok((Ok::<Vec<u8>, String>(bytes),)) })
            })
            .unwrap();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1 << 40);
        let instance = rig
            .runtime
            .block_on(linker.instantiate_async(&mut store, &component))
            .unwrap();
        let function = instance.get_typed_func(&mut store, "relay").unwrap();
        Self { rig, store, function }
    }

    fn run(&mut self, loops: u64) -> f64 {
        const TEXT: &str = match str::from_utf8(&[b'x'; 100]) {
            Ok(text) => text,
            Err(_) => "",
        };
        let Self { rig, store, function } = self;
        rig.runtime.block_on(async {
            let begun = Instant::now();
            for _ in 0..loops {
                store.set_hostcall_fuel(1 << 30);
                let answer = function
                    .call_async(&mut *store, ("bench:echo_string", TEXT))
                    .await;
                black_box(answer.unwrap().0.unwrap());
            }
            begun.elapsed().as_nanos() as f64 / loops as f64
        })
    }
}

/// A thousand tasks that call at once; they take turns on one warm instance, since none of them waits in the guest.
fn fan_out(rig: &Rig, add: &Arc<Mutex<Add>>) -> f64 {
    rig.runtime.block_on(async {
        let begun = Instant::now();
        let tasks: Vec<_> = (1..=1000)
            .map(|number| {
                let add = Arc::clone(add);
                tokio::spawn(async move { add.lock().await.call(number).await })
            })
            .collect();
        for (task, number) in tasks.into_iter().zip(1..) {
            assert_eq!(task.await.unwrap(), number + 1);
        }
        begun.elapsed().as_nanos() as f64
    })
}

#[global_allocator]
static COUNTING: support::Counting = support::Counting;
