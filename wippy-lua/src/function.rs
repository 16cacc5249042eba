//! [`LuaFunction`]: a script behind an entry that can be called by name.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context as Waking, Poll, ready},
};

use async_trait::async_trait;
use tokio::sync::{Semaphore, SemaphorePermit};
use wippy_security::{Bound, Call, CallError, CallFuture, Context, Handler, Permit, Pool, PoolCounts, Slot};
use wippy_wit::{Reader, Writer};

use crate::{
    Config, Error, Services, Source, pool,
    worker::{Program, Worker},
};

/// How many calls from within other calls may run beyond the bound of the pool. They do not wait for those that run,
/// because one of these may be waiting for them.
const NESTED_MAX: usize = 256;

/// A script behind an entry: every call runs its method, in a state that nobody else has at the time.
///
/// What a call leaves in its state, in globals or in variables of the chunk, is seen by those whom [`Config::pool`]
/// names: if it says nothing, by further calls of the same execution.
pub struct LuaFunction {
    program: Arc<Program>,
    pool: Arc<Pool<Worker>>,
    nested: Semaphore,
    /// How many states were made so far.
    created: AtomicU64,
}

impl LuaFunction {
    /// Compiles `source`. Nothing of it runs before the first call.
    ///
    /// # Errors
    /// When the script or a library of it is not Lua, or a listed module does not exist.
    pub fn new(source: Source, services: Services, config: Config) -> Result<Arc<Self>, Error> {
        let pool = Pool::new(config.pool);
        Ok(Arc::new(Self {
            program: Program::new(source, services, config)?,
            pool,
            nested: Semaphore::new(NESTED_MAX),
            created: AtomicU64::new(0),
        }))
    }

    /// Makes the states that the pool has ready from the start.
    ///
    /// # Errors
    /// What kept one from being made. Calls make their own then.
    pub async fn warm(&self) -> Result<(), CallError> {
        self.pool.fill(self).await
    }

    /// Whether the pool lacks states that it is to have ready.
    pub fn is_cold(&self) -> bool {
        self.pool.is_short(self)
    }

    /// States that wait for a call: unused ones, and used ones.
    pub fn stocked(&self) -> (usize, usize) {
        self.pool.stocked()
    }

    /// A state that nobody has used.
    ///
    /// # Errors
    /// When the memory limit does not suffice for it.
    pub(crate) fn make(&self) -> Result<Worker, CallError> {
        let made = Worker::new(self.program.clone(), None)
            .map_err(|error| error.context(&self.program.source.id))?;
        self.created.fetch_add(1, Ordering::Relaxed);
        Ok(made)
    }

    /// A place to run one call in.
    async fn place(&self, context: &Context) -> Result<Place<'_>, CallError> {
        // Edges call at depth 0; anything deeper comes from a guest, which holds a place while it waits.
        if context.depth() == 0 {
            return self.pool.slot(&self.program.source.id).await.map(Place::Slot);
        }
        if let Some(slot) = self.pool.try_slot() {
            return Ok(Place::Slot(slot));
        }
        let permit = self.nested.acquire().await;
        permit
            .map(Place::Nested)
            .map_err(|_| CallError::internal("the function is gone"))
    }

    /// Runs a call in the state that `kept` holds, or in another one, and leaves it there if the execution may keep it.
    async fn run_keeping(
        self: &Arc<Self>,
        kept: &mut Option<Box<Worker>>,
        context: &Context,
        arguments: &mut dyn Reader,
        result: &mut dyn Writer,
    ) -> Result<(), CallError> {
        let _place = self.place(context).await?;
        pool::look_after(&self.pool, self);
        let mut worker = match kept.take().or_else(|| self.pool.at_hand(context)) {
            Some(worker) => worker,
            None => Box::new(self.make()?),
        };
        let outcome = worker.call(context.callee(), arguments, result).await;
        self.put_back(context, kept, worker);
        outcome
    }

    /// Leaves a state with which a call has ended to whoever may use it next.
    fn put_back(
        self: &Arc<Self>,
        context: &Context,
        kept: &mut Option<Box<Worker>>,
        mut worker: Box<Worker>,
    ) {
        if worker.is_reusable() {
            worker.reset();
            *kept = self.pool.put_back(context, worker);
            pool::look_after(&self.pool, self);
        }
    }
}

