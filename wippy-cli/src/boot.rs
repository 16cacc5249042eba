//! Boot, stage by stage: read (load and link), then prepare. Serving is the business of [`App`](crate::App).
//!
//! No stage stops at the first problem: what is understood goes on, and everything that is wrong comes out at the
//! end, in one report. Nothing of the application runs before all of it is prepared.

mod blame;
mod directories;
mod environment;
mod lua;
mod overrides;
mod parallel;
mod script;
mod wasm;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use wippy_registry::{Diagnostic, EntryId, Linked, LinkedEntry, Registry, link, load, schema};
use wippy_security::{Dispatcher, DispatcherConfig, Handler};
use wippy_wasm::{WasmFunction, WasmProcess};

use crate::{config::Config, report::Problems};

pub(crate) use self::{directories::Directories, environment::Environment};
use self::{lua::LuaCommand, script::ScriptProcess};

/// An application of which every part is ready to run.
pub(crate) struct Prepared {
    pub(crate) registry: Registry,
    pub(crate) dispatcher: Arc<Dispatcher>,
    /// The WebAssembly functions, for their signatures.
    pub(crate) functions: BTreeMap<EntryId, Arc<WasmFunction>>,
    pub(crate) processes: BTreeMap<EntryId, Process>,
    pub(crate) entries: Vec<LinkedEntry>,
    pub(crate) directories: Directories,
}

/// A process that can be started.
pub(crate) enum Process {
    Lua,
    Wasm(Arc<WasmProcess>),
}

/// One entry, ready to run.
enum Ready {
    LuaFunction(Arc<wippy_lua::LuaFunction>),
    LuaProcess(LuaCommand),
    WasmFunction(Arc<WasmFunction>),
    WasmProcess(WasmProcess),
}

/// Loads and links the project in a folder.
pub(crate) fn read(directory: &Path, config: &Config) -> Linked {
    let mut loaded = load::load(directory);
    overrides::apply(&mut loaded, config);
    link::link(loaded, &|name: &str| config.variable(name))
}

/// Makes every entry ready that can be, and collects what is wrong with the others.
pub(crate) fn prepare(linked: Linked, settings: &Config) -> (Prepared, Problems) {
    let mut diagnostics = linked.diagnostics.clone();
    let directories = Directories::find(&linked, &mut diagnostics);
    let environment = Arc::new(Environment::new(&linked, settings.clone()));
    let libraries = lua::libraries(&linked, &mut diagnostics);
    let compiler = wasm::Compiler::new(&linked, &directories, &environment, settings);
    let outcomes = parallel::map("preparing", &linked.entries, |entry| {
        let (config, sources) = (&entry.config, &linked.sources);
        if let schema::Config::WasmFunction(function) = config {
            compiler.function(entry, function).map(Some)
        } else if let schema::Config::WasmProcess(process) = config {
            compiler.process(entry, process).map(Some)
        } else if let schema::Config::LuaFunction(function) = config {
            lua::function(entry, function, &libraries, sources, settings).map(Some)
        } else if let schema::Config::LuaProcess(process) = config {
            lua::process(entry, process, &libraries, sources, settings).map(Some)
        } else {
            Ok(None)
        }
    });
    let mut prepared = Prepared::new(&linked, directories, settings);
    for (entry, outcome) in linked.entries.iter().zip(outcomes) {
        match outcome {
            Ok(Some(ready)) => prepared.insert(entry.entry.id.clone(), ready),
            Ok(None) => {}
            Err(mut wrong) => diagnostics.append(&mut wrong),
        }
    }
    (prepared, Problems::new(linked.sources, diagnostics))
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
    fn new(linked: &Linked, directories: Directories, config: &Config) -> Self {
        let depth = config
            .wasm
            .limits
            .get("max_call_depth")
            .and_then(|depth| u32::try_from(*depth).ok());
        let defaults = DispatcherConfig::default();
        let dispatcher = DispatcherConfig {
            depth_max: depth.unwrap_or(defaults.depth_max),
            strict: config.strict,
            ..defaults
        };
        let registry = Registry::new();
        if linked.is_ok() {
            // What was linked without errors fits into an empty registry, which has no validators yet.
            let _ = registry.apply(linked.change_set());
        }
        Self {
            registry,
            dispatcher: Dispatcher::new(dispatcher),
            functions: BTreeMap::new(),
            processes: BTreeMap::new(),
            entries: linked.entries.clone(),
            directories,
        }
    }

    fn insert(&mut self, id: EntryId, ready: Ready) {
        match ready {
            Ready::LuaFunction(function) => self.dispatcher.insert(id, function as Arc<dyn Handler>),
            Ready::WasmFunction(function) => {
                self.functions.insert(id.clone(), Arc::clone(&function));
                self.dispatcher.insert(id, function as Arc<dyn Handler>);
            }
            Ready::LuaProcess(process) => {
                let process = Arc::new(ScriptProcess(process));
                self.dispatcher.processes().insert(id.clone(), process);
                self.processes.insert(id, Process::Lua);
            }
            Ready::WasmProcess(process) => {
                let process = Arc::new(process);
                self.processes
                    .insert(id.clone(), Process::Wasm(Arc::clone(&process)));
                self.dispatcher.processes().insert(id, process);
            }
        }
    }
}
