//! What calls cost: `cargo bench -p wippy-lua`. Compare the lines of one run, not runs.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a program that prints numbers"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use async_trait::async_trait;
use wippy_lua::{Config, LuaFunction, Services, Source};
use wippy_registry::EntryId;
use wippy_security::{Call, CallError, Context, Dispatcher, DispatcherConfig, Handler, Permit};
use wippy_wit::{DEPTH_MAX, Datum, Key, Value, ValueReader, ValueWriter, Writer, copy};

/// Counts allocations that do not come from Lua's own allocator as well as those that do.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[expect(
    unsafe_code,
    reason = "counts, and passes everything on to the system's allocator"
)]
// SAFETY: passes everything on.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: by the caller.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Add;

#[async_trait]
impl Handler for Add {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        let mut sum = 0;
        for index in 0..call.arguments.len() {
            call.arguments.enter_index(index)?;
            if let Datum::Integer(value) = call.arguments.datum() {
                sum += value;
            }
            call.arguments.leave();
        }
        call.result.integer(sum);
        Ok(())
    }
}

struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        let Call {
            arguments, result, ..
        } = call;
        arguments.enter_index(0)?;
        result.scope(&mut |result| copy(arguments, result, DEPTH_MAX))?;
        Ok(())
    }
}

/// Reads its argument and throws it away.
struct Sink;

#[async_trait]
impl Handler for Sink {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        let Call {
            arguments, result, ..
        } = call;
        arguments.enter_index(0)?;
        copy(arguments, &mut Nowhere, DEPTH_MAX)?;
        result.nil();
        Ok(())
    }
}

/// Reads the fields of its records by name, as a plan does.
struct Fields {
    keys: [Key; 4],
}

#[async_trait]
impl Handler for Fields {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        let reader = call.arguments;
        reader.enter_index(0)?;
        let mut bytes = 0;
        for index in 0..reader.len() {
            reader.enter_index(index)?;
            for key in &self.keys {
                reader.enter_key(key)?;
                bytes += if let Datum::String(text) = reader.datum() {
                    text.len()
                } else {
                    8
                };
                reader.leave();
            }
            reader.leave();
        }
        call.result.integer(i64::try_from(bytes).unwrap());
        Ok(())
    }
}

struct Nowhere;

impl Writer for Nowhere {
    fn nil(&mut self) {}
    fn boolean(&mut self, _: bool) {}
    fn integer(&mut self, _: i64) {}
    fn unsigned(&mut self, _: u64) {}
    fn float(&mut self, _: f64) {}
    fn string(&mut self, _: &[u8]) {}
    fn foreign(&mut self, _: Arc<dyn wippy_wit::Foreign>) {}
    fn table(&mut self, _: usize, _: usize) -> Result<(), wippy_wit::WriteError> {
        Ok(())
    }
    fn set_index(&mut self, _: usize) {}
    fn set_key(&mut self, _: &wippy_wit::Key) {}
    fn set_pair(&mut self) {}
    fn scope(&mut self, body: wippy_wit::ScopeBody<'_>) -> Result<(), wippy_wit::Error> {
        body(self)
    }
}

/// Answers after one trip through the scheduler.
struct Later;

#[async_trait]
impl Handler for Later {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        tokio::task::yield_now().await;
        call.result.integer(1);
        Ok(())
    }
}

fn id(text: &str) -> EntryId {
    EntryId::parse(text).unwrap()
}

fn script(name: &str, body: &str, budget: u32) -> Arc<LuaFunction> {
    let text = format!(
        "local funcs = require('funcs')
        local users = {{}}
        for i = 1, 1000 do users[i] = {{ id = i, name = 'user ' .. i, score = i / 2, active = i % 2 == 0 }} end
        local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
        return {{ main = function(count) {body} end }}"
    );
    let source = Source {
        id: id(name),
        name: "bench.lua".into(),
        text: text.into(),
        method: "main".into(),
        modules: ["funcs".to_owned()].into(),
        imports: BTreeMap::new(),
    };
    let config = Config {
        instruction_budget: budget,
        ..Config::default()
    };
    LuaFunction::new(source, Services::default(), config).unwrap()
}

