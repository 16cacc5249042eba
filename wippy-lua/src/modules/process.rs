//! `process`: who the running script is.

use mlua::{Lua, Table};

use super::Environment;

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua, environment: &Environment) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let id = environment.id.as_str().to_owned();
    module.raw_set("id", lua.create_function(move |lua, ()| lua.create_string(&id))?)?;
    let pid = environment.services.pid.clone();
    module.raw_set(
        "pid",
        lua.create_function(move |_, ()| Ok(pid.as_deref().map(str::to_owned)))?,
    )?;
    Ok(module)
}
