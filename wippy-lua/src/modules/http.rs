//! `http`: the request that the current call answers, and its response.

mod constants;
mod form;
mod request;
mod response;

use std::{sync::Arc, time::Duration};

use mlua::{IntoLua, IntoLuaMulti, Lua, MultiValue, Table, Value as LuaValue};
use wippy_security::CallError;

use self::{request::RequestHandle, response::ResponseHandle};
use crate::{
    errors,
    http::{Exchange, Limits},
    raw::{self, Field, Recipe, lazy_table},
    values,
};

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua) -> mlua::Result<Table> {
    lazy_table(lua, &HTTP)
}

/// The fields of the module.
static HTTP: Recipe = Recipe::new(&[
    ("CONTENT", Field::Made(constants::content)),
    ("ERROR", Field::Made(constants::error)),
    ("METHOD", Field::Made(constants::method)),
    ("STATUS", Field::Made(constants::status)),
    ("TRANSFER", Field::Made(constants::transfer)),
    (
        "request",
        Field::Kept(|lua| lua.create_function(request).map(LuaValue::Function)),
    ),
    (
        "response",
        Field::Kept(|lua| lua.create_function(response).map(LuaValue::Function)),
    ),
]);

/// `http.request([options])`.
fn request(lua: &Lua, options: Option<Table>) -> mlua::Result<MultiValue> {
    let limits = limits(options)?;
    match exchange(lua) {
        Ok(exchange) => RequestHandle { exchange, limits }.into_lua_multi(lua),
        Err(error) => values::refuse(lua, error),
    }
}

/// `http.response()`.
fn response(lua: &Lua, (): ()) -> mlua::Result<MultiValue> {
    match exchange(lua) {
        Ok(exchange) => ResponseHandle { exchange }.into_lua_multi(lua),
        Err(error) => values::refuse(lua, error),
    }
}

fn limits(options: Option<Table>) -> mlua::Result<Limits> {
    let mut limits = Limits::default();
    let Some(options) = options else {
        return Ok(limits);
    };
    if let Some(timeout_ms) = options.raw_get::<Option<u64>>("timeout")? {
        limits.timeout = Duration::from_millis(timeout_ms);
    }
    if let Some(size) = options.raw_get::<Option<usize>>("max_body")? {
        limits.size = size;
    }
    Ok(limits)
}

fn exchange(lua: &Lua) -> Result<Arc<Exchange>, CallError> {
    raw::context(lua)
        .and_then(|context| context.attachment::<Exchange>())
        .ok_or_else(|| {
            CallError::internal("there is no HTTP request: the function was not called by an endpoint")
        })
}

/// What functions that only can fail answer: nothing, or the error.
fn only_error(lua: &Lua, outcome: Result<(), CallError>) -> mlua::Result<LuaValue> {
    match outcome {
        Ok(()) => Ok(LuaValue::Nil),
        Err(error) => errors::to_lua(lua, error),
    }
}

/// What functions that read answer: the bytes, nil at the end, or nil and the error.
fn read(lua: &Lua, outcome: Result<Option<impl AsRef<[u8]>>, CallError>) -> mlua::Result<MultiValue> {
    match outcome {
        Ok(Some(bytes)) => lua.create_string(bytes)?.into_lua_multi(lua),
        Ok(None) => LuaValue::Nil.into_lua_multi(lua),
        Err(error) => values::refuse(lua, error),
    }
}

/// A table of strings. Of two with one name the later counts.
fn table<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    lua: &Lua,
    pairs: impl IntoIterator<Item = (K, V)>,
) -> mlua::Result<LuaValue> {
    let table = lua.create_table()?;
    for (key, value) in pairs {
        table.raw_set(lua.create_string(key)?, lua.create_string(value)?)?;
    }
    table.into_lua(lua)
}
