//! `ctx`: the values that came with the request.

use mlua::{Lua, Table};
use wippy_security::{CallError, ErrorKind};
use wippy_wit::Value;

use crate::{raw, values};

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    module.raw_set(
        "get",
        lua.create_function(|lua, key: String| values::answer(lua, get(lua, &key)))?,
    )?;
    module.raw_set(
        "all",
        lua.create_function(|lua, ()| raw::write_value(lua, &all(lua)))?,
    )?;
    Ok(module)
}

fn get(lua: &Lua, key: &str) -> Result<Value, CallError> {
    let context = raw::context(lua);
    let value = context
        .as_ref()
        .and_then(|context| context.values().get(key).cloned());
    value.ok_or_else(|| CallError::new(ErrorKind::NotFound, format!("the context has no value `{key}`")))
}

fn all(lua: &Lua) -> Value {
    let context = raw::context(lua);
    let pairs = context.iter().flat_map(|context| context.values().iter());
    Value::record(pairs.map(|(key, value)| (key.as_bytes().to_vec(), value.clone())))
}
