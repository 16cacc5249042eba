//! [`Plan`]: from entries to the routes of each service, with a diagnostic for everything that cannot work.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use http::{HeaderValue, Method};
use wippy_registry::{
    Diagnostic, Entry, EntryId, LinkedEntry, Span,
    schema::{Config, http as declared},
};

use super::{
    endpoint::{Endpoint, Functions},
    files::Files,
    middleware::{self, Field, Layer, Making, Place, Problem, TokenStores},
    routes::{Conflict, FilesRoute, Methods, Router, Routes, parameters},
    tls,
};

/// The routes of every service.
#[derive(Default)]
pub struct Plan {
    services: BTreeMap<EntryId, Arc<Routes>>,
}

/// A plan while it is made.
#[derive(Default)]
struct Draft {
    services: BTreeMap<EntryId, Routes>,
    diagnostics: Vec<Diagnostic>,
}

/// What entries refer to.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The functions that endpoints call.
    pub functions: &'a dyn Functions,
    /// The token stores that `token_auth` names.
    pub stores: &'a dyn TokenStores,
    /// The folder of an `fs.directory` entry.
    pub folder: &'a dyn Fn(&EntryId) -> Option<PathBuf>,
}

impl Plan {
    /// The plan of all HTTP entries among `entries`, and what is wrong with them. What cannot work is left out.
    pub fn new(entries: &[LinkedEntry], surroundings: Surroundings<'_>) -> (Self, Vec<Diagnostic>) {
        let draft = Draft::new(entries, surroundings);
        let services = draft.services.into_iter();
        let services = services.map(|(id, routes)| (id, Arc::new(routes))).collect();
        (Self { services }, draft.diagnostics)
    }

    /// The routes of a service.
    pub fn routes(&self, service: &EntryId) -> Arc<Routes> {
        self.services.get(service).cloned().unwrap_or_default()
    }
}

impl Draft {
    fn new(entries: &[LinkedEntry], surroundings: Surroundings<'_>) -> Self {
        let mut plan = Self::default();
        let mut routers = BTreeMap::new();
        for linked in entries {
            let entry = &*linked.entry;
            if let Config::HttpService(service) = &linked.config {
                plan.service(entry, service);
            } else if let Config::HttpRouter(router) = &linked.config {
                routers.insert(
                    &entry.id,
                    (plan.router(entry, router, surroundings), &router.server),
                );
            }
        }
        for (router, server) in routers.values() {
            plan.routes(server).add_router(Arc::clone(router));
        }
        let mut added = Vec::new();
        for linked in entries {
            let entry = &*linked.entry;
            if let Config::HttpEndpoint(endpoint) = &linked.config {
                // A router with errors of its own was reported.
                let Some((router, server)) = routers.get(&endpoint.router) else {
                    continue;
                };
                if let Some((methods, endpoint)) = plan.endpoint(entry, endpoint, router, surroundings) {
                    plan.add(entry, server, &methods, &endpoint);
                    added.push(((*server).clone(), methods, endpoint));
                }
            } else if let Config::HttpStatic(files) = &linked.config {
                plan.files(entry, files, surroundings);
            }
        }
        // After everything that was asked for by name.
        for (server, methods, endpoint) in added {
            plan.routes(&server).add_implied(&methods, &endpoint);
        }
        plan
    }

    fn routes(&mut self, service: &EntryId) -> &mut Routes {
        self.services.entry(service.clone()).or_default()
    }

    fn service(&mut self, entry: &Entry, service: &declared::Service) {
        self.routes(&entry.id);
        if let Some(tls) = &service.tls
            && let Err(problem) = tls::acceptor(tls)
        {
            let message = format!("`{}`: `{}`: {problem}", entry.id, problem.field);
            self.diagnostics
                .push(Diagnostic::error("invalid-tls", message).primary(entry.span_at(problem.field), ""));
        }
    }

    fn router(
        &mut self,
        entry: &Entry,
        router: &declared::Router,
        surroundings: Surroundings<'_>,
    ) -> Arc<Router> {
        let before = self.layers(entry, &router.middleware, Place::BeforeMatch, surroundings);
        let after = self.layers(entry, &router.post_middleware, Place::AfterMatch, surroundings);
        Arc::new(Router {
            id: entry.id.clone(),
            prefix: router.prefix.trim_end_matches('/').to_owned(),
            before,
            after,
        })
    }

    fn layers(
        &mut self,
        entry: &Entry,
        declared: &declared::Middleware,
        place: Place,
        surroundings: Surroundings<'_>,
    ) -> Vec<Layer> {
        let namespace = entry.id.to_namespace();
        let making = Making {
            namespace: &namespace,
            place,
            stores: surroundings.stores,
        };
        let (layers, problems) = middleware::layers(declared, making);
        let reported = problems.iter().map(|problem| report(entry, place, problem));
        self.diagnostics.extend(reported);
        layers
    }

