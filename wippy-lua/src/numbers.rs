//! Unsigned integers beyond what Lua's integers hold: exact, with arithmetic that refuses to overflow.

use std::cmp::Ordering;

use mlua::{Lua, Table, Value as LuaValue};

use crate::raw;

/// Makes the metatable.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn metatable(lua: &Lua) -> mlua::Result<Table> {
    let metatable = lua.create_table()?;
    for (name, operation) in [
        ("__add", i128::checked_add as fn(i128, i128) -> Option<i128>),
        ("__sub", i128::checked_sub),
        ("__mul", i128::checked_mul),
        ("__idiv", floor_div),
        ("__mod", floor_rem),
    ] {
        metatable.raw_set(
            name,
            lua.create_function(move |lua, pair| arithmetic(lua, pair, operation))?,
        )?;
    }
    for (name, accepts) in [
        ("__eq", Ordering::is_eq as fn(Ordering) -> bool),
        ("__lt", Ordering::is_lt),
        ("__le", Ordering::is_le),
    ] {
        metatable.raw_set(
            name,
            lua.create_function(move |lua, pair| Ok(accepts(compare(lua, &pair)?)))?,
        )?;
    }
    metatable.raw_set(
        "__tostring",
        lua.create_function(|lua, value: LuaValue| Ok(whole(lua, &value)?.to_string()))?,
    )?;
    metatable.raw_set("__name", "u64")?;
    metatable.raw_set("__metatable", "u64")?;
    Ok(metatable)
}

/// Division that rounds towards minus infinity, as Lua's does.
fn floor_div(a: i128, b: i128) -> Option<i128> {
    let quotient = a.checked_div(b)?;
    let inexact = quotient * b != a;
    Some(if inexact && (a < 0) != (b < 0) {
        quotient - 1
    } else {
        quotient
    })
}

/// What [`floor_div`] leaves; it has the sign of the divisor.
fn floor_rem(a: i128, b: i128) -> Option<i128> {
    floor_div(a, b).map(|quotient| a - quotient * b)
}

fn whole(lua: &Lua, value: &LuaValue) -> mlua::Result<i128> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the float has no fraction and is in range"
    )]
    if let LuaValue::Number(number) = value
        && number.fract() == 0.0
        && number.abs() < 1e30
    {
        return Ok(*number as i128);
    }
    raw::integer_or_unsigned(lua, value)
        .ok_or_else(|| mlua::Error::runtime(format!("expected an integer, got {}", value.type_name())))
}

fn arithmetic(
    lua: &Lua,
    (left, right): (LuaValue, LuaValue),
    operation: fn(i128, i128) -> Option<i128>,
) -> mlua::Result<LuaValue> {
    let (left, right) = (whole(lua, &left)?, whole(lua, &right)?);
    let result =
        operation(left, right).ok_or_else(|| mlua::Error::runtime("division by zero, or overflow"))?;
    if let Ok(result) = i64::try_from(result) {
        return Ok(LuaValue::Integer(result));
    }
    let result =
        u64::try_from(result).map_err(|_| mlua::Error::runtime(format!("{result} does not fit 64 bits")))?;
    raw::unsigned(lua, result)
}

fn compare(lua: &Lua, (left, right): &(LuaValue, LuaValue)) -> mlua::Result<Ordering> {
    Ok(whole(lua, left)?.cmp(&whole(lua, right)?))
}
