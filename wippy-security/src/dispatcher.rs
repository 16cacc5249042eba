//! [`Dispatcher`]: the function table and the one way to a function.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{self, Poll},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::time::{Instant, Sleep, sleep_until};
use wippy_registry::EntryId;
use wippy_wit::{Reader, Writer};

use crate::{Call, CallError, Context, ErrorKind, Handler, Object, Policies, guard};

/// What holds for every call.
#[derive(Debug, Clone)]
pub struct DispatcherConfig {
    /// Calls may be nested this deep; deeper ones are refused, so that recursion between guests ends in an error.
    pub depth_max: u32,
    /// Whether an execution without actor or scope is refused rather than allowed.
    pub strict: bool,
}

impl Default for DispatcherConfig {
    fn default() -> Self {
        Self {
            depth_max: 64,
            strict: false,
        }
    }
}

/// The function table. Looking up and calling take no lock; changes swap a new table in.
pub struct Dispatcher {
    config: DispatcherConfig,
    table: ArcSwap<HashMap<EntryId, Arc<Function>>>,
    policies: ArcSwap<Policies>,
    /// Serialises changes of the table.
    changing: Mutex<()>,
}

/// A place in the function table. It stays valid when the function behind it changes or goes away.
pub struct Function {
    id: EntryId,
    handler: ArcSwapOption<Arc<dyn Handler>>,
    calls: AtomicU64,
    failures: AtomicU64,
}

impl Dispatcher {
    /// An empty table.
    pub fn new(config: DispatcherConfig) -> Arc<Self> {
        Arc::new(Self {
            config,
            table: ArcSwap::default(),
            policies: ArcSwap::default(),
            changing: Mutex::default(),
        })
    }

    /// Puts `handler` behind `id`. Calls in flight finish on what was there; later calls use the new one.
    pub fn insert(&self, id: EntryId, handler: Arc<dyn Handler>) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.table.load();
        if let Some(function) = table.get(&id) {
            function.handler.store(Some(Arc::new(handler)));
            return;
        }
        let mut next = HashMap::clone(&table);
        let handler = ArcSwapOption::new(Some(Arc::new(handler)));
        let function = Function {
            id: id.clone(),
            handler,
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        };
        next.insert(id, Arc::new(function));
        self.table.store(Arc::new(next));
    }

    /// Takes the function behind `id` away. Calls in flight finish.
    pub fn remove(&self, id: &EntryId) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = self.table.load().get(id) {
            function.handler.store(None);
        }
    }

    /// The place of the function `id`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn resolve(&self, id: &EntryId) -> Result<Arc<Function>, CallError> {
        self.table.load().get(id).cloned().ok_or_else(|| not_found(id))
    }

    /// Calls `function` for `context`: checks the permission and the depth, and begins the call.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`], [`ErrorKind::NotFound`], or [`ErrorKind::Unavailable`] when calls are nested
    /// too deeply.
    pub fn call<'a>(
        &self,
        context: &Context,
        function: &Arc<Function>,
        arguments: &'a mut dyn Reader,
        result: &'a mut dyn Writer,
    ) -> Result<Calling<'a>, CallError> {
        let permit = guard::authorize(context, "funcs.call", function.id.as_str())?;
        let handler = function.handler.load();
        let Some(handler) = handler.as_deref() else {
            return Err(not_found(&function.id));
        };
        if context.depth() >= self.config.depth_max {
            return Err(self.too_deep(&function.id));
        }
        let deadline = context.deadline();
        let call = Call {
            context: context.child(),
            arguments,
            result,
        };
        let future = handler.clone().invoke(permit, call);
        Ok(Calling {
            future,
            deadline,
            sleep: None,
            callee: Callee::Function(function.clone()),
        })
    }

    /// Calls a method of an object for `context`; the permission is that for the function that made the object.
    ///
    /// # Errors
    /// As for [`call`](Self::call).
    pub fn call_object<'a>(
        &self,
        context: &Context,
        object: &Arc<dyn Object>,
        method: &'a str,
        arguments: &'a mut dyn Reader,
        result: &'a mut dyn Writer,
    ) -> Result<Calling<'a>, CallError> {
        let permit = guard::authorize(context, "funcs.call", object.entry().as_str())?;
        if context.depth() >= self.config.depth_max {
            return Err(self.too_deep(object.entry()));
        }
        let call = Call {
            context: context.child(),
            arguments,
            result,
        };
        let future = object.clone().invoke(permit, method, call);
        Ok(Calling {
            future,
            deadline: context.deadline(),
            sleep: None,
            callee: Callee::Object(object.clone()),
        })
    }

    /// The policies and groups that scopes can be made of.
    pub fn policies(&self) -> Arc<Policies> {
        self.policies.load_full()
    }

    /// Puts other policies in place. Scopes that were made before stay as they are.
    pub fn set_policies(&self, policies: Policies) {
        self.policies.store(Arc::new(policies));
    }

    /// Whether an execution without actor or scope is refused.
    pub fn is_strict(&self) -> bool {
        self.config.strict
    }

    #[cold]
    fn too_deep(&self, id: &EntryId) -> CallError {
        let max = self.config.depth_max;
        let message = format!("calls are nested too deeply at `{id}`: the limit `max_call_depth` is {max}");
        CallError::new(ErrorKind::Unavailable, message).with_retryable(false)
    }
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[cold]
fn not_found(id: &EntryId) -> CallError {
    CallError::new(ErrorKind::NotFound, format!("there is no function `{id}`"))
}

impl Function {
    /// Its id.
    pub fn id(&self) -> &EntryId {
        &self.id
    }

    /// The signature in Lua form, if the function has a fixed one.
    pub fn signature(&self) -> Option<String> {
        self.handler
            .load()
            .as_ref()
            .and_then(|handler| handler.signature())
    }

    /// Calls so far, and how many of them failed.
    pub fn counts(&self) -> (u64, u64) {
        (
            self.calls.load(Ordering::Relaxed),
            self.failures.load(Ordering::Relaxed),
        )
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A call in progress. It ends by the deadline of its context; dropping it cancels the call.
#[must_use = "a call does nothing until it is polled"]
pub struct Calling<'a> {
    future: Pin<Box<dyn Future<Output = Result<(), CallError>> + Send + 'a>>,
    deadline: Option<Instant>,
    /// Made when the call first has to wait: most never do.
    sleep: Option<Pin<Box<Sleep>>>,
    callee: Callee,
}

/// Who is called.
enum Callee {
    Function(Arc<Function>),
    Object(Arc<dyn Object>),
}

impl Callee {
    fn id(&self) -> &EntryId {
        match self {
            Self::Function(function) => &function.id,
            Self::Object(object) => object.entry(),
        }
    }

    fn record(&self, failed: bool) {
        let Self::Function(function) = self else { return };
        function.calls.fetch_add(1, Ordering::Relaxed);
        if failed {
            function.failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Future for Calling<'_> {
    type Output = Result<(), CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let outcome = match this.future.as_mut().poll(cx) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => {
                let Some(deadline) = this.deadline else {
                    return Poll::Pending;
                };
                let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                match sleep.as_mut().poll(cx) {
                    Poll::Ready(()) => Err(timed_out(this.callee.id())),
                    Poll::Pending => return Poll::Pending,
                }
            }
        };
        this.callee.record(outcome.is_err());
        Poll::Ready(outcome)
    }
}

#[cold]
fn timed_out(id: &EntryId) -> CallError {
    CallError::new(
        ErrorKind::Timeout,
        format!("the call of `{id}` did not end before its deadline"),
    )
}
