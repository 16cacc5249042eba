//! [`Instance`]: one instance of a module, and one call of it.

use std::{future::Future, sync::Arc};

use wasmtime::{
    Store,
    component::{Func, ResourceAny},
};
use wippy_security::{CallError, Context, ErrorKind, Mailbox, Pool};
use wippy_wit::{Reader, Value, Writer};

use crate::{
    abi::{self, Export, Returned},
    component::Method,
    concurrent,
    deadline::{self, Deadline},
    error_contexts::ErrorContexts,
    http::Http,
    limits::Exceeded,
    module::Module,
    resource::{Keeper, Resource},
    slots::{Alive, Place},
    state::GuestState,
    trap,
    wasi::{self, Stdio},
};

/// One instance of a module. It runs one call at a time and never outlives a failed one.
pub(crate) struct Instance {
    store: Store<GuestState>,
    inner: wasmtime::component::Instance,
    /// The function that was looked up last: most instances only ever run one.
    export: Export,
    /// The address of its method.
    found: usize,
    alive: Alive,
}

/// What is called.
#[derive(Clone, Copy)]
pub(crate) struct Invocation<'a> {
    pub(crate) method: &'a Arc<Method>,
    /// Who keeps the instance, if its handles do.
    pub(crate) keeper: Option<&'a Arc<Keeper>>,
    /// The resource whose method it is, if it is one.
    pub(crate) receiver: Option<&'a Resource>,
    /// The context of the call, if it is traced.
    pub(crate) trace: Option<&'a Context>,
}

impl Instance {
    /// Makes a fresh instance; its start function runs under `deadline` too.
    pub(crate) async fn new(
        module: &Module,
        deadline: Deadline,
        args: &[String],
        stdio: Stdio,
    ) -> Result<Self, CallError> {
        let no_slot = || trap::no_slot(module.id.as_str());
        let mut alive = module.slots.take().ok_or_else(no_slot)?;
        let (mut store, inner) = loop {
            let pre = module.instances(alive.place()).await?;
            let mut store = store(module, pre.engine(), args, stdio)?;
            store.data_mut().deadline = deadline;
            let making = deadline::within(deadline, pre.instantiate_async(&mut store)).await;
            let making = making
                .map_err(|exceeded| trap::exceeded(exceeded, module.id.as_str(), &module.method_name))?;
            match making {
                Ok(inner) => break (store, inner),
                // It may need several memories, of which there are as many as slots.
                Err(error) if alive.place() == Place::First && trap::is_crowded(&error) => {
                    alive.move_to_reserve();
                }
                Err(error) => return Err(trap::classify(&error, module, &module.method_name)),
            }
        };
        let export = look_up(&mut store, &inner, &module.method, alive.place())?;
        Ok(Self {
            store,
            inner,
            export,
            found: address(&module.method),
            alive,
        })
    }

    /// Gives the guest a mailbox to receive from.
    pub(crate) fn attach(&mut self, mailbox: Mailbox) {
        self.store.data_mut().mailbox = Some(mailbox);
    }

    /// Runs one call. After an error the instance is only good for dropping.
    pub(crate) async fn call(
        &mut self,
        module: &Module,
        invocation: Invocation<'_>,
        context: &Context,
        deadline: Deadline,
        arguments: &mut dyn Reader,
        result: &mut dyn Writer,
    ) -> Result<(), CallFailure> {
        if invocation.method.is_concurrent() {
            let calling =
                concurrent::call_through(self, module, invocation, context, deadline, arguments, result);
            return Box::pin(calling).await;
        }
        self.prepare(module, invocation, context, deadline, arguments)?;
        let outcome = if invocation.method.ends_at_once() {
            Ok(self.run_at_once(invocation, arguments, result))
        } else {
            self.start(invocation, deadline, arguments, result).await
        };
        finish(module, invocation.method, outcome)
    }

    /// Makes everything ready for [`start`](Self::start).
    pub(crate) fn prepare(
        &mut self,
        module: &Module,
        invocation: Invocation<'_>,
        context: &Context,
        deadline: Deadline,
        arguments: &mut dyn Reader,
    ) -> Result<(), CallFailure> {
        check_count(module, invocation, arguments).map_err(CallFailure::Refused)?;
        self.find(invocation.method).map_err(CallFailure::Refused)?;
        // What the guest leases while it runs is its own, not its caller's.
        if let Some(journal) = &self.store.data().journal {
            journal.begin(context.call_id());
        }
        let context = module.acts.then(|| context.callee());
        self.store.data_mut().begin(context, deadline);
        Ok(())
    }

    /// Runs a call that [ends at once](Method::ends_at_once), for which everything is ready.
    #[inline]
    pub(crate) fn run_at_once(
        &mut self,
        invocation: Invocation<'_>,
        arguments: &mut dyn Reader,
        result: &mut dyn Writer,
    ) -> wasmtime::Result<Returned> {
        let Self { store, export, .. } = self;
        abi::call_at_once(store, export, invocation, arguments, result)
    }

