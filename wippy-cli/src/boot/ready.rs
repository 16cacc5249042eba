//! Making entries ready: the one way by which entries become something that runs, when the application starts and when
//! entries change while it runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use wippy_lua::{LuaFunction, LuaProcess, Services, World};
use wippy_registry::{Diagnostic, EntryId, Linked, LinkedEntry, schema};
use wippy_security::{Dispatcher, Handler, Policies};
use wippy_wasm::{Engine, WasmFunction, WasmProcess};

use super::{
    Directories, Environment, Resources, SharedEngine, classes::WorkerClasses, http, lua, parallel, policies,
    tokens, wasm,
};
use crate::{config::Config, http::Plan, metrics::Metrics, terminal::StandardTerminal};

/// What entries are made ready on. It stays the same while they change.
pub(crate) struct Ground {
    pub(crate) settings: Config,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) environment: Arc<Environment>,
    pub(crate) resources: Arc<Resources>,
    pub(super) engine: SharedEngine,
    /// The threads of functions that have their own.
    pub(super) classes: WorkerClasses,
    /// What scripts may reach.
    pub(crate) world: World,
    /// What is counted, if anything is.
    pub(crate) metrics: Option<Arc<Metrics>>,
}

/// A process that can be started.
pub(crate) enum Process {
    Lua,
    Wasm(Arc<WasmProcess>),
}

/// One entry, ready to run.
pub(crate) enum Ready {
    LuaFunction {
        function: Arc<LuaFunction>,
        /// What calls go to: the function, or what tries its calls again.
        handler: Arc<dyn Handler>,
    },
    LuaProcess(Arc<LuaProcess>),
    WasmFunction(Arc<WasmFunction>),
    WasmProcess(Arc<WasmProcess>),
}

/// Entries that were made ready, dependencies first.
pub(crate) struct MadeReady {
    pub(crate) entries: Vec<(EntryId, Ready)>,
    pub(crate) libraries: lua::Libraries,
    pub(crate) directories: Directories,
    pub(crate) policies: Policies,
    pub(crate) http: Plan,
}

/// Which entries are to be made ready.
pub(crate) enum Which<'a> {
    All,
    /// These; of the others only the libraries and what WebAssembly functions there are is of use.
    Only(&'a BTreeSet<EntryId>, &'a lua::Libraries, &'a Functions),
}

impl Ground {
    pub(crate) fn new(
        settings: Config,
        dispatcher: Arc<Dispatcher>,
        environment: Arc<Environment>,
        resources: Arc<Resources>,
        engine: SharedEngine,
        world: World,
    ) -> Self {
        Self {
            classes: WorkerClasses::new(&settings),
            metrics: settings.prometheus.is_some().then(Arc::default),
            settings,
            dispatcher,
            environment,
            resources,
            engine,
            world,
        }
    }

    /// The engine, if there is a module.
    pub(crate) fn engine(&self) -> Option<&Arc<Engine>> {
        self.engine.made()
    }

    /// What scripts are given.
    pub(crate) fn services(&self) -> Services {
        Services {
            world: self.world.clone(),
            // Processes get it on hosts that have one, functions never do.
            terminal: Some(Arc::new(StandardTerminal)),
        }
    }
}

impl Which<'_> {
    pub(super) fn includes(&self, id: &EntryId) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids, ..) => ids.contains(id),
        }
    }

    /// The WebAssembly functions that there will be.
    fn functions(&self, linked: &Linked, made: &[(EntryId, Ready)]) -> Functions {
        let mut functions = Functions::new();
        if let Self::Only(ids, _, known) = self {
            let stays = |id: &EntryId| !ids.contains(id) && linked.get(id).is_some();
            let known = known.iter().filter(|(id, _)| stays(id));
            functions.extend(known.map(|(id, function)| (id.clone(), Arc::clone(function))));
        }
        for (id, ready) in made {
            if let Ready::WasmFunction(function) = ready {
                functions.insert(id.clone(), Arc::clone(function));
            }
        }
        functions
    }

    /// A library that is as it was.
    pub(super) fn known_library(&self, id: &EntryId) -> Option<Arc<wippy_lua::Library>> {
        match self {
            Self::All => None,
            Self::Only(ids, known, _) => known.get(id).filter(|_| !ids.contains(id)).cloned(),
        }
    }
}

/// Makes entries ready, and collects what is wrong with them. Nothing of the application runs yet.
pub(crate) fn make_ready(
    linked: &Linked,
    ground: &Ground,
    which: &Which<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> MadeReady {
    let directories = Directories::find(linked, diagnostics);
    let policies = policies::compile(linked, diagnostics);
    tokens::check(linked, diagnostics);
    let libraries = lua::libraries(linked, which, diagnostics);
    let compiler = wasm::Compiler::new(linked, &directories, ground);
    let wanted: Vec<&LinkedEntry> = linked
        .entries
        .iter()
        .filter(|entry| which.includes(&entry.entry.id))
        .collect();
    let wanted = wasm::spread(wanted);
    compiler.read_ahead(wanted.iter().map(|(_, entry)| *entry));
    let outcomes = parallel::map("preparing", &wanted, |(_, entry)| {
        let (config, sources) = (&entry.config, &linked.sources);
        if let schema::Config::WasmFunction(function) = config {
            compiler.function(entry, function).map(Some)
        } else if let schema::Config::WasmProcess(process) = config {
            compiler.process(entry, process).map(Some)
        } else if let schema::Config::LuaFunction(function) = config {
            lua::function(entry, function, &libraries, sources, ground).map(Some)
        } else if let schema::Config::LuaProcess(process) = config {
            lua::process(entry, process, &libraries, sources, ground).map(Some)
        } else {
            Ok(None)
        }
    });
    let mut entries = Vec::new();
    let mut outcomes: Vec<_> = wanted.iter().zip(outcomes).collect();
    outcomes.sort_unstable_by_key(|((place, _), _)| *place);
    for ((_, entry), outcome) in outcomes {
        match outcome {
            Ok(Some(ready)) => entries.push((entry.entry.id.clone(), ready)),
            Ok(None) => {}
            Err(mut wrong) => diagnostics.append(&mut wrong),
        }
    }
    let functions = which.functions(linked, &entries);
    let http = http::plan(
        linked,
        &functions,
        &directories,
        &ground.dispatcher,
        ground.metrics.as_ref(),
        diagnostics,
    );
    MadeReady {
        entries,
        libraries,
        directories,
        policies,
        http,
    }
}

/// WebAssembly functions by their ids.
pub(crate) type Functions = BTreeMap<EntryId, Arc<WasmFunction>>;

/// What runs, by the kind of thing it is.
#[derive(Default, Clone)]
pub(crate) struct Running {
    /// The WebAssembly functions, for their signatures.
    pub(crate) functions: Functions,
    /// The functions in Lua, for their pools.
    pub(crate) scripts: BTreeMap<EntryId, Arc<LuaFunction>>,
    pub(crate) processes: BTreeMap<EntryId, Arc<Process>>,
}
