//! Resources: handles that callers hold of things inside an instance.
//!
//! An instance that gave a handle away belongs to its handles: it lives until the last of them is closed or collected,
//! runs one call at a time, and serves the methods of its resources. A trap ends it, and closes all of them.

use std::{
    any::Any,
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use wasmtime::component::ResourceAny;
use wippy_registry::EntryId;
use wippy_security::{Call, CallError, CallFuture, Context, Handle, Object, Permit};
use wippy_wit::{Datum, Kind, Node, Plan, Reader, Step, Value};

use crate::{
    abi::{Guarded, Place},
    component::{Method, ResourceType},
    deadline::{self, Deadline},
    instance::{self, CallFailure, Instance, Invocation, is_good},
    module::Module,
    trap,
    worker::WorkerClass,
};

/// An instance that is kept by the handles that it gave away.
pub(crate) struct Keeper {
    module: Arc<Module>,
    instance: Arc<tokio::sync::Mutex<Held>>,
    /// What was dropped while the instance was busy or nobody could wait: released before the next call.
    garbage: Mutex<Vec<ResourceAny>>,
}

/// The instance, with room for its call; none once it trapped.
pub(crate) type Held = Option<Place<()>>;

impl Keeper {
    pub(crate) fn new(module: Arc<Module>, instance: Instance) -> Arc<Self> {
        let place = Place::new(Box::new(instance), ());
        Arc::new(Self {
            module,
            instance: Arc::new(tokio::sync::Mutex::new(Some(place))),
            garbage: Mutex::default(),
        })
    }

    /// The module that the instance is one of.
    pub(crate) fn module(&self) -> &Arc<Module> {
        &self.module
    }

    /// Starts one call in the instance, after those that run or wait already.
    pub(crate) fn call<'a>(
        self: &'a Arc<Self>,
        method: &'a Arc<Method>,
        receiver: Option<&'a Resource>,
        call: Call<'a>,
        deadline: Deadline,
    ) -> CallFuture<'a> {
        let subject = Subject {
            keeper: self,
            method,
            receiver,
        };
        // The usual case: nobody else is in the instance, and there is nothing to do before the call.
        let is_ready = !method.is_concurrent() && self.is_clean();
        if is_ready && method.ends_at_once() {
            if let Ok(mut held) = self.instance.try_lock() {
                return CallFuture::ended(run_at_once(&mut held, subject, call, deadline));
            }
        } else if is_ready && let Ok(held) = Arc::clone(&self.instance).try_lock_owned() {
            return CallFuture::from(Box::pin(Guarded::new(held, subject, call, deadline)));
        }
        CallFuture::from(Box::pin(wait(subject, call, deadline)))
    }

    fn is_clean(&self) -> bool {
        self.garbage().is_empty()
    }

    fn garbage(&self) -> MutexGuard<'_, Vec<ResourceAny>> {
        self.garbage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Releases what was dropped since the last call.
    async fn clean(&self, held: &mut Held, deadline: Deadline) -> Result<(), CallError> {
        let garbage = mem::take(&mut *self.garbage());
        if garbage.is_empty() {
            return Ok(());
        }
        // If this is dropped halfway, the instance goes with it.
        let mut cleaning = Leaving { held, keep: false };
        let instance = cleaning.instance()?;
        instance.renew(&self.module);
        for resource in garbage {
            instance.release(&self.module, deadline, resource).await?;
        }
        cleaning.keep = true;
        Ok(())
    }

    /// Makes sure that every handle in `value` is open and of this instance.
    fn lendable(self: &Arc<Self>, value: &Value) -> Result<(), wippy_wit::Error> {
        if let Some(resource) = Resource::of(&value.datum()) {
            return resource.lend(self).map(|_| ());
        }
        let Value::Table(table) = value else { return Ok(()) };
        for (index, element) in table.array.iter().enumerate() {
            self.lendable(element).map_err(|error| error.at_index(index))?;
        }
        for (key, value) in &table.pairs {
            self.lendable(value)
                .map_err(|error| error.at_field(key.as_str().unwrap_or_default()))?;
        }
        Ok(())
    }

    async fn release(&self, resource: ResourceAny) -> Result<(), CallError> {
        let mut held = self.instance.lock().await;
        let mut leaving = Leaving {
            held: &mut held,
            keep: false,
        };
        let Ok(instance) = leaving.instance() else {
            return Ok(());
        };
        instance.renew(&self.module);
        let deadline = Deadline::after(self.module.limits.execution).begun();
        instance.release(&self.module, deadline, resource).await?;
        leaving.keep = true;
        Ok(())
    }
}

