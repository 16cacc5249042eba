//! What a mailbox holds, in which order, and what happens when it is full.

use std::sync::Arc;

use wippy_security::{ErrorKind, Letter, MailboxLimits};
use wippy_wit::Value;

use super::Theatre;

fn limits(messages: usize) -> MailboxLimits {
    MailboxLimits {
        messages,
        ..MailboxLimits::default()
    }
}

#[test]
fn letters_arrive_in_the_order_in_which_they_were_sent() {
    let theatre = Theatre::new();
    let (sender, receiver) = (theatre.start(), theatre.start());
    sender.send(receiver.pid(), "a").unwrap();
    theatre
        .processes()
        .cancel(
            &sender.context,
            receiver.pid().as_str(),
            None,
            Some("enough".into()),
        )
        .unwrap();
    sender.send(receiver.pid(), "b").unwrap();
    assert_eq!(
        receiver.letters(),
        ["a from 1", "CANCEL from 1 enough", "b from 1"]
    );
}

#[test]
fn a_full_mailbox_refuses_until_a_message_was_consumed() {
    let theatre = Theatre::with_limits(limits(2));
    let (sender, receiver) = (theatre.start(), theatre.start());
    sender.send(receiver.pid(), "a").unwrap();
    sender.send(receiver.pid(), "b").unwrap();
    let error = sender.send(receiver.pid(), "c").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(error.retryable());
    assert_eq!(
        error.message(),
        "the mailbox of `{app:stage|0x00002}` is full: 2 messages were not received yet"
    );
    // Taking a message out is not consuming it: its place is free when it is dropped.
    let held = receiver.mailbox.try_next().unwrap();
    sender.send(receiver.pid(), "c").unwrap_err();
    drop(held);
    sender.send(receiver.pid(), "c").unwrap();
    assert_eq!(receiver.letters(), ["b from 1", "c from 1"]);
    assert_eq!(receiver.mailbox.record().waiting(), 0);
}

#[test]
fn a_full_mailbox_still_gets_events() {
    let theatre = Theatre::with_limits(limits(1));
    let (sender, receiver) = (theatre.start(), theatre.start());
    theatre
        .processes()
        .monitor(&receiver.context, sender.pid().as_str())
        .unwrap();
    sender.send(receiver.pid(), "a").unwrap();
    sender.end_well();
    theatre.stage.settle();
    assert_eq!(receiver.letters(), ["a from 1", "EXIT 1 done"]);
}

#[test]
fn bytes_are_bounded_too() {
    let theatre = Theatre::with_limits(MailboxLimits {
        bytes: 10_000,
        ..MailboxLimits::default()
    });
    let (sender, receiver) = (theatre.start(), theatre.start());
    let send = |bytes: usize| {
        let payload = Value::array([Value::string("x".repeat(bytes))]);
        theatre.processes().send(
            &sender.context,
            receiver.pid().as_str(),
            Arc::from("a"),
            vec![payload],
        )
    };
    send(6000).unwrap();
    assert_eq!(send(6000).unwrap_err().kind(), ErrorKind::RateLimited);
    assert_eq!(send(11_000).unwrap_err().kind(), ErrorKind::Invalid);
    drop(receiver.mailbox.try_next());
    send(6000).unwrap();
}

#[test]
fn monitors_and_links_are_bounded() {
    let theatre = Theatre::with_limits(MailboxLimits {
        events: 2,
        ..MailboxLimits::default()
    });
    let (watcher, one, two, three) = (theatre.start(), theatre.start(), theatre.start(), theatre.start());
    let processes = theatre.processes();
    processes.monitor(&watcher.context, one.pid().as_str()).unwrap();
    processes.link(&watcher.context, two.pid().as_str()).unwrap();
    let error = processes
        .monitor(&watcher.context, three.pid().as_str())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    processes.unlink(&watcher.context, two.pid().as_str()).unwrap();
    processes.monitor(&watcher.context, three.pid().as_str()).unwrap();
    // The event keeps the place of its monitor until it was read.
    three.end_well();
    theatre.stage.settle();
    processes.link(&watcher.context, two.pid().as_str()).unwrap_err();
    assert_eq!(watcher.letters(), ["EXIT 4 done"]);
    processes.link(&watcher.context, two.pid().as_str()).unwrap();
}

#[test]
fn messages_to_the_dead_are_dropped_and_counted() {
    let theatre = Theatre::new();
    let (sender, receiver) = (theatre.start(), theatre.start());
    sender.send(receiver.pid(), "unread").unwrap();
    receiver.end_well();
    theatre.stage.settle();
    sender.send(receiver.pid(), "late").unwrap();
    let processes = theatre.processes();
    processes
        .send(&sender.context, "{app:stage|0x0ffff}", "never".into(), Vec::new())
        .unwrap();
    // A PID of the right number on another host is another process, which never was.
    processes
        .send(&sender.context, "{app:other|0x00001}", "never".into(), Vec::new())
        .unwrap();
    assert_eq!(processes.counts().dropped, 4);
    assert!(sender.letters().is_empty());
    let error = processes
        .send(&sender.context, "nobody", "x".into(), Vec::new())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn senders_cannot_pretend_to_be_others() {
    let theatre = Theatre::new();
    let receiver = theatre.start();
    let processes = theatre.processes();
    processes
        .send(&theatre.root, receiver.pid().as_str(), "x".into(), Vec::new())
        .unwrap();
    let Some(Letter::Message(message, _)) = receiver.mailbox.try_next() else {
        panic!("no message");
    };
    assert_eq!(message.from, None);
    let error = processes
        .send(
            &theatre.root,
            receiver.pid().as_str(),
            "@events".into(),
            Vec::new(),
        )
        .unwrap_err();
    assert_eq!(
        error.message(),
        "the topic `@events` is reserved: a topic cannot begin with `@`"
    );
}
