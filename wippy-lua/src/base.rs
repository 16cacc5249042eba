//! Functions of Lua's own libraries that the documentation has and Lua 5.4 does not, or has otherwise.

use std::time::Instant;

use mlua::{Function, Lua, Table, Value as LuaValue};

use crate::modules::local_timestamp;

/// Larger tables are not made ahead: whatever is put into one makes it grow anyway.
const ENTRIES_MAX: usize = 1 << 24;

/// `math.atan2(y, x)`
pub(crate) fn atan2(lua: &Lua) -> mlua::Result<LuaValue> {
    function(lua.create_function(|_, (y, x): (f64, f64)| Ok(y.atan2(x))))
}

/// `os.clock()`: the seconds since a script first looked at it. The processor's time, which Lua has here, is that of the
/// whole program and nobody's business.
pub(crate) fn clock(lua: &Lua) -> mlua::Result<LuaValue> {
    let started = Instant::now();
    function(lua.create_function(move |_, ()| Ok(started.elapsed().as_secs_f64())))
}

/// `os.time([fields])`: what is left out of the fields is today's date, at midnight.
pub(crate) fn time(lua: &Lua) -> mlua::Result<LuaValue> {
    function(lua.create_function(|lua, fields: Option<Table>| {
        let Some(fields) = fields else {
            return local_timestamp(None);
        };
        let mut numbers = [None; 6];
        for (number, name) in numbers
            .iter_mut()
            .zip(["year", "month", "day", "hour", "min", "sec"])
        {
            let value: LuaValue = fields.get(name)?;
            if !value.is_nil() {
                let integer = lua.coerce_integer(value)?;
                let message = || mlua::Error::runtime(format!("field '{name}' is not an integer"));
                *number = Some(integer.ok_or_else(message)?);
            }
        }
        local_timestamp(Some(numbers))
    }))
}

/// `table.create(elements, fields)`: a table with room for so many.
pub(crate) fn create_table(lua: &Lua) -> mlua::Result<LuaValue> {
    function(
        lua.create_function(|lua, (elements, fields): (Option<usize>, Option<usize>)| {
            let room = |wanted: Option<usize>| wanted.unwrap_or_default().min(ENTRIES_MAX);
            lua.create_table_with_capacity(room(elements), room(fields))
        }),
    )
}

fn function(made: mlua::Result<Function>) -> mlua::Result<LuaValue> {
    made.map(LuaValue::Function)
}
