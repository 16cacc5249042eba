//! Instances in pools: which may be kept, and which can be made before there is a call for them.

use std::{sync::Arc, time::Duration};

use wippy_security::{CallError, Maker, Pool, Pooled};

use crate::{deadline::Deadline, instance::Instance, module::Module, wasi::Stdio};

/// How long a start function may take when no limit says so.
const START_MAX: Duration = Duration::from_secs(10);

impl Pooled for Instance {
    fn may_be_kept(&self, retained_bytes_max: Option<usize>) -> bool {
        retained_bytes_max.is_none_or(|max| self.memory_bytes() <= max) && self.has_room()
    }
}

impl Maker<Instance> for Module {
    /// The values of variables are those at the time of the call, so an instance that has any is not made before it.
    /// One that gives handles away is theirs, and not the pool's.
    fn can_make_ahead(&self) -> bool {
        let has_variables = self.wasi.as_ref().is_some_and(|wasi| !wasi.env.is_empty());
        !has_variables && !self.method.has_resources() && self.slots.has_room()
    }

    async fn make_ahead(&self) -> Result<Instance, CallError> {
        let deadline = Deadline::after(Some(self.limits.execution.unwrap_or(START_MAX))).begun();
        let made = Instance::new(self, deadline, &[], Stdio::Log).await;
        made.map_err(|error| error.context(&self.id))
    }
}

/// Sees to it that `pool` is looked after from now on, until it has nothing in stock.
pub(crate) fn look_after(pool: &Arc<Pool<Instance>>, module: &Arc<Module>) {
    if pool.needs_tending()
        && let Ok(runtime) = tokio::runtime::Handle::try_current()
        && let Some(tending) = pool.tend(module)
    {
        runtime.spawn(tending);
    }
}
