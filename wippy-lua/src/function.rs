//! [`LuaFunction`]: a script behind an entry that can be called by name.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context as Waking, Poll, ready},
};

use async_trait::async_trait;
use tokio::sync::{Semaphore, SemaphorePermit};
use wippy_security::{
    Bound, Call, CallError, CallFuture, Context, Handler, OwnSlot, Permit, Pool, PoolCounts, Resident, Slot,
};
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
        drop(self.put_back(context, kept, worker));
        outcome
    }

    /// Leaves a state with which a call has ended to whoever may use it next. Gives back what was the call's context.
    fn put_back(
        self: &Arc<Self>,
        context: &Context,
        kept: &mut Option<Box<Worker>>,
        mut worker: Box<Worker>,
    ) -> Option<Arc<Context>> {
        if !worker.is_reusable() {
            return None;
        }
        let ended = worker.reset();
        *kept = self.pool.put_back(context, worker);
        pool::look_after(&self.pool, self);
        ended
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
        self.pool.is_callers_own().then(|| {
            Box::new(BoundFunction {
                slot: OwnSlot::new(Arc::clone(&self.pool)),
                kept: Kept::new(&self),
                running: None,
                spent: None,
            }) as _
        })
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

/// A function as one execution holds it, with room for a call in the state that it keeps.
struct BoundFunction {
    kept: Kept,
    slot: OwnSlot<Worker>,
    /// The state, while a call runs in it.
    running: Option<Box<Worker>>,
    /// The context of a call that has ended, for the next one to be made of. What it holds is its caller's, too, who has
    /// this.
    spent: Option<Arc<Context>>,
}

impl BoundFunction {
    /// Begins a call in the state at hand. False if there is none in which the chunk has run, or no free slot.
    fn begin(&mut self, context: &Context, arguments: &mut dyn Reader) -> Result<bool, CallError> {
        let Some(mut worker) = self.kept.worker.take() else {
            return Ok(false);
        };
        let begun = if self.slot.occupy() {
            worker.begin_loaded(context.callee_in(self.spent.take()), arguments)
        } else {
            Ok(false)
        };
        match begun {
            Ok(true) => self.running = Some(worker),
            Ok(false) => {
                self.kept.worker = Some(worker);
                self.slot.vacate();
            }
            // The state goes, too: the call may have come halfway into it.
            Err(_) => self.slot.vacate(),
        }
        begun
    }
}

impl Bound for BoundFunction {
    fn call<'a>(&'a mut self, _permit: Permit, call: Call<'a>) -> CallFuture<'a> {
        // The usual case: there is nothing to wait for before the script, and nothing to make.
        match self.begin(call.context, call.arguments) {
            Ok(true) => CallFuture::lent(self, call),
            Ok(false) => {
                let Kept { function, worker } = &mut self.kept;
                let Call {
                    context,
                    arguments,
                    result,
                } = call;
                CallFuture::from(Box::pin(function.run_keeping(worker, context, arguments, result)))
            }
            Err(error) => CallFuture::refused(error),
        }
    }
}

impl Resident for BoundFunction {
    fn poll(&mut self, waking: &mut Waking<'_>, lent: Option<&mut Call<'_>>) -> Poll<Result<(), CallError>> {
        let (Some(worker), Some(call)) = (&mut self.running, lent) else {
            return Poll::Ready(Err(CallError::internal("there is no call that could be polled")));
        };
        let outcome = ready!(worker.poll_run(waking));
        let outcome = outcome.and_then(|()| worker.conclude(call.result));
        if let Some(worker) = self.running.take() {
            let Kept {
                function,
                worker: kept,
            } = &mut self.kept;
            self.spent = function.put_back(call.context, kept, worker);
            // What its execution kept ends with the call.
            self.spent.take_if(|context| !Context::is_spent(context));
        }
        self.slot.vacate();
        Poll::Ready(outcome)
    }

    fn cancel(&mut self) {
        // The state of a call that was dropped before its end is dropped.
        if self.running.take().is_some() {
            self.slot.vacate();
        }
    }
}
