//! `payload`: values together with the format they are in.
//!
//! What a payload holds is kept by Lua, so that it counts towards the state's memory and is collected with it.
//!
//! Given as an argument or returned, a payload is the value that it stands for, so that whoever is called need not know
//! about it. In a message it stays what it is: whoever receives that asks for the payload.

use std::{any::Any, sync::Arc};

use mlua::{
    AnyUserData, FromLua, IntoLua, IntoLuaMulti, Lua, MultiValue, Table, UserData, UserDataMethods,
    Value as LuaValue,
};
use wippy_security::CallError;
use wippy_wit::{Foreign, Value};

use super::{json, yaml};
use crate::{
    arguments, errors, raw, values,
    wire::{Incoming, Outgoing},
};

/// What formats are called in messages between entries, and the field of `payload.format`.
const FORMATS: [(&str, &str, Format); 8] = [
    ("JSON", "json/plain", Format::Json),
    ("YAML", "yaml/plain", Format::Yaml),
    ("STRING", "text/plain", Format::String),
    ("BYTES", "application/octet-stream", Format::Bytes),
    ("MSGPACK", "application/msgpack", Format::MessagePack),
    ("LUA", "lua/any", Format::Lua),
    ("GOLANG", "golang/any", Format::Native),
    ("ERROR", "golang/error", Format::Error),
];

const DEPTH_MAX: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Yaml,
    String,
    Bytes,
    MessagePack,
    Lua,
    /// A value that is held as it is, under the name that other runtimes give it.
    Native,
    Error,
}

impl Format {
    fn name(self) -> &'static str {
        FORMATS
            .iter()
            .find(|(_, _, format)| *format == self)
            .map_or("lua/any", |(_, name, _)| name)
    }

    fn read(value: &LuaValue) -> Result<Self, CallError> {
        let wanted = arguments::text(value, "format")?;
        FORMATS
            .iter()
            .find(|(_, name, _)| *name == wanted)
            .map(|(_, _, format)| *format)
            .ok_or_else(|| CallError::internal(format!("there is no payload format `{wanted}`")))
    }
}

/// A payload; its contents are the userdata's user value.
struct Payload(Format);

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
                Ok(value) => wrap(lua, format, &value),
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
pub(crate) fn of_value(lua: &Lua, value: &Value) -> mlua::Result<AnyUserData> {
    match sent(value) {
        Some(sent) => wrap(lua, sent.format, &sent.contents),
        None => wrap(lua, Format::Lua, value),
    }
}

/// What a payload stands for; anything else is what it is.
///
/// # Errors
/// When the payload's contents are not in its format, or memory does not suffice.
pub(crate) fn settled(lua: &Lua, value: LuaValue) -> mlua::Result<LuaValue> {
    let Some(this) = This::find(&value) else {
        return Ok(value);
    };
    if this.is_plain() {
        return Ok(this.contents);
    }
    let settled = this
        .value(lua)
        .map_err(|error| errors::raise(error.context("payload")))?;
    raw::write_value(lua, &settled)
}

/// What is sent to another process for a payload; nothing for anything else.
///
/// # Errors
/// When the payload's contents are not in its format.
pub(crate) fn sendable(lua: &Lua, value: &LuaValue) -> Result<Option<Value>, CallError> {
    let Some(this) = This::find(value) else {
        return Ok(None);
    };
    let sent = Sent {
        value: this.value(lua).map_err(|error| error.context("payload"))?,
        format: this.format,
        contents: raw::read_value(lua, &this.contents)?,
    };
    Ok(Some(Value::Foreign(Arc::new(sent))))
}

/// A payload on its way to another process.
#[derive(Debug)]
struct Sent {
    format: Format,
    contents: Value,
    /// What it stands for.
    value: Value,
}

impl Foreign for Sent {
    fn type_name(&self) -> &'static str {
        "payload"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn value(&self) -> Option<&Value> {
        Some(&self.value)
    }
}

/// The payload that `value` is.
fn sent(value: &Value) -> Option<&Sent> {
    let Value::Foreign(foreign) = value else {
        return None;
    };
    foreign.as_any().downcast_ref()
}

fn wrap(lua: &Lua, format: Format, contents: &Value) -> mlua::Result<AnyUserData> {
    let payload = lua.create_userdata(Payload(format))?;
    payload.set_user_value(raw::write_value(lua, contents)?)?;
    Ok(payload)
}

impl UserData for Payload {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("get_format", |_, this, ()| Ok(this.0.name()));
        methods.add_function("data", |lua, this: This| this.data(lua));
        methods.add_function("unmarshal", |lua, this: This| this.data(lua));
        methods.add_function(
            "transcode",
            |lua, (this, format): (This, LuaValue)| match Format::read(&format)
                .and_then(|format| this.transcode(lua, format))
            {
                Ok((format, contents)) => wrap(lua, format, &contents)?.into_lua_multi(lua),
                Err(error) => values::refuse(lua, error.context("payload:transcode")),
            },
        );
    }
}

/// A payload that a method was called on.
struct This {
    format: Format,
    contents: LuaValue,
}

impl FromLua for This {
    fn from_lua(value: LuaValue, lua: &Lua) -> mlua::Result<Self> {
        let payload = AnyUserData::from_lua(value, lua)?;
        Ok(Self {
            format: payload.borrow::<Payload>()?.0,
            contents: payload.user_value()?,
        })
    }
}

impl This {
    /// The payload that `value` is.
    fn find(value: &LuaValue) -> Option<Self> {
        let payload = value.as_userdata()?;
        let format = payload.borrow::<Payload>().ok()?.0;
        let contents = payload.user_value().ok()?;
        Some(Self { format, contents })
    }

    /// Whether its contents are what it stands for.
    fn is_plain(&self) -> bool {
        matches!(
            self.format,
            Format::Lua | Format::Native | Format::Error | Format::String | Format::Bytes
        )
    }

    fn data(self, lua: &Lua) -> mlua::Result<MultiValue> {
        if self.is_plain() {
            return self.contents.into_lua(lua)?.into_lua_multi(lua);
        }
        values::answer(
            lua,
            self.value(lua).map_err(|error| error.context("payload:data")),
        )
    }

    /// What the payload stands for, whatever format it is in.
    fn value(&self, lua: &Lua) -> Result<Value, CallError> {
        let bytes = || arguments::bytes(&self.contents, "payload");
        match self.format {
            Format::Lua | Format::Native | Format::Error | Format::String | Format::Bytes => {
                raw::read_value(lua, &self.contents).map_err(CallError::from)
            }
            Format::Json => json::from_text(&bytes()?),
            Format::Yaml => yaml::from_text(&arguments::text(&self.contents, "payload")?),
            Format::MessagePack => unpack(&bytes()?),
        }
    }

    fn transcode(&self, lua: &Lua, format: Format) -> Result<(Format, Value), CallError> {
        let value = self.value(lua)?;
        let failed = |error: &dyn std::fmt::Display| CallError::internal(error.to_string());
        let contents = match format {
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
            Format::Error if self.format == Format::Error => value,
            Format::Error => return Err(CallError::internal("the payload is no error")),
        };
        Ok((format, contents))
    }
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

fn unpack(bytes: &[u8]) -> Result<Value, CallError> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    deserializer.set_max_depth(DEPTH_MAX);
    match serde::Deserialize::deserialize(&mut deserializer) {
        Ok(Incoming(value)) => Ok(value),
        Err(error) => Err(CallError::internal(error.to_string())),
    }
}
