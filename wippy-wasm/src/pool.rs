//! [`Pool`]: how many instances of a module run at once, and how long one is kept.

use std::{
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;
use wippy_registry::EntryId;
use wippy_security::{CallError, Context, ErrorKind};

use crate::instance::Instance;

/// How long an instance may be kept for another call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reuse {
    /// Never: every call has a fresh one.
    Never,
    /// For further calls of the same execution, which is the function call or the process that makes them.
    #[default]
    Caller,
}

/// The pool of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolConfig {
    /// How many calls run at once.
    pub max_size: usize,
    /// How many further calls may wait.
    pub queue: usize,
    /// How long an instance is kept.
    pub reuse: Reuse,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_size: 100,
            queue: 6_400,
            reuse: Reuse::Caller,
        }
    }
}

/// Bounds the calls of one entry, and keeps instances for the executions that lease them.
pub(crate) struct Pool {
    config: PoolConfig,
    /// What executions park instances under: one number for each pool of the process.
    key: usize,
    running: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
}

impl Pool {
    pub(crate) fn new(config: PoolConfig) -> Self {
        static KEYS: AtomicUsize = AtomicUsize::new(0);
        Self {
            config: PoolConfig {
                max_size: config.max_size.max(1),
                ..config
            },
            key: KEYS.fetch_add(1, Ordering::Relaxed),
            running: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// A slot to run one call in, if one is free. Takes no lock.
    pub(crate) fn try_slot(&self) -> Option<Slot<'_>> {
        // Those who wait go first.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            return None;
        }
        self.take_slot()
    }

    fn take_slot(&self) -> Option<Slot<'_>> {
        let free = |running| (running < self.config.max_size).then_some(running + 1);
        self.running
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, free)
            .ok()
            .map(|_| Slot(self))
    }

    /// A slot to run one call in; waits for one.
    ///
    /// # Errors
    /// [`ErrorKind::RateLimited`] when as many calls wait already as may.
    pub(crate) async fn slot(&self, id: &EntryId) -> Result<Slot<'_>, CallError> {
        if let Some(slot) = self.try_slot() {
            return Ok(slot);
        }
        let _waiting = self.wait(id)?;
        loop {
            // Registered before looking, so that a slot given back in between is not missed. A call that ends looks
            // for waiting ones after it gave its slot back, and this one counted itself before it looked for a slot:
            // one of both sees the other.
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(slot) = self.take_slot() {
                return Ok(slot);
            }
            freed.await;
        }
    }

    fn wait(&self, id: &EntryId) -> Result<Waiting<'_>, CallError> {
        let before = self.waiting.fetch_add(1, Ordering::SeqCst);
        let waiting = Waiting(self);
        if before < self.config.queue {
            return Ok(waiting);
        }
        let (max, queue) = (self.config.max_size, self.config.queue);
        Err(CallError::new(
            ErrorKind::RateLimited,
            format!("{id}: {max} calls run and {queue} wait, try again later"),
        ))
    }

    /// Whether instances are kept between the calls of an execution.
    pub(crate) fn keeps(&self) -> bool {
        self.config.reuse == Reuse::Caller
    }

    /// The instance that the execution of `context` parked here.
    pub(crate) fn kept(&self, context: &Context) -> Option<Box<Instance>> {
        context
            .execution()
            .take(self.key)
            .and_then(|lease| lease.downcast().ok())
    }

    /// Parks an instance with the execution of `context`.
    pub(crate) fn park(&self, context: &Context, instance: Box<Instance>) {
        context.execution().park(self.key, instance);
    }
}

/// The right to run one call.
pub(crate) struct Slot<'a>(&'a Pool);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        if self.0.waiting.load(Ordering::SeqCst) > 0 {
            self.0.freed.notify_one();
        }
    }
}

/// Counts a waiting call for as long as it waits.
struct Waiting<'a>(&'a Pool);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let others = self.0.waiting.fetch_sub(1, Ordering::SeqCst) > 1;
        // A call that was woken and then dropped must not swallow the word that a slot is free.
        if others {
            self.0.freed.notify_one();
        }
    }
}
