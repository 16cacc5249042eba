//! [`WasmFunction`]: a module's method as something that can be called by name.

use std::sync::Arc;

use async_trait::async_trait;
use wippy_security::{
    Bound, Call, CallError, CallFuture, Context, Handler, OwnSlot, Permit, Pool, PoolConfig, PoolCounts,
    Slot, Span,
};
use wippy_wit::{Reader, Signature, Writer};

use crate::{
    abi::{Place, Surroundings},
    census::Census,
    component::Method,
    deadline::{self, Deadline},
    instance::{self, Instance, Invocation, Outcome, is_good},
    module::Module,
    pool,
    resource::{self, Keeper},
    trap,
    wasi::Stdio,
};

/// A function entry that is a module's method.
pub struct WasmFunction {
    pub(crate) module: Arc<Module>,
    pub(crate) pool: Arc<Pool<Instance>>,
}

impl WasmFunction {
    /// The method of `module`, with a pool of its own.
    pub fn new(module: Module, pool: PoolConfig) -> Self {
        Self {
            module: Arc::new(module),
            pool: Pool::new(pool),
        }
    }

    /// Whether the method answers HTTP requests: then [`serve`](Self::serve) calls it.
    pub fn is_http_handler(&self) -> bool {
        self.module.is_http_handler()
    }

    /// The signature of the method.
    pub fn wit_signature(&self) -> &Arc<Signature> {
        self.module.signature()
    }

    /// Makes the instances that the pool has ready from the start.
    ///
    /// # Errors
    /// What kept one from being made. Calls make their own then.
    pub async fn warm(&self) -> Result<(), CallError> {
        self.pool.fill(&*self.module).await
    }

    /// Whether the pool lacks instances that it is to have ready.
    pub fn is_cold(&self) -> bool {
        self.pool.is_short(&*self.module)
    }

    /// Instances that wait for a call: unused ones, and used ones.
    pub fn stocked(&self) -> (usize, usize) {
        self.pool.stocked()
    }

    /// A call for which nothing is held: a slot has to be found, and an instance.
    async fn run(&self, call: Call<'_>) -> Result<(), CallError> {
        let deadline = Deadline::of(call.context, &self.module.limits).begun();
        if self.module.method.has_resources() {
            return Box::pin(self.run_with_resources(call, deadline)).await;
        }
        if self.module.method.is_concurrent() {
            return Box::pin(self.run_concurrently(call, deadline)).await;
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
        let deadline = Deadline::of(context, &module.limits).begun();
        let _slot = self.slot(context, deadline).await?;
        pool::look_after(&self.pool, &self.module);
        let mut instance = match kept.take().or_else(|| self.pool.at_hand(context)) {
            Some(instance) => instance,
            None => Box::new(self.instantiate(context, deadline).await?),
        };
        instance.renew_in(module, &self.pool);
        let outcome = instance
            .call(
                module,
                self.invocation(context),
                context,
                deadline,
                arguments,
                result,
            )
            .await;
        if is_good(&outcome) {
            if !self.pool.is_callers_own() {
                instance.release_callees();
            }
            *kept = self.pool.put_back(context, instance);
            pool::look_after(&self.pool, &self.module);
        }
        outcome.map_err(CallError::from)
    }

    /// A slot to run a call in; waits for one. A call that is made by one in this pool, directly or through others, has
    /// none if all are taken: it would wait for its caller, and that for it. How deep calls nest bounds how many those are.
    pub(crate) async fn slot(
        &self,
        context: &Context,
        deadline: Deadline,
    ) -> Result<Option<Slot<'_>>, CallError> {
        if let Some(slot) = self.pool.try_slot() {
            return Ok(Some(slot));
        }
        if context.is_within(self.pool.key()) {
            return Ok(None);
        }
        let module = &self.module;
        let expired = |exceeded| trap::exceeded(exceeded, module.id.as_str(), &module.method_name);
        let slot = deadline::within(deadline, self.pool.slot(&module.id)).await;
        slot.map_err(expired)?.map(Some)
    }

    pub(crate) async fn instantiate(
        &self,
        context: &Context,
        deadline: Deadline,
    ) -> Result<Instance, CallError> {
        let span = Span::begin(context, "instantiate");
        let made = Instance::new(&self.module, deadline, &[], Stdio::Log).await;
        if let Some(span) = span {
            span.end(made.as_ref().err().map(CallError::kind));
        }
        made
    }

    pub(crate) fn invocation<'a>(&'a self, context: &'a Context) -> Invocation<'a> {
        Invocation {
            method: &self.module.method,
            keeper: None,
            receiver: None,
            trace: context.traced(),
        }
    }

