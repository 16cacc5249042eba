//! Functions on threads of their own: where they run, and that a call is what it is anywhere else.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use wippy_security::{
    Actor, Call, CallError, Context, Dispatcher, DispatcherConfig, ErrorKind, Handler, Permit, Scope,
};
use wippy_wasm::{PoolConfig, WasmFunction, WorkerClass};
use wippy_wit::Value;

use crate::support::{Wants, call, call_named, id, prepare};

/// What a callee of a guest saw.
#[derive(Clone)]
struct Seen {
    thread: String,
    id: std::thread::ThreadId,
    context: Context,
}

/// A function of the host that remembers who called it, and where.
#[derive(Default)]
struct Witness(Mutex<Vec<Seen>>);

#[async_trait]
impl Handler for Witness {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default().to_owned();
        self.0.lock().unwrap().push(Seen {
            thread: name.clone(),
            id: thread.id(),
            context: call.context.clone(),
        });
        call.result.string(name.as_bytes());
        Ok(())
    }
}

/// A guest that passes calls on, on threads of the class `heavy`, with a witness to call.
fn relay(size: usize) -> (Context, Arc<Witness>) {
    let class = WorkerClass::new("heavy", size, None);
    let module = prepare("calls-funcs", "relay", Wants::imports(&["funcs"])).unwrap();
    let witness = Arc::new(Witness::default());
    let dispatcher = Dispatcher::new(DispatcherConfig::default());
    let function = WasmFunction::new(module.on(class), PoolConfig::default());
    dispatcher.insert(id("f"), Arc::new(function));
    dispatcher.insert(id("witness"), witness.clone());
    (Context::root(dispatcher), witness)
}

/// A guest on threads of its own, one call at a time.
fn alone(guest: &str, method: &str) -> Context {
    let class = WorkerClass::new("alone", 1, None);
    let module = prepare(guest, method, Wants::default()).unwrap();
    let dispatcher = Dispatcher::new(DispatcherConfig::default());
    let pool = PoolConfig {
        max_size: 1,
        ..PoolConfig::default()
    };
    dispatcher.insert(id("f"), Arc::new(WasmFunction::new(module.on(class), pool)));
    Context::root(dispatcher)
}

#[tokio::test]
async fn guests_run_on_the_threads_of_their_class() {
    let (context, witness) = relay(2);
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let context = context.with_own_execution();
            tokio::spawn(async move { call(&context, &["test:witness".into(), "".into()]).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok(Value::from("wippy:heavy")));
    }
    let seen = witness.0.lock().unwrap();
    let threads: BTreeSet<String> = seen.iter().map(|seen| format!("{:?}", seen.id)).collect();
    assert!((1..=2).contains(&threads.len()), "{threads:?}");
    assert!(seen.iter().all(|seen| seen.thread == "wippy:heavy"));
    let here = std::thread::current().id();
    assert!(seen.iter().all(|seen| seen.id != here));
}

#[tokio::test]
async fn a_call_keeps_its_context_on_the_way() {
    let (context, witness) = relay(1);
    let (actor, scope) = (Arc::new(Actor::new("ada")), Arc::new(Scope::default()));
    let context = context
        .with_identity(Some(actor.clone()), Some(scope.clone()))
        .with_values([("tenant".into(), Value::from("blue"))].into())
        .with_call_id("call-7")
        .with_timeout(Duration::from_mins(1));
    // Nobody may do anything under an empty scope.
    let refused = call(&context, &["test:witness".into(), "".into()])
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);

    let context = context.with_identity(Some(actor.clone()), None);
    call(&context, &["test:witness".into(), "".into()]).await.unwrap();
    let seen = witness.0.lock().unwrap().pop().unwrap().context;
    assert!(Arc::ptr_eq(seen.actor().unwrap(), &actor));
    assert_eq!(seen.values().get("tenant"), Some(&Value::from("blue")));
    assert_eq!(seen.call_id(), Some("call-7"));
    assert_eq!(seen.deadline(), context.deadline());
    assert_eq!(seen.depth(), 1);
}

#[tokio::test]
async fn errors_come_back_as_they_are() {
    let (context, _) = relay(1);
    let error = call(&context, &["test:nobody".into(), "".into()])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = call(&context, &[Value::Integer(5), "".into()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error.message().contains("argument 1 (target): expected string"),
        "{error}"
    );
    let error = call(&context, &[]).await.unwrap_err();
    assert!(error.message().contains("expected 2 arguments, got 0"), "{error}");
}

#[tokio::test]
async fn a_busy_guest_ends_by_its_deadline() {
    let context = alone("spin", "spin");
    let hurried = context.with_timeout(Duration::from_millis(100));
    let error = call(&hurried, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

/// There is one slot and one thread, and each guest would spin for ever.
#[tokio::test]
async fn giving_up_a_call_ends_it_over_there() {
    let context = alone("spin", "spin");
    for _ in 0..3 {
        let call = call(&context, &[]);
        assert!(
            tokio::time::timeout(Duration::from_millis(50), call)
                .await
                .is_err()
        );
    }
    let hurried = context.with_timeout(Duration::from_millis(200));
    let error = call(&hurried, &[]).await.unwrap_err();
    // The limit that says so is that of the call itself, so it had a slot and ran.
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let answer = prepare("spin", "answer", Wants::default()).unwrap();
    let class = WorkerClass::new("alone", 1, None);
    let function = Arc::new(WasmFunction::new(answer.on(class), PoolConfig::default()));
    context.dispatcher().insert(id("answer"), function);
    assert_eq!(call_named(&context, "answer", &[]).await, Ok(Value::Integer(42)));
}

#[tokio::test]
async fn a_class_has_as_many_threads_as_it_was_told_last() {
    let class = WorkerClass::new("heavy", 1, None);
    let module = prepare("calls-funcs", "relay", Wants::imports(&["funcs"])).unwrap();
    let witness = Arc::new(Witness::default());
    let dispatcher = Dispatcher::new(DispatcherConfig::default());
    let function = WasmFunction::new(module.on(class.clone()), PoolConfig::default());
    dispatcher.insert(id("f"), Arc::new(function));
    dispatcher.insert(id("witness"), witness.clone());
    let context = Context::root(dispatcher);
    for size in [1, 3, 2] {
        class.resize(size);
        call(&context, &["test:witness".into(), "".into()]).await.unwrap();
    }
    let seen = witness.0.lock().unwrap();
    let threads: BTreeSet<String> = seen.iter().map(|seen| format!("{:?}", seen.id)).collect();
    assert_eq!(threads.len(), 3, "each size has threads of its own: {threads:?}");
}

/// A thread's own work when it starts is done on it, before it runs anything.
#[tokio::test]
async fn threads_begin_with_what_they_were_told() {
    let started = Arc::new(Mutex::new(Vec::new()));
    let on_start = {
        let started = started.clone();
        Arc::new(move || started.lock().unwrap().push(std::thread::current().id()))
    };
    let class = WorkerClass::new("heavy", 2, Some(on_start));
    let module = prepare("bench", "add", Wants::default()).unwrap();
    let context = crate::support::context(module.on(class));
    let arguments = [Value::Integer(1), Value::Integer(2)];
    assert!(
        started.lock().unwrap().is_empty(),
        "nothing runs before it is needed"
    );
    assert_eq!(call(&context, &arguments).await, Ok(Value::Integer(3)));
    assert!(!started.lock().unwrap().is_empty());
}
