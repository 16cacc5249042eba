//! `json`: text and tables.

use mlua::{Lua, LuaString, MultiValue, Table, Value as LuaValue};
use wippy_security::CallError;
use wippy_wit::{Value, json};

use crate::{raw, values};

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    module.raw_set(
        "encode",
        lua.create_function(|lua, value: LuaValue| encode(lua, &value))?,
    )?;
    module.raw_set(
        "decode",
        lua.create_function(|lua, text: LuaString| decode(lua, &text))?,
    )?;
    Ok(module)
}

fn encode(lua: &Lua, value: &LuaValue) -> mlua::Result<MultiValue> {
    let text = raw::read_value(lua, value)
        .and_then(|value| json::from_value(&value))
        .map(|json| json.to_string());
    values::answer(
        lua,
        text.map(Value::from)
            .map_err(|error| CallError::from(error).context("json.encode")),
    )
}

fn decode(lua: &Lua, text: &LuaString) -> mlua::Result<MultiValue> {
    let value = serde_json::from_slice(&text.as_bytes())
        .map_err(|error| CallError::invalid(error.to_string()))
        .and_then(|json| json::to_value(&json).map_err(CallError::from));
    values::answer(lua, value.map_err(|error| error.context("json.decode")))
}
