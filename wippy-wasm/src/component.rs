//! [`Component`]: a compiled binary with its exported functions, shared by every entry that names the same bytes.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use wasmtime::component::{
    __internal::{ComponentTypes, InterfaceType},
    ComponentExportIndex,
};
use wippy_security::stack;
use wippy_wit::{Kind, MAX_FLAT_PARAMS, Node, Plan};

use crate::{
    Error,
    bounded::Cost,
    engine::Purpose,
    exports::{ExportedFunction, Surface},
    facts::Facts,
    hosts::Grants,
    reserve::Reserve,
    template::{Template, Templates},
};

/// A compiled binary and what it exports.
pub(crate) struct Component {
    pub(crate) compiled: wasmtime::component::Component,
    pub(crate) surface: Surface,
    /// What it was compiled for.
    pub(crate) purpose: Purpose,
    methods: Box<[Arc<Method>]>,
    resources: Box<[Arc<ResourceType>]>,
    templates: Templates,
}

/// A resource that an interface exports, with its methods.
pub(crate) struct ResourceType {
    /// Which no other one ever has.
    pub(crate) number: u64,
    interface: Option<Arc<str>>,
    name: Arc<str>,
    /// What messages call it: `resource counter`.
    pub(crate) title: String,
    /// With their own names.
    methods: Vec<(Box<str>, Arc<Method>)>,
}

impl ResourceType {
    /// The method `name`, in either case convention.
    pub(crate) fn method(&self, name: &str) -> Option<&Arc<Method>> {
        let named = |(known, _): &&(Box<str>, _)| **known == *name || wippy_wit::names::same(known, name);
        self.methods.iter().find(named).map(|(_, method)| method)
    }
}

/// An exported function with its plan, which is compiled when it is first wanted.
pub(crate) struct Method {
    pub(crate) function: ExportedFunction,
    pub(crate) index: ComponentExportIndex,
    plan: OnceLock<Plan>,
    has_resources: OnceLock<bool>,
    /// What it runs in the guest, if that is bounded and may run on a thread.
    cost: Option<Cost>,
    at_once: OnceLock<AtOnce>,
    is_concurrent: bool,
    pub(crate) param_handles: HandleTypes,
    pub(crate) result_handles: HandleTypes,
}

/// So many bytes of stack all threads have to spare that call guests.
const THREAD_STACK_SPARE: usize = 512 << 10;

/// So many ticks of the engine's clock a guest has in a dead end.
const DEAD_END_TICKS: u32 = 4;

/// Whether calls of a method end within a few thousand instructions.
#[derive(Debug, Clone, Copy)]
enum AtOnce {
    Never,
    /// It may come into a [dead end](crate::bounded), and is stopped if the engine's clock has ticked so often.
    UnlessItFails(u32),
    Always,
}

impl Component {
    /// Brings together a compiled component and what is known of it.
    ///
    /// # Errors
    /// When it lacks a function that it should have.
    pub(crate) fn new(
        compiled: wasmtime::component::Component,
        facts: Facts,
        purpose: Purpose,
        stack_bytes: usize,
    ) -> Result<Self, Error> {
        let Facts { surface, bounded } = facts;
        // Only on a plain engine there is nothing that a guest could wait for in a dead end, and only a small stack is also to
        // spare on threads.
        let may_fail_on_threads = purpose == Purpose::Plain && stack_bytes <= THREAD_STACK_SPARE;
        let method = |function: &ExportedFunction| {
            let interface = function.interface.as_deref().map(str::to_owned);
            Ok(Arc::new(Method {
                cost: bounded
                    .get(&(interface, function.signature.name.to_string()))
                    .filter(|cost| !cost.has_dead_ends || may_fail_on_threads)
                    .copied(),
                at_once: OnceLock::new(),
                index: export_index(&compiled, function)?,
                function: function.clone(),
                plan: OnceLock::new(),
                has_resources: OnceLock::new(),
                is_concurrent: function.signature.needs_async_engine(),
                param_handles: HandleTypes::default(),
                result_handles: HandleTypes::default(),
            }))
        };
        let methods = surface
            .exports
            .iter()
            .map(method)
            .collect::<Result<Box<[_]>, Error>>()?;
        Ok(Self {
            compiled,
            surface,
            purpose,
            resources: resources(&methods),
            methods,
            templates: Templates::default(),
        })
    }

