//! Boot, stage by stage: read (load and link), then prepare. Serving is the business of [`App`](crate::App).
//!
//! No stage stops at the first problem: what is understood goes on, and everything that is wrong comes out at the
//! end, in one report. Nothing of the application runs before all of it is prepared.

mod blame;
mod classes;
mod directories;
mod engine;
mod environment;
mod http;
mod lua;
mod overrides;
mod parallel;
pub(crate) mod policies;
mod pools;
mod ready;
mod resources;
pub(crate) mod tokens;
mod warm;
mod wasm;

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use wippy_lua::LuaFunction;
use wippy_registry::{
    Diagnostic, EntryId, Linked, LinkedEntry, Loaded, link,
    load::{self, Files},
    schema,
};
use wippy_security::{Dispatcher, DispatcherConfig};
use wippy_wasm::WasmFunction;

use crate::{config::Config, live::Live, otel::tracer, report::Problems};

pub(crate) use self::{
    directories::Directories,
    engine::SharedEngine,
    environment::Environment,
    lua::Libraries,
    ready::{Ground, MadeReady, Process, Ready, Running, Which, make_ready},
    resources::Resources,
};

/// An application of which every part is ready to run, as it was when it started.
pub(crate) struct Prepared {
    /// The entries as they change.
    pub(crate) live: Arc<Live>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    /// The WebAssembly functions, for their signatures.
    pub(crate) functions: BTreeMap<EntryId, Arc<WasmFunction>>,
    /// The functions in Lua, for their pools.
    scripts: BTreeMap<EntryId, Arc<LuaFunction>>,
    pub(crate) processes: BTreeMap<EntryId, Arc<Process>>,
    linked: Arc<Linked>,
    pub(crate) directories: Directories,
}

/// Loads and links the project in a folder.
pub(crate) fn read(directory: &Path, config: &Config) -> Linked {
    link::link(load(directory, config), &|name: &str| config.variable(name))
}

/// Loads the project in a folder, with what the configuration changes about it.
pub(crate) fn load(directory: &Path, config: &Config) -> Loaded {
    parse(load::read(directory), config)
}

fn parse(files: Files, config: &Config) -> Loaded {
    let mut loaded = files.parse();
    overrides::apply(&mut loaded, config);
    loaded
}

/// Loads and links the project in a folder, makes every entry ready that can be, and collects what is wrong with the others.
pub(crate) fn prepare(directory: &Path, settings: &Config) -> (Prepared, Problems) {
    let files = load::read(directory);
    let engine = SharedEngine::for_files(&files, settings);
    let loaded = parse(files, settings);
    let linked = link::link(loaded, &|name: &str| settings.variable(name));
    let mut diagnostics = linked.diagnostics.clone();
    let live = Live::new(&linked, settings, dispatcher(settings), engine);
    let made = make_ready(&linked, live.ground(), &Which::All, &mut diagnostics);
    let problems = Problems::new(linked.sources.clone(), diagnostics);
    let prepared = Prepared::new(linked, live, made);
    (prepared, problems)
}

fn dispatcher(config: &Config) -> Arc<Dispatcher> {
    let depth = config
        .wasm
        .limits
        .get("max_call_depth")
        .and_then(|depth| u32::try_from(*depth).ok());
    let defaults = DispatcherConfig::default();
    Dispatcher::new(DispatcherConfig {
        depth_max: depth.unwrap_or(defaults.depth_max),
        strict: config.strict,
        tracer: tracer(config),
        ..defaults
    })
}

/// What a WebAssembly entry says about its module, and the module.
pub(crate) struct Binary {
    pub(crate) bytes: Vec<u8>,
    pub(crate) wit: Option<Arc<str>>,
}

/// The module of a WebAssembly entry; `None` when `id` is none.
///
/// # Errors
/// When the entry's file cannot be read, or is not the one that it names.
pub(crate) fn binary(linked: &Linked, id: &EntryId) -> Result<Option<Binary>, Vec<Diagnostic>> {
    let mut missing = Vec::new();
    let directories = Directories::find(linked, &mut missing);
    let Some(entry) = linked.get(id) else {
        return Ok(None);
    };
    let guest = if let schema::Config::WasmFunction(function) = &entry.config {
        &function.guest
    } else if let schema::Config::WasmProcess(process) = &entry.config {
        &process.guest
    } else {
        return Ok(None);
    };
    match wasm::bytes(entry, guest, &directories, &linked.sources) {
        Ok(bytes) => {
            let wit = guest.wit.as_ref().map(|wit| Arc::clone(&wit.text));
            Ok(Some(Binary { bytes, wit }))
        }
        Err(wrong) => Err(if wrong.is_empty() { missing } else { wrong }),
    }
}

impl Prepared {
    fn new(linked: Linked, live: Arc<Live>, made: MadeReady) -> Self {
        let (linked, directories) = (Arc::new(linked), made.directories.clone());
        let running = live.begin(Arc::clone(&linked), made);
        Self {
            dispatcher: Arc::clone(live.dispatcher()),
            live,
            functions: running.functions,
            scripts: running.scripts,
            processes: running.processes,
            linked,
            directories,
        }
    }

    /// The entries, dependencies first.
    pub(crate) fn entries(&self) -> &[LinkedEntry] {
        &self.linked.entries
    }

    /// Makes the folders and files that are to be made.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn make(&self) -> io::Result<()> {
        self.directories.make()?;
        self.live.ground().environment.make()
    }

    /// Makes what pools have from the start.
    pub(crate) fn warm_up(&self) {
        warm::up(&self.functions, &self.scripts);
    }
}
