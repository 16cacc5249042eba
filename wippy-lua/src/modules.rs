//! The built-in modules: what `require` can give, and the globals that come from the program around a script.

mod base64;
mod codes;
mod crypto;
mod ctx;
mod derivation;
mod funcs;
mod hash;
mod io;
mod json;
mod logger;
mod payload;
mod process;
mod random;
mod text;
mod time;
mod uuid;
mod yaml;

use std::sync::Arc;

use mlua::{Lua, Table, Value as LuaValue};
use wippy_registry::EntryId;

use crate::{Services, worker::Program};

pub(crate) use funcs::Tasks;

/// The names of the built-in modules, in order.
pub const MODULES: &[&str] = &[
    "base64", "crypto", "ctx", "errors", "funcs", "hash", "io", "json", "logger", "payload", "process",
    "text", "time", "uuid", "yaml",
];

/// Modules that are globals, too.
pub(crate) const GLOBALS: &[&str] = &["errors", "payload", "process"];

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
        "base64" => base64::open(lua),
        "crypto" => crypto::open(lua),
        "ctx" => ctx::open(lua),
        "funcs" => funcs::open(lua),
        "hash" => hash::open(lua),
        "io" => io::open(lua, environment),
        "json" => json::open(lua),
        "logger" => logger::open(lua, environment),
        "text" => text::open(lua),
        "time" => time::open(lua),
        "uuid" => uuid::open(lua),
        "yaml" => yaml::open(lua),
        _ => lua.globals().raw_get(name),
    }
}

/// The globals that are not Lua's own.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn globals(lua: &Lua, environment: &Environment) -> mlua::Result<Vec<(&'static str, LuaValue)>> {
    Ok(vec![
        ("payload", LuaValue::Table(payload::open(lua)?)),
        ("print", LuaValue::Function(io::print(lua, environment)?)),
        ("process", LuaValue::Table(process::open(lua, environment)?)),
    ])
}