    /// What instances are made from for entries that grant `grants`.
    ///
    /// # Errors
    /// [`Error::Link`] when the engine does not take it.
    pub(crate) fn template(
        &self,
        grants: Grants,
        reserve: impl FnOnce() -> Arc<Reserve>,
    ) -> Result<Arc<Template>, Error> {
        self.templates.of(self, grants, reserve)
    }

    /// The method that `function` is.
    pub(crate) fn method(&self, function: &ExportedFunction) -> Option<&Arc<Method>> {
        self.methods.iter().find(|method| method.function == *function)
    }

    /// The resource `name` of `interface`; one that the component does not define has no methods.
    pub(crate) fn resource(&self, interface: Option<&str>, name: &Arc<str>) -> Arc<ResourceType> {
        let is_it = |resource: &&Arc<ResourceType>| {
            resource.name == *name && resource.interface.as_deref() == interface
        };
        match self.resources.iter().find(is_it) {
            Some(resource) => Arc::clone(resource),
            None => Arc::new(ResourceType::new(interface.map(Arc::from), name.clone())),
        }
    }
}

impl ResourceType {
    fn new(interface: Option<Arc<str>>, name: Arc<str>) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            title: format!("resource {name}"),
            interface,
            name,
            methods: Vec::new(),
        }
    }
}

/// The resources whose methods are among `methods`.
fn resources(methods: &[Arc<Method>]) -> Box<[Arc<ResourceType>]> {
    let mut resources: Vec<ResourceType> = Vec::new();
    for method in methods {
        let Some((resource, name)) = method.resource_method() else {
            continue;
        };
        let named = (name.into(), Arc::clone(method));
        let interface = &method.function.interface;
        let known = resources
            .iter_mut()
            .find(|known| *known.name == *resource && known.interface == *interface);
        if let Some(known) = known {
            known.methods.push(named);
        } else {
            let mut known = ResourceType::new(interface.clone(), resource.into());
            known.methods.push(named);
            resources.push(known);
        }
    }
    resources.into_iter().map(Arc::new).collect()
}

impl Method {
    /// The names of the resource and of the method, if it is a method of one.
    fn resource_method(&self) -> Option<(&str, &str)> {
        self.function
            .signature
            .name
            .strip_prefix("[method]")?
            .split_once('.')
    }

    /// The plan of its signature.
    pub(crate) fn plan(&self) -> &Plan {
        self.plan
            .get_or_init(|| Plan::new(self.function.signature.clone()))
    }

    /// Whether a call of it that is made now, on this stack, ends by itself within a few thousand instructions, unless it
    /// fails, those included that the guest's allocator takes for arguments in memory of their own. Handles of resources only
    /// go from one of the engine's tables to another, or are lent by a mark there: destructors run when somebody drops a
    /// resource, which is not bounded in the guest and not a part of the call in the host.
    pub(crate) fn ends_at_once(&self) -> bool {
        match self.at_once() {
            AtOnce::Never => false,
            // What it does then takes as much stack as a guest may.
            AtOnce::UnlessItFails(_) => stack::is_threads(),
            AtOnce::Always => true,
        }
    }

    /// How often the engine's clock may tick during a call that ends at once.
    pub(crate) fn ticks_max(&self) -> u32 {
        match self.at_once() {
            AtOnce::UnlessItFails(ticks) => ticks,
            AtOnce::Never | AtOnce::Always => u32::MAX,
        }
    }

    fn at_once(&self) -> AtOnce {
        *self.at_once.get_or_init(|| self.find_at_once())
    }

    fn find_at_once(&self) -> AtOnce {
        let plan = self.plan();
        let Some(cost) = self.cost else {
            return AtOnce::Never;
        };
        let mut params = plan.params.iter();
        let sequences = params.try_fold(0_u32, |sum, param| sum.checked_add(param.node.sequences()?));
        let Some(sequences) = sequences.filter(|sequences| cost.is_small(*sequences)) else {
            return AtOnce::Never;
        };
        if self.is_concurrent || plan.params_flat > MAX_FLAT_PARAMS {
            return AtOnce::Never;
        }
        if cost.has_dead_ends {
            // However long the host takes between two entries into the guest, that is one tick there: to make room for each
            // argument, to run, and to clean up.
            AtOnce::UnlessItFails(DEAD_END_TICKS + sequences + 2)
        } else {
            AtOnce::Always
        }
    }

    /// Whether its arguments or its result hold handles of resources.
    pub(crate) fn has_resources(&self) -> bool {
        *self
            .has_resources
            .get_or_init(|| self.plan().nodes().any(Node::has_resources))
    }

