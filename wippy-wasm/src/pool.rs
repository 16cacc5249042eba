//! [`Pool`]: how many instances of a module run at once, which are made ahead, and how long one is kept.

mod owner;
mod stock;
pub(crate) mod tend;

use std::{
    mem,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::sync::Notify;
use wippy_registry::EntryId;
use wippy_security::{CallError, Context, DurationCounts, Durations, ErrorKind};

use self::{owner::Owner, stock::Stock};
use crate::instance::Instance;

/// How long an instance may be kept for another call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reuse {
    /// Never: every call has a fresh one.
    Never,
    /// For further calls of the same execution, which is the function call or the process that makes them.
    #[default]
    Caller,
    /// For further calls of the same actor under the same policies. What nobody acts for is not kept.
    Actor,
    /// For any further call: what one leaves in memory, the next one sees.
    Always,
}

/// Which unused instances are kept ready, so that a call need not wait until one is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ready {
    /// None.
    #[default]
    Nothing,
    /// So many, from the start.
    Always(usize),
    /// As many as calls ran at once lately.
    Following,
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
    /// Which unused ones are ready.
    pub ready: Ready,
    /// A used instance with more memory than this is not kept; any is if absent.
    pub retained_bytes_max: Option<usize>,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_size: 100,
            queue: 6_400,
            reuse: Reuse::Caller,
            ready: Ready::Nothing,
            retained_bytes_max: None,
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
    /// How long those calls waited that had to.
    waits: Durations,
    stock: Stock,
    /// Whether a task looks after the stock.
    tended: AtomicBool,
}

impl Pool {
    pub(crate) fn new(config: PoolConfig) -> Arc<Self> {
        let max_size = config.max_size.max(1);
        Arc::new(Self {
            config: PoolConfig { max_size, ..config },
            key: fresh_key(),
            running: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            waits: Durations::default(),
            stock: Stock::new(config.ready, max_size),
            tended: AtomicBool::new(false),
        })
    }

    /// A slot to run one call in, if one is free. Takes no lock.
    pub(crate) fn try_slot(&self) -> Option<Slot<'_>> {
        self.occupy_free().then(|| Slot(self))
    }

    /// Occupies a slot, if one is free; whoever does that vacates it.
    fn occupy_free(&self) -> bool {
        // Those who wait go first.
        self.waiting.load(Ordering::SeqCst) == 0 && self.occupy()
    }

    fn occupy(&self) -> bool {
        let free = |running| (running < self.config.max_size).then_some(running + 1);
        let before = self
            .running
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, free);
        if let Ok(before) = before {
            self.stock.note(before + 1);
        }
        before.is_ok()
    }

    fn vacate(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_one();
        }
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
            if self.occupy() {
                return Ok(Slot(self));
            }
            freed.await;
        }
    }

    fn wait(&self, id: &EntryId) -> Result<Waiting<'_>, CallError> {
        let before = self.waiting.fetch_add(1, Ordering::SeqCst);
        self.stock.note(self.config.max_size);
        let waiting = Waiting {
            pool: self,
            since: Instant::now(),
        };
        if before < self.config.queue {
            return Ok(waiting);
        }
        let (max, queue) = (self.config.max_size, self.config.queue);
        Err(CallError::new(
            ErrorKind::RateLimited,
            format!("{id}: {max} calls run and {queue} wait, try again later"),
        ))
    }

    /// Whether executions keep instances between their calls.
    pub(crate) fn is_callers_own(&self) -> bool {
        self.config.reuse == Reuse::Caller
    }

    /// Whether an instance that came out of a call well may be kept at all.
    fn keeps(&self, instance: &Instance) -> bool {
        let max = self.config.retained_bytes_max;
        max.is_none_or(|max| instance.memory_bytes() <= max) && instance.has_room()
    }

    /// The instance that the execution of `context` parked here.
    pub(crate) fn kept(&self, context: &Context) -> Option<Box<Instance>> {
        if !self.is_callers_own() {
            return None;
        }
        context
            .execution()
            .take(self.key)
            .and_then(|lease| lease.downcast().ok())
    }

    /// Parks an instance with the execution of `context`.
    pub(crate) fn park(&self, context: &Context, instance: Box<Instance>) {
        context.execution().park(self.key, instance);
    }

    /// An instance that is at hand for a call of `context`.
    pub(crate) fn at_hand(&self, context: &Context) -> Option<Box<Instance>> {
        self.owner(context)
            .and_then(|owner| self.stock.take_used(&owner))
            .or_else(|| self.stock.take_unused())
    }

    /// Decides what becomes of an instance after a good call of `context`: it is returned if its execution may keep
    /// it, waits for others who may use it, or is dropped.
    pub(crate) fn put_back(&self, context: &Context, instance: Box<Instance>) -> Option<Box<Instance>> {
        if !self.keeps(&instance) {
            return None;
        }
        if self.is_callers_own() {
            return Some(instance);
        }
        if let Some(owner) = self.owner(context) {
            self.stock.put_used(owner, instance);
        }
        None
    }

    /// Who may use an instance after a call of `context`, beside its own execution.
    fn owner(&self, context: &Context) -> Option<Owner> {
        match self.config.reuse {
            Reuse::Never | Reuse::Caller => None,
            Reuse::Actor => Owner::actor(context),
            Reuse::Always => Some(Owner::Anybody),
        }
    }

    /// Whether there is anything in stock at times, which somebody has to look after.
    pub(crate) fn has_stock(&self) -> bool {
        self.stock.makes_ahead() || matches!(self.config.reuse, Reuse::Actor | Reuse::Always)
    }

    /// Calls that run, and calls that wait.
    pub(crate) fn calls(&self) -> (usize, usize) {
        let (running, waiting) = (&self.running, &self.waiting);
        (running.load(Ordering::Relaxed), waiting.load(Ordering::Relaxed))
    }

    /// How long those calls waited that had to.
    pub(crate) fn waits(&self) -> DurationCounts {
        self.waits.counts()
    }

    /// Unused and used instances that wait for a call.
    pub(crate) fn stocked(&self) -> (usize, usize) {
        self.stock.counts()
    }
}

