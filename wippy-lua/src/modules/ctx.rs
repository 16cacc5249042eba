//! `ctx`: the values that came with the request.

use mlua::{Lua, Table};
use wippy_security::{CallError, Context, ErrorKind};
use wippy_wit::Value;

use crate::{arguments::function, raw};

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    function(lua, &module, "ctx.get", |lua, arguments| {
        let key = arguments.text(0, "key")?;
        if key.is_empty() {
            return Err(CallError::invalid("`key` must not be empty"));
        }
        let value = context(lua)?.values().get(key.as_str()).cloned();
        value.ok_or_else(|| CallError::new(ErrorKind::NotFound, format!("the context has no value `{key}`")))
    })?;
    function(lua, &module, "ctx.all", |lua, _| {
        let context = context(lua)?;
        let pairs = context.values().iter();
        Ok(Value::record(
            pairs.map(|(key, value)| (key.as_bytes().to_vec(), value.clone())),
        ))
    })?;
    Ok(module)
}

fn context(lua: &Lua) -> Result<Context, CallError> {
    raw::context(lua).ok_or_else(|| CallError::internal("there is no execution context"))
}
