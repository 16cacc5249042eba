//! [`Pool`]: how many calls of a function run at once, which instances for them are made ahead, and how long one is kept.
//!
//! An instance is whatever a call runs in and may leave something behind in: that of a WebAssembly module, a Lua state.
//! Both have their pools from here, so `pool` means the same whatever a function is written in.

mod owner;
mod places;
mod stock;
mod tend;

use std::{
    mem,
    sync::{Arc, atomic::AtomicBool},
};

use wippy_registry::EntryId;

pub use self::tend::Maker;
use self::{owner::Owner, places::Places, stock::Stock};
use crate::{CallError, Context, DurationCounts, ErrorKind, Execution};

/// What a pool is of.
pub trait Pooled: Send + 'static {
    /// Whether it may be kept for another call after one that went well. One with more memory than `retained_bytes_max`
    /// is not, if there is such a bound.
    fn may_be_kept(&self, retained_bytes_max: Option<usize>) -> bool;

    /// Whether one can be [wiped](Self::wipe) at all.
    const CAN_BE_WIPED: bool = false;

    /// Makes it as if nobody had used it: nothing of what was done in it can be found in it afterwards. False if that
    /// cannot be; it is dropped then.
    fn wipe(&mut self) -> bool {
        false
    }
}

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
pub struct Pool<T> {
    config: PoolConfig,
    /// What executions park instances under: one number for each pool of the process.
    key: usize,
    places: Places,
    stock: Stock<T>,
    /// Whether a task looks after the stock.
    tended: AtomicBool,
}

impl<T: Pooled> Pool<T> {
    /// A pool with nothing in it.
    pub fn new(config: PoolConfig) -> Arc<Self> {
        let max_size = config.max_size.max(1);
        Arc::new(Self {
            config: PoolConfig { max_size, ..config },
            key: Execution::fresh_key(),
            places: Places::new(max_size),
            stock: Stock::new(config.ready, max_size),
            tended: AtomicBool::new(false),
        })
    }

