//! What the sandbox costs scripts: `cargo bench -p wippy-lua --bench cpu`.
//!
//! First those that only compute, each beside the same script in a plain Lua state of this process, with no hook and no
//! limit, and in the program `lua5.4`, where that is installed. Then values that go from one coroutine or process to
//! another, beside coroutines of `lua5.4` that hand them over themselves.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that prints numbers"
)]

use std::{
    collections::BTreeMap,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use mlua::{Function, Lua, Table};
use tokio::runtime::Runtime;
use wippy_lua::{Config, LuaFunction, LuaProcess, Services, Source};
use wippy_registry::EntryId;
use wippy_security::{CallError, Context, Dispatcher, DispatcherConfig, Host, Running, Spawn};
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

/// So many values, from one coroutine or process to another.
const VALUES: u32 = 200_000;

/// By coroutines that resume each other, as in plain Lua.
const RESUMED: &str = "return { main = function()
    local sum = 0
    local numbers = coroutine.wrap(function() for i = 1, 200000 do coroutine.yield(i) end end)
    for _ = 1, 200000 do sum = sum + numbers() end
    return sum
end }";

/// By a channel between coroutines that are scheduled.
const CHANNEL: &str = "return { main = function()
    local numbers, sum = channel.new(), 0
    coroutine.spawn(function() for i = 1, 200000 do numbers:send(i) end end)
    for _ = 1, 200000 do sum = sum + numbers:receive() end
    return sum
end }";

/// By messages between processes, a hundred at a time, as the mailbox is bounded.
const SENDER: &str = "return { main = function(to)
    local more = process.listen('more')
    for i = 1, 200000 do
        process.send(to, 'number', i)
        if i % 100 == 0 then more:receive() end
    end
end }";

const RECEIVER: &str = "return { main = function()
    local numbers, sum = process.listen('number'), 0
    local pid = process.spawn('bench:sender', 'bench:host', process.pid())
    for i = 1, 200000 do
        sum = sum + numbers:receive()
        if i % 100 == 0 then process.send(pid, 'more') end
    end
    return sum
end }";

/// How many times each is run; the fastest counts.
const ROUNDS: usize = 5;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let is_installed = Command::new(PROGRAM).arg("-v").output().is_ok();
    if !is_installed {
        println!("`{PROGRAM}` is not installed: its column is left out");
    }
    compute(&runtime);
    println!();
    messages(&runtime);
}

fn compute(runtime: &Runtime) {
    println!(
        "{:12} {:>10} {:>10} {:>10} {:>9} {:>9}",
        "script", "lua5.4", "plain", "sandboxed", "/ lua5.4", "/ plain"
    );
    // The geometric means, by the sums of logarithms.
    let (mut of_program, mut of_plain) = (Some(0.0), 0.0);
    for (name, script) in SCRIPTS {
        let (dispatcher, id) = function(name, script);
        let lua = Lua::new();
        let plain: Function = lua.load(*script).eval::<Table>().unwrap().get("main").unwrap();
        let (mut outside, mut floor, mut sandboxed) = (None, Duration::MAX, Duration::MAX);
        // In turns, so that a busy machine is busy for all.
        for _ in 0..ROUNDS {
            outside = faster(outside, program(script));
            floor = floor.min(timed(|| drop(plain.call::<mlua::Value>(()).unwrap())));
            sandboxed = sandboxed.min(timed(|| drop(runtime.block_on(call(&dispatcher, &id)))));
        }
        let ratio = |floor: Duration| sandboxed.as_secs_f64() / floor.as_secs_f64();
        let (time, quotient) = match outside {
            Some(outside) => (format!("{outside:.1?}"), format!("{:.2}", ratio(outside))),
            None => ("-".to_owned(), "-".to_owned()),
        };
        println!(
            "{name:12} {time:>10} {floor:>10.1?} {sandboxed:>10.1?} {quotient:>9} {:>9.2}",
            ratio(floor)
        );
        of_program = of_program
            .zip(outside)
            .map(|(sum, outside)| sum + ratio(outside).ln());
        of_plain += ratio(floor).ln();
    }
    let count = f64::from(u32::try_from(SCRIPTS.len()).unwrap());
    let mean = |sum: f64| (sum / count).exp();
    let of_program = of_program.map_or_else(|| "-".to_owned(), |sum| format!("{:.2}", mean(sum)));
    println!(
        "{:12} {:>10} {:>10} {:>10} {of_program:>9} {:>9.2}",
        "together",
        "",
        "",
        "",
        mean(of_plain)
    );
}

