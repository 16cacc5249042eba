//! `time`: the clock, waiting, and durations.
//!
//! A duration is a number of nanoseconds (`5 * time.SECOND`), a text (`"1h30m"`, `"250ms"`) or a `Duration`.

mod duration;
mod layout;
mod location;
mod moment;

use std::time::Duration as StdDuration;

use mlua::{FromLua, IntoLuaMulti, Lua, MultiValue, Table, Value as LuaValue};

use self::location::Location;
pub(crate) use self::moment::local_timestamp;
pub(super) use self::{duration::Duration, moment::Time};
use super::timers;
use crate::{errors, suspend::suspending, values};

const UNITS: &[(&str, i64)] = &[
    ("NANOSECOND", 1),
    ("MICROSECOND", 1_000),
    ("MILLISECOND", 1_000_000),
    ("SECOND", 1_000_000_000),
    ("MINUTE", 60_000_000_000),
    ("HOUR", 3_600_000_000_000),
];

/// Layouts, written as the reference time Monday, 2 January 2006, 15:04:05.
const LAYOUTS: &[(&str, &str)] = &[
    ("RFC3339", "2006-01-02T15:04:05Z07:00"),
    ("RFC3339NANO", "2006-01-02T15:04:05.999999999Z07:00"),
    ("RFC822", "02 Jan 06 15:04 MST"),
    ("RFC822Z", "02 Jan 06 15:04 -0700"),
    ("RFC850", "Monday, 02-Jan-06 15:04:05 MST"),
    ("RFC1123", "Mon, 02 Jan 2006 15:04:05 MST"),
    ("RFC1123Z", "Mon, 02 Jan 2006 15:04:05 -0700"),
    ("DATE_TIME", "2006-01-02 15:04:05"),
    ("DATE_ONLY", "2006-01-02"),
    ("TIME_ONLY", "15:04:05"),
    ("KITCHEN", "3:04PM"),
    ("STAMP", "Jan _2 15:04:05"),
    ("STAMP_MILLI", "Jan _2 15:04:05.000"),
    ("STAMP_MICRO", "Jan _2 15:04:05.000000"),
    ("STAMP_NANO", "Jan _2 15:04:05.000000000"),
];

const MONTHS: [&str; 12] = [
    "JANUARY",
    "FEBRUARY",
    "MARCH",
    "APRIL",
    "MAY",
    "JUNE",
    "JULY",
    "AUGUST",
    "SEPTEMBER",
    "OCTOBER",
    "NOVEMBER",
    "DECEMBER",
];

const WEEKDAYS: [&str; 7] = [
    "SUNDAY",
    "MONDAY",
    "TUESDAY",
    "WEDNESDAY",
    "THURSDAY",
    "FRIDAY",
    "SATURDAY",
];

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    for (name, nanoseconds) in UNITS {
        module.raw_set(*name, *nanoseconds)?;
    }
    for (name, layout) in LAYOUTS {
        module.raw_set(*name, *layout)?;
    }
    for (number, name) in (1..).zip(MONTHS) {
        module.raw_set(name, number)?;
    }
    for (number, name) in (0..).zip(WEEKDAYS) {
        module.raw_set(name, number)?;
    }
    module.raw_set("utc", Location::utc())?;
    module.raw_set("localtz", Location::local())?;
    module.raw_set("now", lua.create_function(|_, ()| Ok(Time::now()))?)?;
    module.raw_set("sleep", sleep(lua)?)?;
    module.raw_set("unix", lua.create_function(moment::unix)?)?;
    module.raw_set(
        "date",
        lua.create_function(|lua, arguments| moment::date(lua, &arguments))?,
    )?;
    module.raw_set(
        "parse",
        lua.create_function(|lua, arguments| moment::parse(lua, &arguments))?,
    )?;
    module.raw_set("parse_duration", lua.create_function(parse_duration)?)?;
    module.raw_set(
        "load_location",
        lua.create_function(|lua, arguments| location::load(lua, &arguments))?,
    )?;
    module.raw_set(
        "fixed_zone",
        lua.create_function(|lua, arguments| location::fixed(lua, &arguments))?,
    )?;
    timers::install(lua, &module)?;
    Ok(module)
}

fn parse_duration(lua: &Lua, value: LuaValue) -> mlua::Result<MultiValue> {
    match Duration::from_lua(value, lua) {
        Ok(duration) => duration.into_lua_multi(lua),
        Err(error) => values::refuse(lua, errors::from_mlua(&error, None)),
    }
}

fn sleep(lua: &Lua) -> mlua::Result<mlua::Function> {
    suspending(lua, |_, duration: Duration| {
        let nanoseconds = u64::try_from(duration.0).unwrap_or_default();
        Ok(async move {
            if nanoseconds > 0 {
                tokio::time::sleep(StdDuration::from_nanos(nanoseconds)).await;
            }
            |lua: &Lua| ().into_lua_multi(lua)
        })
    })
}
