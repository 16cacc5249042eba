//! [`WasmFunction`]: a module's method as something that can be called by name.

use std::sync::Arc;

use async_trait::async_trait;
use wippy_security::{Call, CallError, Handler, Permit};
use wippy_wit::Signature;

use crate::{
    deadline,
    instance::{CallFailure, Deadline, Instance, Invocation},
    module::Module,
    pool::{Pool, PoolConfig},
    resource::{self, Keeper},
    trap,
    wasi::Stdio,
};

/// A function entry that is a module's method.
pub struct WasmFunction {
    module: Arc<Module>,
    pool: Pool,
}

impl WasmFunction {
    /// The method of `module`, with a pool of its own.
    pub fn new(module: Module, pool: PoolConfig) -> Self {
        Self { module: Arc::new(module), pool: Pool::new(pool) }
    }

    /// The signature of the method.
    pub fn wit_signature(&self) -> &Arc<Signature> {
        self.module.signature()
    }

    async fn run(&self, call: Call<'_>) -> Result<(), CallError> {
        let deadline = deadline::of(&call.context, &self.module.limits);
        if self.module.method.has_resources() {
            return self.run_with_resources(call, deadline).await;
        }
        let Call { context, arguments, result } = call;
        let slot = deadline::within(deadline, self.pool.slot(&self.module.id)).await;
        let expired = |exceeded| trap::exceeded(exceeded, self.module.id.as_str(), &self.module.method_name);
        let _slot = slot.map_err(expired)??;
        let mut instance = self.pool.instance(&self.module, &context, deadline).await?;
        let invocation = Invocation { method: &self.module.method, keeper: None, receiver: None };
        let outcome = instance.call(&self.module, invocation, &context, deadline, arguments, result).await;
        if matches!(outcome, Ok(()) | Err(CallFailure::Refused(_) | CallFailure::Returned(_))) {
            self.pool.give_back(&context, instance);
        }
        outcome.map_err(CallError::from)
    }

    /// A call that is given handles runs in their instance; one that is not, in a fresh one, which then belongs to the
    /// handles that it gives away.
    async fn run_with_resources(&self, call: Call<'_>, deadline: Deadline) -> Result<(), CallError> {
        let keeper = match resource::keeper_of(self.module.method.plan(), call.arguments) {
            Some(keeper) if Arc::ptr_eq(&keeper.module().component, &self.module.component) => keeper,
            Some(_) => {
                let message = format!("{}: an argument is a resource of another module", self.module.id);
                return Err(CallError::invalid(message));
            }
            None => {
                let instance = Instance::new(&self.module, deadline, &[], Stdio::Log).await?;
                Keeper::new(self.module.clone(), instance)
            }
        };
        keeper.run(&self.module.method, None, call, deadline).await
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
