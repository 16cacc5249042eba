//! [`Live`]: the entries of a running application, and the one way to change them.
//!
//! A change is first looked at as a whole: all entries as they would be are linked, and what is new or touched by it is
//! made ready, the same way as when the application starts. Only if nothing is wrong does the registry take the change, and
//! what was made ready takes the place of what was there. Calls in flight finish on what they began with.

mod stage;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use wippy_lua::{Event, LiveRegistry, World};
use wippy_registry::{
    Change, ChangeSet, Entry, EntryId, Linked, Loaded, Op, Registry, Rejection, Snapshot, Validator, Version,
    schema,
};
use wippy_security::{CallError, Dispatcher, ErrorKind, Handler, Permit, Policies, traced};
use wippy_wit::Value;

use self::stage::Staged;
use crate::{
    boot::{
        Environment, Ground, Libraries, MadeReady, Process, Ready, Resources, Running, SharedEngine,
        policies::own_identity, tokens,
    },
    config::Config,
    host::ProcessHost,
    http::{HttpServer, Plan, Routes},
    report::Problems,
};

/// The entries of a running application.
pub(crate) struct Live {
    this: Weak<Self>,
    registry: Registry,
    dispatcher: Arc<Dispatcher>,
    ground: Ground,
    current: Mutex<Arc<Current>>,
    /// Taken by whoever changes the entries, on a thread where waiting does not matter.
    changing: Mutex<()>,
    gate: Arc<Gate>,
    /// The HTTP servers that take other routes when the entries change.
    servers: Mutex<Vec<Weak<HttpServer>>>,
    /// The hosts that take another size when their entries change.
    hosts: OnceLock<BTreeMap<EntryId, Arc<ProcessHost>>>,
}

/// What the entries are now.
#[derive(Default)]
struct Current {
    linked: Option<Arc<Linked>>,
    /// The entries as files have them, with the places of everything.
    written: BTreeMap<EntryId, Arc<Entry>>,
    libraries: Libraries,
    running: Running,
    http: Plan,
}

/// Why a change was not made. Nothing has changed then.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Something is wrong with the entries as they would be.
    Problems(Problems),
    /// The change does not fit the entries as they are, or could not be recorded.
    Registry(wippy_registry::Error),
}

/// Lets the registry take only what was made ready before.
#[derive(Default)]
struct Gate {
    is_open: AtomicBool,
}

impl Live {
    /// The entries of an application that is about to start.
    pub(crate) fn new(
        linked: &Linked,
        settings: &Config,
        dispatcher: Arc<Dispatcher>,
        engine: SharedEngine,
    ) -> Arc<Self> {
        let environment = Arc::new(Environment::new(linked, settings.clone()));
        let resources = Arc::new(Resources::default());
        let gate = Arc::new(Gate::default());
        let registry = Registry::new();
        // Nobody changes a registry that nobody else has.
        let _ = registry.add_validator(gate.clone());
        Arc::new_cyclic(|this: &Weak<Self>| {
            let live: Weak<dyn LiveRegistry> = this.clone();
            let world = World {
                variables: Some(environment.clone()),
                volumes: Some(resources.clone()),
                stores: Some(resources.clone()),
                registry: Some(live),
                ..World::default()
            };
            let ground = Ground::new(
                settings.clone(),
                Arc::clone(&dispatcher),
                environment,
                resources,
                engine,
                world,
            );
            Self {
                this: this.clone(),
                registry,
                dispatcher,
                ground,
                servers: Mutex::default(),
                hosts: OnceLock::new(),
                current: Mutex::default(),
                changing: Mutex::default(),
                gate,
            }
        })
    }

    /// The entries that the application starts with, made ready as far as they can be.
    pub(crate) fn begin(&self, linked: Arc<Linked>, made: MadeReady) -> Running {
        if linked.is_ok() {
            // What was linked without errors fits into an empty registry.
            let _ = self.gate.pass(|| self.registry.apply(linked.change_set()));
        }
        let written = linked.entries.iter().map(|entry| &entry.entry);
        let written = written
            .map(|entry| (entry.id.clone(), Arc::clone(entry)))
            .collect();
        self.install(Staged::initial(linked, written, made));
        self.current().running.clone()
    }

