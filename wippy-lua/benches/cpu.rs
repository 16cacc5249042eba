//! What the sandbox costs scripts that only compute: `cargo bench -p wippy-lua --bench cpu`. The floor of each line is
//! the same script in a plain Lua state of the same process, with no hook and no limit.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that prints numbers"
)]

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use mlua::{Function, Lua, Table};
use wippy_lua::{Config, LuaFunction, Services, Source};
use wippy_registry::EntryId;
use wippy_security::{Context, Dispatcher, DispatcherConfig};
use wippy_wit::{Value, ValueReader, ValueWriter};

const SCRIPTS: &[(&str, &str)] = &[
    (
        "fibonacci",
        "local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
        return { main = function() return fib(30) end }",
    ),
    (
        "loop",
        "return { main = function()
            local sum = 0
            for i = 1, 20000000 do sum = sum + i % 7 end
            return sum
        end }",
    ),
    (
        "sieve",
        "return { main = function()
            local count, composite = 0, {}
            for i = 2, 1000000 do
                if not composite[i] then
                    count = count + 1
                    for j = i * i, 1000000, i do composite[j] = true end
                end
            end
            return count
        end }",
    ),
    (
        "strings",
        "return { main = function()
            local parts = {}
            for i = 1, 200000 do parts[#parts + 1] = ('%d:%s'):format(i, tostring(i):reverse()) end
            return #table.concat(parts)
        end }",
    ),
    (
        "objects",
        "local Point = {} Point.__index = Point
        function Point.new(x, y) return setmetatable({ x = x, y = y }, Point) end
        function Point:add(other) return Point.new(self.x + other.x, self.y + other.y) end
        return { main = function()
            local sum = Point.new(0, 0)
            for i = 1, 2000000 do sum = sum:add(Point.new(i, -i)) end
            return sum.x
        end }",
    ),
    (
        "coroutines",
        "return { main = function()
            local sum = 0
            local numbers = coroutine.wrap(function() for i = 1, 1000000 do coroutine.yield(i) end return 0 end)
            for _ = 1, 1000000 do sum = sum + numbers() end
            return sum
        end }",
    ),
];

/// How many times each is run; the fastest counts.
const ROUNDS: usize = 5;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    println!(
        "{:12} {:>10} {:>10} {:>7}",
        "script", "plain", "sandboxed", "ratio"
    );
    for (name, script) in SCRIPTS {
        let dispatcher = Dispatcher::new(DispatcherConfig::default());
        let id = EntryId::parse(&format!("bench:{name}")).unwrap();
        let function = LuaFunction::new(source(&id, script), Services::default(), Config::default());
        dispatcher.insert(id.clone(), function.unwrap());
        let lua = Lua::new();
        let plain: Function = lua.load(*script).eval::<Table>().unwrap().get("main").unwrap();
        let (mut floor, mut sandboxed) = (Duration::MAX, Duration::MAX);
        // In turns, so that a busy machine is busy for both.
        for _ in 0..ROUNDS {
            floor = floor.min(timed(|| drop(plain.call::<mlua::Value>(()).unwrap())));
            sandboxed = sandboxed.min(timed(|| drop(runtime.block_on(call(&dispatcher, &id)))));
        }
        let ratio = sandboxed.as_secs_f64() / floor.as_secs_f64();
        println!("{name:12} {floor:>10.1?} {sandboxed:>10.1?} {ratio:>7.2}");
    }
}

/// The processor's time that `work` takes on this thread, so that what else runs on the machine does not count; where
/// the system does not tell it, the clock's.
fn timed(work: impl FnOnce()) -> Duration {
    let (started, used) = (Instant::now(), processor_time());
    work();
    match (used, processor_time()) {
        (Some(before), Some(after)) => after.saturating_sub(before),
        _ => started.elapsed(),
    }
}

fn processor_time() -> Option<Duration> {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = statistics.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

fn source(id: &EntryId, text: &str) -> Source {
    Source {
        id: id.clone(),
        name: "bench.lua".into(),
        text: text.into(),
        method: "main".into(),
        modules: std::collections::BTreeSet::new(),
        imports: BTreeMap::new(),
    }
}

async fn call(dispatcher: &Arc<Dispatcher>, id: &EntryId) -> Value {
    let context = Context::root(dispatcher.clone());
    let function = dispatcher.resolve(id).unwrap();
    let mut arguments = ValueReader::arguments(&[]);
    let mut result = ValueWriter::default();
    let call = dispatcher.call(&context, &function, &mut arguments, &mut result);
    call.unwrap().await.unwrap();
    result.finish()
}
