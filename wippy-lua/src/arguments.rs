//! [`Arguments`]: what a script hands to a module's function, read strictly and refused with the argument's name.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else there is, is refused alike"
)]

use mlua::{BorrowedBytes, FromLuaMulti, Lua, MultiValue, Table, Value as LuaValue};
use wippy_security::CallError;
use wippy_wit::{Error, Value};

use crate::{raw, values};

/// The arguments of one call.
pub(crate) struct Arguments(Vec<LuaValue>);

impl FromLuaMulti for Arguments {
    fn from_lua_multi(values: MultiValue, _: &Lua) -> mlua::Result<Self> {
        Ok(Self(values.into_iter().collect()))
    }
}

impl Arguments {
    /// The argument, nil if it was left out.
    pub(crate) fn get(&self, index: usize) -> &LuaValue {
        self.0.get(index).unwrap_or(&LuaValue::Nil)
    }

    /// A string. Numbers are none: what is hashed or encoded should be what the script says it is.
    pub(crate) fn bytes(&self, index: usize, name: &str) -> Result<BorrowedBytes, CallError> {
        bytes(self.get(index), name)
    }

    /// A string that is text.
    pub(crate) fn text(&self, index: usize, name: &str) -> Result<String, CallError> {
        text(self.get(index), name)
    }

    /// A string that may be left out.
    pub(crate) fn optional_text(&self, index: usize, name: &str) -> Result<Option<String>, CallError> {
        if self.get(index).is_nil() {
            return Ok(None);
        }
        self.text(index, name).map(Some)
    }

    /// A whole number within `range`.
    pub(crate) fn integer(
        &self,
        index: usize,
        name: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<i64, CallError> {
        integer(self.get(index), name, range)
    }

    /// Whether the argument is true.
    pub(crate) fn flag(&self, index: usize) -> bool {
        matches!(self.get(index), LuaValue::Boolean(true))
    }

    /// A table that may be left out.
    pub(crate) fn options(&self, index: usize, name: &str) -> Result<Option<&Table>, CallError> {
        match self.get(index) {
            LuaValue::Nil => Ok(None),
            LuaValue::Table(table) => Ok(Some(table)),
            other => Err(unexpected(other, name, "a table")),
        }
    }

    /// An owned copy of any value.
    pub(crate) fn value(&self, lua: &Lua, index: usize) -> Result<Value, Error> {
        raw::read_value(lua, self.get(index))
    }
}

/// `value`, which is called `name`, as a string.
pub(crate) fn bytes(value: &LuaValue, name: &str) -> Result<BorrowedBytes, CallError> {
    match value {
        LuaValue::String(text) => Ok(text.as_bytes()),
        other => Err(unexpected(other, name, "a string")),
    }
}

/// `value`, which is called `name`, as text.
pub(crate) fn text(value: &LuaValue, name: &str) -> Result<String, CallError> {
    let bytes = bytes(value, name)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(CallError::invalid(format!("`{name}` is not UTF-8"))),
    }
}

/// `value`, which is called `name`, as a whole number within `range`.
pub(crate) fn integer(
    value: &LuaValue,
    name: &str,
    range: std::ops::RangeInclusive<i64>,
) -> Result<i64, CallError> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it has no fraction and is in range"
    )]
    let number = match value {
        LuaValue::Integer(number) => *number,
        LuaValue::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => *number as i64,
        other => return Err(unexpected(other, name, "a whole number")),
    };
    if range.contains(&number) {
        return Ok(number);
    }
    let (least, most) = range.into_inner();
    Err(CallError::invalid(format!(
        "`{name}` must be between {least} and {most}, got {number}"
    )))
}

/// The refusal of a value of the wrong type.
pub(crate) fn unexpected(value: &LuaValue, name: &str, expected: &str) -> CallError {
    CallError::invalid(format!("`{name}` must be {expected}, got {}", value.type_name()))
}

/// Adds a function that answers a value, or nil and an error that names the function.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn function(
    lua: &Lua,
    table: &Table,
    name: &'static str,
    body: impl Fn(&Lua, &Arguments) -> Result<Value, CallError> + Send + 'static,
) -> mlua::Result<()> {
    let function = lua.create_function(move |lua, arguments: Arguments| {
        values::answer(lua, body(lua, &arguments).map_err(|error| error.context(name)))
    })?;
    let field = name.rsplit(['.', ':']).next().unwrap_or(name);
    table.raw_set(field, function)
}

/// A number of bytes or characters from a whole number that is not negative.
pub(crate) fn size(number: i64) -> usize {
    usize::try_from(number).unwrap_or_default()
}
