//! [`Record`]: what the system keeps for one process, from its start until nobody speaks of it any more.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
};

use tokio::time::Instant;
use wippy_registry::EntryId;

use super::{
    mailbox::{Inbox, MailboxLimits, lock},
    relations::Relations,
};
use crate::{Exit, Pid};

/// One process, as the table and its own context know it.
///
/// Locks are taken in this order: relations (of two processes: the older one's first), names, inbox or control.
pub struct Record {
    pid: Pid,
    pub(super) limits: MailboxLimits,
    /// Messages that hold a place.
    pub(super) messages: AtomicUsize,
    /// The bytes of those messages.
    pub(super) bytes: AtomicUsize,
    /// Monitors, links and events that hold a place.
    pub(super) events: AtomicUsize,
    pub(super) inbox: Mutex<Inbox>,
    pub(super) relations: Mutex<Relations>,
    control: Mutex<Control>,
    /// Whether the control changed since it was last looked at.
    is_signalled: AtomicBool,
    traps_links: AtomicBool,
}

/// How a process is stopped from outside.
#[derive(Default)]
struct Control {
    /// Wakes whoever polls the process.
    waker: Option<Waker>,
    /// It ends at once, like this.
    killed: Option<Exit>,
    /// It is terminated at this time.
    deadline: Option<Instant>,
}

/// What [`Running`](crate::Running) is told to do.
pub(super) enum Signal {
    End(Exit),
    EndBy(Instant),
}

impl Record {
    pub(super) fn new(pid: Pid, entry: EntryId, limits: MailboxLimits) -> Arc<Self> {
        Arc::new(Self {
            pid,
            limits,
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            events: AtomicUsize::new(0),
            inbox: Mutex::default(),
            relations: Mutex::new(Relations::new(entry)),
            control: Mutex::default(),
            is_signalled: AtomicBool::new(false),
            traps_links: AtomicBool::new(false),
        })
    }

    /// Its name.
    pub fn pid(&self) -> &Pid {
        &self.pid
    }

    /// The entry that it runs, which an upgrade may change.
    pub fn entry(&self) -> EntryId {
        lock(&self.relations).entry.clone()
    }

    /// Whether it is told of links that went down, rather than ended with them.
    pub fn traps_links(&self) -> bool {
        self.traps_links.load(Ordering::Acquire)
    }

    /// Decides that.
    pub fn set_traps_links(&self, traps_links: bool) {
        self.traps_links.store(traps_links, Ordering::Release);
    }

    /// Messages that were sent to it and not consumed.
    pub fn waiting(&self) -> usize {
        self.messages.load(Ordering::Relaxed)
    }

    /// The places that are taken in its mailbox: of messages, and of events that came or may come.
    pub fn held(&self) -> (usize, usize) {
        (self.waiting(), self.events.load(Ordering::Relaxed))
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        lock(&self.relations).ended.is_some()
    }

    /// Ends it at once. The first word counts.
    pub(super) fn kill(&self, exit: Exit) {
        self.signal(|control| {
            control.killed.get_or_insert(exit);
        });
    }

    /// Ends it at `deadline`, unless it is to end earlier already.
    pub(super) fn end_by(&self, deadline: Instant) {
        self.signal(|control| {
            let earliest = control.deadline.map_or(deadline, |earlier| earlier.min(deadline));
            control.deadline = Some(earliest);
        });
    }

    fn signal(&self, change: impl FnOnce(&mut Control)) {
        let mut control = lock(&self.control);
        change(&mut control);
        self.is_signalled.store(true, Ordering::Release);
        let waker = control.waker.clone();
        drop(control);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// From now on, `waker` is woken by a change of the control.
    pub(super) fn set_waker(&self, waker: Option<Waker>) {
        let former = std::mem::replace(&mut lock(&self.control).waker, waker);
        // A waker may own the task that asks, and must not be dropped under the lock.
        drop(former);
    }

    /// What changed since it was last asked.
    pub(super) fn signalled(&self) -> Option<Signal> {
        // The usual answer takes no lock, and no exclusive access to the line.
        if !self.is_signalled.load(Ordering::Acquire) {
            return None;
        }
        let mut control = lock(&self.control);
        self.is_signalled.store(false, Ordering::Release);
        match control.killed.take() {
            Some(exit) => Some(Signal::End(exit)),
            None => control.deadline.map(Signal::EndBy),
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}
