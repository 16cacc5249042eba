//! [`Bus`]: events from anyone to everyone who listens, inside of one application.
//!
//! It is for watching, not for work that must not be lost: a sender never waits. Every subscription has a bounded queue;
//! when that is full its oldest event gives way, so that a slow listener sees what happened last and knows how much it
//! missed. A subscription ends when it is closed or dropped, or with the execution that made it.

mod pattern;

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::Notify;
use wippy_security::{CallError, ErrorKind, Execution};
use wippy_wit::Value;

use self::pattern::Pattern;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The part of the application it happened in, `orders`.
    pub system: String,
    /// What happened, `order.created`.
    pub kind: String,
    /// What it happened to, `/orders/123`.
    pub path: String,
    /// More about it; nil when there is nothing to say.
    pub data: Value,
}

/// Whether a subscriber may see a system.
pub type Admits = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// Whose a subscription is.
#[derive(Default)]
pub struct Subscriber {
    /// The execution that it ends with, if it ends with one.
    pub execution: Option<Weak<Execution>>,
    /// Which systems it may see of those that its pattern fits; all if nothing is said.
    pub admits: Option<Admits>,
}

/// Where events pass. Its clones are the same bus.
#[derive(Clone, Default)]
pub struct Bus {
    queues: Arc<Mutex<Vec<Weak<Queue>>>>,
}

/// The events that somebody listens for, in the order they were sent.
#[derive(Clone)]
pub struct Subscription {
    queue: Arc<Queue>,
}

struct Queue {
    system: Pattern,
    kind: Option<Pattern>,
    subscriber: Subscriber,
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Arc<Event>>,
    dropped: u64,
    is_closed: bool,
}

impl Bus {
    /// How many subscriptions one bus has at most.
    pub const SUBSCRIPTIONS_MAX: usize = 4096;

    /// How many events wait for one subscriber at most.
    pub const EVENTS_MAX: usize = 1024;

    /// Listens for events of the systems that fit a pattern, and of the kinds that fit another; all kinds without one.
    ///
    /// Patterns are names with dots; `*` is any one part, `**` any number of them, `(a|b)` one of some texts.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for what is no pattern, [`ErrorKind::RateLimited`] when there are too many subscriptions.
    pub fn subscribe(
        &self,
        system: &str,
        kind: Option<&str>,
        subscriber: Subscriber,
    ) -> Result<Subscription, CallError> {
        let queue = Arc::new(Queue {
            system: Pattern::parse(system)?,
            kind: kind.map(Pattern::parse).transpose()?,
            subscriber,
            waiting: Mutex::default(),
            changed: Notify::new(),
        });
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if queues.len() >= Self::SUBSCRIPTIONS_MAX {
            queues.retain(|queue| queue.upgrade().is_some_and(|queue| queue.is_open()));
        }
        if queues.len() >= Self::SUBSCRIPTIONS_MAX {
            return Err(CallError::new(
                ErrorKind::RateLimited,
                format!("there are {} subscriptions already", Self::SUBSCRIPTIONS_MAX),
            ));
        }
        queues.push(Arc::downgrade(&queue));
        Ok(Subscription { queue })
    }

    /// Sends an event to everyone who listens for it, and answers how many they are.
    pub fn send(&self, event: Event) -> usize {
        let event = Arc::new(event);
        // Whoever decides what a subscriber may see must not find the bus locked.
        let mut delivered = 0;
        let mut has_ended = false;
        for queue in self.listening() {
            if !queue.is_open() {
                has_ended = true;
            } else if queue.wants(&event) {
                queue.push(Arc::clone(&event));
                delivered += 1;
            }
        }
        if has_ended {
            self.forget_ended();
        }
        delivered
    }

    fn listening(&self) -> Vec<Arc<Queue>> {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.iter().filter_map(Weak::upgrade).collect()
    }

    fn forget_ended(&self) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|queue| queue.upgrade().is_some_and(|queue| queue.is_open()));
    }
}

impl Subscription {
    /// Waits for the next event; `None` once it is closed and nothing is left.
    pub async fn recv(&self) -> Option<Arc<Event>> {
        loop {
            let changed = self.queue.changed.notified();
            match self.queue.take() {
                Taken::Event(event) => return Some(event),
                Taken::Ended => return None,
                Taken::Nothing => changed.await,
            }
        }
    }

    /// The next event if one is there already.
    pub fn try_recv(&self) -> Option<Arc<Event>> {
        match self.queue.take() {
            Taken::Event(event) => Some(event),
            Taken::Nothing | Taken::Ended => None,
        }
    }

    /// Listens no longer. What was sent before can still be received.
    pub fn close(&self) {
        self.queue.waiting().is_closed = true;
        self.queue.changed.notify_waiters();
    }

    /// How many events gave way to later ones so far.
    pub fn dropped(&self) -> u64 {
        self.queue.waiting().dropped
    }
}

enum Taken {
    Event(Arc<Event>),
    Nothing,
    Ended,
}

impl Queue {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_open(&self) -> bool {
        let has_ended = |execution: &Weak<Execution>| execution.strong_count() == 0;
        !self.waiting().is_closed && !self.subscriber.execution.as_ref().is_some_and(has_ended)
    }

    fn wants(&self, event: &Event) -> bool {
        let admits = || self.subscriber.admits.as_ref();
        self.system.matches(&event.system)
            && self.kind.as_ref().is_none_or(|kind| kind.matches(&event.kind))
            && admits().is_none_or(|admits| admits(&event.system))
    }

    fn push(&self, event: Arc<Event>) {
        let mut waiting = self.waiting();
        if waiting.is_closed {
            return;
        }
        if waiting.events.len() >= Bus::EVENTS_MAX {
            waiting.events.pop_front();
            waiting.dropped += 1;
            if waiting.dropped == 1 {
                tracing::warn!(target: "wippy::events", system = %event.system, "a subscriber is too slow and misses events");
            }
        }
        waiting.events.push_back(event);
        drop(waiting);
        self.changed.notify_waiters();
    }

    fn take(&self) -> Taken {
        let mut waiting = self.waiting();
        match waiting.events.pop_front() {
            Some(event) => Taken::Event(event),
            None if waiting.is_closed => Taken::Ended,
            None => Taken::Nothing,
        }
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus")
            .field("subscriptions", &self.listening().len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}