    /// A call that is given handles runs in their instance; one that is not, in a fresh one, which then belongs to the
    /// handles that it gives away.
    async fn run_with_resources(&self, mut call: Call<'_>, deadline: Deadline) -> Result<(), CallError> {
        let keeper = match resource::keeper_of(self.module.method.plan(), call.arguments) {
            Some(keeper) if Arc::ptr_eq(&keeper.module().component, &self.module.component) => keeper,
            Some(_) => {
                let message = format!("{}: an argument is a resource of another module", self.module.id);
                return Err(CallError::invalid(message));
            }
            None => {
                let instance = self.instantiate(call.context, deadline).await?;
                Keeper::new(self.module.clone(), instance)
            }
        };
        let method = &self.module.method;
        keeper.call(method, None, call.reborrow(), deadline).await
    }
}

#[async_trait]
impl Handler for WasmFunction {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        match self.module.class.clone() {
            None => self.run(call).await,
            Some(class) => {
                let this = self;
                class
                    .call(call, move |call| {
                        Box::pin(async move { this.run(call).await }).into()
                    })
                    .await
            }
        }
    }

    fn bind(self: Arc<Self>) -> Option<Box<dyn Bound>> {
        // Only what is the execution's own is worth holding for it.
        let method = &self.module.method;
        let is_here = self.module.class.is_none();
        let is_held =
            is_here && self.pool.is_callers_own() && !method.has_resources() && !method.is_concurrent();
        is_held.then(|| {
            Box::new(BoundFunction {
                function: self,
                place: None,
            }) as _
        })
    }

    fn signature(&self) -> Option<String> {
        Some(self.module.signature().to_lua())
    }

    fn pool(&self) -> Option<PoolCounts> {
        let (running, waiting) = self.pool.calls();
        let census = self.module.census.as_deref();
        Some(PoolCounts {
            running,
            waiting,
            idle: census.map_or(0, Census::alive).saturating_sub(running),
            created: census.map_or(0, Census::created),
            memory_bytes: census.map_or(0, Census::memory_bytes),
            waits: self.pool.waits(),
            origin: Some(self.module.origin.name()),
        })
    }
}

/// A function as one execution holds it, with the instance that is the execution's.
struct BoundFunction {
    function: Arc<WasmFunction>,
    /// The instance that the execution keeps, once it has one.
    place: Option<Place<Kept>>,
}

impl Bound for BoundFunction {
    fn call<'a>(&'a mut self, _permit: Permit, call: Call<'a>) -> CallFuture<'a> {
        let Self { function, place } = self;
        // The usual case: there is nothing to wait for before the guest, and nothing to make.
        if place.as_mut().is_some_and(|place| place.surroundings().begin()) {
            return match place {
                Some(place) => start_in(place, call),
                None => CallFuture::refused(CallError::internal("the instance is gone")),
            };
        }
        CallFuture::from(Box::pin(async move {
            let kept = place.take().map(Place::into_parts);
            let mut kept = kept.and_then(|(instance, kept)| kept.is_good.then_some(instance));
            let outcome = function
                .run_keeping(&mut kept, call.context, call.arguments, call.result)
                .await;
            *place = kept.map(|instance| Place::new(instance, Kept::new(function)));
            outcome
        }))
    }
}

/// Starts a call in the instance at hand, for which a slot is occupied.
fn start_in<'a>(place: &'a mut Place<Kept>, call: Call<'a>) -> CallFuture<'a> {
    let Call {
        context,
        arguments,
        result,
    } = call;
    let (instance, kept) = place.parts();
    let module = &kept.function.module;
    let deadline = Deadline::of(context, &module.limits);
    instance.renew(module);
    let invocation = kept.function.invocation(context);
    if let Err(failure) = instance.prepare(module, invocation, context, deadline, arguments) {
        kept.slot.vacate();
        return CallFuture::refused(failure.into());
    }
    kept.is_good = false;
    if module.method.ends_at_once() {
        let outcome = instance.run_at_once(invocation, arguments, result);
        return CallFuture::ended(kept.ended(Ok(outcome)));
    }
    place.start(deadline, context.traced(), arguments, result)
}

/// What surrounds the calls in the instance that one execution keeps.
struct Kept {
    function: Arc<WasmFunction>,
    slot: OwnSlot<Instance>,
    /// Whether the instance may run another call: false while one runs, and for ever if that fails or is dropped.
    is_good: bool,
}

impl Kept {
    fn new(function: &Arc<WasmFunction>) -> Self {
        Self {
            function: Arc::clone(function),
            slot: OwnSlot::new(Arc::clone(&function.pool)),
            is_good: true,
        }
    }

    /// Occupies a slot for a call, if the instance may run one and a slot is free.
    fn begin(&mut self) -> bool {
        self.is_good && self.slot.occupy()
    }
}

impl Surroundings for Kept {
    fn method(&self) -> &Arc<Method> {
        &self.function.module.method
    }

    fn ended(&mut self, outcome: Outcome) -> Result<(), CallError> {
        self.slot.vacate();
        let module = &self.function.module;
        let outcome = instance::finish(module, &module.method, outcome);
        self.is_good = is_good(&outcome);
        outcome.map_err(CallError::from)
    }

    fn cancelled(&mut self) {
        self.slot.vacate();
    }
}

impl std::fmt::Debug for WasmFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasmFunction")
            .field("module", &self.module)
            .finish_non_exhaustive()
    }
}