    fn start<'a>(
        &'a mut self,
        invocation: Invocation<'a>,
        deadline: Deadline,
        arguments: &'a mut dyn Reader,
        result: &'a mut dyn Writer,
    ) -> impl Future<Output = Outcome> + Send + use<'a> {
        let Self { store, export, .. } = self;
        deadline::within(deadline, abi::call(store, export, invocation, arguments, result))
    }

    /// What the engine needs to call the function that was looked up last.
    #[inline]
    pub(crate) fn engine_parts(&mut self) -> (&mut Store<GuestState>, &Export) {
        (&mut self.store, &self.export)
    }

    /// What is needed to call the method that it was made for in another way than by a plan.
    pub(crate) fn parts(&mut self) -> (&mut Store<GuestState>, Func) {
        (&mut self.store, self.export.function())
    }

    /// Looks the method up, unless it is the one that was looked up last.
    fn find(&mut self, method: &Method) -> Result<(), CallError> {
        if self.found != address(method) {
            self.export = look_up(&mut self.store, &self.inner, method, self.alive.place())?;
            self.found = address(method);
        }
        Ok(())
    }

    /// Gives up a resource that the host held, which may run the guest's destructor.
    pub(crate) async fn release(
        &mut self,
        module: &Module,
        deadline: Deadline,
        resource: ResourceAny,
    ) -> Result<(), CallError> {
        self.store.data_mut().deadline = deadline;
        let outcome = deadline::within(deadline, resource.resource_drop_async(&mut self.store)).await;
        outcome
            .map_err(|exceeded| trap::exceeded(exceeded, module.id.as_str(), "[resource-drop]"))?
            .map_err(|error| trap::classify(&error, module, "[resource-drop]"))
    }

    /// The error contexts that it has handles of, if it can have any.
    pub(crate) fn error_contexts(&self) -> Option<Arc<ErrorContexts>> {
        self.store.data().error_contexts.clone()
    }

    /// What its memories hold.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().meter.memory_bytes()
    }

    /// Whether it may stay although nobody uses it.
    pub(crate) fn has_room(&self) -> bool {
        self.alive.has_room()
    }

    /// Gives up what the guest leased from those that it called: its next call is for somebody else.
    pub(crate) fn release_callees(&mut self) {
        self.store.data_mut().release_callees();
    }

    /// Makes the instance ready for its next call.
    pub(crate) fn renew(&mut self, module: &Module) {
        self.store.set_hostcall_fuel(module.limits.host_bytes);
        self.store.set_epoch_deadline(1);
        if let Some(fuel) = module.limits.fuel {
            // It only fails on an engine that does not count, which the module would not be on.
            let _ = self.store.set_fuel(fuel);
        }
    }

    /// The same for the calls of a pool.
    pub(crate) fn renew_in(&mut self, module: &Module, pool: &Pool<Self>) {
        self.store.data_mut().pool = Some(pool.key());
        self.renew(module);
    }
}

/// Whether the instance is as good after a call as before it.
pub(crate) fn is_good(outcome: &Result<(), CallFailure>) -> bool {
    matches!(
        outcome,
        Ok(()) | Err(CallFailure::Refused(_) | CallFailure::Returned(_))
    )
}

/// How a call came to its end.
pub(crate) type Outcome = Result<wasmtime::Result<Returned>, Exceeded>;

/// What the outcome of a call of `method` means.
pub(crate) fn finish(module: &Module, method: &Method, outcome: Outcome) -> Result<(), CallFailure> {
    match outcome {
        Ok(Ok(Returned::Value)) => Ok(()),
        Ok(Ok(Returned::Failed(payload))) => Err(CallFailure::Returned(guest_error(module, payload))),
        Ok(Err(error)) => Err(trapped(module, method, &error)),
        Err(exceeded) => Err(CallFailure::Trapped(
            trap::exceeded(exceeded, module.id.as_str(), &method.function.signature.name),
            None,
        )),
    }
}

#[cold]
fn trapped(module: &Module, method: &Method, error: &wasmtime::Error) -> CallFailure {
    let failure = trap::classify(error, module, &method.function.signature.name);
    CallFailure::Trapped(failure, trap::exit_code(error))
}

/// A store for a fresh instance.
fn store(
    module: &Module,
    engine: &wasmtime::Engine,
    args: &[String],
    stdio: Stdio,
) -> Result<Store<GuestState>, CallError> {
    let journal = module.journal();
    let wasi = match &module.wasi {
        Some(config) => Some(wasi::instance(
            &module.id,
            config,
            args,
            stdio,
            &module.limits,
            journal.as_ref(),
        )?),
        None => None,
    };
    let http = module.http.as_ref();
    let http = http.map(|client| Http::new(client.clone(), &module.limits));
    GuestState::store(engine, module, wasi, journal, http)
}

