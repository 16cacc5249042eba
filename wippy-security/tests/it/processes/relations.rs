//! Monitors, links and names, one at a time.

use wippy_security::{ErrorKind, Event, Letter, Spawn};

use super::{Theatre, spawn};

#[test]
fn an_exit_carries_the_value_or_the_error() {
    let theatre = Theatre::new();
    let parent = theatre.start();
    let monitored = || Spawn {
        monitor: true,
        ..spawn()
    };
    let good = theatre.spawn(&parent, monitored()).unwrap();
    let bad = theatre.spawn(&parent, monitored()).unwrap();
    good.end_well();
    bad.crash();
    theatre.stage.settle();
    let Some(Letter::Event(Event::Exit { from, exit }, Some(_))) = parent.mailbox.try_next() else {
        panic!("no EXIT");
    };
    assert_eq!(
        (&from, exit.as_ref().unwrap().as_str()),
        (good.pid(), Some("done"))
    );
    let Some(Letter::Event(Event::Exit { from, exit }, Some(_))) = parent.mailbox.try_next() else {
        panic!("no EXIT");
    };
    let error = exit.as_ref().unwrap_err();
    assert_eq!((&from, error.message()), (bad.pid(), "crashed"));
    assert_eq!(error.stack(), Some("main.lua:3"));
    assert!(parent.mailbox.try_next().is_none());
}

#[test]
fn monitoring_twice_tells_once_and_a_dead_process_tells_at_once() {
    let theatre = Theatre::new();
    let (watcher, target) = (theatre.start(), theatre.start());
    let processes = theatre.processes();
    let pid = target.pid().as_str();
    processes.monitor(&watcher.context, pid).unwrap();
    processes.monitor(&watcher.context, pid).unwrap();
    target.end_well();
    theatre.stage.settle();
    assert_eq!(watcher.letters(), ["EXIT 2 done"]);

    processes.monitor(&watcher.context, pid).unwrap();
    assert_eq!(watcher.letters(), ["EXIT 2 NOT_FOUND"]);

    let error = processes.monitor(&watcher.context, "nobody").unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::NotFound, "no process is registered as `nobody`")
    );
    let error = processes
        .monitor(&watcher.context, watcher.pid().as_str())
        .unwrap_err();
    assert_eq!(error.message(), "a process cannot monitor itself");
    let error = processes.monitor(&theatre.root, pid).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn a_failure_ends_linked_processes_unless_they_trap_it() {
    let theatre = Theatre::new();
    let (first, second, third, trapping) =
        (theatre.start(), theatre.start(), theatre.start(), theatre.start());
    let processes = theatre.processes();
    processes.link(&first.context, second.pid().as_str()).unwrap();
    processes.link(&third.context, second.pid().as_str()).unwrap();
    processes.link(&trapping.context, third.pid().as_str()).unwrap();
    processes
        .monitor(&trapping.context, third.pid().as_str())
        .unwrap();
    trapping.mailbox.record().set_traps_links(true);
    first.crash();
    theatre.stage.settle();
    let letters: Vec<Letter> = std::iter::from_fn(|| trapping.mailbox.try_next()).collect();
    let [
        Letter::Event(Event::Exit { .. }, _),
        Letter::Event(Event::LinkDown { from, exit }, _),
    ] = &letters[..]
    else {
        panic!("{letters:?}");
    };
    assert_eq!(from, third.pid());
    // The error is the first one's, however many links it went through.
    let error = exit.as_ref().unwrap_err();
    assert_eq!(
        error.message(),
        "the linked process `{app:stage|0x00001}` failed: crashed"
    );
    assert_eq!(error.stack(), Some("main.lua:3"));
    assert_eq!(processes.len(), 1);
}

#[test]
fn a_good_end_leaves_links_alone() {
    let theatre = Theatre::new();
    let (first, second) = (theatre.start(), theatre.start());
    theatre
        .processes()
        .link(&first.context, second.pid().as_str())
        .unwrap();
    first.end_well();
    theatre.stage.settle();
    assert_eq!(theatre.processes().len(), 1);
    assert!(second.letters().is_empty());
    let error = theatre
        .processes()
        .link(&second.context, first.pid().as_str())
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (
            ErrorKind::NotFound,
            "the process `{app:stage|0x00001}` does not run"
        )
    );
}

#[test]
fn names_are_free_again_when_their_process_has_ended() {
    let theatre = Theatre::new();
    let (first, second) = (theatre.start(), theatre.start());
    let processes = theatre.processes();
    processes.register(&first.context, "worker", None).unwrap();
    processes.register(&first.context, "worker", None).unwrap();
    assert_eq!(&processes.lookup("worker").unwrap(), first.pid());
    let error = processes.register(&second.context, "worker", None).unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (
            ErrorKind::AlreadyExists,
            "the name `worker` is registered already, for `{app:stage|0x00001}`"
        )
    );
    first.end_well();
    theatre.stage.settle();
    assert_eq!(
        processes.lookup("worker").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    processes.register(&second.context, "worker", None).unwrap();
    processes
        .send(&first.context, "worker", "hello".into(), Vec::new())
        .unwrap();
    assert_eq!(second.letters(), ["hello from 1"]);
    assert!(processes.unregister(&second.context, "worker").unwrap());
    assert!(!processes.unregister(&second.context, "worker").unwrap());

    for name in ["", "{app:stage|0x00001}", "@system", &"x".repeat(256)] {
        let error = processes.register(&second.context, name, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
    }
    // The dead get no names.
    let error = processes
        .register(&second.context, "ghost", Some(first.pid().as_str()))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_taken_name_keeps_a_process_from_starting() {
    let theatre = Theatre::new();
    let parent = theatre.start();
    let named = || Spawn {
        name: Some("worker".into()),
        ..spawn()
    };
    let worker = theatre.spawn(&parent, named()).unwrap();
    let error = theatre.spawn(&parent, named()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(theatre.processes().len(), 2);
    assert_eq!(&theatre.processes().lookup("worker").unwrap(), worker.pid());
}

#[test]
fn what_is_spawned_and_linked_by_a_process_that_failed_meanwhile_ends_with_it() {
    let theatre = Theatre::new();
    let parent = theatre.start();
    parent.crash();
    theatre.stage.settle();
    // A call that it made may still be on its way.
    let linked = Spawn {
        link: true,
        ..spawn()
    };
    theatre.spawn(&parent, linked).unwrap();
    theatre.stage.settle();
    assert!(theatre.processes().is_empty());
}
