//! `env`: the environment variables that the application declares.

use std::sync::Arc;

use mlua::{IntoLuaMulti, Lua, MultiValue, Table};
use wippy_security::{CallError, allows};
use wippy_wit::Value;

use super::Environment;
use crate::{
    Variables,
    permission::{invocation, permit},
    suspend::{blocking, suspending},
    values,
    world::unavailable,
};

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua, environment: &Environment) -> mlua::Result<Table> {
    let variables = environment.world.variables.clone();
    let module = lua.create_table()?;
    let known = variables.clone();
    module.raw_set(
        "get",
        lua.create_function(move |lua, name: String| {
            values::answer(lua, get(lua, known.as_ref(), &name).map(Value::from))
        })?,
    )?;
    let known = variables.clone();
    module.raw_set(
        "get_all",
        lua.create_function(move |lua, ()| values::answer(lua, all(lua, known.as_ref())))?,
    )?;
    let set = suspending(lua, move |lua, (name, value): (String, String)| {
        Ok(set(begin_set(lua, variables.as_ref(), name), value))
    })?;
    module.raw_set("set", set)?;
    Ok(module)
}

fn get(lua: &Lua, variables: Option<&Arc<dyn Variables>>, name: &str) -> Result<String, CallError> {
    let name = named(name)?;
    let permit = permit(lua, "env.get", name)?;
    declared(variables)?.get(permit, name)
}

/// Every variable that the caller may read and that has a value.
fn all(lua: &Lua, variables: Option<&Arc<dyn Variables>>) -> Result<Value, CallError> {
    let (context, variables) = (invocation(lua)?, declared(variables)?);
    let mut found = Vec::new();
    for name in variables.names() {
        if !allows(&context, "env.get", &name, &Value::Nil) {
            continue;
        }
        // One that has no value, or lost it meanwhile, is left out.
        if let Ok(value) = variables.get(permit(lua, "env.get", &name)?, &name) {
            found.push((name, Value::from(value)));
        }
    }
    Ok(Value::record(found))
}

/// What [`set`] does on another thread: everything but the value.
type Setting = Box<dyn FnOnce(&str) -> Result<(), CallError> + Send>;

fn begin_set(lua: &Lua, variables: Option<&Arc<dyn Variables>>, name: String) -> Result<Setting, CallError> {
    named(&name)?;
    let permit = permit(lua, "env.set", &name)?;
    let variables = declared(variables)?.clone();
    Ok(Box::new(move |value| variables.set(permit, &name, value)))
}

async fn set(
    setting: Result<Setting, CallError>,
    value: String,
) -> impl FnOnce(&Lua) -> mlua::Result<MultiValue> + Send + 'static {
    let outcome = match setting {
        Ok(setting) => blocking(move || setting(&value)).await,
        Err(error) => Err(error),
    };
    move |lua: &Lua| match outcome {
        Ok(()) => true.into_lua_multi(lua),
        Err(error) => values::refuse(lua, error),
    }
}

fn named(name: &str) -> Result<&str, CallError> {
    if name.is_empty() {
        return Err(CallError::invalid("the name of the variable is empty"));
    }
    Ok(name)
}

fn declared(variables: Option<&Arc<dyn Variables>>) -> Result<&Arc<dyn Variables>, CallError> {
    variables.ok_or_else(|| unavailable("environment variables"))
}
