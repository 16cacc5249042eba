//! Many threads at once: nothing is lost, nothing is told twice, and senders keep their order.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Barrier, task::JoinSet};
use wippy_security::{
    CallError, Context, Dispatcher, DispatcherConfig, Ended, ErrorKind, Event, Letter, Permit, Pid, Process,
    ProcessFuture, Processes, Spawn, Start,
};
use wippy_wit::Value;

use super::Threads;
use crate::support::id;

/// A process entry that is an asynchronous function.
struct Program<F>(F);

impl<F, R> Process for Program<F>
where
    F: Fn(Start) -> R + Send + Sync,
    R: Future<Output = Result<Ended, CallError>> + Send + 'static,
{
    fn start(self: Arc<Self>, _: Permit, start: Start) -> ProcessFuture {
        Box::pin((self.0)(start))
    }
}

fn system() -> Context {
    let root = Context::root(Dispatcher::new(DispatcherConfig::default()));
    root.dispatcher()
        .processes()
        .insert_host(id("app:host"), Arc::new(Threads));
    root
}

fn of(context: &Context) -> &Processes {
    context.dispatcher().processes()
}

fn insert<F, R>(context: &Context, name: &str, program: F)
where
    F: Fn(Start) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Ended, CallError>> + Send + 'static,
{
    of(context).insert(id(name), Arc::new(Program(program)));
}

fn spawn(name: &str) -> Spawn {
    Spawn::new(id(name), id("app:host"), Vec::new())
}

#[expect(clippy::unnecessary_wraps, reason = "what a program ends with")]
fn ok(value: impl Into<Value>) -> Result<Ended, CallError> {
    Ok(Ended::Value(value.into()))
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), future)
        .await
        .expect("something was lost")
}

