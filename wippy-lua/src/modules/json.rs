//! `json`: text and tables, and schemas that both can be held against.
//!
//! A table with indices 1 to n is an array, an empty one too; one with names is an object. What is both, or has gaps,
//! has no JSON form and is refused rather than guessed at.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else there is, is refused alike"
)]

mod schema;

use mlua::{Lua, Table as LuaTable, Value as LuaValue};
use serde_json::{Map, Number, Value as Json};
use wippy_security::CallError;
use wippy_wit::{Error, Table, Value, json};

use crate::{
    arguments::{Arguments, function},
    raw,
};

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua) -> mlua::Result<LuaTable> {
    let module = lua.create_table()?;
    function(lua, &module, "json.encode", |lua, arguments| {
        Ok(Value::from(from_lua(lua, arguments.get(0))?.to_string()))
    })?;
    function(lua, &module, "json.decode", |_, arguments| decode(arguments))?;
    function(lua, &module, "json.validate", schema::validate)?;
    function(lua, &module, "json.validate_string", schema::validate_string)?;
    Ok(module)
}

fn decode(arguments: &Arguments) -> Result<Value, CallError> {
    let text = arguments.bytes(0, "str")?;
    if text.is_empty() {
        return Err(CallError::invalid("`str` must not be empty"));
    }
    from_text(&text)
}

/// Gives up what is kept for an execution that has ended, if it is much.
pub(super) fn forget(lua: &Lua) {
    schema::forget(lua);
}

/// The value of a JSON text.
///
/// # Errors
/// When it is none, or nested too deeply.
pub(crate) fn from_text(text: &[u8]) -> Result<Value, CallError> {
    let json = parse(text)?;
    json::to_value(&json).map_err(|error| CallError::internal(error.to_string()))
}

fn parse(text: &[u8]) -> Result<Json, CallError> {
    serde_json::from_slice(text).map_err(|error| CallError::internal(error.to_string()))
}

/// The JSON of a Lua value.
///
/// # Errors
/// When it has none.
pub(crate) fn from_lua(lua: &Lua, value: &LuaValue) -> Result<Json, CallError> {
    raw::read_value(lua, value)
        .and_then(|value| from_value(&value))
        .map_err(|error| CallError::internal(error.to_string()))
}

/// The JSON of a value from a script.
///
/// # Errors
/// When a table is neither array nor object, or a part has no JSON form.
pub(crate) fn from_value(value: &Value) -> Result<Json, Error> {
    match value {
        // JSON has no such numbers.
        Value::Float(number) => Ok(Number::from_f64(*number).map_or(Json::Null, Json::Number)),
        Value::Table(table) if table.pairs.is_empty() => array(&table.array),
        Value::Table(table) => object(table),
        Value::Nil
        | Value::Boolean(_)
        | Value::Integer(_)
        | Value::Unsigned(_)
        | Value::String(_)
        | Value::Foreign(_) => json::from_value(value),
    }
}

fn array(elements: &[Value]) -> Result<Json, Error> {
    let element = |(index, element): (usize, &Value)| {
        if element.is_nil() {
            return Err(Error::new("an array has a gap here").at_index(index));
        }
        from_value(element).map_err(|error| error.at_index(index))
    };
    elements.iter().enumerate().map(element).collect()
}

fn object(table: &Table) -> Result<Json, Error> {
    let mut fields = Map::new();
    for (key, value) in &table.pairs {
        let name = match key {
            Value::String(name) => std::str::from_utf8(name)
                .map_err(|_| Error::new("JSON strings are UTF-8, a key here is not"))?,
            Value::Integer(_) => {
                return Err(Error::new(
                    "a table is an array with gaps, or has both indices and names",
                ));
            }
            other => {
                let datum = other.datum();
                return Err(Error::new(format!(
                    "a {} cannot be a JSON key",
                    datum.type_name()
                )));
            }
        };
        let value = from_value(value).map_err(|error| error.at_field(name))?;
        fields.insert(name.to_owned(), value);
    }
    if !table.array.is_empty() {
        return Err(Error::new("a table has both indices and names"));
    }
    // Tables have no order of their own; the text should be the same each time.
    fields.sort_keys();
    Ok(Json::Object(fields))
}
