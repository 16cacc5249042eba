//! How processes begin, change and end.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use wippy_security::{Actor, Ended, ErrorKind, Pid, Spawn, Values};
use wippy_wit::Value;

use super::{Puppets, Theatre, Threads, spawn};
use crate::support::id;

#[test]
fn a_pid_has_a_form_and_is_never_used_again() {
    let theatre = Theatre::new();
    let first = theatre.start();
    assert_eq!(first.pid().as_str(), "{app:stage|0x00001}");
    assert_eq!(first.pid().host(), "app:stage");
    first.end_well();
    theatre.stage.settle();
    assert_eq!(theatre.start().pid().as_str(), "{app:stage|0x00002}");
    assert_eq!(&first.pid().as_str().parse::<Pid>().unwrap(), first.pid());
    for text in [
        "",
        "{}",
        "app:stage|0x1",
        "{app:stage|1}",
        "{|0x1}",
        "{a|0x+1}",
        "{a|0x11111111111111111}",
    ] {
        assert_eq!(
            text.parse::<Pid>().unwrap_err().kind(),
            ErrorKind::Invalid,
            "{text}"
        );
    }
}

#[test]
fn a_process_has_so_many_names_and_no_more() {
    let theatre = Theatre::new();
    let (puppet, other) = (theatre.start(), theatre.start());
    let register = |name: &str| theatre.processes().register(&puppet.context, name, None);
    for number in 0..1024 {
        register(&format!("name {number}")).unwrap();
    }
    let error = register("one more").unwrap_err();
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::RateLimited, false));
    // What it has already it has, what it gives back makes room, and others are not concerned.
    register("name 7").unwrap();
    assert!(theatre.processes().unregister(&puppet.context, "name 7").is_ok());
    register("one more").unwrap();
    theatre
        .processes()
        .register(&other.context, "another", None)
        .unwrap();
}

#[test]
fn a_process_inherits_who_acts_but_not_the_deadline() {
    let theatre = Theatre::new();
    let ada: Arc<Actor> = Arc::new(Actor::new("ada"));
    let values = Values::from([("request".into(), Value::Integer(7))]);
    let caller = theatre
        .root
        .with_identity(Some(ada), None)
        .with_values(values)
        .with_timeout(Duration::from_secs(1))
        .callee();
    theatre.processes().spawn(&caller, spawn()).unwrap();
    let child = theatre.puppets.next();
    let context = &child.context;
    assert_eq!(context.actor().unwrap().id.as_ref(), "ada");
    assert_eq!(context.values().get("request"), Some(&Value::Integer(7)));
    assert_eq!((context.deadline(), context.depth()), (None, 0));
    assert_eq!(context.process().unwrap().pid(), child.pid());
    // What it calls acts for it, too.
    assert_eq!(context.callee().process().unwrap().pid(), child.pid());
}

#[test]
fn initial_messages_wait_before_the_process_begins() {
    let theatre = Theatre::new();
    let parent = theatre.start();
    let child = theatre
        .spawn(
            &parent,
            Spawn {
                messages: vec![("one".into(), vec![]), ("two".into(), vec![])],
                ..spawn()
            },
        )
        .unwrap();
    assert_eq!(child.letters(), ["one from 1", "two from 1"]);
}

#[test]
fn a_full_host_leaves_nothing_behind() {
    let theatre = Theatre::new();
    let parent = theatre.start();
    *theatre.stage.is_full.lock().unwrap() = true;
    let wanted = Spawn {
        monitor: true,
        link: true,
        name: Some("worker".into()),
        ..spawn()
    };
    let error = theatre.spawn(&parent, wanted).err().unwrap();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Unavailable, "the stage is full")
    );
    theatre.stage.settle();
    assert_eq!(theatre.processes().len(), 1);
    assert_eq!(*theatre.stage.count.lock().unwrap(), 1);
    assert!(theatre.processes().lookup("worker").is_err());
    assert!(parent.letters().is_empty());
}

#[test]
fn what_does_not_exist_is_said_by_name() {
    let theatre = Theatre::new();
    let parent = theatre.start();
    for (process, host, message) in [
        (
            "app:nothing",
            "app:stage",
            "there is no process entry `app:nothing`",
        ),
        (
            "app:puppet",
            "app:nowhere",
            "there is no process host `app:nowhere`",
        ),
    ] {
        let error = theatre
            .spawn(&parent, Spawn::new(id(process), id(host), vec![]))
            .err()
            .unwrap();
        assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, message));
    }
}

#[test]
fn termination_is_an_abnormal_end_and_comes_once() {
    let theatre = Theatre::new();
    let (parent, other) = (theatre.start(), theatre.start());
    let child = theatre
        .spawn(
            &parent,
            Spawn {
                monitor: true,
                ..spawn()
            },
        )
        .unwrap();
    let processes = theatre.processes();
    processes.terminate(&other.context, child.pid().as_str()).unwrap();
    processes.terminate(&other.context, child.pid().as_str()).unwrap();
    theatre.stage.settle();
    processes.terminate(&other.context, child.pid().as_str()).unwrap();
    theatre.stage.settle();
    assert_eq!(parent.letters(), ["EXIT 3 CANCELED"]);
}

#[test]
fn a_host_that_drops_a_process_ends_it() {
    let theatre = Theatre::new();
    let parent = theatre.start();
    let child = theatre
        .spawn(
            &parent,
            Spawn {
                monitor: true,
                ..spawn()
            },
        )
        .unwrap();
    theatre.stage.drop_one(child.pid());
    assert_eq!(parent.letters(), ["EXIT 2 CANCELED"]);
    assert_eq!(*theatre.stage.count.lock().unwrap(), 1);
}

