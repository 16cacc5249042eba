//! Making entries ready: the one way by which entries become something that runs, when the application starts and when
//! entries change while it runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

use wippy_lua::{Services, World};
use wippy_registry::{Diagnostic, EntryId, Linked, LinkedEntry, schema};
use wippy_security::Handler;
use wippy_wasm::{Engine, Error, WasmFunction, WasmProcess};

use super::{Directories, Environment, LuaCommand, Resources, lua, parallel, wasm};
use crate::config::Config;

/// What entries are made ready on. It stays the same while they change.
pub(crate) struct Ground {
    pub(crate) settings: Config,
    pub(crate) environment: Arc<Environment>,
    pub(crate) resources: Arc<Resources>,
    /// Made for the first module: an application without any starts faster.
    pub(super) engine: OnceLock<Result<Arc<Engine>, Error>>,
    /// What scripts may reach.
    pub(crate) world: World,
}

/// A process that can be started.
pub(crate) enum Process {
    Lua(LuaCommand),
    Wasm(WasmProcess),
}

/// One entry, ready to run.
pub(crate) enum Ready {
    LuaFunction(Arc<dyn Handler>),
    LuaProcess(LuaCommand),
    WasmFunction(Arc<WasmFunction>),
    WasmProcess(WasmProcess),
}

/// Entries that were made ready, dependencies first.
pub(crate) struct MadeReady {
    pub(crate) entries: Vec<(EntryId, Ready)>,
    pub(crate) libraries: lua::Libraries,
    pub(crate) directories: Directories,
}

/// Which entries are to be made ready.
pub(crate) enum Which<'a> {
    All,
    /// These; of the others only the libraries are of use.
    Only(&'a BTreeSet<EntryId>, &'a lua::Libraries),
}

impl Ground {
    pub(crate) fn new(
        settings: Config,
        environment: Arc<Environment>,
        resources: Arc<Resources>,
        world: World,
    ) -> Self {
        Self {
            settings,
            environment,
            resources,
            engine: OnceLock::new(),
            world,
        }
    }

    /// What scripts are given.
    pub(crate) fn services(&self) -> Services {
        Services {
            world: self.world.clone(),
            ..Services::default()
        }
    }
}

impl Which<'_> {
    pub(super) fn includes(&self, id: &EntryId) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids, _) => ids.contains(id),
        }
    }

    /// A library that is as it was.
    pub(super) fn known_library(&self, id: &EntryId) -> Option<Arc<wippy_lua::Library>> {
        match self {
            Self::All => None,
            Self::Only(ids, known) => known.get(id).filter(|_| !ids.contains(id)).cloned(),
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
    let libraries = lua::libraries(linked, which, diagnostics);
    let compiler = wasm::Compiler::new(linked, &directories, ground);
    let wanted: Vec<&LinkedEntry> = linked
        .entries
        .iter()
        .filter(|entry| which.includes(&entry.entry.id))
        .collect();
    let outcomes = parallel::map("preparing", &wanted, |entry| {
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
    for (entry, outcome) in wanted.iter().zip(outcomes) {
        match outcome {
            Ok(Some(ready)) => entries.push((entry.entry.id.clone(), ready)),
            Ok(None) => {}
            Err(mut wrong) => diagnostics.append(&mut wrong),
        }
    }
    MadeReady {
        entries,
        libraries,
        directories,
    }
}

/// What runs, by the kind of thing it is.
#[derive(Default, Clone)]
pub(crate) struct Running {
    /// The WebAssembly functions, for their signatures.
    pub(crate) functions: BTreeMap<EntryId, Arc<WasmFunction>>,
    pub(crate) processes: BTreeMap<EntryId, Arc<Process>>,
}