    /// The entries, for reading.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The functions.
    pub(crate) fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.dispatcher
    }

    /// What entries are made ready on.
    pub(crate) fn ground(&self) -> &Ground {
        &self.ground
    }

    /// A process as it is now.
    pub(crate) fn process(&self, id: &EntryId) -> Option<Arc<Process>> {
        self.current().running.processes.get(id).cloned()
    }

    /// Makes a change, all of it or none. It compiles and may take long.
    ///
    /// # Errors
    /// What is wrong; nothing changes then.
    pub(crate) fn change(&self, changes: ChangeSet) -> Result<Version, Refusal> {
        let _changing = self.changing();
        self.change_to(changes, None)
    }

    /// Makes the entries what they were at an earlier version.
    ///
    /// # Errors
    /// As [`change`](Self::change), or that the history does not have the version.
    pub(crate) fn return_to(&self, version: Version) -> Result<Version, Refusal> {
        let _changing = self.changing();
        let target = self.registry.snapshot_at(version).map_err(Refusal::Registry)?;
        let changes = ChangeSet::between(self.registry.snapshot().iter(), target.iter());
        self.change_to(changes, None)
    }

    /// Makes the entries what files say now. Entries that came while the application ran stay. `None` when nothing has
    /// changed.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub(crate) fn reload(&self, loaded: Loaded) -> Result<Option<Version>, Refusal> {
        let _changing = self.changing();
        let current = self.current();
        let written: BTreeMap<EntryId, Arc<Entry>> = loaded
            .entries
            .iter()
            .map(|entry| (entry.id.clone(), Arc::new(entry.clone())))
            .collect();
        // What the files had before and what they have now; what a program made is in neither.
        let snapshot = self.registry.snapshot();
        let before: Vec<Arc<Entry>> = snapshot
            .iter()
            .filter(|entry| current.written.contains_key(&entry.id) || written.contains_key(&entry.id))
            .cloned()
            .collect();
        let changes = ChangeSet::between(&before, written.values());
        let is_unchanged = changes.is_empty()
            && !loaded
                .diagnostics
                .iter()
                .any(wippy_registry::Diagnostic::is_error);
        let has_repeated = written.len() != loaded.entries.len();
        if is_unchanged && !has_repeated {
            return Ok(None);
        }
        self.change_to(changes, Some((loaded, written))).map(Some)
    }

    fn change_to(
        &self,
        changes: ChangeSet,
        files: Option<(Loaded, BTreeMap<EntryId, Arc<Entry>>)>,
    ) -> Result<Version, Refusal> {
        let after = self.registry.preview(&changes).map_err(Refusal::Registry)?;
        let staged =
            Staged::prepare(&self.current(), &self.ground, &after, files).map_err(Refusal::Problems)?;
        let ops = changes.ops().to_vec();
        let version = self
            .gate
            .pass(|| self.registry.apply(changes))
            .map_err(Refusal::Registry)?;
        self.install(staged);
        self.announce(&ops);
        Ok(version)
    }

    /// Puts what was made ready in the place of what was there.
    fn install(&self, staged: Staged) {
        let Staged {
            linked,
            written,
            made,
        } = staged;
        self.ground.environment.update(&linked);
        self.ground.resources.update(&linked, &made.directories);
        self.install_security(&linked, made.policies);
        self.rescale(&linked);
        let mut running = self.current().running.clone();
        let functions: Vec<_> = made
            .entries
            .into_iter()
            .filter_map(|(id, ready)| self.put(&mut running, &linked, id, ready))
            .collect();
        self.dispatcher.insert_all(functions);
        let runs = |id: &EntryId| linked.get(id).is_some_and(stage::runs);
        for id in self.current().functions().filter(|id| !runs(id)) {
            self.dispatcher.remove(id);
        }
        running.functions.retain(|id, _| runs(id));
        running.scripts.retain(|id, _| runs(id));
        if let Some(metrics) = &self.ground.metrics {
            metrics.retain(runs);
        }
        running.processes.retain(|id, _| {
            if !runs(id) {
                self.dispatcher.processes().remove(id);
            }
            runs(id)
        });
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Current {
            linked: Some(linked),
            written,
            libraries: made.libraries,
            running,
            http: made.http,
        });
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.retain(|server| server.upgrade().is_some());
        for server in servers.iter().filter_map(Weak::upgrade) {
            server.set_routes(self.routes(server.id()));
        }
    }

    /// The routes of an HTTP service as its entries say now.
    pub(crate) fn routes(&self, service: &EntryId) -> Arc<Routes> {
        self.current().http.routes(service)
    }

    /// From now on `server` has the routes that its entries say, whatever they are.
    pub(crate) fn route(&self, server: &Arc<HttpServer>) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.push(Arc::downgrade(server));
        drop(servers);
        server.set_routes(self.routes(server.id()));
    }

    /// From now on `hosts` have the sizes that their entries say, whatever they are.
    pub(crate) fn size(&self, hosts: BTreeMap<EntryId, Arc<ProcessHost>>) {
        // An application has its hosts once.
        let _ = self.hosts.set(hosts);
    }

    fn rescale(&self, linked: &Linked) {
        for (id, host) in self.hosts.get().into_iter().flatten() {
            if let Some(schema::Config::ProcessHost(config)) = linked.get(id).map(|entry| &entry.config) {
                host.rescale(config);
            }
        }
    }

    /// Puts policies and token stores in place. Token stores that stay as they were keep their keys.
    fn install_security(&self, linked: &Linked, policies: Policies) {
        self.dispatcher.set_policies(policies);
        let is_same = |known: &Arc<Linked>| tokens::are_same(known, linked);
        if self.current().linked.as_ref().is_some_and(is_same) {
            return;
        }
        // What is wrong with them was said before.
        let find = |id: &EntryId| self.ground.resources.find_store(id);
        let stores = tokens::token_stores(linked, find, &mut Vec::new());
        self.dispatcher.set_token_stores(stores);
    }

    /// Puts an entry where it is found; a function is answered, for the function table.
    fn put(
        &self,
        running: &mut Running,
        linked: &Linked,
        id: EntryId,
        ready: Ready,
    ) -> Option<(EntryId, Arc<dyn Handler>)> {
        // An entry may have become something else.
        running.functions.remove(&id);
        running.scripts.remove(&id);
        running.processes.remove(&id);
        let processes = self.dispatcher.processes();
        if matches!(ready, Ready::LuaFunction { .. } | Ready::WasmFunction(_)) {
            processes.remove(&id);
        } else {
            self.dispatcher.remove(&id);
        }
        let identity = || {
            let entry = linked.get(&id)?;
            // What it names and is not there was reported when the entries were linked.
            own_identity(&entry.config, &self.dispatcher.policies()).ok()
        };
        match ready {
            Ready::LuaFunction { function, handler } => {
                let identity = identity()?;
                running.scripts.insert(id.clone(), function);
                return Some(self.watched(id, identity.around(handler)));
            }
            Ready::WasmFunction(function) => {
                running.functions.insert(id.clone(), Arc::clone(&function));
                return Some(self.watched(id, function));
            }
            Ready::LuaProcess(process) => {
                if let Some(identity) = identity() {
                    processes.insert(id.clone(), identity.around_process(process));
                    running.processes.insert(id, Arc::new(Process::Lua));
                }
            }
            Ready::WasmProcess(process) => {
                processes.insert(id.clone(), Arc::clone(&process) as _);
                running.processes.insert(id, Arc::new(Process::Wasm(process)));
            }
        }
        None
    }

    /// A function, traced and counted if anybody traces and counts.
    fn watched(&self, id: EntryId, function: Arc<dyn Handler>) -> (EntryId, Arc<dyn Handler>) {
        let function = match self.dispatcher.tracer() {
            Some(_) => traced(id.clone(), function),
            None => function,
        };
        let function = match &self.ground.metrics {
            Some(metrics) => metrics.calls(&id).around(function),
            None => function,
        };
        (id, function)
    }

    /// Tells whoever listens what changed.
    fn announce(&self, ops: &[Op]) {
        for op in ops {
            let kind = match op {
                Op::Create(_) => "entry.create",
                Op::Update(_) => "entry.update",
                Op::Delete(_) => "entry.delete",
            };
            self.ground.world.events.send(Event {
                system: "registry".to_owned(),
                kind: kind.to_owned(),
                path: op.id().to_string(),
                data: Value::Nil,
            });
        }
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        // What is behind it is consistent even if somebody panicked.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the entries on a thread where that may take long. Once begun, it goes on to its end.
    async fn elsewhere(
        &self,
        change: impl FnOnce(&Self) -> Result<Version, Refusal> + Send + 'static,
    ) -> Result<Version, CallError> {
        let this = self.this.clone();
        let changed = tokio::task::spawn_blocking(move || {
            let live = this.upgrade().ok_or_else(stopping)?;
            change(&live).map_err(CallError::from)
        });
        changed
            .await
            .unwrap_or_else(|_| Err(CallError::internal("the change was interrupted")))
    }
}

