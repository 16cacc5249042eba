//! `process.registry`: names of processes.

use mlua::{IntoLuaMulti, Lua, MultiValue, Value as LuaValue};
use wippy_security::CallError;

use super::{context, done};
use crate::values;

/// How far a name reaches. This runtime is one node, so `LOCAL` is all there is to choose.
const SCOPES: &[(&str, i64)] = &[("LOCAL", 0), ("EVENTUAL", 1), ("CONSISTENT", 2), ("STRONG", 3)];

/// Makes the table.
///
/// # Errors
/// When memory does not suffice.
pub(super) fn open(lua: &Lua) -> mlua::Result<LuaValue> {
    let table = lua.create_table()?;
    for (name, scope) in SCOPES {
        table.raw_set(*name, *scope)?;
    }
    table.raw_set("register", lua.create_function(register)?)?;
    table.raw_set(
        "lookup",
        lua.create_function(|lua, name: String| lookup(lua, &name))?,
    )?;
    table.raw_set("unregister", lua.create_function(unregister)?)?;
    Ok(LuaValue::Table(table))
}

fn register(
    lua: &Lua,
    (name, pid, scope): (String, Option<String>, Option<i64>),
) -> mlua::Result<MultiValue> {
    if let Err(error) = check_scope(scope) {
        return values::refuse(lua, error);
    }
    done(lua, |processes, context| {
        processes.register(context, &name, pid.as_deref())
    })
}

fn lookup(lua: &Lua, name: &str) -> mlua::Result<MultiValue> {
    match context(lua).and_then(|context| context.dispatcher().processes().lookup(name)) {
        Ok(pid) => lua.create_string(pid.as_str())?.into_lua_multi(lua),
        Err(error) => values::refuse(lua, error),
    }
}

fn unregister(lua: &Lua, (name, scope): (String, Option<i64>)) -> mlua::Result<MultiValue> {
    let outcome = check_scope(scope).and_then(|()| {
        let context = context(lua)?;
        context.dispatcher().processes().unregister(&context, &name)
    });
    match outcome {
        Ok(was_known) => LuaValue::Boolean(was_known).into_lua_multi(lua),
        Err(error) => values::refuse(lua, error),
    }
}

fn check_scope(scope: Option<i64>) -> Result<(), CallError> {
    match scope {
        None | Some(0) => Ok(()),
        Some(_) => Err(CallError::invalid(
            "only names with the scope `process.registry.LOCAL` exist here: there is no cluster",
        )),
    }
}