/// Where one call runs.
enum Place<'a> {
    Slot(#[expect(dead_code, reason = "held for as long as the call runs")] Slot<'a>),
    Nested(#[expect(dead_code, reason = "held for as long as the call runs")] SemaphorePermit<'a>),
}

#[async_trait]
impl Handler for LuaFunction {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        let execution = call.context.execution();
        let parked = execution.take(self.pool.key());
        let mut kept = match parked.and_then(|parked| parked.downcast::<Kept>().ok()) {
            Some(kept) => kept,
            None => Box::new(Kept::new(&self)),
        };
        let outcome = self
            .run_keeping(&mut kept.worker, call.context, call.arguments, call.result)
            .await;
        if kept.worker.is_some() {
            execution.park(self.pool.key(), kept);
        }
        outcome
    }

    /// The memory is that of states which wait for a call: one that runs is its own.
    fn pool(&self) -> Option<PoolCounts> {
        let (running, waiting) = self.pool.calls();
        let (unused, used) = self.pool.stocked();
        Some(PoolCounts {
            running: running + NESTED_MAX.saturating_sub(self.nested.available_permits()),
            waiting,
            idle: unused + used,
            created: self.created.load(Ordering::Relaxed),
            memory_bytes: self.pool.sum(Worker::memory_bytes),
            waits: self.pool.waits(),
            origin: None,
        })
    }

    fn bind(self: Arc<Self>) -> Option<Box<dyn Bound>> {
        // Only what is the execution's own is worth holding for it.
        self.pool
            .is_callers_own()
            .then(|| Box::new(BoundFunction(Kept::new(&self))) as _)
    }
}

/// The state that one execution keeps. When that has ended, the pool has it back.
struct Kept {
    function: Arc<LuaFunction>,
    worker: Option<Box<Worker>>,
}

impl Kept {
    fn new(function: &Arc<LuaFunction>) -> Self {
        Self {
            function: Arc::clone(function),
            worker: None,
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            pool::retire(&self.function.pool, worker);
        }
    }
}

/// A function as one execution holds it.
struct BoundFunction(Kept);

impl Bound for BoundFunction {
    fn call<'a>(&'a mut self, _permit: Permit, call: Call<'a>) -> CallFuture<'a> {
        let Self(Kept { function, worker }) = self;
        let Call {
            context,
            arguments,
            result,
        } = call;
        // The usual case: there is nothing to wait for before the script, and nothing to make.
        if let Some(mut running) = worker.take() {
            if let Some(slot) = function.pool.try_slot() {
                match running.begin_loaded(context.callee(), arguments) {
                    Ok(true) => {
                        return CallFuture::from(Box::pin(Running {
                            function,
                            context,
                            result,
                            worker: Some(running),
                            kept: worker,
                            slot,
                        }));
                    }
                    Ok(false) => {}
                    Err(error) => return CallFuture::refused(error),
                }
            }
            *worker = Some(running);
        }
        CallFuture::from(Box::pin(function.run_keeping(worker, context, arguments, result)))
    }
}

/// A call of the method in the state that its execution keeps.
struct Running<'a> {
    function: &'a Arc<LuaFunction>,
    context: &'a Context,
    result: &'a mut dyn Writer,
    /// The state, until the call has ended. If the call is dropped before that, the state is.
    worker: Option<Box<Worker>>,
    kept: &'a mut Option<Box<Worker>>,
    #[expect(dead_code, reason = "held for as long as the call runs")]
    slot: Slot<'a>,
}

impl Future for Running<'_> {
    type Output = Result<(), CallError>;

    fn poll(mut self: Pin<&mut Self>, waking: &mut Waking<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(worker) = &mut this.worker else {
            return Poll::Ready(Err(CallError::internal("a call was polled after its end")));
        };
        let outcome = ready!(worker.poll_run(waking));
        let outcome = outcome.and_then(|()| worker.conclude(this.result));
        if let Some(worker) = this.worker.take() {
            this.function.put_back(this.context, this.kept, worker);
        }
        Poll::Ready(outcome)
    }
}
