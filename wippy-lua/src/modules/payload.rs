//! `payload`: values together with the format they are in.
//!
//! What a payload holds is kept by Lua, so that it counts towards the state's memory and is collected with it.
//!
//! Given as an argument or returned, a payload is the value that it stands for, so that whoever is called need not know
//! about it. In a message it stays what it is: whoever receives that asks for the payload.

use mlua::{IntoLuaMulti, Lua, Table, Value as LuaValue};
use wippy_security::CallError;
use wippy_wit::Value;

use super::{json, yaml};
use crate::{
    arguments, errors,
    payload::{FORMATS, Format, Sent},
    raw::{self, Methods},
    values,
    wire::Outgoing,
};

/// What scripts can ask a payload.
pub(crate) const METHODS: &Methods = &[
    ("data", raw::payload_data),
    ("get_format", raw::payload_format),
    ("transcode", raw::payload_transcode),
    ("unmarshal", raw::payload_unmarshal),
];

/// Makes the global.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let formats = lua.create_table()?;
    for (field, name, _) in FORMATS {
        formats.raw_set(field, name)?;
    }
    module.raw_set("format", formats)?;
    module.raw_set(
        "new",
        lua.create_function(|lua, value: LuaValue| {
            let format = match errors::object(lua, &value) {
                Some(_) => Format::Error,
                None => Format::Lua,
            };
            // A copy, as everywhere where values leave the script: later changes do not reach it.
            match raw::read_value(lua, &value) {
                Ok(value) => raw::payload(lua, format, &value),
                Err(error) => Err(errors::raise(CallError::from(error).context("payload.new"))),
            }
        })?,
    )?;
    Ok(module)
}

/// The payload that holds a copy of `value`, or that was sent.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn of_value(lua: &Lua, value: &Value) -> mlua::Result<LuaValue> {
    match Sent::of(value) {
        Some(sent) => raw::payload(lua, sent.format, &sent.contents),
        None => raw::payload(lua, Format::Lua, value),
    }
}

/// What a payload stands for; anything else is what it is.
///
/// # Errors
/// When the payload's contents are not in its format, or memory does not suffice.
pub(crate) fn settled(lua: &Lua, value: LuaValue) -> mlua::Result<LuaValue> {
    let Some((format, contents)) = raw::payload_parts(lua, &value) else {
        return Ok(value);
    };
    if format.is_plain() {
        return Ok(contents);
    }
    let settled =
        stands_for(lua, format, &contents).map_err(|error| errors::raise(error.context("payload")))?;
    raw::write_value(lua, &settled)
}

/// What is sent to another process for a payload; nothing for anything else.
///
/// # Errors
/// When the payload's contents are not in its format.
pub(crate) fn sendable(lua: &Lua, value: &LuaValue) -> Result<Option<Value>, CallError> {
    let Some((format, contents)) = raw::payload_parts(lua, value) else {
        return Ok(None);
    };
    let contents =
        raw::read_value(lua, &contents).map_err(|error| CallError::from(error).context("payload"))?;
    let sent = Sent::carry(format, contents).map_err(|error| error.context("payload"))?;
    Ok(Some(sent))
}

fn stands_for(lua: &Lua, format: Format, contents: &LuaValue) -> Result<Value, CallError> {
    format.value(&raw::read_value(lua, contents)?)
}

/// Makes the function that reads what a payload, its argument, stands for.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn data(lua: &Lua) -> mlua::Result<LuaValue> {
    let function = lua.create_function(|lua, this: LuaValue| {
        let (format, contents) = parts(lua, &this)?;
        let value = stands_for(lua, format, &contents);
        values::answer(lua, value.map_err(|error| error.context("payload:data")))
    })?;
    Ok(LuaValue::Function(function))
}

/// Makes the function that brings a payload, its first argument, into another format.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn transcode(lua: &Lua) -> mlua::Result<LuaValue> {
    let function = lua.create_function(|lua, (this, wanted): (LuaValue, LuaValue)| {
        let (format, contents) = parts(lua, &this)?;
        let wanted = format_of(&wanted);
        match wanted.and_then(|wanted| Ok((wanted, transcoded(lua, format, &contents, wanted)?))) {
            Ok((format, contents)) => raw::payload(lua, format, &contents)?.into_lua_multi(lua),
            Err(error) => values::refuse(lua, error.context("payload:transcode")),
        }
    })?;
    Ok(LuaValue::Function(function))
}

fn parts(lua: &Lua, payload: &LuaValue) -> mlua::Result<(Format, LuaValue)> {
    raw::payload_parts(lua, payload).ok_or(mlua::Error::UserDataTypeMismatch)
}

fn format_of(value: &LuaValue) -> Result<Format, CallError> {
    let wanted = arguments::text(value, "format")?;
    FORMATS
        .iter()
        .find(|(_, name, _)| *name == wanted)
        .map(|(_, _, format)| *format)
        .ok_or_else(|| CallError::internal(format!("there is no payload format `{wanted}`")))
}

fn transcoded(lua: &Lua, format: Format, contents: &LuaValue, wanted: Format) -> Result<Value, CallError> {
    let value = stands_for(lua, format, contents)?;
    let failed = |error: &dyn std::fmt::Display| CallError::internal(error.to_string());
    Ok(match wanted {
        Format::Lua | Format::Native => value,
        Format::Json => Value::from(
            json::from_value(&value)
                .map_err(|error| failed(&error))?
                .to_string(),
        ),
        Format::Yaml => Value::from(yaml::to_text(&value, &[])?),
        Format::MessagePack => Value::String(
            rmp_serde::to_vec(&Outgoing::new(&value, &[]))
                .map_err(|error| failed(&error))?
                .into(),
        ),
        Format::String | Format::Bytes => text_of(value)?,
        Format::Error if format == Format::Error => value,
        Format::Error => return Err(CallError::internal("the payload is no error")),
    })
}

/// A value as a text; a table has none.
fn text_of(value: Value) -> Result<Value, CallError> {
    Ok(match value {
        Value::String(_) => value,
        Value::Boolean(value) => Value::from(value.to_string()),
        Value::Integer(value) => Value::from(value.to_string()),
        Value::Unsigned(value) => Value::from(value.to_string()),
        Value::Float(value) => Value::from(value.to_string()),
        Value::Nil | Value::Table(_) | Value::Foreign(_) => {
            return Err(CallError::internal(format!(
                "{} is no text: use JSON, YAML or MSGPACK",
                value.datum().type_name()
            )));
        }
    })
}