fn messages(runtime: &Runtime) {
    let (resumed, channel) = (function("resumed", RESUMED), function("channel", CHANNEL));
    let processes = processes();
    let (mut outside, mut best) = (None, [Duration::MAX; 3]);
    for _ in 0..ROUNDS {
        outside = faster(outside, program(RESUMED));
        let elapsed = [
            timed(|| drop(runtime.block_on(call(&resumed.0, &resumed.1)))),
            timed(|| drop(runtime.block_on(call(&channel.0, &channel.1)))),
            timed(|| runtime.block_on(exchange(&processes))),
        ];
        for (best, elapsed) in best.iter_mut().zip(elapsed) {
            *best = elapsed.min(*best);
        }
    }
    let [resumed, channel, processes] = best;
    println!(
        "{:32} {:>12} {:>9}",
        "a value from one to another", "each", "/ lua5.4"
    );
    let rows = [
        ("lua5.4, coroutines", outside),
        ("coroutines that resume each other", Some(resumed)),
        ("coroutines and a channel", Some(channel)),
        ("processes and messages", Some(processes)),
    ];
    for (name, time) in rows {
        let Some(time) = time else { continue };
        let ratio = outside.map(|outside| time.as_secs_f64() / outside.as_secs_f64());
        let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        println!("{name:32} {:>12.0?} {ratio:>9}", time / VALUES);
    }
}

/// Runs the receiver, which starts the sender, to its end.
async fn exchange(context: &Context) {
    let spawn = Spawn::new(
        "bench:receiver".parse().unwrap(),
        "bench:host".parse().unwrap(),
        Vec::new(),
    );
    let launched = context
        .dispatcher()
        .processes()
        .launch(context, spawn, Vec::new());
    launched.unwrap().exit().await.as_ref().as_ref().unwrap();
}

struct Tokio;

impl Host for Tokio {
    fn run(&self, running: Running) -> Result<(), CallError> {
        tokio::spawn(running);
        Ok(())
    }
}

fn processes() -> Context {
    let dispatcher = Dispatcher::new(DispatcherConfig::default());
    let processes = dispatcher.processes();
    processes.insert_host("bench:host".parse().unwrap(), Arc::new(Tokio));
    for (name, text) in [("bench:sender", SENDER), ("bench:receiver", RECEIVER)] {
        let id = EntryId::parse(name).unwrap();
        let process = LuaProcess::new(source(&id, text), Services::default(), Config::default());
        processes.insert(id, Arc::new(process.unwrap()));
    }
    Context::root(dispatcher)
}

fn function(name: &str, script: &str) -> (Arc<Dispatcher>, EntryId) {
    let dispatcher = Dispatcher::new(DispatcherConfig::default());
    let id = EntryId::parse(&format!("bench:{name}")).unwrap();
    let function = LuaFunction::new(source(&id, script), Services::default(), Config::default());
    dispatcher.insert(id.clone(), function.unwrap());
    (dispatcher, id)
}

const PROGRAM: &str = "lua5.4";

/// How long the script takes in the program, without its start; nothing if there is no such program.
fn program(script: &str) -> Option<Duration> {
    let timed = format!(
        "local script = (function() {script} end)()
        local started = os.clock()
        script.main()
        print(os.clock() - started)"
    );
    let output = Command::new(PROGRAM).arg("-e").arg(timed).output().ok()?;
    let seconds = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    Some(Duration::from_secs_f64(seconds))
}

fn faster(known: Option<Duration>, new: Option<Duration>) -> Option<Duration> {
    known.into_iter().chain(new).min()
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
