//! Entries, ids and filters as scripts write and see them.
#![expect(clippy::wildcard_enum_match_arm, reason = "mlua's enums grow")]

use mlua::{Lua, Table, Value as LuaValue};
use serde_json::Value as Json;
use wippy_registry::{Entry, EntryId, Query};
use wippy_security::CallError;
use wippy_wit::{Value, json};

use crate::{permission::entry_id, raw};

/// An entry as scripts see it: placeholders as they are written, so that secrets do not show.
pub(super) fn shown(entry: &Entry) -> Result<Value, CallError> {
    Ok(Value::record([
        ("id", Value::from(entry.id.as_str())),
        ("kind", entry.kind.as_str().into()),
        ("meta", json::to_value(&entry.meta.to_json())?),
        ("data", json::to_value(&entry.data.to_json())?),
    ]))
}

/// The parts of an id.
pub(super) fn id_parts(id: &EntryId) -> Value {
    Value::record([("ns", Value::from(id.namespace())), ("name", id.name().into())])
}

/// An id as a string, or as a table of its parts.
pub(super) fn id(value: &LuaValue) -> Result<EntryId, CallError> {
    match value {
        LuaValue::String(text) => entry_id(&text.to_string_lossy()),
        LuaValue::Table(parts) => {
            let part = |name: &str| text(parts, name);
            entry_id(&format!("{}:{}", part("ns")?, part("name")?))
        }
        _ => Err(CallError::invalid(
            "an id is `namespace:name`, or a table of `ns` and `name`",
        )),
    }
}

/// An entry as scripts write it: `{id=, kind=, meta=, data=}`.
pub(super) fn entry(lua: &Lua, value: &LuaValue) -> Result<Entry, CallError> {
    let LuaValue::Table(table) = value else {
        return Err(CallError::invalid(
            "an entry is a table of `id`, `kind`, `meta` and `data`",
        ));
    };
    let id = id(&table.raw_get::<LuaValue>("id").unwrap_or(LuaValue::Nil))?;
    let kind = text(table, "kind").map_err(|error| error.context(&id))?;
    let map = |name: &str| mapping(lua, table, name).map_err(|error| error.context(&id));
    let (meta, data) = (map("meta")?, map("data")?);
    Ok(Entry::new(id, kind.as_str()).with_meta(&meta).with_data(&data))
}

fn text(table: &Table, name: &str) -> Result<String, CallError> {
    match table.raw_get(name) {
        Ok(LuaValue::String(text)) => Ok(text.to_string_lossy()),
        Ok(_) | Err(_) => Err(CallError::invalid(format!("`{name}` is missing, or no string"))),
    }
}

/// A table of named values; nothing is an empty one.
fn mapping(lua: &Lua, table: &Table, name: &str) -> Result<Json, CallError> {
    let value: LuaValue = table.raw_get(name).unwrap_or(LuaValue::Nil);
    let value = raw::read_value(lua, &value).and_then(|value| json::from_value(&value));
    match value.map_err(|error| CallError::from(error).context(format_args!("`{name}`")))? {
        Json::Object(fields) => Ok(Json::Object(fields)),
        Json::Null => Ok(Json::Object(serde_json::Map::new())),
        // Lua's empty table is an empty list and an empty mapping at once.
        Json::Array(items) if items.is_empty() => Ok(Json::Object(serde_json::Map::new())),
        Json::Array(_) | Json::Bool(_) | Json::Number(_) | Json::String(_) => Err(CallError::invalid(
            format!("`{name}` is a table with names for its values"),
        )),
    }
}

/// A filter: `.kind`, `.ns` and `.name` take patterns; every other key is a path in `meta`, whose value has to be equal.
///
/// Before a path, `~` compares with a regular expression, `*` with a part, `^` with the beginning, `$` with the end.
pub(super) fn query(filter: &Table) -> Result<Query, CallError> {
    let mut query = Query::new();
    for pair in filter.pairs::<LuaValue, LuaValue>() {
        let (key, value) = pair.map_err(|error| CallError::invalid(error.to_string()))?;
        query = narrowed(query, &scalar(&key)?, &scalar(&value)?)?;
    }
    Ok(query)
}

fn narrowed(query: Query, key: &str, text: &str) -> Result<Query, CallError> {
    Ok(match key {
        ".kind" => query.kind(text)?,
        ".ns" => query.namespace(text)?,
        ".name" => query.name(text)?,
        _ if key.starts_with('.') => {
            return Err(CallError::invalid(format!(
                "there is no field `{key}` to find entries by: there are `.kind`, `.ns`, `.name` and paths in `meta`"
            )));
        }
        _ => {
            let path = key.trim_start_matches(['~', '*', '^', '$', '=']);
            let operator = key.get(..key.len() - path.len()).unwrap_or_default();
            let path = path.strip_prefix("meta.").unwrap_or(path);
            if operator.is_empty() || operator == "=" {
                query.meta_equals(path, text)
            } else {
                query.meta(&format!("{path}{operator}{text}"))?
            }
        }
    })
}

fn scalar(value: &LuaValue) -> Result<String, CallError> {
    match value {
        LuaValue::String(text) => Ok(text.to_string_lossy()),
        LuaValue::Boolean(truth) => Ok(truth.to_string()),
        LuaValue::Integer(number) => Ok(number.to_string()),
        LuaValue::Number(number) => Ok(number.to_string()),
        _ => Err(CallError::invalid(
            "entries are found by strings, numbers and booleans",
        )),
    }
}
