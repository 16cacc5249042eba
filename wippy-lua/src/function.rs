//! [`LuaFunction`]: a function of a script, callable through the dispatcher.

use std::sync::Arc;

use async_trait::async_trait;
use wippy_security::{Call, CallError, Handler, Permit, PoolCounts};

use crate::{Config, Error, Services, Source, pool::Pool, worker::Program};

/// A function of a script, behind a bounded set of states.
///
/// Each call has a state to itself. A state that returned cleanly serves later calls too, so a script's globals last
/// longer than a call but are never shared by two at once; one that raised or was cancelled is thrown away.
pub struct LuaFunction {
    pool: Pool,
}

impl LuaFunction {
    /// Compiles `source`. Nothing of it runs before the first call.
    ///
    /// # Errors
    /// When the script or a library of it is not Lua, or a listed module does not exist.
    pub fn new(source: Source, services: Services, config: Config) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self {
            pool: Pool::new(Program::new(source, services, config)?),
        }))
    }
}

#[async_trait]
impl Handler for LuaFunction {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        // Edges call at depth 0; anything deeper comes from a guest, which holds states while it waits.
        let is_nested = call.context.depth() > 0;
        let mut lease = self.pool.lease(is_nested).await?;
        let context = call.context.callee();
        let outcome = lease.worker.call(context, call.arguments, call.result).await;
        lease.end();
        outcome
    }

    fn pool(&self) -> Option<PoolCounts> {
        Some(self.pool.counts())
    }
}
