//! The built-in modules: what `require` can give, and the globals that come from the program around a script.

mod ctx;
mod env;
mod events;
mod fs;
mod funcs;
mod http_client;
mod io;
mod json;
mod logger;
mod process;
mod registry;
mod store;
mod time;

use std::sync::Arc;

use mlua::{Lua, Table, Value as LuaValue};
use wippy_registry::EntryId;

use crate::{Services, worker::Program};

pub(crate) use funcs::Tasks;
pub use http_client::HttpClients;

/// The names of the built-in modules, in order.
pub const MODULES: &[&str] = &[
    "ctx",
    "env",
    "errors",
    "events",
    "fs",
    "funcs",
    "http_client",
    "io",
    "json",
    "logger",
    "process",
    "registry",
    "store",
    "time",
];

/// Modules that are globals, too.
pub(crate) const GLOBALS: &[&str] = &["errors", "process"];

/// What modules know about the script around them.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) id: EntryId,
    pub(crate) services: Services,
}

impl Environment {
    pub(crate) fn new(program: &Arc<Program>) -> Self {
        Self {
            id: program.source.id.clone(),
            services: program.services.clone(),
        }
    }
}

/// Opens the module `name`, which is one of [`MODULES`].
///
/// # Errors
/// When memory does not suffice, or the module has nothing to work with here.
pub(crate) fn open(lua: &Lua, name: &str, environment: &Environment) -> mlua::Result<Table> {
    match name {
        "ctx" => ctx::open(lua),
        "env" => env::open(lua, environment),
        "events" => events::open(lua, environment),
        "fs" => fs::open(lua, environment),
        "funcs" => funcs::open(lua),
        "http_client" => http_client::open(lua, environment),
        "io" => io::open(lua, environment),
        "json" => json::open(lua),
        "logger" => logger::open(lua, environment),
        "registry" => registry::open(lua, environment),
        "store" => store::open(lua, environment),
        "time" => time::open(lua),
        _ => lua.globals().raw_get(name),
    }
}

/// The globals that are not Lua's own.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn globals(lua: &Lua, environment: &Environment) -> mlua::Result<Vec<(&'static str, LuaValue)>> {
    Ok(vec![
        ("print", LuaValue::Function(io::print(lua, environment)?)),
        ("process", LuaValue::Table(process::open(lua, environment)?)),
    ])
}
