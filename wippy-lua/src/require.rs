//! `require`: gives what an entry declares, and says what to add for what it does not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mlua::{Function, Lua, Value as LuaValue};
use wippy_registry::EntryId;

use crate::{
    Error, Library, MODULES,
    local::Local,
    modules::{self, Environment},
    raw, sandbox,
    worker::Program,
};

/// Checks that the listed modules exist.
///
/// # Errors
/// [`Error::UnknownModule`].
pub(crate) fn check_modules(id: &EntryId, listed: &BTreeSet<String>) -> Result<(), Error> {
    match listed.iter().find(|name| !is_module(name)) {
        None => Ok(()),
        Some(module) => Err(Error::UnknownModule {
            id: id.clone(),
            module: module.clone(),
            suggestion: wippy_registry::suggest::closest(module, MODULES.iter().copied()),
        }),
    }
}

fn is_module(name: &str) -> bool {
    MODULES.contains(&name)
}

/// What all `require`s of a state share.
pub(crate) struct Loader {
    environment: Environment,
    program: Arc<Program>,
    /// Modules by name and libraries by id; they are few.
    loaded: Mutex<Vec<(String, Loaded)>>,
}

/// How far something is loaded.
#[derive(Clone)]
enum Loaded {
    /// Its chunk runs.
    Running,
    Done(LuaValue),
}

/// Whose `require` it is: what that declares is what it gives.
enum Declared {
    Entry(Arc<Program>),
    Library(Arc<Library>),
}

impl Declared {
    fn id(&self) -> &EntryId {
        match self {
            Self::Entry(program) => &program.source.id,
            Self::Library(library) => &library.id,
        }
    }

    fn modules(&self) -> &BTreeSet<String> {
        match self {
            Self::Entry(program) => &program.source.modules,
            Self::Library(library) => &library.modules,
        }
    }

    fn imports(&self) -> &BTreeMap<String, Arc<Library>> {
        match self {
            Self::Entry(program) => &program.source.imports,
            Self::Library(library) => &library.imports,
        }
    }
}

/// Makes the `require` of the entry's script.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn of_entry(lua: &Lua) -> mlua::Result<LuaValue> {
    let local = Local::of(lua);
    let loader = local.loader.get_or_init(|| {
        Arc::new(Loader {
            environment: local.environment(),
            program: local.program.clone(),
            loaded: Mutex::default(),
        })
    });
    let loader = Arc::clone(loader);
    function(lua, loader, Declared::Entry(local.program.clone())).map(LuaValue::Function)
}

fn function(lua: &Lua, loader: Arc<Loader>, declared: Declared) -> mlua::Result<Function> {
    lua.create_function(move |lua, name: String| require(lua, &loader, &declared, &name))
}

fn require(lua: &Lua, loader: &Arc<Loader>, declared: &Declared, name: &str) -> mlua::Result<LuaValue> {
    if let Some(library) = declared.imports().get(name) {
        return load_library(lua, loader, library);
    }
    // What is a global anyway may be required without a word in the index.
    if let Some(global) = modules::GLOBALS.iter().find(|global| **global == name) {
        return sandbox::shared(lua, global);
    }
    if declared.modules().contains(name) && loader.program.source.modules.contains(name) {
        return load_module(lua, loader, name);
    }
    Err(mlua::Error::runtime(refusal(loader, declared, name)))
}

/// Why `name` cannot be required, and what to do about it.
fn refusal(loader: &Loader, declared: &Declared, name: &str) -> String {
    let (id, entry) = (declared.id(), &loader.program.source.id);
    if declared.modules().contains(name) {
        return format!(
            "the library `{id}` needs the module `{name}`: add \"{name}\" to `modules` of `{entry}`"
        );
    }
    if is_module(name) {
        return format!("the module `{name}` is not declared: add \"{name}\" to `modules` of `{id}`");
    }
    if name.contains(':') {
        return format!("libraries are required by a short name: add `lib: {name}` to `imports` of `{id}`");
    }
    let names = MODULES
        .iter()
        .copied()
        .chain(declared.imports().keys().map(String::as_str));
    let near = wippy_registry::suggest::closest(name, names);
    let near = near
        .map(|near| format!(" (did you mean `{near}`?)"))
        .unwrap_or_default();
    format!(
        "there is no module `{name}`{near}; for a library, add `{name}: namespace:name` to `imports` of `{id}`"
    )
}

fn load_module(lua: &Lua, loader: &Loader, name: &str) -> mlua::Result<LuaValue> {
    if let Some(Loaded::Done(module)) = loader.get(name) {
        return Ok(module);
    }
    let module = modules::open(lua, name, &loader.environment)?;
    loader.set(name, Loaded::Done(module.clone()));
    Ok(module)
}

fn load_library(lua: &Lua, loader: &Arc<Loader>, library: &Arc<Library>) -> mlua::Result<LuaValue> {
    let id = library.id.as_str();
    match loader.get(id) {
        Some(Loaded::Done(value)) => return Ok(value),
        Some(Loaded::Running) => {
            return Err(mlua::Error::runtime(format!(
                "the library `{id}` requires itself"
            )));
        }
        None => {}
    }
    loader.set(id, Loaded::Running);
    let value = run_library(lua, loader, library);
    match &value {
        Ok(value) => loader.set(id, Loaded::Done(value.clone())),
        Err(_) => loader.forget(id),
    }
    value
}

/// Runs a library's chunk with globals of its own.
fn run_library(lua: &Lua, loader: &Arc<Loader>, library: &Arc<Library>) -> mlua::Result<LuaValue> {
    let globals = sandbox::globals(lua)?;
    let require = raw::kept_function(lua, &format!("require {}", library.id), None, || {
        function(lua, loader.clone(), Declared::Library(library.clone()))
    })?;
    // Set before anybody looks, so that it does not become that of the entry.
    globals.set("require", require)?;
    loader.program.library(lua, &library.id, &globals)?.call(())
}

impl Loader {
    fn lock(&self) -> MutexGuard<'_, Vec<(String, Loaded)>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was loaded: the next execution loads it anew. Whether any of it may [hold](modules::holds) something.
    pub(crate) fn clear(&self) -> bool {
        let mut loaded = self.lock();
        let holds = loaded.iter().any(|(name, _)| modules::holds(name));
        loaded.clear();
        holds
    }

    fn get(&self, name: &str) -> Option<Loaded> {
        let loaded = self.lock();
        let (_, found) = loaded.iter().find(|(known, _)| known == name)?;
        Some(found.clone())
    }

    fn set(&self, name: &str, value: Loaded) {
        let mut loaded = self.lock();
        match loaded.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => loaded.push((name.to_owned(), value)),
        }
    }

    fn forget(&self, name: &str) {
        self.lock().retain(|(known, _)| known != name);
    }
}