#[async_trait]
impl LiveRegistry for Live {
    fn registry(&self) -> &Registry {
        &self.registry
    }

    async fn apply(&self, _permit: Permit, changes: ChangeSet) -> Result<Version, CallError> {
        self.elsewhere(move |live| live.change(changes)).await
    }

    async fn apply_version(&self, _permit: Permit, version: Version) -> Result<Version, CallError> {
        self.elsewhere(move |live| live.return_to(version)).await
    }
}

#[cold]
fn stopping() -> CallError {
    CallError::new(ErrorKind::Unavailable, "the application is stopping")
}

impl Current {
    /// The entries that are functions.
    fn functions(&self) -> impl Iterator<Item = &EntryId> {
        let entries = self.linked.iter().flat_map(|linked| &linked.entries);
        entries
            .filter(|entry| stage::is_function(entry))
            .map(|entry| &entry.entry.id)
    }
}

impl Gate {
    /// Lets what `change` does pass. Only one does at a time.
    fn pass<T>(&self, change: impl FnOnce() -> T) -> T {
        self.is_open.store(true, Ordering::SeqCst);
        let outcome = change();
        self.is_open.store(false, Ordering::SeqCst);
        outcome
    }
}

impl Validator for Gate {
    fn validate(&self, change: &Change, _after: &Snapshot) -> Result<(), Rejection> {
        if self.is_open.load(Ordering::SeqCst) {
            return Ok(());
        }
        let reason = "entries of a running application are changed through it, so that they are ready before";
        Err(Rejection::new(change.id(), reason))
    }
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Registry(error) => error.into(),
            Refusal::Problems(problems) => rejected(&problems),
        }
    }
}