async fn call(dispatcher: &Dispatcher, context: &Context, name: &str, count: i64) {
    let function = dispatcher.resolve(&id(name)).unwrap();
    let arguments = [Value::Integer(count)];
    let mut reader = ValueReader::arguments(&arguments);
    let mut writer = ValueWriter::default();
    dispatcher
        .call(context, &function, &mut reader, &mut writer)
        .unwrap()
        .await
        .unwrap();
}

/// Prints the median of several runs of `body`, per round, less an empty loop's share.
async fn measure(label: &str, body: &str, rounds: i64, budget: u32) {
    let dispatcher = Dispatcher::new(DispatcherConfig::default());
    dispatcher.insert(id("bench:add"), Arc::new(Add));
    dispatcher.insert(id("bench:echo"), Arc::new(Echo));
    dispatcher.insert(id("bench:sink"), Arc::new(Sink));
    let keys = ["id", "name", "score", "active"].map(Key::new);
    dispatcher.insert(id("bench:fields"), Arc::new(Fields { keys }));
    dispatcher.insert(id("bench:later"), Arc::new(Later));
    dispatcher.insert(id("bench:lua"), script("bench:lua", "return count", budget));
    dispatcher.insert(
        id("bench:main"),
        script("bench:main", &format!("for i = 1, count do {body} end"), budget),
    );
    let context = Context::root(dispatcher.clone());
    call(&dispatcher, &context, "bench:main", rounds).await;
    let mut times = Vec::new();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..11 {
        let started = Instant::now();
        call(&dispatcher, &context, "bench:main", rounds).await;
        times.push(started.elapsed().as_nanos() as f64 / rounds as f64);
    }
    let allocations = (ALLOCATIONS.load(Ordering::Relaxed) - before) as f64 / (11 * rounds) as f64;
    times.sort_by(f64::total_cmp);
    println!(
        "{label:<44} {:>12.1} ns  (min {:.1})  {allocations:>8.2} allocations",
        times[5], times[0]
    );
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    measure("empty loop", "", 1_000_000, 10_000).await;
    measure("Lua to C: math.abs(i)", "math.abs(i)", 1_000_000, 10_000).await;
    measure(
        "funcs.call of a Rust add",
        "funcs.call('bench:add', i, 1)",
        200_000,
        10_000,
    )
    .await;
    measure(
        "funcs.call that waits once",
        "funcs.call('bench:later')",
        50_000,
        10_000,
    )
    .await;
    measure(
        "funcs.call of a Lua function",
        "funcs.call('bench:lua', i)",
        100_000,
        10_000,
    )
    .await;
    measure(
        "read 1,000 records of 4 fields by name",
        "funcs.call('bench:fields', users)",
        200,
        10_000,
    )
    .await;
    measure(
        "read 1,000 records of 4 fields by pair",
        "funcs.call('bench:sink', users)",
        200,
        10_000,
    )
    .await;
    measure(
        "read and build 1,000 records",
        "funcs.call('bench:echo', users)",
        100,
        10_000,
    )
    .await;
    for budget in [1_000, 10_000, 100_000, u32::MAX] {
        measure(&format!("fib(27), hook every {budget}"), "fib(27)", 5, budget).await;
    }
    let lua = mlua::Lua::new();
    let chunk =
        "local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end return fib(27)";
    let chunk = lua.load(chunk).into_function().unwrap();
    let mut times: Vec<_> = (0..11)
        .map(|_| {
            let started = Instant::now();
            chunk.call::<i64>(()).unwrap();
            started.elapsed().as_nanos()
        })
        .collect();
    times.sort_unstable();
    println!("{:<44} {:>12} ns", "fib(27), no hook", times[5]);
    let dispatcher = Dispatcher::new(DispatcherConfig::default());
    dispatcher.insert(id("bench:add"), Arc::new(Add));
    let context = Context::root(dispatcher.clone());
    let function = dispatcher.resolve(&id("bench:add")).unwrap();
    let arguments = [Value::Integer(1), Value::Integer(2)];
    let started = Instant::now();
    for _ in 0..1_000_000 {
        let mut reader = ValueReader::arguments(&arguments);
        let mut writer = ValueWriter::default();
        dispatcher
            .call(&context, &function, &mut reader, &mut writer)
            .unwrap()
            .await
            .unwrap();
    }
    println!(
        "{:<44} {:>12.1} ns",
        "the same add from Rust",
        started.elapsed().as_nanos() as f64 / 1e6
    );
}