#[test]
fn an_upgrade_keeps_everything_but_the_program() {
    let theatre = Theatre::new();
    let next: Arc<Puppets> = Arc::default();
    theatre.processes().insert(id("app:next"), next.clone());
    let (parent, sender) = (theatre.start(), theatre.start());
    let child = theatre
        .spawn(
            &parent,
            Spawn {
                monitor: true,
                link: true,
                name: Some("worker".into()),
                ..spawn()
            },
        )
        .unwrap();
    sender.send(child.pid(), "early").unwrap();
    child.end(Ok(Ended::Upgrade {
        entry: Some(id("app:next")),
        arguments: vec![Value::Integer(5)],
    }));
    theatre.stage.settle();
    let upgraded = next.next();
    assert_eq!(upgraded.pid(), child.pid());
    assert_eq!(upgraded.arguments[..], [Value::Integer(5)]);
    assert_eq!(upgraded.mailbox.record().entry(), id("app:next"));
    assert_eq!(upgraded.letters(), ["early from 2"]);
    assert_eq!(&theatre.processes().lookup("worker").unwrap(), child.pid());
    assert!(parent.letters().is_empty());

    // It may also begin anew as what it is.
    upgraded.end(Ok(Ended::Upgrade {
        entry: None,
        arguments: vec![],
    }));
    theatre.stage.settle();
    next.next().end_well();
    theatre.stage.settle();
    assert_eq!(parent.letters(), ["EXIT 3 done"]);
}

#[test]
fn an_upgrade_to_nothing_is_a_failure() {
    let theatre = Theatre::new();
    let parent = theatre.start();
    let child = theatre
        .spawn(
            &parent,
            Spawn {
                monitor: true,
                ..spawn()
            },
        )
        .unwrap();
    child.end(Ok(Ended::Upgrade {
        entry: Some(id("app:nothing")),
        arguments: vec![],
    }));
    theatre.stage.settle();
    assert_eq!(parent.letters(), ["EXIT 2 NOT_FOUND"]);
}

#[test]
fn a_changed_entry_tells_what_runs_of_it() {
    let theatre = Theatre::new();
    theatre
        .processes()
        .insert(id("app:other"), theatre.puppets.clone());
    let old = theatre.start();
    theatre
        .processes()
        .launch(
            &theatre.root,
            Spawn::new(id("app:other"), id("app:stage"), vec![]),
            vec![],
        )
        .unwrap();
    let unconcerned = theatre.puppets.next();
    theatre
        .processes()
        .insert(id("app:puppet"), theatre.puppets.clone());
    assert_eq!(old.letters(), ["OUTDATED"]);
    assert!(unconcerned.letters().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_does_not_heed_a_cancellation_is_terminated() {
    let theatre = Theatre::new();
    theatre
        .processes()
        .insert_host(id("app:stage"), Arc::new(Threads));
    let (parent, heeding, deaf) = (theatre.start(), theatre.start(), theatre.start());
    let processes = theatre.processes();
    for child in [&heeding, &deaf] {
        processes.monitor(&parent.context, child.pid().as_str()).unwrap();
        // A later deadline changes nothing.
        for seconds in [1, 2] {
            let grace = Some(Duration::from_secs(seconds));
            processes
                .cancel(&parent.context, child.pid().as_str(), grace, None)
                .unwrap();
        }
    }
    assert_eq!(heeding.letters(), ["CANCEL from 1 -", "CANCEL from 1 -"]);
    heeding.end_well();
    let started = Instant::now();
    assert_eq!(super::describe(&parent.mailbox.next().await), "EXIT 2 done");
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(super::describe(&parent.mailbox.next().await), "EXIT 3 CANCELED");
    let waited = started.elapsed();
    assert!(
        (Duration::from_secs(1)..Duration::from_millis(1100)).contains(&waited),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn exec_waits_for_the_end_and_ends_what_nobody_waits_for() {
    let theatre = Theatre::new();
    theatre
        .processes()
        .insert_host(id("app:stage"), Arc::new(Threads));
    let processes = theatre.processes();
    let caller = theatre.start();

    let exec = processes.exec(&caller.context, spawn()).unwrap();
    theatre.puppets.next().end_well();
    assert_eq!(exec.await.unwrap(), Value::from("done"));

    let exec = processes.exec(&caller.context, spawn()).unwrap();
    theatre.puppets.next().crash();
    assert_eq!(exec.await.unwrap_err().message(), "crashed");

    let hurried = caller.context.with_timeout(Duration::from_millis(10));
    let error = processes.exec(&hurried, spawn()).unwrap().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    drop(processes.exec(&caller.context, spawn()).unwrap());
    // Both are gone without anybody asking for it.
    while processes.len() > 1 {
        tokio::task::yield_now().await;
    }
    let counts = processes.counts();
    assert_eq!((counts.started, counts.ended, counts.failed), (5, 4, 3));
}

#[test]
fn exec_cannot_go_deeper_than_calls() {
    let theatre = Theatre::new();
    let mut context = theatre.root.clone();
    for _ in 0..64 {
        context = context.callee();
    }
    let error = theatre.processes().exec(&context, spawn()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.retryable());
}

#[tokio::test]
async fn an_edge_knows_how_its_process_ended() {
    let theatre = Theatre::new();
    let launched = theatre
        .processes()
        .launch(&theatre.root, spawn(), vec![])
        .unwrap();
    let puppet = theatre.puppets.next();
    assert_eq!(launched.pid(), puppet.pid());
    puppet.end_well();
    let exit = launched.exit();
    theatre.stage.settle();
    assert_eq!(exit.await.as_ref().unwrap().as_str(), Some("done"));
    // Also later.
    assert!(!launched.exit().await.is_abnormal());
}
