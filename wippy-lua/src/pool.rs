//! States in pools: which may serve another call, and how they are made before there is one.

use std::sync::Arc;

use wippy_security::{CallError, Maker, Pool, Pooled};

use crate::{function::LuaFunction, worker::Worker};

impl Pooled for Worker {
    fn may_be_kept(&self, retained_bytes_max: Option<usize>) -> bool {
        retained_bytes_max.is_none_or(|max| self.memory_bytes() <= max)
    }

    const CAN_BE_WIPED: bool = true;

    fn wipe(&mut self) -> bool {
        Self::wipe(self)
    }
}

impl Maker<Worker> for LuaFunction {
    /// Nothing of the script runs before its first call, so there is nothing that it could find otherwise.
    fn can_make_ahead(&self) -> bool {
        true
    }

    async fn make_ahead(&self) -> Result<Worker, CallError> {
        self.make()
    }
}

/// Lets `pool` have the state of an execution that has ended.
pub(crate) fn retire(pool: &Arc<Pool<Worker>>, worker: Box<Worker>) {
    if pool.retire(worker)
        && !pool.is_tended()
        && let Ok(runtime) = tokio::runtime::Handle::try_current()
        && let Some(expiring) = pool.expire()
    {
        runtime.spawn(expiring);
    }
}

/// Sees to it that `pool` is looked after from now on, until it has nothing in stock.
pub(crate) fn look_after(pool: &Arc<Pool<Worker>>, function: &Arc<LuaFunction>) {
    if pool.needs_tending()
        && let Ok(runtime) = tokio::runtime::Handle::try_current()
        && let Some(tending) = pool.tend(function)
    {
        runtime.spawn(tending);
    }
}
