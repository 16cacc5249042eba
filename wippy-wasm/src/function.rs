//! [`WasmFunction`]: a module's method as something that can be called by name.

use std::sync::Arc;

use async_trait::async_trait;
use wippy_security::{Call, CallError, Handler, Permit};
use wippy_wit::Signature;

use crate::{
    deadline,
    instance::CallFailure,
    module::Module,
    pool::{Pool, PoolConfig},
    trap,
};

/// A function entry that is a module's method.
pub struct WasmFunction {
    module: Module,
    pool: Pool,
}

impl WasmFunction {
    /// The method of `module`, with a pool of its own.
    pub fn new(module: Module, pool: PoolConfig) -> Self {
        Self { module, pool: Pool::new(pool) }
    }

    /// The signature of the method.
    pub fn wit_signature(&self) -> &Arc<Signature> {
        self.module.signature()
    }

    async fn run(&self, call: Call<'_>) -> Result<(), CallError> {
        let Call { context, arguments, result } = call;
        let deadline = deadline::of(&context, &self.module.limits);
        let slot = deadline::within(deadline, self.pool.slot(&self.module.id)).await;
        let expired = |exceeded| trap::exceeded(exceeded, self.module.id.as_str(), &self.module.method);
        let _slot = slot.map_err(expired)??;
        let mut instance = self.pool.instance(&self.module, &context, deadline).await?;
        let outcome = instance.call(&self.module, &context, deadline, arguments, result).await;
        if matches!(outcome, Ok(()) | Err(CallFailure::Refused(_) | CallFailure::Returned(_))) {
            self.pool.give_back(&context, instance);
        }
        outcome.map_err(CallError::from)
    }
}

#[async_trait]
impl Handler for WasmFunction {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        self.run(call).await
    }

    fn signature(&self) -> Option<String> {
        Some(self.module.signature().to_lua())
    }
}

impl std::fmt::Debug for WasmFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasmFunction").field("module", &self.module).finish_non_exhaustive()
    }
}