/// Runs a call that ends at once in an instance that nobody else is in.
fn run_at_once(
    held: &mut Held,
    subject: Subject<'_>,
    call: Call<'_>,
    deadline: Deadline,
) -> Result<(), CallError> {
    let mut leaving = Leaving { held, keep: false };
    let instance = leaving.instance()?;
    let Call {
        context,
        arguments,
        result,
    } = call;
    let outcome = match subject.prepare(instance, context, arguments, deadline) {
        Ok(invocation) => {
            let outcome = instance.run_at_once(invocation, arguments, result);
            instance::finish(&subject.keeper.module, subject.method, Ok(outcome))
        }
        Err(refused) => Err(CallFailure::Refused(refused)),
    };
    leaving.keep = is_good(&outcome);
    outcome.map_err(CallError::from)
}

/// Runs a call once nobody else is in the instance.
async fn wait<'a>(subject: Subject<'a>, call: Call<'a>, deadline: Deadline) -> Result<(), CallError> {
    let module = &subject.keeper.module;
    let deadline = deadline.begun();
    let lock = Arc::clone(&subject.keeper.instance).lock_owned();
    let held = deadline::within(deadline, lock).await;
    let mut held = held.map_err(|exceeded| {
        trap::exceeded(
            exceeded,
            module.id.as_str(),
            &subject.method.function.signature.name,
        )
    })?;
    if held.is_none() {
        return Err(closed_by_trap());
    }
    // What is refused is refused before anything else is done.
    subject.admit(call.arguments)?;
    subject.keeper.clean(&mut held, deadline).await?;
    if subject.method.ends_at_once() {
        return run_at_once(&mut held, subject, call, deadline);
    }
    if !subject.method.is_concurrent() {
        return Guarded::new(held, subject, call, deadline).await;
    }
    let mut leaving = Leaving {
        held: &mut held,
        keep: false,
    };
    let instance = leaving.instance()?;
    let running = async {
        subject.admit(call.arguments).map_err(CallFailure::Refused)?;
        instance.renew(module);
        let Call {
            context,
            arguments,
            result,
        } = call;
        let invocation = subject.invocation(context.traced());
        let calling = instance.call(module, invocation, context, deadline, arguments, result);
        calling.await
    };
    let outcome = running.await;
    instance.release_callees();
    leaving.keep = is_good(&outcome);
    outcome.map_err(CallError::from)
}

/// What a call in an instance that is kept is about.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) keeper: &'a Arc<Keeper>,
    pub(crate) method: &'a Arc<Method>,
    /// The resource whose method it is, if it is one.
    receiver: Option<&'a Resource>,
}

impl<'a> Subject<'a> {
    pub(crate) fn invocation(self, trace: Option<&'a Context>) -> Invocation<'a> {
        Invocation {
            method: self.method,
            keeper: Some(self.keeper),
            receiver: self.receiver,
            trace,
        }
    }

    /// Makes everything ready for the call in `instance`.
    pub(crate) fn prepare(
        self,
        instance: &mut Instance,
        context: &'a Context,
        arguments: &mut dyn Reader,
        deadline: Deadline,
    ) -> Result<Invocation<'a>, CallError> {
        let module = &self.keeper.module;
        self.admit(arguments)?;
        instance.renew(module);
        let invocation = self.invocation(context.traced());
        instance.prepare(module, invocation, context, deadline, arguments)?;
        Ok(invocation)
    }

    /// Makes sure that the arguments fit before the instance is entered: an error while they are lowered would cost
    /// the instance, and with it every handle of it.
    fn admit(self, arguments: &mut dyn Reader) -> Result<(), CallError> {
        self.fit(arguments)
            .map_err(|error| CallError::invalid(format!("{}: {error}", self.keeper.module.id)))
    }

