//! What functions answer to Lua: a value, or nil and an error.

use mlua::{IntoLuaMulti, Lua, MultiValue, Value as LuaValue};
use wippy_security::CallError;
use wippy_wit::Value;

use crate::{errors, raw};

/// Answers the value, or nil and the error.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn answer(lua: &Lua, outcome: Result<Value, CallError>) -> mlua::Result<MultiValue> {
    match outcome {
        Ok(value) => raw::write_value(lua, &value)?.into_lua_multi(lua),
        Err(error) => refuse(lua, error),
    }
}

/// Answers what Lua can hold as it is, or nil and the error.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn reply<T: IntoLuaMulti>(lua: &Lua, outcome: Result<T, CallError>) -> mlua::Result<MultiValue> {
    match outcome {
        Ok(value) => value.into_lua_multi(lua),
        Err(error) => refuse(lua, error),
    }
}

/// Answers nil and the error.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn refuse(lua: &Lua, error: CallError) -> mlua::Result<MultiValue> {
    (LuaValue::Nil, errors::to_lua(lua, error)?).into_lua_multi(lua)
}
