//! The built-in modules: what `require` can give, and the globals that come from the program around a script.

mod base64;
mod codes;
mod crypto;
mod ctx;
mod derivation;
mod env;
mod events;
mod fs;
mod funcs;
mod future;
mod hash;
mod http;
mod http_client;
mod io;
pub(crate) mod json;
mod ledger;
mod logger;
pub(crate) mod message;
mod owned;
pub(crate) mod payload;
mod process;
pub(crate) mod random;
mod registry;
mod security;
mod store;
mod text;
mod time;
mod timers;
mod uuid;
pub(crate) mod yaml;

use std::sync::Arc;

use mlua::{Lua, Table, Value as LuaValue};
use wippy_registry::EntryId;

use crate::{Terminal, World, errors, raw};

pub(crate) use future::Tasks;
pub use http_client::HttpClients;
pub(crate) use ledger::Ledger;
pub(crate) use process::{Post, Seat, Upgrade, send_function};
pub(crate) use time::local_timestamp;

/// The names of the built-in modules, in order.
pub const MODULES: &[&str] = &[
    "base64",
    "channel",
    "crypto",
    "ctx",
    "env",
    "errors",
    "events",
    "fs",
    "funcs",
    "hash",
    "http",
    "http_client",
    "io",
    "json",
    "logger",
    "payload",
    "process",
    "registry",
    "security",
    "store",
    "text",
    "time",
    "uuid",
    "yaml",
];

/// Modules that are globals, too.
pub(crate) const GLOBALS: &[&str] = &["channel", "errors", "payload", "process"];

/// What modules know about the script around them.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) id: EntryId,
    pub(crate) console: Option<Console>,
    /// What it may reach outside of its state.
    pub(crate) world: World,
}

/// A terminal, and the words that its owner was started with.
#[derive(Clone)]
pub(crate) struct Console {
    pub(crate) terminal: Arc<dyn Terminal>,
    pub(crate) arguments: Arc<[String]>,
}

/// Opens the module `name`, which is one of [`MODULES`] and none of [`GLOBALS`].
///
/// # Errors
/// When memory does not suffice, or the module has nothing to work with here.
pub(crate) fn open(lua: &Lua, name: &str, environment: &Environment) -> mlua::Result<LuaValue> {
    let module = match name {
        // It is lazy, and so as cheap to make as to copy.
        "http" => http::open(lua),
        _ => raw::copied(lua, name, || make(lua, name, environment)),
    };
    module.map(LuaValue::Table)
}

/// Whether what the module `name` gives may hold something outside of the state that is to be given up when nobody needs
/// it any more: files, connections, subscriptions.
pub(crate) fn holds(name: &str) -> bool {
    matches!(name, "events" | "fs" | "http_client" | "registry")
}

/// Gives up what modules keep for an execution that has ended. Whether that, or what refers to it, may take much memory
/// outside of the state.
pub(crate) fn forget(lua: &Lua) -> bool {
    json::forget(lua);
    text::forget(lua)
}

fn make(lua: &Lua, name: &str, environment: &Environment) -> mlua::Result<Table> {
    match name {
        "base64" => base64::open(lua),
        "crypto" => crypto::open(lua),
        "ctx" => ctx::open(lua),
        "env" => env::open(lua, environment),
        "events" => events::open(lua, environment),
        "fs" => fs::open(lua, environment),
        "funcs" => funcs::open(lua),
        "hash" => hash::open(lua),
        "http_client" => http_client::open(lua, environment),
        "io" => io::open(lua, environment),
        "json" => json::open(lua),
        "logger" => logger::open(lua, environment),
        "registry" => registry::open(lua, environment),
        "security" => security::open(lua),
        "store" => store::open(lua, environment),
        "text" => text::open(lua),
        "time" => time::open(lua),
        "uuid" => uuid::open(lua),
        "yaml" => yaml::open(lua),
        _ => Err(mlua::Error::runtime(format!("there is no module `{name}`"))),
    }
}

/// Makes the global `name`, which is one that is not Lua's own.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn global(lua: &Lua, name: &str, environment: &Environment) -> mlua::Result<LuaValue> {
    match name {
        "channel" => raw::lazy_table(lua, &raw::CHANNEL).map(LuaValue::Table),
        "errors" => raw::copied(lua, name, || errors::open(lua)).map(LuaValue::Table),
        "payload" => raw::copied(lua, name, || payload::open(lua)).map(LuaValue::Table),
        "print" => io::print(lua, environment).map(LuaValue::Function),
        "process" => raw::lazy_table(lua, &process::PROCESS).map(LuaValue::Table),
        _ => Ok(LuaValue::Nil),
    }
}
