//! Guests as processes: they receive, send, spawn and watch, and end when they are told to.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value as Json, json};
use wippy_registry::schema::security::Rule;
use wippy_security::{
    Actor, CallError, Context, Dispatcher, DispatcherConfig, Effect, Exit, Host, Launched, Letter, Mailbox,
    Permit, Policy, Process, ProcessFuture, Processes, Running, Scope, Spawn, Start,
};
use wippy_wasm::{Binary, Limits, Spec, WasiConfig, WasmProcess};
use wippy_wit::{Value, json as values};

use crate::support::{Wants, call, call_guest, context, engine, id, prepare};

struct Threads;

impl Host for Threads {
    fn run(&self, running: Running) -> Result<(), CallError> {
        tokio::spawn(running);
        Ok(())
    }
}

/// A process that leaves its mailbox to the test.
#[derive(Default)]
struct Probe(Mutex<Option<Mailbox>>);

impl Process for Probe {
    fn start(self: Arc<Self>, _: Permit, start: Start) -> ProcessFuture {
        *self.0.lock().unwrap() = Some(start.mailbox);
        Box::pin(std::future::pending())
    }
}

/// An application with a host and nothing on it.
pub(crate) fn root() -> Context {
    let root = Context::root(Dispatcher::new(DispatcherConfig::default()));
    of(&root).insert_host(id("host"), Arc::new(Threads));
    root
}

/// The methods of the guest `actor` as process entries, and a process called `probe`.
fn system() -> (Context, Mailbox) {
    let root = root();
    let processes = of(&root);
    for method in ["whoami", "relay", "watch", "await", "spin"] {
        let module = prepare("actor", method, Wants::imports(&["process"])).unwrap();
        processes.insert(id(method), Arc::new(WasmProcess::new(module)));
    }
    let probe: Arc<Probe> = Arc::default();
    processes.insert(id("probe"), probe.clone());
    let named = Spawn {
        name: Some("probe".into()),
        ..Spawn::new(id("probe"), id("host"), Vec::new())
    };
    processes.launch(&root, named, Vec::new()).unwrap();
    let mailbox = probe.0.lock().unwrap().take().unwrap();
    (root, mailbox)
}

fn of(context: &Context) -> &Processes {
    context.dispatcher().processes()
}

fn start(context: &Context, method: &str, arguments: &[&str]) -> Launched {
    let arguments = arguments.iter().map(|&argument| Value::from(argument)).collect();
    let spawn = Spawn::new(id(method), id("host"), arguments);
    of(context).launch(context, spawn, Vec::new()).unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("it takes too long")
}

async fn end(process: &Launched) -> Exit {
    within(process.exit()).await
}

/// What a process returned, read as JSON.
async fn returned(process: &Launched) -> Json {
    let exit = end(process).await;
    let text = exit.as_ref().unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_str(text.as_str().unwrap()).unwrap()
}

