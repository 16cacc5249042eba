//! Opaque things: passed along, and, where they are handles of objects, called with `handle:method(...)`.

use std::sync::Arc;

use mlua::{Function, IntoLuaMulti, Lua, Table, Value as LuaValue};
use wippy_security::{CallError, Handle, Object};

use crate::{errors, raw, suspend::suspending, values};

/// Makes the metatable of opaque things.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn metatable(lua: &Lua) -> mlua::Result<Table> {
    let metatable = lua.create_table()?;
    let methods = lua.create_table()?;
    let close = close(lua)?;
    methods.raw_set("close", &close)?;
    metatable.raw_set("__close", close)?;
    let known = methods.clone();
    let unknown =
        lua.create_function(move |lua, (this, name): (LuaValue, String)| index(lua, &methods, &this, &name))?;
    metatable.raw_set("__index", raw::index_function(lua, &known, &unknown)?)?;
    metatable.raw_set(
        "__tostring",
        lua.create_function(|lua, value: LuaValue| {
            Ok(raw::foreign(lua, &value)
                .map_or_else(|| "userdata".to_owned(), |foreign| foreign.type_name().to_owned()))
        })?,
    )?;
    metatable.raw_set("__metatable", "userdata")?;
    Ok(metatable)
}

fn object(lua: &Lua, value: &LuaValue) -> Option<Arc<dyn Object>> {
    Handle::of(&*raw::foreign(lua, value)?)
        .map(Handle::object)
        .cloned()
}

/// The method `name`: made once per name and state.
fn index(lua: &Lua, methods: &Table, this: &LuaValue, name: &str) -> mlua::Result<LuaValue> {
    let Some(object) = object(lua, this) else {
        return Ok(LuaValue::Nil);
    };
    if name != "close" && !object.has_method(name) {
        return Err(errors::raise(CallError::invalid(format!(
            "a {} has no method `{name}`",
            object.type_name()
        ))));
    }
    let known: LuaValue = methods.raw_get(name)?;
    if !known.is_nil() {
        return Ok(known);
    }
    let usage = format!("use `handle:{name}(...)`, with a colon");
    let misuse = lua.create_function(move |_, ()| Err::<(), _>(mlua::Error::runtime(&usage)))?;
    let method = raw::method_function(lua, name, &misuse)?;
    methods.raw_set(name, &method)?;
    Ok(LuaValue::Function(method))
}

/// `handle:close()`, and what `<close>` does.
fn close(lua: &Lua) -> mlua::Result<Function> {
    suspending(lua, |lua, (this, _error): (LuaValue, LuaValue)| {
        let object = object(lua, &this);
        Ok(async move {
            let outcome = match object {
                Some(object) => object.close().await,
                None => Ok(()),
            };
            move |lua: &Lua| match outcome {
                Ok(()) => true.into_lua_multi(lua),
                Err(error) => values::refuse(lua, error),
            }
        })
    })
}
