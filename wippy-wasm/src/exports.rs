//! Exports: which function of a component a `method` names.

use std::sync::Arc;

use wippy_wit::{Signature, names};
use wit_component::DecodedWasm;
use wit_parser::{Resolve, TypeDefKind, WorldId, WorldItem, WorldKey};

use crate::{Error, error_contexts};

/// A function that a component exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedFunction {
    /// The interface that it belongs to, with package and version: `demo:math/ops@1.2.0`.
    pub interface: Option<Arc<str>>,
    /// Its signature.
    pub signature: Arc<Signature>,
}

impl ExportedFunction {
    /// The name in full: `demo:math/ops@1.2.0#add`.
    pub fn path(&self) -> String {
        match &self.interface {
            Some(interface) => format!("{interface}#{}", self.signature.name),
            None => self.signature.name.to_string(),
        }
    }
}

/// What a component offers and needs, read from its types.
#[derive(Debug, Clone, Default)]
pub struct Surface {
    /// The functions that it exports.
    pub exports: Vec<ExportedFunction>,
    /// The interfaces and functions that it imports.
    pub imports: Vec<String>,
    /// Whether it has error contexts in its types, or the functions to use them by.
    pub has_error_contexts: bool,
}

impl Surface {
    /// Reads the types of a component.
    ///
    /// # Errors
    /// [`Error::Invalid`] when they cannot be read.
    pub fn read(component: &[u8]) -> Result<Self, Error> {
        let decoded = wit_component::decode(component);
        let decoded = decoded.map_err(|error| Error::Invalid {
            message: error.root_cause().to_string(),
        })?;
        match &decoded {
            DecodedWasm::Component(resolve, world) => Ok(Self {
                has_error_contexts: names_error_context(resolve) || error_contexts::has_built_ins(component),
                ..Self::of_world(resolve, *world)
            }),
            DecodedWasm::WitPackage(..) => Err(Error::Invalid {
                message: "it is a WIT package, not a component".into(),
            }),
        }
    }

    fn of_world(resolve: &Resolve, world: WorldId) -> Self {
        let Some(world) = resolve.worlds.get(world) else {
            return Self::default();
        };
        let mut surface = Self::default();
        for (key, item) in &world.exports {
            let name = key_name(resolve, key);
            match item {
                WorldItem::Function(function) => surface.exports.push(ExportedFunction {
                    interface: None,
                    signature: Arc::new(Signature::from_function(resolve, function)),
                }),
                WorldItem::Interface { id, .. } => {
                    let functions = resolve
                        .interfaces
                        .get(*id)
                        .into_iter()
                        .flat_map(|i| i.functions.values());
                    let interface: Arc<str> = name.into();
                    surface.exports.extend(functions.map(|function| ExportedFunction {
                        interface: Some(interface.clone()),
                        signature: Arc::new(Signature::from_function(resolve, function)),
                    }));
                }
                WorldItem::Type { .. } => {}
            }
        }
        for (key, item) in &world.imports {
            // An interface that only names types asks nothing of the host.
            let asks = match item {
                WorldItem::Function(_) => true,
                WorldItem::Interface { id, .. } => resolve.interfaces.get(*id).is_some_and(|interface| {
                    !interface.functions.is_empty()
                        || interface.types.values().any(|id| {
                            resolve
                                .types
                                .get(*id)
                                .is_some_and(|ty| matches!(ty.kind, wit_parser::TypeDefKind::Resource))
                        })
                }),
                WorldItem::Type { .. } => false,
            };
            if asks {
                surface.imports.push(key_name(resolve, key));
            }
        }
        surface
    }

    /// The function that `method` names: in full, by interface and function, or by a short form that only one has.
    ///
    /// # Errors
    /// [`Error::UnknownMethod`] or [`Error::AmbiguousMethod`].
    pub fn find(&self, method: &str) -> Result<&ExportedFunction, Error> {
        let (interface, function) = match method.rsplit_once('#') {
            Some((interface, function)) => (Some(interface), function),
            None => (None, method),
        };
        let exact = self.exports.iter().find(|export| export.path() == method);
        if let Some(export) = exact {
            return Ok(export);
        }
        let named = |export: &&ExportedFunction| {
            is_function(&export.signature.name, function)
                && interface.is_none_or(|wanted| {
                    export
                        .interface
                        .as_deref()
                        .is_some_and(|found| is_interface(found, wanted))
                })
        };
        let mut candidates: Vec<_> = self.exports.iter().filter(named).collect();
        // A function of the world itself is meant before one of an interface.
        if interface.is_none()
            && let Some(own) = candidates.iter().find(|export| export.interface.is_none())
        {
            return Ok(own);
        }
        match candidates.len() {
            0 => Err(Error::UnknownMethod {
                method: method.to_owned(),
                exports: self.paths(),
            }),
            1 => candidates.pop().ok_or_else(|| Error::UnknownMethod {
                method: method.to_owned(),
                exports: Vec::new(),
            }),
            _ => Err(Error::AmbiguousMethod {
                method: method.to_owned(),
                candidates: candidates.iter().map(|export| export.path()).collect(),
            }),
        }
    }

