//! Resources: handles that callers hold of things inside an instance.
//!
//! An instance that gave a handle away belongs to its handles: it lives until the last of them is closed or collected,
//! runs one call at a time, and serves the methods of its resources. A trap ends it, and closes all of them.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use wasmtime::component::ResourceAny;
use wippy_registry::EntryId;
use wippy_security::{Call, CallError, Handle, Object, Permit};
use wippy_wit::{Datum, Kind, Node, Plan, Reader, Value};

use crate::{
    component::{Method, ResourceType},
    deadline::{self, Deadline},
    instance::{CallFailure, Instance, Invocation},
    module::Module,
    trap,
};

/// An instance that is kept by the handles that it gave away.
pub(crate) struct Keeper {
    module: Arc<Module>,
    /// None once the instance trapped.
    instance: tokio::sync::Mutex<Option<Instance>>,
    /// What was dropped while the instance was busy or nobody could wait: released before the next call.
    garbage: Mutex<Vec<ResourceAny>>,
}

impl Keeper {
    pub(crate) fn new(module: Arc<Module>, instance: Instance) -> Arc<Self> {
        Arc::new(Self {
            module,
            instance: tokio::sync::Mutex::new(Some(instance)),
            garbage: Mutex::default(),
        })
    }

    /// The module that the instance is one of.
    pub(crate) fn module(&self) -> &Arc<Module> {
        &self.module
    }

    /// Runs one call in the instance, after those that run or wait already.
    pub(crate) async fn run(
        self: &Arc<Self>,
        method: &Arc<Method>,
        receiver: Option<&Resource>,
        call: Call<'_>,
        deadline: Deadline,
    ) -> Result<(), CallError> {
        let module = &self.module;
        let expired =
            |exceeded| trap::exceeded(exceeded, module.id.as_str(), &method.function.signature.name);
        let mut held = deadline::within(deadline, self.instance.lock())
            .await
            .map_err(expired)?;
        if held.is_none() {
            return Err(closed_by_trap());
        }
        self.admit(method, receiver, call.arguments)
            .map_err(|error| CallError::invalid(format!("{}: {error}", module.id)))?;
        // If the call is dropped halfway, the instance goes with it.
        let mut running = Running {
            held: &mut held,
            keep: false,
        };
        let garbage = std::mem::take(&mut *self.garbage.lock().unwrap_or_else(PoisonError::into_inner));
        let instance = running.instance()?;
        instance.renew(module);
        for resource in garbage {
            instance.release(module, deadline, resource).await?;
        }
        let Call {
            context,
            arguments,
            result,
        } = call;
        let invocation = Invocation {
            method,
            keeper: Some(self),
            receiver,
            trace: context.traced(),
        };
        let outcome = instance
            .call(module, invocation, context, deadline, arguments, result)
            .await;
        instance.release_callees();
        running.keep = matches!(
            outcome,
            Ok(()) | Err(CallFailure::Returned(_) | CallFailure::Refused(_))
        );
        outcome.map_err(CallError::from)
    }

    /// Makes sure that the arguments fit before the instance is entered: an error while they are lowered would cost
    /// the instance, and with it every handle of it.
    fn admit(
        self: &Arc<Self>,
        method: &Method,
        receiver: Option<&Resource>,
        arguments: &mut dyn Reader,
    ) -> Result<(), wippy_wit::Error> {
        if let Some(receiver) = receiver {
            receiver.lend(self)?;
        }
        let given = arguments.len();
        let params = method.plan().params.iter().skip(usize::from(receiver.is_some()));
        for (index, param) in params.enumerate().take(given) {
            arguments.enter_index(index)?;
            let value = wippy_wit::typed::value(&param.node, arguments);
            value
                .and_then(|value| self.lendable(&value))
                .map_err(|error| error.at_argument(index, &param.name))?;
            arguments.leave();
        }
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
        let mut running = Running {
            held: &mut held,
            keep: false,
        };
        let Ok(instance) = running.instance() else {
            return Ok(());
        };
        instance.renew(&self.module);
        let deadline = Deadline::after(self.module.limits.execution).begun();
        instance.release(&self.module, deadline, resource).await?;
        running.keep = true;
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

/// Drops the instance unless its call came to an end that leaves it good.
struct Running<'a> {
    held: &'a mut Option<Instance>,
    keep: bool,
}

impl Running<'_> {
    fn instance(&mut self) -> Result<&mut Instance, CallError> {
        self.held.as_mut().ok_or_else(closed_by_trap)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.keep {
            *self.held = None;
        }
    }
}

#[cold]
fn closed_by_trap() -> CallError {
    CallError::invalid("the resource is closed: its instance failed")
}

/// A resource that a caller holds.
pub(crate) struct Resource {
    keeper: Arc<Keeper>,
    /// None once it was closed or given back to the guest.
    handle: Mutex<Option<ResourceAny>>,
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
        Handle::new(Arc::new(Self {
            keeper: keeper.clone(),
            handle: Mutex::new(Some(handle)),
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
        *self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<ResourceAny> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner).take()
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
            self.keeper
                .garbage
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(handle);
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
    /// Runs one of its methods.
    async fn run(&self, method: &Arc<Method>, call: Call<'_>) -> Result<(), CallError> {
        let deadline = Deadline::of(call.context, &self.keeper.module.limits).begun();
        self.keeper.run(method, Some(self), call, deadline).await
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

    async fn invoke<'a>(
        self: Arc<Self>,
        _permit: Permit,
        method: &'a str,
        call: Call<'a>,
    ) -> Result<(), CallError> {
        let Some(method) = self.ty.method(method).cloned() else {
            return Err(CallError::invalid(format!(
                "the {} has no method `{method}`",
                self.ty.title
            )));
        };
        match self.keeper.module.class.clone() {
            None => self.run(&method, call).await,
            Some(class) => {
                let this = self;
                class
                    .call(call, move |call| {
                        Box::pin(async move { this.run(&method, call).await }).into()
                    })
                    .await
            }
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