    fn fit(self, arguments: &mut dyn Reader) -> Result<(), wippy_wit::Error> {
        if let Some(receiver) = self.receiver {
            receiver.lend(self.keeper)?;
        }
        let given = arguments.len();
        let params = self.method.plan().params.iter();
        let params = params.skip(usize::from(self.receiver.is_some()));
        for (index, param) in params.enumerate().take(given) {
            if let Step::Scalar(scalar) = arguments.step_index(index)? {
                if wippy_wit::accept::plain(&param.node.kind, scalar).is_some() {
                    continue;
                }
                arguments.enter_index(index)?;
            }
            let value = wippy_wit::typed::value(&param.node, arguments);
            value
                .and_then(|value| self.keeper.lendable(&value))
                .map_err(|error| error.at_argument(index, &param.name))?;
            arguments.leave();
        }
        Ok(())
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("module", &self.module)
            .finish_non_exhaustive()
    }
}

/// Drops the instance unless what is done in it comes to an end that leaves it good.
struct Leaving<'a> {
    held: &'a mut Held,
    keep: bool,
}

impl Leaving<'_> {
    fn instance(&mut self) -> Result<&mut Instance, CallError> {
        let place = self.held.as_mut().ok_or_else(closed_by_trap)?;
        Ok(place.parts().0)
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if !self.keep {
            *self.held = None;
        }
    }
}

#[cold]
pub(crate) fn closed_by_trap() -> CallError {
    CallError::invalid("the resource is closed: its instance failed")
}

/// A resource that a caller holds.
pub(crate) struct Resource {
    /// Itself.
    this: Weak<Self>,
    keeper: Arc<Keeper>,
    handle: ResourceAny,
    /// Whether the handle was closed or given back to the guest.
    is_gone: AtomicBool,
    ty: Arc<ResourceType>,
}

impl Resource {
    /// What the guest gave to its caller through `method`.
    pub(crate) fn handle(
        keeper: &Arc<Keeper>,
        handle: ResourceAny,
        method: &Method,
        name: &Arc<str>,
    ) -> Handle {
        let component = &keeper.module.component;
        Handle::new(Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            keeper: keeper.clone(),
            handle,
            is_gone: AtomicBool::new(false),
            ty: component.resource(method.function.interface.as_deref(), name),
        }))
    }

    /// The resource behind a datum.
    pub(crate) fn of<'a>(datum: &Datum<'a>) -> Option<&'a Self> {
        let Datum::Foreign(foreign) = datum else {
            return None;
        };
        Handle::of(&***foreign)?.object().as_any().downcast_ref()
    }

    /// The handle to lend to the guest as a `borrow`.
    pub(crate) fn lend(&self, keeper: &Arc<Keeper>) -> Result<ResourceAny, wippy_wit::Error> {
        self.same_instance(keeper)?;
        self.held().ok_or_else(|| self.closed())
    }

    /// The handle to give to the guest as an `own`: the caller's handle is closed by that.
    pub(crate) fn give(&self, keeper: &Arc<Keeper>) -> Result<ResourceAny, wippy_wit::Error> {
        self.same_instance(keeper)?;
        self.take().ok_or_else(|| self.closed())
    }

    fn held(&self) -> Option<ResourceAny> {
        (!self.is_gone.load(Ordering::Acquire)).then_some(self.handle)
    }

    fn take(&self) -> Option<ResourceAny> {
        (!self.is_gone.swap(true, Ordering::AcqRel)).then_some(self.handle)
    }

    fn same_instance(&self, keeper: &Arc<Keeper>) -> Result<(), wippy_wit::Error> {
        if Arc::ptr_eq(&self.keeper, keeper) {
            return Ok(());
        }
        Err(wippy_wit::Error::new(format!(
            "the {} belongs to another instance",
            self.ty.title
        )))
    }

    #[cold]
    fn closed(&self) -> wippy_wit::Error {
        wippy_wit::Error::new(format!("the {} is closed", self.ty.title))
    }
}

impl Drop for Resource {
    /// Nobody can wait here, so the guest's destructor runs before the instance's next call. If there is none,
    /// the instance goes away with its last handle.
    fn drop(&mut self) {
        if let Some(handle) = self.take() {
            self.keeper.garbage().push(handle);
        }
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("type", &self.ty.title)
            .field("keeper", &self.keeper)
            .finish_non_exhaustive()
    }
}

impl Resource {
    /// Starts one of its methods.
    fn start<'a>(&'a self, method: &'a Arc<Method>, call: Call<'a>) -> CallFuture<'a> {
        let deadline = Deadline::of(call.context, &self.keeper.module.limits);
        self.keeper.call(method, Some(self), call, deadline)
    }

    /// The same on the threads of `class`.
    async fn start_on(
        self: Arc<Self>,
        class: Arc<WorkerClass>,
        method: Arc<Method>,
        call: Call<'_>,
    ) -> Result<(), CallError> {
        class
            .call(call, move |mut call| {
                Box::pin(async move { self.start(&method, call.reborrow()).await }).into()
            })
            .await
    }
}