/// The letter that a relay sent on.
async fn relayed(probe: &Mailbox) -> Json {
    let Letter::Message(message, _) = within(probe.next()).await else {
        panic!("no message");
    };
    assert_eq!(&*message.topic, "relayed");
    values::from_value(message.payloads.first().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_receives_and_sends_until_it_is_cancelled() {
    let (root, probe) = system();
    let relay = start(&root, "relay", &["probe"]);
    let payload = Value::record([("id", Value::Integer(7)), ("name", Value::from("Ada"))]);
    of(&root)
        .send(
            &root,
            relay.pid().as_str(),
            "job".into(),
            vec![payload, Value::Nil],
        )
        .unwrap();
    assert_eq!(
        relayed(&probe).await,
        json!({
            "kind": "message", "from": null, "topic": "job", "payloads": [{ "id": 7, "name": "Ada" }, null],
        })
    );
    of(&root)
        .cancel(&root, relay.pid().as_str(), None, Some("enough".into()))
        .unwrap();
    let cancel = json!({ "kind": "cancel", "from": null, "reason": "enough" });
    assert_eq!(relayed(&probe).await, cancel);
    assert_eq!(returned(&relay).await, cancel);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_hears_how_what_it_started_ended() {
    let (root, _) = system();
    let watch = start(&root, "watch", &["test:whoami", "test:host"]);
    let exit = returned(&watch).await;
    assert_eq!((&exit["kind"], &exit["from"]), (&json!("exit"), &exit["value"]));

    let watch = start(&root, "watch", &["test:relay", "test:host"]);
    let exit = returned(&watch).await;
    assert_eq!(exit["error"]["kind"], "INVALID");

    let watch = start(&root, "watch", &["test:nothing", "test:host"]);
    let exit = end(&watch).await;
    assert_eq!(
        exit.as_ref().unwrap_err().message(),
        "there is no process entry `test:nothing`"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_letter_ends_in_time() {
    let (root, _) = system();
    let spawn = Spawn::new(id("await"), id("host"), vec![Value::Integer(20)]);
    let waiting = of(&root).launch(&root, spawn, Vec::new()).unwrap();
    let exit = end(&waiting).await;
    assert_eq!(exit.as_ref().unwrap_err().message(), "nothing came");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_loop_is_terminated_and_one_that_is_cancelled_ends_after_its_grace() {
    let (root, _) = system();
    let spins: Vec<Launched> = (0..4).map(|_| start(&root, "spin", &[])).collect();
    // They run, and leave room for others.
    let watch = start(&root, "watch", &["test:whoami", "test:host"]);
    returned(&watch).await;
    for spin in &spins[..2] {
        of(&root).terminate(&root, spin.pid().as_str()).unwrap();
    }
    for spin in &spins[2..] {
        let grace = Some(Duration::from_millis(50));
        of(&root).cancel(&root, spin.pid().as_str(), grace, None).unwrap();
    }
    for (spin, how) in spins.iter().zip([
        "was terminated",
        "was terminated",
        "was cancelled",
        "was cancelled",
    ]) {
        let exit = end(spin).await;
        let error = exit.as_ref().unwrap_err();
        assert!(error.message().contains(how), "{error}");
    }
}

#[tokio::test]
async fn a_function_is_no_process() {
    let call = async |method, arguments: &[Value]| {
        call_guest(
            "actor",
            method,
            Wants::imports(&["wippy:runtime/process"]),
            arguments,
        )
        .await
        .unwrap_err()
    };
    assert_eq!(call("whoami", &[]).await.message(), "nothing came");
    let error = call("await", &[Value::Integer(1)]).await;
    assert_eq!(error.message(), "only a process has a mailbox");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_may_do_what_its_actor_may() {
    let (root, _) = system();
    let declared = wippy_registry::schema::security::Policy {
        actions: vec!["process.spawn".to_owned()],
        resources: vec!["*".to_owned()],
        effect: Effect::Allow,
        rule: Rule::Conditions(Vec::new()),
        groups: Vec::new(),
    };
    let scope = Scope::new([Arc::new(Policy::compile(id("policy"), &declared).unwrap())]);
    let ada = root.with_identity(Some(Arc::new(Actor::new("ada"))), Some(Arc::new(scope)));
    let relay = start(&ada, "relay", &["probe"]);
    of(&root)
        .send(&root, relay.pid().as_str(), "job".into(), Vec::new())
        .unwrap();
    let exit = end(&relay).await;
    let message = exit.as_ref().unwrap_err().message().to_owned();
    assert!(
        message.starts_with("actor `ada` may not do `process.send`"),
        "{message}"
    );
    let watch = start(&ada, "watch", &["test:whoami", "test:host"]);
    let exit = end(&watch).await;
    let message = exit.as_ref().unwrap_err().message().to_owned();
    assert!(message.contains("`process.spawn.monitored`"), "{message}");
}

#[tokio::test]
async fn the_import_has_to_be_declared() {
    let errors = prepare("actor", "whoami", Wants::default()).err().unwrap();
    let text = errors[0].to_string();
    assert!(text.contains("wippy:runtime/process"), "{text}");
}

/// A mebibyte of commas, which would be a hundred times as much once it was read.
const FLOOD: &str = r#"(module
    (import "wippy:runtime/process@0.1.0" "send" (func $send (param i32 i32 i32 i32 i32 i32 i32)))
    (import "wippy:runtime/process@0.1.0" "spawn" (func $spawn (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (memory (export "memory") 32)
    (data (i32.const 64) "test:any")
    (func $fill (memory.fill (i32.const 0x10000) (i32.const 44) (i32.const 0x100000)))
    (func (export "sends")
        (call $fill)
        (call $send (i32.const 64) (i32.const 8) (i32.const 64) (i32.const 8)
            (i32.const 0x10000) (i32.const 0x100000) (i32.const 0)))
    (func (export "spawns")
        (call $fill)
        (call $spawn (i32.const 64) (i32.const 8) (i32.const 64) (i32.const 8)
            (i32.const 0x10000) (i32.const 0x100000) (i32.const 0) (i32.const 0) (i32.const 0)))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))"#;

const FLOOD_WIT: &str = "package demo:flood;
    world flood {
        import wippy:runtime/process@0.1.0;
        export sends: func();
        export spawns: func();
    }
    package wippy:runtime@0.1.0 {
        interface process {
            send: func(destination: string, topic: string, payloads: string) -> result<_, string>;
            spawn: func(process: string, host: string, arguments: string, monitor: bool, link: bool) -> result<string, string>;
        }
    }";

#[tokio::test]
async fn json_counts_for_what_it_is_once_it_is_read() {
    for method in ["sends", "spawns"] {
        let module = engine().prepare(Spec {
            id: id(method),
            binary: Binary::Wat(FLOOD),
            wit: Some(FLOOD_WIT),
            method,
            imports: &["process".to_owned()],
            wasi: WasiConfig::default(),
            limits: Limits {
                host_bytes: 8 << 20,
                ..Limits::default()
            },
        });
        let error = call(&context(module.unwrap()), &[]).await.unwrap_err();
        let limit = error.details().get("limit").and_then(Value::as_str);
        assert_eq!(limit, Some("max_host_bytes"), "{method}: {error}");
    }
}
