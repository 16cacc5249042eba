//! The built-in modules: what `require` can give, and the globals that come from the program around a script.

mod ctx;
mod funcs;
mod http;
mod io;
mod json;
mod logger;
mod process;
mod time;

use std::sync::Arc;

use mlua::{Lua, Table, Value as LuaValue};
use wippy_registry::EntryId;

use crate::{Services, worker::Program};

pub(crate) use funcs::Tasks;

/// The names of the built-in modules, in order.
pub const MODULES: &[&str] = &[
    "ctx", "errors", "funcs", "http", "io", "json", "logger", "process", "time",
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
        "funcs" => funcs::open(lua),
        "http" => http::open(lua),
        "io" => io::open(lua, environment),
        "json" => json::open(lua),
        "logger" => logger::open(lua, environment),
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
