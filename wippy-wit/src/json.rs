//! JSON and dynamic values: objects are tables keyed by name, arrays are arrays, null is nil.
//!
//! Without a type, [`from_value`] has to guess what an empty table is, and bytes and infinities have no form. With one,
//! [`from_typed`] does not.

use serde_json::{Map, Number, Value as Json};

use crate::{
    Case, Entry, Error, Field, Kind, Node, OptionForm, Table, Value, ValueReader, typed, value::DEPTH_MAX,
};

/// The dynamic value of a JSON document.
///
/// # Errors
/// When it is nested deeper than 128 levels.
pub fn to_value(json: &Json) -> Result<Value, Error> {
    value_at(json, DEPTH_MAX)
}

fn value_at(json: &Json, depth: usize) -> Result<Value, Error> {
    let too_deep = || Error::new("JSON is nested too deeply");
    Ok(match json {
        Json::Null => Value::Nil,
        Json::Bool(value) => Value::Boolean(*value),
        Json::Number(number) => number_value(number),
        Json::String(text) => Value::string(text),
        Json::Array(elements) => {
            let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
            let array = elements
                .iter()
                .map(|element| value_at(element, depth))
                .collect::<Result<_, _>>()?;
            Value::Table(Box::new(Table {
                array,
                pairs: Vec::new(),
            }))
        }
        Json::Object(fields) => {
            let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
            let pair = |(name, value): (&String, &Json)| Ok((Value::string(name), value_at(value, depth)?));
            let pairs = fields.iter().map(pair).collect::<Result<_, Error>>()?;
            Value::Table(Box::new(Table {
                array: Vec::new(),
                pairs,
            }))
        }
    })
}

fn number_value(number: &Number) -> Value {
    if let Some(value) = number.as_i64() {
        Value::Integer(value)
    } else if let Some(value) = number.as_u64() {
        Value::Unsigned(value)
    } else {
        Value::Float(number.as_f64().unwrap_or(f64::NAN))
    }
}

/// The JSON document of a dynamic value. A table with only array elements is an array, and so is an empty table.
///
/// # Errors
/// When a string is not UTF-8, a float is not finite, a key is no string or index, or a part has no JSON form.
pub fn from_value(value: &Value) -> Result<Json, Error> {
    Ok(match value {
        Value::Nil => Json::Null,
        Value::Boolean(value) => Json::Bool(*value),
        Value::Integer(value) => Json::from(*value),
        Value::Unsigned(value) => Json::from(*value),
        Value::Float(value) => Json::Number(
            Number::from_f64(*value).ok_or_else(|| Error::new(format!("JSON has no number {value}")))?,
        ),
        Value::String(bytes) => Json::String(utf8(bytes)?.to_owned()),
        Value::Foreign(foreign) => match foreign.value() {
            Some(value) => from_value(value)?,
            None => return Err(Error::new(format!("{} has no JSON form", foreign.type_name()))),
        },
        Value::Table(table) if table.pairs.is_empty() => {
            let element = |(index, element)| from_value(element).map_err(|error| error.at_index(index));
            Json::Array(
                table
                    .array
                    .iter()
                    .enumerate()
                    .map(element)
                    .collect::<Result<_, _>>()?,
            )
        }
        Value::Table(table) => Json::Object(object(table)?),
    })
}

fn object(table: &Table) -> Result<Map<String, Json>, Error> {
    let mut fields = Map::new();
    for (index, element) in table.array.iter().enumerate() {
        let name = (index + 1).to_string();
        fields.insert(name, from_value(element).map_err(|error| error.at_index(index))?);
    }
    for (key, value) in &table.pairs {
        let name = match key {
            Value::String(bytes) => utf8(bytes)?.to_owned(),
            Value::Integer(index) => index.to_string(),
            other => {
                return Err(Error::new(format!(
                    "a {} cannot be a JSON key",
                    other.datum().type_name()
                )));
            }
        };
        let value = from_value(value).map_err(|error| error.at_field(&name))?;
        fields.insert(name, value);
    }
    // Tables have no order of their own; the text should be the same each time.
    fields.sort_keys();
    Ok(fields)
}

fn utf8(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::new("JSON strings are UTF-8, these bytes are not"))
}

/// The JSON document of a value of a known type, given in any form that the mapping accepts.
///
/// | WIT | JSON |
/// |---|---|
/// | integers | number, all 64 bits of it |
/// | `f32`, `f64` | number, the shortest that reads back; `"NaN"`, `"Infinity"`, `"-Infinity"` |
/// | `list<u8>` | string if it is UTF-8, else an array of numbers |
/// | lists and tuples | array |
/// | `record` | object with the WIT names; an `option` that is none is left out |
/// | `option` | the value or null; `{"some": …}` where the value can be null itself |
/// | `result` | `{"ok": …}` or `{"err": …}`, `true` for a missing payload |
/// | `variant` | `{"tag": "case", "value": …}` |
/// | `flags` | object, `{"read": true}` |
/// | `map` | object, whose names spell the keys; `{"some": …}` or `{"none": true}` where values are options |
/// | `error-context` | its text |
///
/// Strings were preferred over null for the floats that JSON lacks: null is what none looks like. Apart from those,
/// every form reads back as the same value.
///
/// # Errors
/// When it is no value of the type, or holds a handle or a channel.
pub fn from_typed(node: &Node, value: &Value) -> Result<Json, Error> {
    typed_json(node, &typed::value(node, &mut ValueReader::value(value))?)
}