async fn until_empty(context: &Context) {
    within(async {
        while !of(context).is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_exit_is_told_once_however_the_process_ends() {
    let root = system();
    insert(&root, "app:child", |start| async move {
        // Some end by themselves, while others are being killed.
        let letter = start.mailbox.next().await;
        if let Letter::Message(message, _) = letter
            && &*message.topic == "crash"
        {
            return Err(CallError::internal("crashed"));
        }
        ok("done")
    });
    insert(&root, "app:auditor", |start| async move {
        tell_each_once(&start).await
    });
    insert(&root, "app:parent", |start| async move {
        let processes = of(&start.context);
        let auditor = processes.lookup("auditor")?;
        let mut children = Vec::new();
        for _ in 0..CHILDREN {
            let wanted = Spawn {
                monitor: true,
                ..spawn("app:child")
            };
            children.push(processes.spawn(&start.context, wanted)?);
        }
        let mut killers = JoinSet::new();
        let barrier = Arc::new(Barrier::new(4));
        for what in 0..4 {
            let (children, context, barrier) = (children.clone(), start.context.clone(), barrier.clone());
            let auditor = auditor.clone();
            killers.spawn(async move {
                barrier.wait().await;
                for (number, child) in children.iter().enumerate() {
                    let processes = of(&context);
                    match (what + number) % 4 {
                        0 => processes.terminate(&context, child.as_str()),
                        1 => processes.send(&context, child.as_str(), "crash".into(), Vec::new()),
                        2 => processes.cancel(&context, child.as_str(), None, None),
                        // The auditor monitors each child once, before, while or after it dies.
                        _ => {
                            let child = Value::from(child.as_str());
                            processes.send(&context, auditor.as_str(), "watch".into(), vec![child])
                        }
                    }
                    .unwrap();
                }
            });
        }
        while killers.join_next().await.is_some() {}
        tell_each_once(&start).await
    });
    let wanted = Spawn {
        name: Some("auditor".into()),
        ..spawn("app:auditor")
    };
    let auditor = of(&root).launch(&root, wanted, vec![]).unwrap();
    let parent = of(&root).launch(&root, spawn("app:parent"), vec![]).unwrap();
    for watcher in [auditor, parent] {
        let exit = within(watcher.exit()).await;
        assert_eq!(exit.as_ref().unwrap(), &Value::Integer(1));
    }
    until_empty(&root).await;
    let counts = of(&root).counts();
    assert_eq!(counts.ended, 2 + CHILDREN);
    // Children end with errors or without, the others only without.
    assert!(counts.failed <= CHILDREN, "{counts:?}");
}

const CHILDREN: u64 = 400;

/// Monitors whom it is told to, until every child's EXIT has come. Answers how often the most frequent one came.
async fn tell_each_once(start: &Start) -> Result<Ended, CallError> {
    let mut told: HashMap<Pid, i64> = HashMap::new();
    while (told.len() as u64) < CHILDREN {
        match start.mailbox.next().await {
            Letter::Event(Event::Exit { from, .. }, _) => *told.entry(from).or_default() += 1,
            Letter::Message(message, _) => {
                let child = message.payloads[0].as_str().unwrap();
                of(&start.context).monitor(&start.context, child)?;
            }
            Letter::Event(..) => {}
        }
    }
    // Whatever is told twice is told soon.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    while let Some(letter) = start.mailbox.try_next() {
        if let Letter::Event(Event::Exit { from, .. }, _) = letter {
            *told.entry(from).or_default() += 1;
        }
    }
    ok(told.values().max().copied().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn links_made_and_undone_while_processes_die_leave_nothing_behind() {
    const ROUNDS: usize = 300;
    let root = system();
    insert(&root, "app:peer", |start| async move {
        start.mailbox.next().await;
        Err(CallError::internal("crashed"))
    });
    insert(&root, "app:trapping", |start| async move {
        start.mailbox.record().set_traps_links(true);
        let processes = of(&start.context);
        let mut down = 0_i64;
        for round in 0..ROUNDS {
            let peer = processes.spawn(&start.context, spawn("app:peer"))?;
            let (context, target) = (start.context.clone(), peer.clone());
            let killer = tokio::spawn(async move {
                of(&context).send(&context, target.as_str(), "die".into(), Vec::new())
            });
            let linked = processes.link(&start.context, peer.as_str()).is_ok();
            let keeps = round % 2 == 0;
            if !keeps {
                processes.unlink(&start.context, peer.as_str())?;
                // From here on, nothing may come from it any more; what came before is taken out.
                let before = std::iter::from_fn(|| start.mailbox.try_next()).count();
                assert!(before <= 1);
            }
            killer.await.unwrap()?;
            if keeps && linked {
                let letter = start.mailbox.next().await;
                assert!(matches!(&letter, Letter::Event(Event::LinkDown { from, .. }, _) if *from == peer));
                down += 1;
            }
        }
        while of(&start.context).len() > 1 {
            tokio::task::yield_now().await;
        }
        assert!(start.mailbox.try_next().is_none());
        assert_eq!(start.mailbox.record().held(), (0, 0));
        ok(down)
    });
    let trapping = of(&root).launch(&root, spawn("app:trapping"), vec![]).unwrap();
    let exit = within(trapping.exit()).await;
    assert!(exit.is_ok(), "{exit:?}");
    until_empty(&root).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failure_takes_a_whole_ring_of_links_with_it() {
    const RING: usize = 500;
    let root = system();
    insert(&root, "app:member", |start| async move {
        let Letter::Message(message, _) = start.mailbox.next().await else {
            return ok("not told");
        };
        let next = message.payloads[0].as_str().unwrap().to_owned();
        of(&start.context).link(&start.context, &next)?;
        of(&start.context).send(&start.context, "head", "ready".into(), vec![])?;
        start.mailbox.next().await;
        Err(CallError::internal("crashed"))
    });
    insert(&root, "app:head", |start| async move {
        let processes = of(&start.context);
        processes.register(&start.context, "head", None)?;
        let mut members = Vec::new();
        for _ in 0..RING {
            let wanted = Spawn {
                monitor: true,
                ..spawn("app:member")
            };
            members.push(processes.spawn(&start.context, wanted)?);
        }
        for (number, member) in members.iter().enumerate() {
            let next = Value::from(members[(number + 1) % RING].as_str());
            processes.send(&start.context, member.as_str(), "next".into(), vec![next])?;
        }
        for _ in 0..RING {
            assert!(matches!(start.mailbox.next().await, Letter::Message(..)));
        }
        processes.send(&start.context, members[0].as_str(), "die".into(), vec![])?;
        for _ in 0..RING {
            let Letter::Event(Event::Exit { exit, .. }, _) = start.mailbox.next().await else {
                panic!("no EXIT");
            };
            // However far it went, the message speaks of the first failure only.
            assert!(exit.as_ref().unwrap_err().message().len() < 100);
        }
        ok("done")
    });
    let head = of(&root).launch(&root, spawn("app:head"), vec![]).unwrap();
    assert!(within(head.exit()).await.is_ok());
    until_empty(&root).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn messages_of_one_sender_keep_their_order_and_none_is_lost() {
    const SENDERS: i64 = 8;
    const MESSAGES: i64 = 2_000;
    let root = system();
    insert(&root, "app:receiver", |start| async move {
        let mut next: HashMap<Pid, i64> = HashMap::new();
        for _ in 0..SENDERS * MESSAGES {
            let Letter::Message(message, _) = start.mailbox.next().await else {
                continue;
            };
            let expected = next.entry(message.from.unwrap()).or_default();
            assert_eq!(message.payloads, [Value::Integer(*expected)]);
            *expected += 1;
        }
        ok(i64::try_from(next.len()).unwrap())
    });
    insert(&root, "app:sender", |start| async move {
        for number in 0..MESSAGES {
            let payload = vec![Value::Integer(number)];
            of(&start.context).send(&start.context, "receiver", "n".into(), payload)?;
        }
        ok("done")
    });
    let wanted = Spawn {
        name: Some("receiver".into()),
        ..spawn("app:receiver")
    };
    let receiver = of(&root).launch(&root, wanted, vec![]).unwrap();
    for _ in 0..SENDERS {
        of(&root).launch(&root, spawn("app:sender"), vec![]).unwrap();
    }
    let exit = within(receiver.exit()).await;
    assert_eq!(exit.as_ref().unwrap(), &Value::Integer(SENDERS));
    until_empty(&root).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_between_two_that_wait_for_each_other() {
    const PAIRS: usize = 32;
    const ROUNDS: usize = 500;
    let root = system();
    insert(&root, "app:echo", |start| async move {
        loop {
            match start.mailbox.next().await {
                Letter::Message(message, _) => {
                    let from = message.from.unwrap();
                    of(&start.context).send(&start.context, from.as_str(), "pong".into(), vec![])?;
                }
                Letter::Event(..) => return ok("done"),
            }
        }
    });
    insert(&root, "app:ping", |start| async move {
        let processes = of(&start.context);
        let echo = processes.spawn(&start.context, spawn("app:echo"))?;
        for _ in 0..ROUNDS {
            processes.send(&start.context, echo.as_str(), "ping".into(), vec![])?;
            start.mailbox.next().await;
        }
        processes.cancel(&start.context, echo.as_str(), None, None)?;
        ok("done")
    });
    let pairs: Vec<_> = (0..PAIRS)
        .map(|_| of(&root).launch(&root, spawn("app:ping"), vec![]).unwrap())
        .collect();
    for pair in pairs {
        assert!(within(pair.exit()).await.is_ok());
    }
    until_empty(&root).await;
    assert_eq!(of(&root).counts().dropped, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_name_has_one_holder_whoever_asks_first() {
    const PROCESSES: usize = 200;
    let root = system();
    let won = Arc::new(AtomicUsize::new(0));
    let winner = won.clone();
    let barrier = Arc::new(Barrier::new(PROCESSES));
    insert(&root, "app:candidate", move |start| {
        let (won, barrier) = (winner.clone(), barrier.clone());
        async move {
            barrier.wait().await;
            match of(&start.context).register(&start.context, "throne", None) {
                Ok(()) => {
                    won.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists),
            }
            // It is held while all of them try.
            barrier.wait().await;
            ok("done")
        }
    });
    for _ in 0..PROCESSES {
        of(&root).launch(&root, spawn("app:candidate"), vec![]).unwrap();
    }
    until_empty(&root).await;
    assert_eq!(won.load(Ordering::Relaxed), 1);
    assert!(of(&root).lookup("throne").is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_loop_that_yields_dies_of_termination() {
    let root = system();
    insert(&root, "app:busy", |_| async move {
        loop {
            tokio::task::yield_now().await;
        }
    });
    insert(&root, "app:panicking", |_| async move { panic!("on purpose") });
    let busy = of(&root).launch(&root, spawn("app:busy"), vec![]).unwrap();
    busy.terminate("enough");
    let exit = within(busy.exit()).await;
    let error = exit.as_ref().unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Canceled, "enough"));

    let panicking = of(&root).launch(&root, spawn("app:panicking"), vec![]).unwrap();
    let exit = within(panicking.exit()).await;
    assert_eq!(exit.as_ref().unwrap_err().kind(), ErrorKind::Internal);
    until_empty(&root).await;
}
