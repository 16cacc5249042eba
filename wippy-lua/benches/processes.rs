//! What Lua processes cost: `cargo bench -p wippy-lua --bench processes`.
//!
//! Memory of idle ones, how fast they start, and how fast two of them talk, on two threads. `PROCESSES` says how many
//! are alive at once; 100,000 if nothing is said.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]
#![expect(clippy::unwrap_used, reason = "a benchmark may fail like a test")]

use std::{
    collections::BTreeMap,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use wippy_lua::{Config, LuaProcess, Services, Source};
use wippy_security::{CallError, Context, Dispatcher, DispatcherConfig, Host, Running, Spawn};
use wippy_wit::Value;

struct Tokio;

impl Host for Tokio {
    fn run(&self, running: Running) -> Result<(), CallError> {
        tokio::spawn(running);
        Ok(())
    }
}

const ECHO: &str = "return { main = function()
    local inbox = process.inbox()
    while true do
        local msg = inbox:receive()
        process.send(msg:from(), msg:topic(), msg:payload():data())
    end
end }";

const PING: &str = "return { main = function(rounds)
    local pid = process.spawn('bench:echo', 'bench:host')
    local pongs = process.listen('ping')
    for i = 1, rounds do
        process.send(pid, 'ping', i)
        pongs:receive()
    end
    process.terminate(pid)
end }";

const ASK: &str = "return { main = function(pids)
    local answers, count = process.listen('hello'), 0
    for _, pid in ipairs(pids) do process.send(pid, 'hello', 1) end
    for _ in ipairs(pids) do count = count + answers:receive() end
    return count
end }";

fn application() -> Context {
    let dispatcher = Dispatcher::new(DispatcherConfig::default());
    let processes = dispatcher.processes();
    processes.insert_host("bench:host".parse().unwrap(), Arc::new(Tokio));
    for (name, text) in [("bench:echo", ECHO), ("bench:ping", PING), ("bench:ask", ASK)] {
        let source = Source {
            id: name.parse().unwrap(),
            name: "src/bench.lua".into(),
            text: text.into(),
            method: "main".into(),
            modules: ["time".to_owned()].into(),
            imports: BTreeMap::new(),
        };
        let process = LuaProcess::new(source, Services::default(), Config::default()).unwrap();
        processes.insert(name.parse().unwrap(), Arc::new(process));
    }
    Context::root(dispatcher)
}

fn spawn(name: &str, arguments: Vec<Value>) -> Spawn {
    Spawn::new(name.parse().unwrap(), "bench:host".parse().unwrap(), arguments)
}

/// Memory of this program, in bytes.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

async fn ask(context: &Context, pids: &[Value]) -> Value {
    let list = vec![Value::array(pids.iter().cloned())];
    let launched = context
        .dispatcher()
        .processes()
        .launch(context, spawn("bench:ask", list), Vec::new());
    (*launched.unwrap().exit().await).clone().unwrap()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let count: usize = std::env::var("PROCESSES").map_or(100_000, |text| text.parse().unwrap());
    let context = application();
    let processes = context.dispatcher().processes();

    for pairs in [1, 16] {
        let rounds = 100_000 / pairs;
        let begun = Instant::now();
        let pings: Vec<_> = (0..pairs)
            .map(|_| {
                let order = spawn("bench:ping", vec![Value::Integer(rounds)]);
                processes.launch(&context, order, Vec::new()).unwrap().exit()
            })
            .collect();
        for ping in pings {
            ping.await.as_ref().unwrap();
        }
        let rate = f64::from(u32::try_from(rounds * pairs).unwrap()) / begun.elapsed().as_secs_f64();
        println!("{pairs:>3} pairs     {rate:>12.0} round trips a second");
    }

    let (before, begun) = (resident(), Instant::now());
    let mut pids = Vec::new();
    for index in 0..count {
        let launched = processes.launch(&context, spawn("bench:echo", Vec::new()), Vec::new());
        pids.push(Value::from(launched.unwrap().pid().as_str()));
        if index % 512 == 0 {
            tokio::task::yield_now().await;
        }
    }
    // All have started when the last of them has answered.
    while ask(&context, pids.get(count - 1..).unwrap()).await != Value::Integer(1) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let elapsed = begun.elapsed();
    let each = (resident() - before) / count;
    println!(
        "{count} processes {:>12.0} started a second",
        f64::from(u32::try_from(count).unwrap()) / elapsed.as_secs_f64()
    );
    println!("{count} processes {each:>12} bytes each");
    let begun = Instant::now();
    let mut answered = 0;
    for some in pids.chunks(1000) {
        if let Value::Integer(count) = ask(&context, some).await {
            answered += count;
        }
    }
    println!(
        "{answered} answered  {:>12.0} messages a second",
        f64::from(u32::try_from(answered).unwrap()) * 2.0 / begun.elapsed().as_secs_f64()
    );
}
