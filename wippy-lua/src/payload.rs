//! [`Format`] and [`Sent`]: what payloads are, to those who make them, send them and read them.

use std::{any::Any, sync::Arc};

use wippy_security::CallError;
use wippy_wit::{Foreign, Value};

use crate::{
    modules::{json, yaml},
    wire::Incoming,
};

/// What formats are called in messages between entries, and the field of `payload.format`.
pub(crate) const FORMATS: [(&str, &str, Format); 8] = [
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

/// The form that the contents of a payload have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
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
    pub(crate) fn name(self) -> &'static str {
        FORMATS
            .iter()
            .find(|(_, _, format)| *format == self)
            .map_or("lua/any", |(_, name, _)| name)
    }

    /// Whether contents of it are what the payload stands for.
    pub(crate) fn is_plain(self) -> bool {
        matches!(
            self,
            Self::Lua | Self::Native | Self::Error | Self::String | Self::Bytes
        )
    }

    /// What a payload with these `contents` stands for.
    ///
    /// # Errors
    /// When they are not in the format.
    pub(crate) fn value(self, contents: &Value) -> Result<Value, CallError> {
        match self {
            Self::Lua | Self::Native | Self::Error | Self::String | Self::Bytes => Ok(contents.clone()),
            Self::Json => json::from_text(bytes(contents)?),
            Self::Yaml => match str::from_utf8(bytes(contents)?) {
                Ok(text) => yaml::from_text(text),
                Err(_) => Err(CallError::invalid("`payload` is not UTF-8")),
            },
            Self::MessagePack => unpack(bytes(contents)?),
        }
    }
}

fn bytes(contents: &Value) -> Result<&[u8], CallError> {
    match contents {
        Value::String(bytes) => Ok(bytes),
        Value::Nil
        | Value::Boolean(_)
        | Value::Integer(_)
        | Value::Unsigned(_)
        | Value::Float(_)
        | Value::Table(_)
        | Value::Foreign(_) => Err(CallError::invalid(format!(
            "`payload` must be a string, got {}",
            contents.datum().type_name()
        ))),
    }
}

fn unpack(bytes: &[u8]) -> Result<Value, CallError> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    deserializer.set_max_depth(DEPTH_MAX);
    match serde::Deserialize::deserialize(&mut deserializer) {
        Ok(Incoming(value)) => Ok(value),
        Err(error) => Err(CallError::internal(error.to_string())),
    }
}

/// A payload on its way to another process.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) format: Format,
    pub(crate) contents: Value,
    /// What it stands for, unless that is what it holds.
    value: Option<Value>,
}

impl Sent {
    /// The value that carries a payload.
    ///
    /// # Errors
    /// When the contents are not in the format: who sends it is told, not who receives it.
    pub(crate) fn carry(format: Format, contents: Value) -> Result<Value, CallError> {
        let value = if format.is_plain() {
            None
        } else {
            Some(format.value(&contents)?)
        };
        Ok(Value::Foreign(Arc::new(Self {
            format,
            contents,
            value,
        })))
    }

    /// The payload that `value` carries.
    pub(crate) fn of(value: &Value) -> Option<&Self> {
        let Value::Foreign(foreign) = value else {
            return None;
        };
        foreign.as_any().downcast_ref()
    }
}

impl Foreign for Sent {
    fn type_name(&self) -> &'static str {
        "payload"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn value(&self) -> Option<&Value> {
        Some(self.value.as_ref().unwrap_or(&self.contents))
    }
}