    /// The names of all exported functions, in full.
    pub fn paths(&self) -> Vec<String> {
        self.exports.iter().map(ExportedFunction::path).collect()
    }
}

/// Whether any type or function has an error context in it.
fn names_error_context(resolve: &Resolve) -> bool {
    let in_worlds = resolve.worlds.iter().flat_map(|(_, world)| {
        let items = world.imports.values().chain(world.exports.values());
        items.filter_map(|item| match item {
            WorldItem::Function(function) => Some(function),
            WorldItem::Interface { .. } | WorldItem::Type { .. } => None,
        })
    });
    let in_interfaces = resolve.interfaces.iter();
    let functions = in_worlds.chain(in_interfaces.flat_map(|(_, interface)| interface.functions.values()));
    let is_error_context = |ty: &wit_parser::Type| matches!(ty, wit_parser::Type::ErrorContext);
    let mut in_functions = functions.flat_map(|function| {
        let params = function.params.iter().map(|param| &param.ty);
        params.chain(&function.result)
    });
    let mut types = resolve.types.iter();
    in_functions.any(is_error_context) || types.any(|(_, ty)| parts(&ty.kind).any(is_error_context))
}

/// The types that a type is made of.
fn parts(kind: &TypeDefKind) -> Box<dyn Iterator<Item = &wit_parser::Type> + '_> {
    match kind {
        TypeDefKind::Record(record) => Box::new(record.fields.iter().map(|field| &field.ty)),
        TypeDefKind::Variant(variant) => Box::new(variant.cases.iter().filter_map(|case| case.ty.as_ref())),
        TypeDefKind::Tuple(tuple) => Box::new(tuple.types.iter()),
        TypeDefKind::Result(result) => Box::new(result.ok.iter().chain(&result.err)),
        TypeDefKind::Map(key, value) => Box::new([key, value].into_iter()),
        TypeDefKind::Option(ty)
        | TypeDefKind::List(ty)
        | TypeDefKind::FixedLengthList(ty, _)
        | TypeDefKind::Type(ty) => Box::new(std::iter::once(ty)),
        TypeDefKind::Future(ty) | TypeDefKind::Stream(ty) => Box::new(ty.iter()),
        TypeDefKind::Flags(_)
        | TypeDefKind::Enum(_)
        | TypeDefKind::Handle(_)
        | TypeDefKind::Resource
        | TypeDefKind::Unknown => Box::new(std::iter::empty()),
    }
}

fn key_name(resolve: &Resolve, key: &WorldKey) -> String {
    resolve.name_world_key(key)
}

/// `[method]counter.increment` goes by `increment`, `counter.increment` and its name in full.
fn is_function(name: &str, wanted: &str) -> bool {
    let short = name.split_once(']').map_or(name, |(_, rest)| rest);
    [
        Some(name),
        Some(short),
        short.split_once('.').map(|(_, method)| method),
    ]
    .into_iter()
    .flatten()
    .any(|name| names::same(name, wanted))
}

/// `demo:math/ops@1.2.0` goes by `ops`, `ops@1.2.0`, `demo:math/ops` and its name in full.
fn is_interface(name: &str, wanted: &str) -> bool {
    let (unversioned, version) = name
        .split_once('@')
        .map_or((name, None), |(name, version)| (name, Some(version)));
    let (wanted, wanted_version) = wanted
        .split_once('@')
        .map_or((wanted, None), |(name, version)| (name, Some(version)));
    if wanted_version.is_some() && wanted_version != version {
        return false;
    }
    let short = unversioned
        .rsplit_once('/')
        .map_or(unversioned, |(_, short)| short);
    names::same(unversioned, wanted) || names::same(short, wanted)
}
