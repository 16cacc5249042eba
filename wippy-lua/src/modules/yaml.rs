//! `yaml`: documents and tables, with bounds on nesting, size and aliases.
//!
//! `yes` and `no` are strings, and a key that is written twice is an error, as in the index files of a project.

use mlua::{Lua, Table, Value as LuaValue};
use serde_saphyr::{MessageFormatter, UserMessageFormatter};
use wippy_security::CallError;
use wippy_wit::Value;

use crate::{
    arguments::{self, Arguments, function, unexpected},
    wire::{Incoming, Outgoing},
};

const DEPTH_MAX: usize = 64;
const NODES_MAX: usize = 250_000;
const ALIASED_EVENTS_MAX: usize = 50_000;

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    function(lua, &module, "yaml.encode", encode)?;
    function(lua, &module, "yaml.decode", |_, arguments| {
        let text = arguments.text(0, "data")?;
        if text.is_empty() {
            return Err(CallError::invalid("`data` must not be empty"));
        }
        from_text(&text)
    })?;
    Ok(module)
}

fn encode(lua: &Lua, arguments: &Arguments) -> Result<Value, CallError> {
    if !arguments.get(0).is_table() {
        return Err(unexpected(arguments.get(0), "data", "a table"));
    }
    let mut first = Vec::new();
    if let Some(options) = arguments.options(1, "options")? {
        first = field_order(options)?;
    }
    let value = arguments.value(lua, 0);
    let value = value.map_err(|error| CallError::internal(error.to_string()))?;
    to_text(&value, &first).map(Value::from)
}

/// `options.field_order`. The other fields are always sorted, `sort_unordered` or not: it costs nothing to rely on.
fn field_order(options: &Table) -> Result<Vec<String>, CallError> {
    let bad = |value: &LuaValue| unexpected(value, "field_order", "an array of names");
    match options.raw_get::<LuaValue>("field_order") {
        Ok(LuaValue::Nil) | Err(_) => Ok(Vec::new()),
        Ok(LuaValue::Table(names)) => names
            .sequence_values::<LuaValue>()
            .map(|name| match name {
                Ok(name) => arguments::text(&name, "field_order"),
                Err(_) => Err(bad(&LuaValue::Nil)),
            })
            .collect(),
        Ok(other) => Err(bad(&other)),
    }
}

/// The document for a value.
///
/// # Errors
/// When a part of it has no YAML form.
pub(crate) fn to_text(value: &Value, first: &[String]) -> Result<String, CallError> {
    serde_saphyr::to_string(&Outgoing::new(value, first))
        .map_err(|error| CallError::internal(error.to_string()))
}

/// The value of a document.
///
/// # Errors
/// When it is not YAML, or exceeds a bound.
pub(crate) fn from_text(text: &str) -> Result<Value, CallError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: ALIASED_EVENTS_MAX },
        strict_booleans: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Incoming>(text, options) {
        Ok(Incoming(value)) => Ok(value),
        Err(error) => {
            let error = error.without_snippet();
            let message = UserMessageFormatter.format_message(error);
            let place = error
                .location()
                .map(|place| format!("line {}, column {}: ", place.line(), place.column()));
            Err(CallError::internal(format!(
                "{}{message}",
                place.unwrap_or_default()
            )))
        }
    }
}