    /// A slot to run one call in, if one is free. Takes no lock.
    pub fn try_slot(&self) -> Option<Slot<'_>> {
        self.occupy_free().then(|| Slot(&self.places))
    }

    /// Occupies a slot, if one is free; whoever does that vacates it.
    fn occupy_free(&self) -> bool {
        let is_occupied = self.places.take_free();
        if is_occupied {
            self.note();
        }
        is_occupied
    }

    fn note(&self) {
        if self.stock.follows() {
            self.stock.note(self.places.taken());
        }
    }

    /// A slot to run one call in; waits for one.
    ///
    /// # Errors
    /// [`ErrorKind::RateLimited`] when as many calls wait already as may.
    pub async fn slot(&self, id: &EntryId) -> Result<Slot<'_>, CallError> {
        if let Some(slot) = self.try_slot() {
            return Ok(slot);
        }
        self.stock.note(self.places.most());
        let (max, queue) = (self.places.most(), self.config.queue);
        let Some(waiting) = self.places.wait(queue) else {
            return Err(CallError::new(
                ErrorKind::RateLimited,
                format!("{id}: {max} calls run and {queue} wait, try again later"),
            ));
        };
        waiting.take().await;
        Ok(Slot(&self.places))
    }

    /// What [`Context::is_within`] knows the pool by.
    pub fn key(&self) -> usize {
        self.key
    }

    /// Whether executions keep instances between their calls.
    pub fn is_callers_own(&self) -> bool {
        self.config.reuse == Reuse::Caller
    }

    /// The instance that the execution of `context` parked here.
    pub fn kept(&self, context: &Context) -> Option<Box<T>> {
        if !self.is_callers_own() {
            return None;
        }
        context
            .execution()
            .take(self.key)
            .and_then(|lease| lease.downcast().ok())
    }

    /// Parks an instance with the execution of `context`.
    pub fn park(&self, context: &Context, instance: Box<T>) {
        context.execution().park(self.key, instance);
    }

    /// An instance that is at hand for a call of `context`.
    pub fn at_hand(&self, context: &Context) -> Option<Box<T>> {
        self.owner(context)
            .and_then(|owner| self.stock.take_used(&owner))
            .or_else(|| self.stock.take_unused())
            .or_else(|| self.take_wiped())
    }

    /// Takes an instance whose execution has ended. Wiped, it waits for another one; whether it does.
    pub fn retire(&self, mut instance: Box<T>) -> bool {
        let is_good = self.wipes() && instance.may_be_kept(self.config.retained_bytes_max) && instance.wipe();
        if !is_good {
            return false;
        }
        if !self.stock.makes_ahead() {
            self.stock.put_used(Owner::Nobody, instance);
        } else if self.stock.missing() > 0 {
            self.stock.put_unused(instance);
        }
        true
    }

    fn take_wiped(&self) -> Option<Box<T>> {
        if self.wipes() {
            self.stock.take_used(&Owner::Nobody)
        } else {
            None
        }
    }

    /// Whether instances are used by others once they are wiped.
    fn wipes(&self) -> bool {
        T::CAN_BE_WIPED && self.config.reuse != Reuse::Never
    }

    /// Decides what becomes of an instance after a good call of `context`: it is returned if its execution may keep
    /// it, waits for others who may use it, or is dropped.
    pub fn put_back(&self, context: &Context, instance: Box<T>) -> Option<Box<T>> {
        if !instance.may_be_kept(self.config.retained_bytes_max) {
            return None;
        }
        if self.is_callers_own() {
            return Some(instance);
        }
        match self.owner(context) {
            Some(owner) => self.stock.put_used(owner, instance),
            None => _ = self.retire(instance),
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
    pub fn has_stock(&self) -> bool {
        self.stock.makes_ahead() || matches!(self.config.reuse, Reuse::Actor | Reuse::Always)
    }

    /// Calls that run, and calls that wait.
    pub fn calls(&self) -> (usize, usize) {
        (self.places.taken(), self.places.waiting())
    }

    /// How long those calls waited that had to.
    pub fn waits(&self) -> DurationCounts {
        self.places.waits()
    }

    /// The sum of something over the instances that wait for a call.
    pub fn sum(&self, of: impl Fn(&T) -> usize) -> usize {
        self.stock.sum(of)
    }

    /// Unused and used instances that wait for a call.
    pub fn stocked(&self) -> (usize, usize) {
        self.stock.counts()
    }
}

/// The right to run one call.
pub struct Slot<'a>(&'a Places);

impl Slot<'_> {
    /// The same slot, for a call that goes on after it returned; `pool` is the one that gave it.
    pub fn hold<T>(self, pool: &Arc<Pool<T>>) -> OwnSlot<T> {
        mem::forget(self);
        OwnSlot {
            pool: Arc::clone(pool),
            is_occupied: true,
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.vacate();
    }
}

/// A slot for whoever makes one call after the other, occupied only while one runs.
pub struct OwnSlot<T> {
    pool: Arc<Pool<T>>,
    is_occupied: bool,
}

impl<T: Pooled> OwnSlot<T> {
    /// One that is not occupied.
    pub fn new(pool: Arc<Pool<T>>) -> Self {
        Self {
            pool,
            is_occupied: false,
        }
    }

    /// Occupies it, if a slot is free.
    pub fn occupy(&mut self) -> bool {
        self.vacate();
        self.is_occupied = self.pool.occupy_free();
        self.is_occupied
    }
}

impl<T> OwnSlot<T> {
    /// Gives it back, if it is occupied.
    pub fn vacate(&mut self) {
        if std::mem::take(&mut self.is_occupied) {
            self.pool.places.vacate();
        }
    }
}

impl<T> Drop for OwnSlot<T> {
    fn drop(&mut self) {
        self.vacate();
    }
}
