//! `text`: regular expressions, differences between texts, and cutting documents into chunks.

mod diff;
mod patch;
mod regexp;
mod splitter;

use mlua::{Lua, Table};

/// Gives up what is kept for an execution that has ended; whether there was any.
pub(super) fn forget(lua: &Lua) -> bool {
    regexp::forget(lua)
}

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    module.raw_set("regexp", regexp::table(lua)?)?;
    module.raw_set("diff", diff::table(lua)?)?;
    module.raw_set("splitter", splitter::table(lua)?)?;
    Ok(module)
}
