//! A process entry and hosts whose every step the test decides, and short ways to use them.

#![expect(clippy::indexing_slicing, reason = "what a test does not find has to fail it")]

mod concurrency;
mod lifecycle;
mod mailboxes;
mod model;
mod permissions;
mod relations;

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context as Waking, Poll, Waker},
};

use wippy_security::{
    CallError, Context, Dispatcher, DispatcherConfig, Ended, ErrorKind, Event, Host, Letter, Mailbox,
    MailboxLimits, Permit, Pid, Process, ProcessFuture, Running, Spawn, Start,
};
use wippy_wit::Value;

use crate::support::id;

/// What a test decides about a process, and what it knows of it.
#[derive(Clone)]
pub(super) struct Puppet {
    pub(super) context: Context,
    pub(super) mailbox: Mailbox,
    pub(super) arguments: Arc<Vec<Value>>,
    strings: Arc<Mutex<Strings>>,
}

#[derive(Default)]
struct Strings {
    end: Option<Result<Ended, CallError>>,
    waker: Option<Waker>,
}

impl Puppet {
    pub(super) fn pid(&self) -> &Pid {
        self.mailbox.record().pid()
    }

    /// Lets it end like this when it is next polled.
    pub(super) fn end(&self, how: Result<Ended, CallError>) {
        let mut strings = self.strings.lock().unwrap();
        strings.end = Some(how);
        if let Some(waker) = strings.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn end_well(&self) {
        self.end(Ok(Ended::Value(Value::from("done"))));
    }

    pub(super) fn crash(&self) {
        self.end(Err(CallError::internal("crashed").with_stack("main.lua:3")));
    }

    /// What waits in its mailbox, in short.
    pub(super) fn letters(&self) -> Vec<String> {
        std::iter::from_fn(|| self.mailbox.try_next())
            .map(|letter| describe(&letter))
            .collect()
    }

    pub(super) fn send(&self, to: &Pid, topic: &str) -> Result<(), CallError> {
        let processes = self.context.dispatcher().processes();
        processes.send(&self.context, to.as_str(), topic.into(), Vec::new())
    }
}

/// A letter in one word or two: `ping`, `EXIT 2 ok`.
pub(super) fn describe(letter: &Letter) -> String {
    let number = |pid: &Pid| u64::from_str_radix(&pid.as_str()[pid.as_str().len() - 6..][..5], 16).unwrap();
    match letter {
        Letter::Message(message, _) => {
            let from = message.from.as_ref().map_or(0, number);
            format!("{} from {from}", message.topic)
        }
        Letter::Event(Event::Exit { from, exit }, _) => format!("EXIT {} {}", number(from), outcome(exit)),
        Letter::Event(Event::LinkDown { from, exit }, _) => {
            format!("LINK_DOWN {} {}", number(from), outcome(exit))
        }
        Letter::Event(Event::Cancel { from, reason, .. }, _) => {
            let from = from.as_ref().map_or(0, number);
            format!("CANCEL from {from} {}", reason.as_deref().unwrap_or("-"))
        }
        Letter::Event(Event::Outdated, _) => "OUTDATED".to_owned(),
    }
}

fn outcome(exit: &Result<Value, CallError>) -> String {
    match exit {
        Ok(value) => value.as_str().unwrap_or("nil").to_owned(),
        Err(error) => error.kind().to_string(),
    }
}

/// A process entry whose processes are puppets, in the order of their start.
#[derive(Default)]
pub(super) struct Puppets(Mutex<VecDeque<Puppet>>);

impl Puppets {
    /// The one that was started longest ago and not asked for yet.
    pub(super) fn next(&self) -> Puppet {
        self.0.lock().unwrap().pop_front().expect("a process was started")
    }
}

impl Process for Puppets {
    fn start(self: Arc<Self>, _: Permit, start: Start) -> ProcessFuture {
        let strings = Arc::new(Mutex::new(Strings::default()));
        self.0.lock().unwrap().push_back(Puppet {
            context: start.context,
            mailbox: start.mailbox,
            arguments: Arc::new(start.arguments),
            strings: strings.clone(),
        });
        Box::pin(poll_fn(move |waking| {
            let mut strings = strings.lock().unwrap();
            if let Some(end) = strings.end.take() {
                return Poll::Ready(end);
            }
            strings.waker = Some(waking.waker().clone());
            Poll::Pending
        }))
    }
}

/// A host that polls when it is told to, in the order of the starts.
#[derive(Default)]
pub(super) struct Stage {
    running: Mutex<Vec<Running>>,
    pub(super) is_full: Mutex<bool>,
    /// How many the host counts.
    pub(super) count: Mutex<i64>,
}

impl Host for Stage {
    fn run(&self, running: Running) -> Result<(), CallError> {
        *self.count.lock().unwrap() += 1;
        if *self.is_full.lock().unwrap() {
            return Err(CallError::new(ErrorKind::Unavailable, "the stage is full"));
        }
        self.running.lock().unwrap().push(running);
        Ok(())
    }

