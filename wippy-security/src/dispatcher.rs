//! [`Dispatcher`]: the function table and the one way to a function.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use wippy_registry::EntryId;
use wippy_wit::{Reader, Writer};

use crate::{
    Begun, Call, CallError, CallFuture, Calling, Context, ErrorKind, Handler, MailboxLimits, Object, Permit,
    Policies, PoolCounts, Processes, TokenStores, Tracer, calling::Callee, guard,
};

/// What holds for every call.
#[derive(Clone)]
pub struct DispatcherConfig {
    /// Calls may be nested this deep; deeper ones are refused, so that recursion between guests ends in an error.
    pub depth_max: u32,
    /// Whether an execution without actor or scope is refused rather than allowed.
    pub strict: bool,
    /// How much may wait for one process.
    pub mailbox: MailboxLimits,
    /// Who is told of what is done on whose behalf, if anybody wants to know.
    pub tracer: Option<Arc<dyn Tracer>>,
}

impl fmt::Debug for DispatcherConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatcherConfig")
            .field("depth_max", &self.depth_max)
            .field("strict", &self.strict)
            .field("mailbox", &self.mailbox)
            .finish_non_exhaustive()
    }
}

impl Default for DispatcherConfig {
    fn default() -> Self {
        Self {
            depth_max: 64,
            strict: false,
            mailbox: MailboxLimits::default(),
            tracer: None,
        }
    }
}

/// The function table. Looking up and calling take no lock; changes swap a new table in.
pub struct Dispatcher {
    config: DispatcherConfig,
    table: ArcSwap<HashMap<EntryId, Arc<Function>>>,
    policies: ArcSwap<Policies>,
    processes: Processes,
    token_stores: ArcSwap<TokenStores>,
    /// Serialises changes of the table.
    changing: Mutex<()>,
    refusals: AtomicU64,
}

/// A place in the function table. It stays valid when the function behind it changes or goes away.
pub struct Function {
    id: EntryId,
    handler: ArcSwapOption<Arc<dyn Handler>>,
    /// Counts the changes of the handler.
    pub(crate) generation: AtomicU64,
}

/// A function as it was at one moment. Calls go to that handler, whatever stands in its place meanwhile.
#[derive(Clone)]
pub struct Held {
    function: Arc<Function>,
    handler: Arc<dyn Handler>,
}

impl Dispatcher {
    /// An empty table.
    pub fn new(config: DispatcherConfig) -> Arc<Self> {
        Arc::new(Self {
            processes: Processes::new(config.mailbox),
            config,
            table: ArcSwap::default(),
            policies: ArcSwap::default(),
            token_stores: ArcSwap::default(),
            changing: Mutex::default(),
            refusals: AtomicU64::new(0),
        })
    }

    /// Puts `handler` behind `id`. Calls in flight finish on what was there; later calls use the new one.
    pub fn insert(&self, id: EntryId, handler: Arc<dyn Handler>) {
        self.insert_all([(id, handler)]);
    }