/// The JSON of a canonical value.
fn typed_json(node: &Node, value: &Value) -> Result<Json, Error> {
    Ok(match (&node.kind, value) {
        (Kind::ErrorContext, Value::Foreign(error)) => Json::from(error.message().unwrap_or_default()),
        (_, Value::Foreign(_)) => return from_value(value),
        (Kind::F32, Value::Float(value)) => float_json(shortest(*value)),
        (Kind::F64, Value::Float(value)) => float_json(*value),
        (Kind::Bytes, Value::String(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => Json::String(text.to_owned()),
            Err(_) => bytes.iter().copied().collect(),
        },
        (Kind::List(element) | Kind::FixedList(element, _), Value::Table(table)) => {
            array_json(table.array.iter().map(|value| (&**element, value)))?
        }
        (Kind::Tuple(fields), Value::Table(table)) => {
            array_json(fields.iter().map(|field| &field.node).zip(&table.array))?
        }
        (Kind::Record(fields), Value::Table(_)) => record_json(fields, value)?,
        (Kind::Flags { .. }, Value::Table(table)) => Json::Object(object(table)?),
        (Kind::Option { .. }, Value::Nil) => Json::Null,
        (Kind::Option { some, form, .. }, _) => match form {
            OptionForm::Bare => typed_json(some, value)?,
            OptionForm::Marked if value.get("none").is_some() => field_json("none", None, value)?,
            OptionForm::Wrapped | OptionForm::Marked => field_json("some", Some(some), value)?,
        },
        (Kind::Result { ok, err, .. }, _) => {
            let is_err = value.get("err").is_some() || value.get("tag").is_some();
            let (name, side) = if is_err { ("err", err) } else { ("ok", ok) };
            field_json(name, side.as_deref(), value)?
        }
        (Kind::Variant { cases, .. }, _) => variant_json(cases, value)?,
        (Kind::Map(entry), Value::Table(table)) => map_json(entry, table)?,
        _ => from_value(value)?,
    })
}

fn float_json(value: f64) -> Json {
    match Number::from_f64(value) {
        Some(number) => Json::Number(number),
        None if value.is_nan() => Json::from("NaN"),
        None if value > 0.0 => Json::from("Infinity"),
        None => Json::from("-Infinity"),
    }
}

/// The number with the fewest digits that is still the same `f32`: 0.1 rather than 0.10000000149011612.
fn shortest(value: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, reason = "the value is that of an f32")]
    let single = |value: f64| value as f32;
    match single(value).to_string().parse::<f64>() {
        Ok(short) if single(short).to_bits() == single(value).to_bits() => short,
        _ => value,
    }
}

fn array_json<'a>(elements: impl Iterator<Item = (&'a Node, &'a Value)>) -> Result<Json, Error> {
    let element =
        |(index, (node, value))| typed_json(node, value).map_err(|error: Error| error.at_index(index));
    Ok(Json::Array(
        elements.enumerate().map(element).collect::<Result<_, _>>()?,
    ))
}

fn record_json(fields: &[Field], value: &Value) -> Result<Json, Error> {
    let mut object = Map::new();
    for field in fields {
        let name = field.key.name();
        if let Some(part) = value.get(name) {
            let part = typed_json(&field.node, part).map_err(|error| error.at_field(name))?;
            object.insert(name.to_owned(), part);
        }
    }
    Ok(Json::Object(object))
}

/// The object whose only field is `name`, typed by `node`.
fn field_json(name: &str, node: Option<&Node>, value: &Value) -> Result<Json, Error> {
    let part = match node {
        Some(node) => {
            typed_json(node, value.get(name).unwrap_or(&Value::Nil)).map_err(|error| error.at_field(name))?
        }
        None => Json::Bool(true),
    };
    Ok(Json::Object(Map::from_iter([(name.to_owned(), part)])))
}

fn variant_json(cases: &[Case], value: &Value) -> Result<Json, Error> {
    let tag = value.get("tag").and_then(Value::as_str).unwrap_or_default();
    let mut object = Map::from_iter([("tag".to_owned(), Json::from(tag))]);
    let payload = cases
        .iter()
        .find(|case| case.key.name() == tag)
        .and_then(|case| case.payload.as_ref());
    if let (Some(node), Some(payload)) = (payload, value.get("value")) {
        object.insert(
            "value".to_owned(),
            typed_json(node, payload).map_err(|error| error.at_field(tag))?,
        );
    }
    Ok(Json::Object(object))
}

fn map_json(entry: &Entry, table: &Table) -> Result<Json, Error> {
    let mut object = Map::new();
    for (key, value) in &table.pairs {
        let name = match key {
            Value::String(bytes) => utf8(bytes)?.to_owned(),
            Value::Boolean(key) => key.to_string(),
            Value::Integer(key) => key.to_string(),
            Value::Unsigned(key) => key.to_string(),
            other => return Err(Error::expected("a key", other.datum().type_name())),
        };
        let part = typed_json(&entry.value, value).map_err(|error| error.at_field(&name))?;
        object.insert(name, part);
    }
    // Tables have no order of their own; the text should be the same each time.
    object.sort_keys();
    Ok(Json::Object(object))
}
