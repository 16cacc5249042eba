//! `base64`: the standard alphabet of RFC 4648, with padding.

use base64::{Engine, engine::general_purpose::STANDARD};
use mlua::{Lua, Table};
use wippy_security::CallError;
use wippy_wit::Value;

use crate::arguments::function;

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    function(lua, &module, "base64.encode", |_, arguments| {
        Ok(Value::from(STANDARD.encode(&*arguments.bytes(0, "data")?)))
    })?;
    function(lua, &module, "base64.decode", |_, arguments| {
        let decoded = STANDARD.decode(&*arguments.bytes(0, "data")?);
        let decoded = decoded.map_err(|error| CallError::invalid(format!("not base64: {error}")))?;
        Ok(Value::String(decoded.into()))
    })?;
    Ok(module)
}