/// What is wrong, for the script that wanted the change: the first problem as the message, all as details.
fn rejected(problems: &Problems) -> CallError {
    let errors = || {
        problems
            .diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.is_error())
    };
    let first = errors().next().map(|diagnostic| {
        let place = diagnostic.labels.iter().find(|label| label.primary);
        let file = place.and_then(|label| problems.sources.path(label.span));
        match file {
            Some(file) if !diagnostic.message.contains(file) => format!("{file}: {}", diagnostic.message),
            Some(_) | None => diagnostic.message.clone(),
        }
    });
    let more = match errors().count() {
        0 | 1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let message = format!("the change was rejected: {}{more}", first.unwrap_or_default());
    let details = errors().map(|diagnostic| {
        let place = diagnostic.labels.iter().find(|label| label.primary);
        let position = place.and_then(|label| problems.sources.position(label.span));
        let line = position.and_then(|position| i64::try_from(position.line).ok());
        let file = place.and_then(|label| problems.sources.path(label.span));
        Value::record([
            ("code", Value::from(diagnostic.code)),
            ("message", diagnostic.message.as_str().into()),
            ("file", file.map_or(Value::Nil, Value::from)),
            ("line", line.map_or(Value::Nil, Value::from)),
            (
                "help",
                Value::array(diagnostic.help.iter().map(|help| Value::from(help.as_str()))),
            ),
        ])
    });
    let details = Value::record([("diagnostics", Value::array(details))]);
    CallError::invalid(message).with_details(details)
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}
