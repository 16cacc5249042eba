//! The routes of one service: which endpoint, which files or which router a path belongs to.
//!
//! Paths are matched as they were sent, and parameters are decoded afterwards, so that an encoded slash never makes a
//! path another one.

use std::sync::Arc;

use http::Method;
use percent_encoding::percent_decode_str;
use wippy_registry::EntryId;
use wippy_security::Dispatcher;

use super::{
    endpoint::Endpoint,
    files::Files,
    middleware::{Layer, RateLimit},
};

/// The routes of a service. They never change; others take their place.
#[derive(Default)]
pub struct Routes {
    paths: matchit::Router<usize>,
    entries: Vec<PathRoutes>,
    /// Longest path first.
    files: Vec<FilesRoute>,
    /// Longest prefix first.
    routers: Vec<Arc<Router>>,
}

/// A router: a prefix, and what surrounds the endpoints behind it.
pub(super) struct Router {
    pub(super) id: EntryId,
    pub(super) prefix: String,
    pub(super) before: Vec<Layer>,
    pub(super) after: Vec<Layer>,
}

/// Everything that answers one path.
struct PathRoutes {
    /// The path as it is matched.
    pattern: String,
    by_method: Vec<(Methods, Arc<Endpoint>)>,
}

/// Which methods an endpoint answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Methods {
    One(Method),
    Any,
}

/// Files under a path.
pub(super) struct FilesRoute {
    pub(super) id: EntryId,
    pub(super) path: Arc<str>,
    pub(super) layers: Vec<Layer>,
    pub(super) files: Arc<Files>,
}

/// What a request comes to.
pub(super) enum Found<'a> {
    /// An endpoint, with the parameters of its route.
    Endpoint(&'a Arc<Endpoint>, Vec<(Arc<str>, String)>),
    /// A path with other methods than that of the request.
    OtherMethods(&'a Arc<Router>, String),
    /// Files; the rest of the path.
    Files(&'a FilesRoute, &'a str),
    /// Nothing behind the prefix of a router.
    Prefix(&'a Arc<Router>),
    Nothing,
}

/// Why a route cannot be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Conflict {
    /// That endpoint has the method and the path already.
    Taken(EntryId),
    /// It and another path could match the same requests.
    Ambiguous(String),
}

impl Routes {
    /// How many endpoints there are.
    pub fn len(&self) -> usize {
        self.entries.iter().map(|path| path.by_method.len()).sum()
    }

    /// Whether nothing is served.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.files.is_empty()
    }

    pub(super) fn add_router(&mut self, router: Arc<Router>) {
        self.routers.push(router);
        self.routers
            .sort_by_key(|router| std::cmp::Reverse(router.prefix.len()));
    }

    pub(super) fn add_files(&mut self, files: FilesRoute) {
        self.files.push(files);
        self.files
            .sort_by_key(|files| std::cmp::Reverse(files.path.len()));
    }

    /// Adds an endpoint.
    ///
    /// # Errors
    /// When another one has its place.
    pub(super) fn add(&mut self, methods: Methods, endpoint: Arc<Endpoint>) -> Result<(), Conflict> {
        let pattern = matched_form(&endpoint.pattern);
        self.add_at(&pattern, methods, endpoint)
    }

    /// Adds the paths that an endpoint answers beside its own, where nobody else does: `/files/` for
    /// `/files/{rest...}`, and `/api` for a path `/` behind the prefix `/api`.
    pub(super) fn add_implied(&mut self, methods: &Methods, endpoint: &Arc<Endpoint>) {
        let own = matched_form(&endpoint.pattern);
        let mut implied = Vec::new();
        if let Some(at) = own.find("{*") {
            implied.push(own.get(..at).unwrap_or_default().to_owned());
        } else if let Some(path) = own.strip_suffix('/').filter(|path| !path.is_empty()) {
            implied.push(path.to_owned());
        }
        for pattern in implied {
            // Whoever has the place keeps it.
            let _ = self.add_at(&pattern, methods.clone(), Arc::clone(endpoint));
        }
    }

    fn add_at(&mut self, pattern: &str, methods: Methods, endpoint: Arc<Endpoint>) -> Result<(), Conflict> {
        let known = self.entries.iter().position(|path| path.pattern == pattern);
        let index = known.map_or_else(|| self.add_path(pattern), Ok)?;
        let Some(path) = self.entries.get_mut(index) else {
            return Ok(());
        };
        if let Some((_, known)) = path.by_method.iter().find(|(known, _)| *known == methods) {
            return Err(Conflict::Taken(known.id.clone()));
        }
        path.by_method.push((methods, endpoint));
        Ok(())
    }

    fn add_path(&mut self, pattern: &str) -> Result<usize, Conflict> {
        let index = self.entries.len();
        self.paths
            .insert(pattern, index)
            .map_err(|error| Conflict::Ambiguous(error.to_string()))?;
        self.entries.push(PathRoutes {
            pattern: pattern.to_owned(),
            by_method: Vec::new(),
        });
        Ok(index)
    }

    /// What a request comes to.
    pub(super) fn find<'a>(&'a self, method: &Method, path: &'a str) -> Found<'a> {
        if let Ok(matched) = self.paths.at(path)
            && let Some(routes) = self.entries.get(*matched.value)
        {
            return match routes.endpoint(method) {
                Some(endpoint) => {
                    let values = matched.params.iter().map(|(_, value)| value);
                    Found::Endpoint(endpoint, endpoint.params(values))
                }
                None => match routes.by_method.first() {
                    Some((_, endpoint)) => Found::OtherMethods(&endpoint.router, routes.allowed()),
                    None => Found::Nothing,
                },
            };
        }
        if let Some((files, rest)) = self
            .files
            .iter()
            .find_map(|files| Some((files, below(path, &files.path)?)))
        {
            return Found::Files(files, rest);
        }
        match self
            .routers
            .iter()
            .find(|router| below(path, &router.prefix).is_some())
        {
            Some(router) => Found::Prefix(router),
            None => Found::Nothing,
        }
    }

    /// Takes hold of the functions behind all endpoints, as they are now.
    pub(super) fn hold(&self, dispatcher: &Dispatcher) {
        for (_, endpoint) in self.entries.iter().flat_map(|path| &path.by_method) {
            endpoint.hold(dispatcher);
        }
    }

    /// Goes on where `before` stopped with what is counted over many requests.
    pub(super) fn continue_from(&self, before: &Self) {
        for router in &self.routers {
            if let Some(known) = before.routers.iter().find(|known| known.id == router.id) {
                continue_layers(&router.before, &known.before);
            }
        }
        for files in &self.files {
            if let Some(known) = before.files.iter().find(|known| known.id == files.id) {
                continue_layers(&files.layers, &known.layers);
            }
        }
    }
}