    /// Whether it is asynchronous, or takes or gives streams.
    pub(crate) fn is_concurrent(&self) -> bool {
        self.is_concurrent
    }

    /// Whether its arguments or its result hold streams or futures.
    pub(crate) fn has_streams(&self) -> bool {
        self.is_concurrent && self.plan().nodes().any(Node::has_streams)
    }
}

fn export_index(
    component: &wasmtime::component::Component,
    function: &ExportedFunction,
) -> Result<ComponentExportIndex, Error> {
    let missing = || Error::UnknownMethod {
        method: function.path(),
        exports: Vec::new(),
    };
    let interface = match &function.interface {
        Some(name) => Some(component.get_export_index(None, &**name).ok_or_else(missing)?),
        None => None,
    };
    component
        .get_export_index(interface.as_ref(), &*function.signature.name)
        .ok_or_else(missing)
}

/// The engine's types of the handles in a plan, found by walking both trees once.
#[derive(Default)]
pub(crate) struct HandleTypes(OnceLock<Vec<(usize, InterfaceType)>>);

impl HandleTypes {
    /// The engine's type of `node`, which is a part of one of `roots`; `list` is the tuple type of the roots.
    pub(crate) fn of<'a>(
        &self,
        node: &Node,
        roots: impl Iterator<Item = &'a Node>,
        types: &ComponentTypes,
        list: InterfaceType,
    ) -> Option<InterfaceType> {
        let found = self.0.get_or_init(|| {
            let mut found = Vec::new();
            if let InterfaceType::Tuple(list) = list {
                for (root, ty) in roots.zip(&types[list].types) {
                    walk(root, *ty, types, &mut found);
                }
            }
            found.sort_unstable_by_key(|(node, _)| *node);
            found
        });
        let wanted = address(node);
        let at = found.binary_search_by_key(&wanted, |(node, _)| *node).ok()?;
        found.get(at).map(|(_, ty)| *ty)
    }
}

/// Plans are never moved, so a node's address names it.
fn address(node: &Node) -> usize {
    std::ptr::from_ref(node) as usize
}

fn walk(node: &Node, ty: InterfaceType, types: &ComponentTypes, found: &mut Vec<(usize, InterfaceType)>) {
    match (&node.kind, ty) {
        (Kind::Own(_) | Kind::Borrow(_), _) => {
            found.push((address(node), ty));
        }
        (Kind::Stream(element), InterfaceType::Stream(stream)) => {
            found.push((address(node), ty));
            let payload = types[types[stream].ty].payload;
            if let (Some(element), Some(payload)) = (element, payload) {
                walk(element, payload, types, found);
            }
        }
        (Kind::Future(value), InterfaceType::Future(future)) => {
            found.push((address(node), ty));
            let payload = types[types[future].ty].payload;
            if let (Some(value), Some(payload)) = (value, payload) {
                walk(value, payload, types, found);
            }
        }
        (Kind::List(element), InterfaceType::List(list)) => walk(element, types[list].element, types, found),
        (Kind::Map(entry), InterfaceType::Map(map_type)) => {
            let map_type = &types[map_type];
            walk(&entry.key, map_type.key, types, found);
            walk(&entry.value, map_type.value, types, found);
        }
        (Kind::FixedList(element, _), InterfaceType::FixedLengthList(list)) => {
            walk(element, types[list].element, types, found);
        }
        (Kind::Option { some, .. }, InterfaceType::Option(option)) => {
            walk(some, types[option].ty, types, found);
        }
        (Kind::Record(fields), InterfaceType::Record(record)) => {
            for (field, ty) in fields.iter().zip(&types[record].fields) {
                walk(&field.node, ty.ty, types, found);
            }
        }
        (Kind::Tuple(fields), InterfaceType::Tuple(tuple)) => {
            for (field, ty) in fields.iter().zip(&types[tuple].types) {
                walk(&field.node, *ty, types, found);
            }
        }
        (Kind::Result { ok, err, .. }, InterfaceType::Result(result)) => {
            let result = &types[result];
            for (node, ty) in [(ok, result.ok), (err, result.err)] {
                if let (Some(node), Some(ty)) = (node, ty) {
                    walk(node, ty, types, found);
                }
            }
        }
        (Kind::Variant { cases, .. }, InterfaceType::Variant(variant)) => {
            for (case, (_, ty)) in cases.iter().zip(&types[variant].cases) {
                if let (Some(node), Some(ty)) = (&case.payload, ty) {
                    walk(node, *ty, types, found);
                }
            }
        }
        _ => {}
    }
}