    fn ended(&self) {
        *self.count.lock().unwrap() -= 1;
    }
}

impl Stage {
    /// Polls everything until nothing more ends.
    pub(super) fn settle(&self) {
        let mut waking = Waking::from_waker(Waker::noop());
        loop {
            let mut running = std::mem::take(&mut *self.running.lock().unwrap());
            let before = running.len();
            running.retain_mut(|running| pin!(running).poll(&mut waking).is_pending());
            let has_changed = running.len() != before;
            self.running.lock().unwrap().extend(running);
            if !has_changed {
                return;
            }
        }
    }

    /// Drops a process as a host does that goes down.
    pub(super) fn drop_one(&self, pid: &Pid) {
        let mut running = self.running.lock().unwrap();
        let at = running.iter().position(|running| running.pid() == pid).unwrap();
        let dropped = running.remove(at);
        drop(running);
        drop(dropped);
    }
}

/// A host that polls on the runtime's threads.
#[derive(Default)]
pub(super) struct Threads;

impl Host for Threads {
    fn run(&self, running: Running) -> Result<(), CallError> {
        tokio::spawn(running);
        Ok(())
    }
}

/// A dispatcher with the process entry `app:puppet` and the host `app:stage`.
pub(super) struct Theatre {
    pub(super) root: Context,
    pub(super) puppets: Arc<Puppets>,
    pub(super) stage: Arc<Stage>,
}

impl Theatre {
    pub(super) fn new() -> Self {
        Self::with_limits(MailboxLimits::default())
    }

    pub(super) fn with_limits(mailbox: MailboxLimits) -> Self {
        let config = DispatcherConfig {
            mailbox,
            ..DispatcherConfig::default()
        };
        let theatre = Self {
            root: Context::root(Dispatcher::new(config)),
            puppets: Arc::default(),
            stage: Arc::default(),
        };
        let processes = theatre.root.dispatcher().processes();
        processes.insert(id("app:puppet"), theatre.puppets.clone());
        processes.insert_host(id("app:stage"), theatre.stage.clone());
        theatre
    }

    pub(super) fn processes(&self) -> &wippy_security::Processes {
        self.root.dispatcher().processes()
    }

    /// Starts a process from outside.
    pub(super) fn start(&self) -> Puppet {
        self.processes().launch(&self.root, spawn(), Vec::new()).unwrap();
        self.puppets.next()
    }

    /// Starts a process from another.
    pub(super) fn spawn(&self, parent: &Puppet, spawn: Spawn) -> Result<Puppet, CallError> {
        self.processes().spawn(&parent.context, spawn)?;
        Ok(self.puppets.next())
    }
}

/// A puppet on the stage.
pub(super) fn spawn() -> Spawn {
    Spawn::new(id("app:puppet"), id("app:stage"), Vec::new())
}
