//! [`Pool`]: a bounded set of states behind one function.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::sync::{Semaphore, SemaphorePermit};
use wippy_security::{CallError, Durations, PoolCounts};

use crate::worker::{Program, Worker};

/// How many states calls from within other calls may have beyond the bound. They do not wait for a state, because the
/// one who holds it may be waiting for them.
const NESTED_MAX: usize = 256;

/// The states of one function: made when first needed, used by one call at a time, used again after a clean return.
pub(crate) struct Pool {
    program: Arc<Program>,
    idle: Mutex<Vec<Worker>>,
    slots: Semaphore,
    nested: Semaphore,
    created: AtomicU64,
    waiting: AtomicUsize,
    waits: Durations,
}

impl Pool {
    pub(crate) fn new(program: Arc<Program>) -> Self {
        let slots = Semaphore::new(program.config.workers_max.max(1));
        Self {
            program,
            idle: Mutex::default(),
            slots,
            nested: Semaphore::new(NESTED_MAX),
            created: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            waits: Durations::default(),
        }
    }

    /// What it holds now. The memory is that of idle states: one that runs is its own.
    pub(crate) fn counts(&self) -> PoolCounts {
        let taken = |slots: &Semaphore, all: usize| all.saturating_sub(slots.available_permits());
        let (idle, memory_bytes) = {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            (idle.len(), idle.iter().map(Worker::memory_bytes).sum())
        };
        PoolCounts {
            running: taken(&self.slots, self.program.config.workers_max.max(1))
                + taken(&self.nested, NESTED_MAX),
            waiting: self.waiting.load(Ordering::Relaxed),
            idle,
            created: self.created.load(Ordering::Relaxed),
            memory_bytes,
            waits: self.waits.counts(),
            origin: None,
        }
    }

    /// Waits for a state of one's own. A call from within another takes one beyond the bound rather than wait.
    ///
    /// # Errors
    /// When a state cannot be made.
    pub(crate) async fn lease(&self, is_nested: bool) -> Result<Lease<'_>, CallError> {
        let slot = match self.slots.try_acquire() {
            Ok(slot) => slot,
            Err(_) if is_nested => closed(self.wait(&self.nested).await)?,
            Err(_) => closed(self.wait(&self.slots).await)?,
        };
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let worker = if let Some(worker) = idle {
            worker
        } else {
            let worker = Worker::new(self.program.clone(), None)?;
            self.created.fetch_add(1, Ordering::Relaxed);
            worker
        };
        Ok(Lease {
            pool: self,
            worker,
            _slot: slot,
        })
    }

    async fn wait<'a>(
        &'a self,
        slots: &'a Semaphore,
    ) -> Result<SemaphorePermit<'a>, tokio::sync::AcquireError> {
        if let Ok(slot) = slots.try_acquire() {
            return Ok(slot);
        }
        let _waiting = Waiting::new(self);
        slots.acquire().await
    }
}

/// Counts a waiting call, and how long it waits.
struct Waiting<'a> {
    pool: &'a Pool,
    since: Instant,
}

impl<'a> Waiting<'a> {
    fn new(pool: &'a Pool) -> Self {
        pool.waiting.fetch_add(1, Ordering::Relaxed);
        let since = Instant::now();
        Self { pool, since }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pool.waiting.fetch_sub(1, Ordering::Relaxed);
        self.pool.waits.add(self.since.elapsed());
    }
}

fn closed<T>(permit: Result<T, tokio::sync::AcquireError>) -> Result<T, CallError> {
    permit.map_err(|_| CallError::internal("the states of the function are gone"))
}

/// A state for one call. Dropping it discards the state.
pub(crate) struct Lease<'a> {
    pool: &'a Pool,
    pub(crate) worker: Worker,
    _slot: SemaphorePermit<'a>,
}

impl Lease<'_> {
    /// Ends the lease. A state is kept if it returned cleanly.
    pub(crate) fn end(self) {
        let Self {
            pool,
            mut worker,
            _slot,
        } = self;
        if worker.is_reusable() {
            worker.reset();
            let mut idle = pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < pool.program.config.workers_max {
                idle.push(worker);
            }
        }
    }
}