fn continue_layers(layers: &[Layer], before: &[Layer]) {
    let (mut new, mut old) = (limits(layers), limits(before));
    while let (Some(new), Some(old)) = (new.next(), old.next()) {
        new.continue_from(old);
    }
}

fn limits(layers: &[Layer]) -> impl Iterator<Item = &RateLimit> {
    layers.iter().filter_map(|layer| match layer {
        Layer::RateLimit(limit) => Some(limit),
        _ => None,
    })
}

impl PathRoutes {
    fn endpoint(&self, method: &Method) -> Option<&Arc<Endpoint>> {
        let of = |wanted: &Methods| {
            self.by_method
                .iter()
                .find_map(|(methods, endpoint)| (methods == wanted).then_some(endpoint))
        };
        of(&Methods::One(method.clone()))
            .or_else(|| of(&Methods::Any))
            .or_else(|| {
                if method == Method::HEAD {
                    of(&Methods::One(Method::GET))
                } else {
                    None
                }
            })
    }

    /// The value of `Allow`.
    fn allowed(&self) -> String {
        let mut allowed: Vec<&str> = Vec::new();
        for (methods, _) in &self.by_method {
            if let Methods::One(method) = methods {
                allowed.push(method.as_str());
            }
        }
        if allowed.contains(&"GET") && !allowed.contains(&"HEAD") {
            allowed.push("HEAD");
        }
        if !allowed.contains(&"OPTIONS") {
            allowed.push("OPTIONS");
        }
        allowed.join(", ")
    }
}

/// What is left of a path behind a prefix that ends where a segment does.
fn below<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let rest = path.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// A pattern as it is matched: parameters are numbered, since two endpoints may call the same one differently.
fn matched_form(pattern: &str) -> String {
    let mut form = String::with_capacity(pattern.len());
    let mut count = 0;
    for (index, segment) in pattern.split('/').enumerate() {
        if index > 0 {
            form.push('/');
        }
        match parameter(segment) {
            None => form.push_str(segment),
            Some((_, is_rest)) => {
                form.push_str(if is_rest { "{*p" } else { "{p" });
                form.push_str(&count.to_string());
                form.push('}');
                count += 1;
            }
        }
    }
    form
}

/// The name in a segment of a pattern, and whether it takes the rest of the path.
fn parameter(segment: &str) -> Option<(&str, bool)> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    Some(match name.strip_suffix("...") {
        Some(name) => (name, true),
        None => (name, false),
    })
}

/// The names of a pattern's parameters in their order.
pub(super) fn parameters(pattern: &str) -> Vec<Arc<str>> {
    let names = pattern.split('/').filter_map(parameter);
    names.map(|(name, _)| name.into()).collect()
}

impl Endpoint {
    /// The parameters by name, decoded. One that an implied path has no place for is empty.
    fn params<'v>(&self, mut values: impl Iterator<Item = &'v str>) -> Vec<(Arc<str>, String)> {
        let decoded = |value: &str| percent_decode_str(value).decode_utf8_lossy().into_owned();
        self.parameters
            .iter()
            .map(|name| (Arc::clone(name), values.next().map(decoded).unwrap_or_default()))
            .collect()
    }
}