/// A key for executions to hold something under that nothing else in the process has.
pub(crate) fn fresh_key() -> usize {
    static KEYS: AtomicUsize = AtomicUsize::new(0);
    KEYS.fetch_add(1, Ordering::Relaxed)
}

/// The right to run one call.
pub(crate) struct Slot<'a>(&'a Pool);

impl Slot<'_> {
    /// The same right, for as long as it takes; `pool` is the one that gave it.
    pub(crate) fn hold(self, pool: &Arc<Pool>) -> HeldSlot {
        mem::forget(self);
        HeldSlot(Arc::clone(pool))
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.vacate();
    }
}

/// The right to run one call that goes on after it returned.
pub(crate) struct HeldSlot(Arc<Pool>);

impl Drop for HeldSlot {
    fn drop(&mut self) {
        self.0.vacate();
    }
}

/// A slot for whoever makes one call after the other, occupied only while one runs.
pub(crate) struct OwnSlot {
    pool: Arc<Pool>,
    is_occupied: bool,
}

impl OwnSlot {
    /// One that is not occupied.
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Self {
            pool,
            is_occupied: false,
        }
    }

    /// Occupies it, if a slot is free.
    pub(crate) fn occupy(&mut self) -> bool {
        self.vacate();
        self.is_occupied = self.pool.occupy_free();
        self.is_occupied
    }

    /// Gives it back, if it is occupied.
    pub(crate) fn vacate(&mut self) {
        if std::mem::take(&mut self.is_occupied) {
            self.pool.vacate();
        }
    }
}

impl Drop for OwnSlot {
    fn drop(&mut self) {
        self.vacate();
    }
}

/// Counts a waiting call for as long as it waits.
struct Waiting<'a> {
    pool: &'a Pool,
    since: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let others = self.pool.waiting.fetch_sub(1, Ordering::SeqCst) > 1;
        // A call that was woken and then dropped must not swallow the word that a slot is free.
        if others {
            self.pool.freed.notify_one();
        }
        self.pool.waits.add(self.since.elapsed());
    }
}