    /// The same for many, of which a caller may find some before the others.
    pub fn insert_all(&self, handlers: impl IntoIterator<Item = (EntryId, Arc<dyn Handler>)>) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.table.load();
        let mut added = Vec::new();
        for (id, handler) in handlers {
            match table.get(&id) {
                Some(function) => function.replace(Some(Arc::new(handler))),
                None => added.push((id, handler)),
            }
        }
        if added.is_empty() {
            return;
        }
        let mut next = HashMap::clone(&table);
        for (id, handler) in added {
            let function = Function {
                id: id.clone(),
                handler: ArcSwapOption::new(Some(Arc::new(handler))),
                generation: AtomicU64::new(0),
            };
            next.insert(id, Arc::new(function));
        }
        self.table.store(Arc::new(next));
    }

    /// Takes the function behind `id` away. Calls in flight finish.
    pub fn remove(&self, id: &EntryId) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = self.table.load().get(id) {
            function.replace(None);
        }
    }

    /// The place of the function `id`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn resolve(&self, id: &EntryId) -> Result<Arc<Function>, CallError> {
        self.table.load().get(id).cloned().ok_or_else(|| not_found(id))
    }

    /// The place of the function `id`, for `context` to call. Whether there is one is told only to who may call it.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`] or [`ErrorKind::NotFound`].
    pub fn resolve_for(&self, context: &Context, id: &EntryId) -> Result<Arc<Function>, CallError> {
        self.resolve(id).map_err(
            |missing| match guard::authorize(context, "funcs.call", id.as_str()) {
                Ok(_) => missing,
                Err(refused) => refused,
            },
        )
    }

    /// Every place that has a function now, in the order of their ids.
    pub fn functions(&self) -> Vec<Arc<Function>> {
        let table = self.table.load();
        let mut functions: Vec<_> = table
            .values()
            .filter(|function| function.handler.load().is_some())
            .cloned()
            .collect();
        functions.sort_by(|a, b| a.id.cmp(&b.id));
        functions
    }

    /// Calls `function` for `context`: checks the permission and the depth, and begins the call.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`], [`ErrorKind::NotFound`], or [`ErrorKind::Unavailable`] when calls are nested
    /// too deeply.
    pub fn call<'a>(
        &self,
        context: &'a Context,
        function: &'a Function,
        arguments: &'a mut dyn Reader,
        result: &'a mut dyn Writer,
    ) -> Result<Calling<'a>, CallError> {
        let permit = admit(context, &function.id)?;
        let handler = function.handler()?;
        Ok(begin(permit, context, function, handler, arguments, result))
    }

    /// Calls a function as it was when it was taken hold of; otherwise as [`call`](Self::call).
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`], or [`ErrorKind::Unavailable`] when calls are nested too deeply.
    pub fn call_held<'a>(
        &self,
        context: &'a Context,
        held: &'a Held,
        arguments: &'a mut dyn Reader,
        result: &'a mut dyn Writer,
    ) -> Result<Calling<'a>, CallError> {
        let permit = admit(context, &held.function.id)?;
        let handler = Arc::clone(&held.handler);
        Ok(begin(permit, context, &held.function, handler, arguments, result))
    }

    /// Calls a method of an object; the permission is that for the function that made the object. The call is
    /// asked once how it went, as by [`Binding::begin`](crate::Binding::begin).
    pub fn begin_object<'a, 'w>(
        &self,
        object: &'a dyn Object,
        method: &'a str,
        call: Call<'a>,
        waker: impl FnOnce() -> Option<&'w Waker>,
    ) -> Begun<'a> {
        let deadline = call.context.deadline();
        let permit = admit(call.context, object.entry());
        let future = permit.map(|permit| object.invoke(permit, method, call));
        Begun::new(future, waker, deadline, Callee::Object(object))
    }

    /// The process table.
    pub fn processes(&self) -> &Processes {
        &self.processes
    }

    /// The policies and groups that scopes can be made of.
    pub fn policies(&self) -> Arc<Policies> {
        self.policies.load_full()
    }

    /// Puts other policies in place. Scopes that were made before stay as they are.
    pub fn set_policies(&self, policies: Policies) {
        self.policies.store(Arc::new(policies));
    }

    /// Where tokens are made and checked.
    pub fn token_stores(&self) -> Arc<TokenStores> {
        self.token_stores.load_full()
    }

    /// Puts other token stores in place. Who holds one already keeps it.
    pub fn set_token_stores(&self, token_stores: TokenStores) {
        self.token_stores.store(Arc::new(token_stores));
    }

    /// How often the guard refused anything to anybody.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    pub(crate) fn count_refusal(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// Who is told of what is done on whose behalf.
    pub fn tracer(&self) -> Option<&Arc<dyn Tracer>> {
        self.config.tracer.as_ref()
    }

    /// Whether an execution without actor or scope is refused.
    pub fn is_strict(&self) -> bool {
        self.config.strict
    }
}

fn begin<'a>(
    permit: Permit,
    context: &'a Context,
    function: &'a Function,
    handler: Arc<dyn Handler>,
    arguments: &'a mut dyn Reader,
    result: &'a mut dyn Writer,
) -> Calling<'a> {
    let call = Call {
        context,
        arguments,
        result,
    };
    Calling::new(
        CallFuture::Boxed(handler.invoke(permit, call)),
        context.deadline(),
        Callee::Function(function),
    )
}

/// What every call passes: may the actor of `context` call `id`, and is there room for one more level?
pub(crate) fn admit(context: &Context, id: &EntryId) -> Result<Permit, CallError> {
    let permit = guard::authorize(context, "funcs.call", id.as_str())?;
    check_depth(context, id)?;
    Ok(permit)
}

/// Is there room for one more level below `context`?
pub(crate) fn check_depth(context: &Context, id: &EntryId) -> Result<(), CallError> {
    let max = context.dispatcher().config.depth_max;
    if context.depth() < max {
        Ok(())
    } else {
        Err(too_deep(id, max))
    }
}

#[cold]
fn too_deep(id: &EntryId, max: u32) -> CallError {
    let message = format!("calls are nested too deeply at `{id}`: the limit `max_call_depth` is {max}");
    CallError::new(ErrorKind::Unavailable, message).with_retryable(false)
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

    /// The function as it is now.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when it has gone.
    pub fn hold(self: &Arc<Self>) -> Result<Held, CallError> {
        Ok(Held {
            handler: self.handler()?,
            function: Arc::clone(self),
        })
    }

    /// The handler that stands here now.
    pub(crate) fn handler(&self) -> Result<Arc<dyn Handler>, CallError> {
        self.handler
            .load()
            .as_deref()
            .cloned()
            .ok_or_else(|| not_found(&self.id))
    }

    fn replace(&self, handler: Option<Arc<Arc<dyn Handler>>>) {
        self.handler.store(handler);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The signature in Lua form, if the function has a fixed one.
    pub fn signature(&self) -> Option<String> {
        self.handler
            .load()
            .as_ref()
            .and_then(|handler| handler.signature())
    }

    /// What the pool of the function holds now, if it has one.
    pub fn pool(&self) -> Option<PoolCounts> {
        self.handler.load().as_ref().and_then(|handler| handler.pool())
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("id", &self.function.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
