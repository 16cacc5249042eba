//! `require`: gives what an entry declares, and says what to add for what it does not.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use mlua::{Lua, Table, Value as LuaValue};
use wippy_registry::EntryId;

use crate::{
    Error, Library, MODULES, check,
    modules::{self, Environment},
    sandbox,
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

/// Checks a library and everything that it imports.
///
/// # Errors
/// As [`check::check`] and [`check_modules`].
pub(crate) fn check_library(library: &Library) -> Result<(), Error> {
    check::check(Some(&library.id), &library.name, &library.text)?;
    check_modules(&library.id, &library.modules)?;
    library
        .imports
        .values()
        .try_for_each(|library| check_library(library))
}

/// What all `require`s of a state share.
struct Loader {
    environment: Environment,
    /// The modules that the entry may use, for itself and for its libraries.
    granted: BTreeSet<String>,
    entry: EntryId,
    /// Modules by name and libraries by id.
    loaded: Mutex<HashMap<String, Loaded>>,
}

/// How far something is loaded.
#[derive(Clone)]
enum Loaded {
    /// Its chunk runs.
    Running,
    Done(LuaValue),
}

/// One script's view: what it declares.
struct Declared {
    id: EntryId,
    modules: BTreeSet<String>,
    imports: BTreeMap<String, Arc<Library>>,
}

/// Gives the entry's script its `require`.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn install(
    lua: &Lua,
    program: &Arc<Program>,
    environment: Environment,
    globals: &Table,
) -> mlua::Result<()> {
    let source = &program.source;
    let loader = Arc::new(Loader {
        environment,
        granted: source.modules.clone(),
        entry: source.id.clone(),
        loaded: Mutex::default(),
    });
    let declared = Declared {
        id: source.id.clone(),
        modules: source.modules.clone(),
        imports: source.imports.clone(),
    };
    define(lua, loader, declared, globals)
}

fn define(lua: &Lua, loader: Arc<Loader>, declared: Declared, globals: &Table) -> mlua::Result<()> {
    let require = lua.create_function(move |lua, name: String| require(lua, &loader, &declared, &name))?;
    globals.raw_set("require", require)
}

fn require(lua: &Lua, loader: &Arc<Loader>, declared: &Declared, name: &str) -> mlua::Result<LuaValue> {
    if let Some(library) = declared.imports.get(name) {
        return load_library(lua, loader, library);
    }
    if declared.modules.contains(name) && loader.granted.contains(name) {
        return load_module(lua, loader, name);
    }
    // What is a global anyway may be required without a word in the index.
    if modules::GLOBALS.contains(&name) {
        return lua.globals().raw_get(name);
    }
    Err(mlua::Error::runtime(refusal(loader, declared, name)))
}

/// Why `name` cannot be required, and what to do about it.
fn refusal(loader: &Loader, declared: &Declared, name: &str) -> String {
    let (id, entry) = (&declared.id, &loader.entry);
    if declared.modules.contains(name) {
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
        .chain(declared.imports.keys().map(String::as_str));
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
    let module = LuaValue::Table(modules::open(lua, name, &loader.environment)?);
    loader.set(name, Loaded::Done(module.clone()));
    Ok(module)
}

fn load_library(lua: &Lua, loader: &Arc<Loader>, library: &Library) -> mlua::Result<LuaValue> {
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
fn run_library(lua: &Lua, loader: &Arc<Loader>, library: &Library) -> mlua::Result<LuaValue> {
    let globals = sandbox::copy_globals(lua)?;
    let declared = Declared {
        id: library.id.clone(),
        modules: library.modules.clone(),
        imports: library.imports.clone(),
    };
    define(lua, loader.clone(), declared, &globals)?;
    let chunk = check::compile(
        lua,
        Some(&library.id),
        &library.name,
        &library.text,
        Some(&globals),
    );
    chunk.map_err(mlua::Error::external)?.call(())
}

impl Loader {
    fn get(&self, name: &str) -> Option<Loaded> {
        self.loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    fn set(&self, name: &str, value: Loaded) {
        self.loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), value);
    }

    fn forget(&self, name: &str) {
        self.loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }
}
