//! [`WasmFunction`]: a module's method as something that can be called by name.

use std::sync::Arc;

use async_trait::async_trait;
use wippy_security::{Bound, Call, CallError, CallFuture, Context, Handler, Permit};
use wippy_wit::{Reader, Signature, Writer};

use crate::{
    deadline,
    instance::{CallFailure, Deadline, Instance, Invocation},
    module::Module,
    pool::{Pool, PoolConfig, Slot},
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
        Self {
            module: Arc::new(module),
            pool: Pool::new(pool),
        }
    }

    /// The signature of the method.
    pub fn wit_signature(&self) -> &Arc<Signature> {
        self.module.signature()
    }

    /// A call for which nothing is held: a slot has to be found, and an instance.
    async fn run(&self, call: Call<'_>) -> Result<(), CallError> {
        let deadline = deadline::of(call.context, &self.module.limits);
        if self.module.method.has_resources() {
            return Box::pin(self.run_with_resources(call, deadline)).await;
        }
        let mut kept = self.pool.kept(call.context);
        let outcome = Box::pin(self.run_keeping(&mut kept, call.context, call.arguments, call.result)).await;
        if let Some(instance) = kept {
            self.pool.park(call.context, instance);
        }
        outcome
    }

    /// Runs a call in the instance that `kept` holds, or a fresh one, and leaves it there if it is still good.
    async fn run_keeping(
        &self,
        kept: &mut Option<Box<Instance>>,
        context: &Context,
        arguments: &mut dyn Reader,
        result: &mut dyn Writer,
    ) -> Result<(), CallError> {
        let module = &self.module;
        let deadline = deadline::of(context, &module.limits);
        let expired = |exceeded| trap::exceeded(exceeded, module.id.as_str(), &module.method_name);
        let slot = deadline::within(deadline, self.pool.slot(&module.id))
            .await
            .map_err(expired)??;
        let instance = match kept.take() {
            Some(instance) => instance,
            None => Box::new(Instance::new(module, deadline, &[], Stdio::Log).await?),
        };
        self.run_in(instance, slot, kept, context, arguments, result)
            .await
    }

    /// Runs a call for which everything is at hand.
    async fn run_in(
        &self,
        mut instance: Box<Instance>,
        _slot: Slot<'_>,
        kept: &mut Option<Box<Instance>>,
        context: &Context,
        arguments: &mut dyn Reader,
        result: &mut dyn Writer,
    ) -> Result<(), CallError> {
        let deadline = deadline::of(context, &self.module.limits);
        let invocation = Invocation {
            method: &self.module.method,
            keeper: None,
            receiver: None,
        };
        instance.renew(&self.module);
        let outcome = instance
            .call(&self.module, invocation, context, deadline, arguments, result)
            .await;
        if matches!(
            outcome,
            Ok(()) | Err(CallFailure::Refused(_) | CallFailure::Returned(_))
        ) && self.pool.keeps()
        {
            *kept = Some(instance);
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

    fn bind(self: Arc<Self>) -> Option<Box<dyn Bound>> {
        (!self.module.method.has_resources()).then(|| {
            Box::new(BoundFunction {
                function: self,
                kept: None,
            }) as _
        })
    }

    fn signature(&self) -> Option<String> {
        Some(self.module.signature().to_lua())
    }
}

/// A function as one execution holds it, with the instance that is the execution's.
struct BoundFunction {
    function: Arc<WasmFunction>,
    kept: Option<Box<Instance>>,
}

impl Bound for BoundFunction {
    fn call<'a>(&'a mut self, _permit: Permit, call: Call<'a>) -> CallFuture<'a> {
        let Self { function, kept } = self;
        let Call {
            context,
            arguments,
            result,
        } = call;
        // The usual case, and the only one that is worth a future of its own: it is a quarter of the other's size.
        if let Some(slot) = function.pool.try_slot()
            && let Some(instance) = kept.take()
        {
            return Box::pin(function.run_in(instance, slot, kept, context, arguments, result));
        }
        Box::pin(function.run_keeping(kept, context, arguments, result))
    }
}

impl std::fmt::Debug for WasmFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasmFunction")
            .field("module", &self.module)
            .finish_non_exhaustive()
    }
}
