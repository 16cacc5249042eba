//! Looking after a pool while it has something in stock: makes unused instances ahead, drops idle ones.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use wippy_security::CallError;

use super::Pool;
use crate::{deadline::Deadline, instance::Instance, module::Module, wasi::Stdio};

/// How often a pool is looked after, unless somebody takes something first.
const BEAT: Duration = Duration::from_millis(250);

/// How long a start function may take when no limit says so.
const START_MAX: Duration = Duration::from_secs(10);

/// Sees to it that `pool` is looked after from now on, until it has nothing in stock.
pub(crate) fn start(pool: &Arc<Pool>, module: &Arc<Module>) {
    if pool.tended.swap(true, Ordering::SeqCst) {
        return;
    }
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        pool.tended.store(false, Ordering::SeqCst);
        return;
    };
    // It ends by itself, soon after the pool is gone.
    runtime.spawn(run(Arc::downgrade(pool), Arc::downgrade(module)));
}

async fn run(pool: Weak<Pool>, module: Weak<Module>) {
    while let (Some(pool), Some(module)) = (pool.upgrade(), module.upgrade()) {
        if let Err(error) = fill(&pool, &module).await {
            tracing::debug!(target: "wippy", id = %module.id, "no instance is made ahead: {error}");
        }
        if !tend(&pool) {
            return;
        }
        // Whoever takes one need not wait for the beat until there is another.
        let _ = tokio::time::timeout(BEAT, pool.stock.taken.notified()).await;
    }
}

/// Drops what is not needed; false when there is nothing left to look after.
fn tend(pool: &Pool) -> bool {
    let tend = || pool.stock.tend(pool.running.load(Ordering::SeqCst));
    if tend() {
        return true;
    }
    pool.tended.store(false, Ordering::SeqCst);
    // Something may have come in since; whoever brought it may have seen that somebody looked after it.
    tend() && !pool.tended.swap(true, Ordering::SeqCst)
}

/// Makes the unused instances that are missing.
pub(crate) async fn fill(pool: &Pool, module: &Module) -> Result<(), CallError> {
    while is_short(pool, module) {
        let deadline = Deadline::after(Some(module.limits.execution.unwrap_or(START_MAX))).begun();
        let instance = Instance::new(module, deadline, &[], Stdio::Log).await?;
        pool.stock.put_unused(Box::new(instance));
    }
    Ok(())
}

/// Whether an unused instance is missing and can be made.
pub(crate) fn is_short(pool: &Pool, module: &Module) -> bool {
    pool.stock.missing() > 0 && can_be_made_ahead(module) && module.slots.has_room()
}

/// The values of variables are those at the time of the call, so an instance that has any is not made before it.
/// One that gives handles away is theirs, and not the pool's.
fn can_be_made_ahead(module: &Module) -> bool {
    let has_variables = module.wasi.as_ref().is_some_and(|wasi| !wasi.env.is_empty());
    !has_variables && !module.method.has_resources()
}