fn look_up(
    store: &mut Store<GuestState>,
    instance: &wasmtime::component::Instance,
    method: &Method,
    place: Place,
) -> Result<Export, CallError> {
    let foreign = || CallError::internal("the function belongs to another module");
    let index = match place {
        Place::First => Some(method.index),
        // The same code, but on another engine, and indices belong to one.
        Place::Reserve => {
            let function = &method.function;
            let parent = match &function.interface {
                Some(name) => {
                    let parent = instance.get_export_index(&mut *store, None, name);
                    Some(parent.ok_or_else(foreign)?)
                }
                None => None,
            };
            instance.get_export_index(&mut *store, parent.as_ref(), &function.signature.name)
        }
    };
    let function = index.and_then(|index| instance.get_func(&mut *store, index));
    function.map(Export::new).ok_or_else(foreign)
}

/// Methods are shared and never move, so the address names one.
fn address(method: &Method) -> usize {
    std::ptr::from_ref(method) as usize
}

/// Why a call gave no value.
#[derive(Debug)]
pub(crate) enum CallFailure {
    /// It was not made.
    Refused(CallError),
    /// The guest's own error: the instance is as good as before.
    Returned(CallError),
    /// The instance is dead. With the code, if the guest exited.
    Trapped(CallError, Option<i32>),
}

impl From<CallFailure> for CallError {
    fn from(failure: CallFailure) -> Self {
        match failure {
            CallFailure::Refused(error) | CallFailure::Returned(error) | CallFailure::Trapped(error, _) => {
                error
            }
        }
    }
}

fn check_count(
    module: &Module,
    invocation: Invocation<'_>,
    arguments: &mut dyn Reader,
) -> Result<(), CallError> {
    let plan = invocation.method.plan();
    // The receiver of a method is no argument of the caller's.
    let given = arguments.len() + usize::from(invocation.receiver.is_some());
    if given <= plan.params.len() && given >= plan.required {
        return Ok(());
    }
    Err(wrong_count(module, invocation, given))
}

#[cold]
fn wrong_count(module: &Module, invocation: Invocation<'_>, given: usize) -> CallError {
    let plan = invocation.method.plan();
    let receiver = usize::from(invocation.receiver.is_some());
    let wanted = match (plan.required - receiver, plan.params.len() - receiver) {
        (1, 1) => "1 argument".to_owned(),
        (least, most) if least == most => format!("{most} arguments"),
        (least, most) => format!("{least} to {most} arguments"),
    };
    let (given, signature) = (given - receiver, plan.signature.to_lua());
    CallError::invalid(format!(
        "{}: expected {wanted}, got {given}: {signature}",
        module.id
    ))
}

/// The error object for the payload of a guest's `result`.
///
/// The message is the payload if it is a string, its field `message` if it has one, else its case. The kind is the
/// one that the case, or a field `kind` or `code`, names, or else the one in front of the message: that is how guests
/// hear of the failures of their own callees, so a kind survives any number of them.
fn guest_error(module: &Module, payload: Value) -> CallError {
    // An error context says one thing only.
    if let Value::Foreign(error) = &payload
        && let Some(message) = error.message()
    {
        return match leading_kind(message) {
            Some((kind, rest)) => CallError::new(kind, rest.to_owned()),
            None => CallError::new(ErrorKind::Unknown, message.to_owned()),
        };
    }
    let case = payload
        .as_str()
        .or_else(|| payload.get("tag").and_then(Value::as_str));
    let inner = payload.get("value");
    let field = |name: &str| {
        payload
            .get(name)
            .or_else(|| inner.and_then(|inner| inner.get(name)))
    };
    let named = [
        case,
        field("kind").and_then(Value::as_str),
        field("code").and_then(Value::as_str),
    ];
    let kind: Option<ErrorKind> = named.into_iter().flatten().find_map(|name| name.parse().ok());
    let message = field("message")
        .and_then(Value::as_str)
        .or_else(|| payload.as_str())
        .or_else(|| inner.and_then(Value::as_str))
        .or(case)
        .map_or_else(|| format!("{} failed", module.id), str::to_owned);
    let error = match (kind, leading_kind(&message)) {
        (Some(kind), _) => CallError::new(kind, message),
        (None, Some((kind, rest))) => CallError::new(kind, rest.to_owned()),
        (None, None) => CallError::new(ErrorKind::Unknown, message),
    };
    let error = match field("retryable") {
        Some(Value::Boolean(retryable)) => error.with_retryable(*retryable),
        _ => error,
    };
    error.with_details(payload)
}

/// The kind that stands in front of a message, as in `NOT_FOUND: there is no such user`, and the rest of it.
fn leading_kind(message: &str) -> Option<(ErrorKind, &str)> {
    let (name, rest) = message.split_once(": ")?;
    let kind = ErrorKind::ALL.into_iter().find(|kind| kind.as_str() == name)?;
    Some((kind, rest))
}
