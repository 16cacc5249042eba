//! [`Pool`]: a bounded set of states behind one function.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};
use wippy_security::CallError;

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
}

impl Pool {
    pub(crate) fn new(program: Arc<Program>) -> Self {
        let slots = Semaphore::new(program.config.workers_max.max(1));
        Self {
            program,
            idle: Mutex::default(),
            slots,
            nested: Semaphore::new(NESTED_MAX),
        }
    }

    /// Waits for a state of one's own. A call from within another takes one beyond the bound rather than wait.
    ///
    /// # Errors
    /// When a state cannot be made.
    pub(crate) async fn lease(&self, is_nested: bool) -> Result<Lease<'_>, CallError> {
        let slot = match self.slots.try_acquire() {
            Ok(slot) => slot,
            Err(_) if is_nested => closed(self.nested.acquire().await)?,
            Err(_) => closed(self.slots.acquire().await)?,
        };
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let worker = match idle {
            Some(worker) => worker,
            None => Worker::new(self.program.clone(), None)?,
        };
        Ok(Lease {
            pool: self,
            worker,
            _slot: slot,
        })
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