#[async_trait]
impl Object for Resource {
    fn entry(&self) -> &EntryId {
        &self.keeper.module.id
    }

    fn type_name(&self) -> &str {
        &self.ty.title
    }

    fn has_method(&self, name: &str) -> bool {
        self.ty.method(name).is_some()
    }

    fn class(&self) -> Option<u64> {
        Some(self.ty.number)
    }

    fn invoke<'a>(&'a self, _permit: Permit, method: &'a str, call: Call<'a>) -> CallFuture<'a> {
        let Some(method) = self.ty.method(method) else {
            return CallFuture::refused(CallError::invalid(format!(
                "the {} has no method `{method}`",
                self.ty.title
            )));
        };
        let Some(class) = &self.keeper.module.class else {
            return self.start(method, call);
        };
        match self.this.upgrade() {
            Some(this) => CallFuture::from(Box::pin(this.start_on(class.clone(), method.clone(), call))),
            None => CallFuture::refused(self.closed().into()),
        }
    }

    async fn close(self: Arc<Self>) -> Result<(), CallError> {
        match self.take() {
            Some(handle) => self.keeper.release(handle).await,
            None => Ok(()),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The keeper of the first handle among the arguments: a call that is given a handle runs in the handle's instance.
///
/// # Errors
/// When an argument has not the form that it would have to have.
pub(crate) fn keeper_of(plan: &Plan, arguments: &mut dyn Reader) -> Option<Arc<Keeper>> {
    for (index, param) in plan
        .params
        .iter()
        .enumerate()
        .filter(|(_, param)| param.node.has_resources())
    {
        arguments.enter_index(index).ok()?;
        let found = first_handle(&param.node, arguments);
        arguments.leave();
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Looks where handles can be. Values that do not fit are passed over here: lowering will say what is wrong with them.
fn first_handle(node: &Node, reader: &mut dyn Reader) -> Option<Arc<Keeper>> {
    match &node.kind {
        Kind::Own(_) | Kind::Borrow(_) => {
            Resource::of(&reader.datum()).map(|resource| resource.keeper.clone())
        }
        Kind::List(element) | Kind::FixedList(element, _) => {
            (0..reader.len()).find_map(|index| inside(reader, |reader| reader.enter_index(index), element))
        }
        Kind::Tuple(fields) => fields
            .iter()
            .enumerate()
            .filter(|(_, field)| field.node.has_resources())
            .find_map(|(index, field)| inside(reader, |reader| reader.enter_index(index), &field.node)),
        Kind::Record(fields) => fields
            .iter()
            .filter(|field| field.node.has_resources())
            .flat_map(|field| {
                [Some(&field.key), field.snake.as_ref()]
                    .into_iter()
                    .flatten()
                    .map(|key| (key, &field.node))
            })
            .find_map(|(key, node)| inside(reader, |reader| reader.enter_key(key), node)),
        Kind::Option { some, .. } => first_handle(some, reader),
        // A handle inside a variant, a result or a map is found by any of the keys it may stand under.
        Kind::Result { .. } | Kind::Variant { .. } | Kind::Map(_) => any_handle(reader, 4),
        _ => None,
    }
}

fn inside(
    reader: &mut dyn Reader,
    enter: impl FnOnce(&mut dyn Reader) -> Result<(), wippy_wit::Error>,
    node: &Node,
) -> Option<Arc<Keeper>> {
    if !matches!(reader.datum(), Datum::Table) {
        return None;
    }
    enter(reader).ok()?;
    let found = first_handle(node, reader);
    reader.leave();
    found
}

fn any_handle(reader: &mut dyn Reader, depth: usize) -> Option<Arc<Keeper>> {
    if let Some(resource) = Resource::of(&reader.datum()) {
        return Some(resource.keeper.clone());
    }
    if depth == 0 || !matches!(reader.datum(), Datum::Table) {
        return None;
    }
    let mut position = 0;
    while reader.enter_pair(&mut position).ok()? {
        reader.enter_value();
        let found = any_handle(reader, depth - 1);
        reader.leave();
        if found.is_some() {
            return found;
        }
    }
    None
}