    fn endpoint(
        &mut self,
        entry: &Entry,
        declared: &declared::Endpoint,
        router: &Arc<Router>,
        surroundings: Surroundings<'_>,
    ) -> Option<(Methods, Arc<Endpoint>)> {
        let methods = match declared.method.as_str() {
            "*" => Methods::Any,
            method => Methods::One(method.parse::<Method>().ok()?),
        };
        let target = match surroundings.functions.target(&declared.func) {
            Ok(target) => target,
            Err(reason) => {
                let message = format!(
                    "`{}`: `{}` cannot answer requests: {reason}",
                    entry.id, declared.func
                );
                self.diagnostics.push(
                    Diagnostic::error("unmappable-function", message).primary(entry.span_at("func"), ""),
                );
                return None;
            }
        };
        let pattern: Arc<str> = format!("{}{}", router.prefix, declared.path).into();
        let endpoint = Endpoint {
            id: entry.id.clone(),
            parameters: parameters(&pattern),
            pattern,
            router: Arc::clone(router),
            function: declared.func.clone(),
            target,
            held: OnceLock::new(),
        };
        Some((methods, Arc::new(endpoint)))
    }

    fn add(&mut self, entry: &Entry, server: &EntryId, methods: &Methods, endpoint: &Arc<Endpoint>) {
        let Err(conflict) = self.routes(server).add(methods.clone(), Arc::clone(endpoint)) else {
            return;
        };
        let (id, path) = (&entry.id, &endpoint.pattern);
        let message = match conflict {
            Conflict::Taken(other) => format!("`{id}`: `{other}` answers the same method at `{path}`"),
            Conflict::Ambiguous(reason) => {
                format!("`{id}`: `{path}` cannot be told from another path: {reason}")
            }
        };
        self.diagnostics
            .push(Diagnostic::error("route-conflict", message).primary(entry.span_at("path"), ""));
    }

    fn files(&mut self, entry: &Entry, declared: &declared::Static, surroundings: Surroundings<'_>) {
        let layers = self.layers(entry, &declared.middleware, Place::BeforeMatch, surroundings);
        // A folder that is not there was reported.
        let Some(folder) = (surroundings.folder)(&declared.fs) else {
            return;
        };
        if declared.spa && declared.index.is_none() {
            let message = format!(
                "`{}`: `spa` needs an `index`, the file that every path gets",
                entry.id
            );
            self.diagnostics
                .push(Diagnostic::error("missing-field", message).primary(entry.span_at("spa"), ""));
        }
        let cache = declared.cache.as_deref().map(HeaderValue::from_str);
        if let Some(Err(_)) = cache {
            let message = format!("`{}`: `cache` is no value that a header can have", entry.id);
            self.diagnostics
                .push(Diagnostic::error("invalid-value", message).primary(entry.span_at("cache"), ""));
        }
        let files = Files {
            folder: inside(&folder, declared.directory.as_deref()),
            index: declared.index.clone().unwrap_or_else(|| "index.html".to_owned()),
            is_application: declared.spa,
            cache: cache.and_then(Result::ok),
        };
        self.routes(&declared.server).add_files(FilesRoute {
            id: entry.id.clone(),
            path: declared.path.as_str().into(),
            layers,
            files: Arc::new(files),
        });
    }
}

/// The folder in a folder. What would lead out of it leads to nothing.
fn inside(folder: &Path, directory: Option<&str>) -> PathBuf {
    let parts = directory.unwrap_or_default().split('/');
    parts
        .filter(|part| !matches!(*part, "" | "." | ".."))
        .fold(folder.to_path_buf(), |folder, part| folder.join(part))
}

fn report(entry: &Entry, place: Place, problem: &Problem) -> Diagnostic {
    let message = format!("`{}`: {}", entry.id, problem.message);
    let diagnostic = if problem.is_warning {
        Diagnostic::warning("middleware", message)
    } else {
        Diagnostic::error("middleware", message)
    };
    diagnostic
        .primary(span(entry, place, &problem.field), "")
        .did_you_mean(problem.suggestion.as_deref())
}

fn span(entry: &Entry, place: Place, field: &Field) -> Span {
    let (names, options) = match place {
        Place::BeforeMatch => ("middleware", "options"),
        Place::AfterMatch => ("post_middleware", "post_options"),
    };
    match field {
        Field::Name(index) => {
            let items = entry.at(names).and_then(wippy_registry::Node::as_list);
            let item = items.and_then(|items| items.get(*index));
            item.map_or_else(|| entry.span_at(names), wippy_registry::Node::span)
        }
        Field::Option(name) => {
            let map = entry.at(options).and_then(wippy_registry::Node::as_map);
            let field = map.and_then(|map| map.get(name));
            match field {
                Some(field) => field.key_span,
                None => entry.span_at(names),
            }
        }
    }
}
