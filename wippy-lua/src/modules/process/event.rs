//! Events as tables.

use mlua::{Lua, Table, Value as LuaValue};
use wippy_security::{Event, Exit};

use crate::{errors, raw};

/// The kinds of events, under the names that scripts know them by.
const KINDS: &[(&str, &str)] = &[
    ("CANCEL", "pid.cancel"),
    ("EXIT", "pid.exit"),
    ("LINK_DOWN", "pid.link.down"),
    ("OUTDATED", "pid.outdated"),
];

/// The table of kinds.
///
/// # Errors
/// When memory does not suffice.
pub(super) fn kinds(lua: &Lua) -> mlua::Result<LuaValue> {
    let kinds = lua.create_table()?;
    for (name, kind) in KINDS {
        kinds.raw_set(*name, *kind)?;
    }
    Ok(LuaValue::Table(kinds))
}

/// The event as a table: `kind`, `from`, and what else it has.
///
/// # Errors
/// When memory does not suffice.
pub(super) fn table(lua: &Lua, event: &Event) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    match event {
        Event::Cancel {
            from,
            deadline,
            reason,
        } => {
            table.raw_set("kind", kind("CANCEL"))?;
            table.raw_set("from", from.as_ref().map(|pid| pid.as_str().to_owned()))?;
            table.raw_set("reason", reason.as_deref())?;
            if let Some(deadline) = deadline {
                let left = deadline.saturating_duration_since(tokio::time::Instant::now());
                // Nanoseconds, as all durations.
                table.raw_set("deadline", i64::try_from(left.as_nanos()).unwrap_or(i64::MAX))?;
            }
        }
        Event::Exit { from, exit } => {
            table.raw_set("kind", kind("EXIT"))?;
            table.raw_set("from", from.as_str())?;
            table.raw_set("result", result(lua, exit)?)?;
        }
        Event::LinkDown { from, exit } => {
            table.raw_set("kind", kind("LINK_DOWN"))?;
            table.raw_set("from", from.as_str())?;
            table.raw_set("result", result(lua, exit)?)?;
        }
        Event::Outdated => table.raw_set("kind", kind("OUTDATED"))?,
    }
    Ok(table)
}

/// How a process ended: `value` or `error`.
fn result(lua: &Lua, exit: &Exit) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    match &**exit {
        Ok(value) => table.raw_set("value", raw::write_value(lua, value)?)?,
        Err(error) => table.raw_set("error", errors::to_lua(lua, error.clone())?)?,
    }
    Ok(table)
}

fn kind(name: &str) -> &'static str {
    KINDS
        .iter()
        .find(|(known, _)| *known == name)
        .map_or("", |(_, kind)| kind)
}
