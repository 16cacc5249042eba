//! [`Pool`]: how many instances of a module run at once, and how long one is kept.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};
use wippy_registry::EntryId;
use wippy_security::{CallError, Context, ErrorKind};

use crate::{
    instance::{Deadline, Instance},
    module::Module,
    wasi::Stdio,
};

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
        Self { max_size: 100, queue: 6_400, reuse: Reuse::Caller }
    }
}

/// Bounds the calls of one entry and lends instances to them.
pub(crate) struct Pool {
    config: PoolConfig,
    /// What executions park instances under: one number for each pool of the process.
    key: usize,
    slots: Semaphore,
    waiting: AtomicUsize,
}

impl Pool {
    pub(crate) fn new(config: PoolConfig) -> Self {
        static KEYS: AtomicUsize = AtomicUsize::new(0);
        Self {
            config,
            key: KEYS.fetch_add(1, Ordering::Relaxed),
            slots: Semaphore::new(config.max_size.clamp(1, Semaphore::MAX_PERMITS)),
            waiting: AtomicUsize::new(0),
        }
    }

    /// A slot to run one call in; waits for one by the deadline of the call that is being made.
    ///
    /// # Errors
    /// [`ErrorKind::RateLimited`] when as many calls wait already as may.
    pub(crate) async fn slot(&self, id: &EntryId) -> Result<SemaphorePermit<'_>, CallError> {
        if let Ok(slot) = self.slots.try_acquire() {
            return Ok(slot);
        }
        let _waiting = self.wait(id)?;
        self.slots.acquire().await.map_err(|_| CallError::new(ErrorKind::Unavailable, format!("{id}: is stopping")))
    }

    fn wait(&self, id: &EntryId) -> Result<Waiting<'_>, CallError> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&self.waiting);
        if before < self.config.queue {
            return Ok(waiting);
        }
        let (max, queue) = (self.config.max_size, self.config.queue);
        Err(CallError::new(ErrorKind::RateLimited, format!("{id}: {max} calls run and {queue} wait, try again later")))
    }

    /// An instance for a call of `context`: the one that its execution keeps, or a fresh one.
    pub(crate) async fn instance(
        &self,
        module: &Module,
        context: &Context,
        deadline: Deadline,
    ) -> Result<Box<Instance>, CallError> {
        if self.config.reuse == Reuse::Caller
            && let Some(lease) = context.execution().take(self.key)
            && let Ok(mut instance) = lease.downcast::<Instance>()
        {
            instance.renew(module);
            return Ok(instance);
        }
        Instance::new(module, deadline, &[], Stdio::Log).await.map(Box::new)
    }

    /// Gives back an instance that is as good as before its call.
    pub(crate) fn give_back(&self, context: &Context, instance: Box<Instance>) {
        match self.config.reuse {
            Reuse::Caller => context.execution().park(self.key, instance),
            Reuse::Never => drop(instance),
        }
    }
}

/// Counts a waiting call for as long as it waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
