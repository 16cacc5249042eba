//! The response as scripts see it.

use std::{fmt::Write as _, sync::Arc};

use mlua::{
    Function, IntoLua, IntoLuaMulti, Lua, LuaString, MetaMethod, Table, UserData, UserDataFields,
    UserDataMethods, UserDataRef, Value as LuaValue,
};
use wippy_security::CallError;
use wippy_wit::json;

use super::{kept, only_error};
use crate::{errors, http::Exchange, raw, suspend::suspending};

/// What `http.response()` answers.
pub(super) struct ResponseHandle {
    pub(super) exchange: Arc<Exchange>,
}

impl UserData for ResponseHandle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "Response");
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("set_status", |lua, this, status: u16| {
            only_error(lua, this.exchange.output.set_status(status))
        });
        methods.add_method(
            "set_header",
            |lua, this, (name, value): (LuaString, LuaString)| {
                only_error(
                    lua,
                    this.exchange
                        .output
                        .set_header(&name.as_bytes(), &value.as_bytes()),
                )
            },
        );
        methods.add_method("set_content_type", |lua, this, value: LuaString| {
            only_error(
                lua,
                this.exchange
                    .output
                    .set_header(b"content-type", &value.as_bytes()),
            )
        });
        methods.add_method("set_transfer", |lua, this, transfer: String| {
            let outcome = match transfer.as_str() {
                "sse" => this.exchange.output.set_events(),
                // HTTP/1.1 does this by itself as soon as something is sent before the end.
                "chunked" => Ok(()),
                other => Err(CallError::invalid(format!(
                    "there is no transfer mode `{other}`: `http.TRANSFER` has them"
                ))),
            };
            only_error(lua, outcome)
        });
        methods.add_meta_method(MetaMethod::Index, |lua, _, name: String| {
            lua.named_registry_value::<LuaValue>(&kept("response", &name))
        });
    }
}

/// A method that mostly need not wait: `push` answers true when it is time to, and an error or nothing otherwise.
const UNHURRIED: &str = "
local push, flush = ...
return function(response, ...)
    local outcome = push(response, ...)
    if outcome == true then return flush(response) end
    return outcome
end";

/// Makes the methods that may wait.
///
/// # Errors
/// When memory does not suffice.
pub(super) fn register(lua: &Lua) -> mlua::Result<()> {
    let flush = suspending(lua, |_, this: UserDataRef<ResponseHandle>| {
        let exchange = this.exchange.clone();
        Ok(async move {
            let outcome = exchange.output.flush().await;
            move |lua: &Lua| only_error(lua, outcome)?.into_lua_multi(lua)
        })
    })?;
    for (name, push) in [
        (
            "write",
            lua.create_function(|lua, (this, bytes): (UserDataRef<ResponseHandle>, LuaString)| {
                answer(lua, this.exchange.output.write(&bytes.as_bytes()))
            })?,
        ),
        (
            "write_json",
            lua.create_function(|lua, (this, value): (UserDataRef<ResponseHandle>, LuaValue)| {
                answer(lua, write_json(lua, &this.exchange, &value))
            })?,
        ),
        (
            "write_event",
            lua.create_function(|lua, (this, event): (UserDataRef<ResponseHandle>, Table)| {
                answer(lua, write_event(lua, &this.exchange, &event))
            })?,
        ),
    ] {
        let method: Function = lua.load(UNHURRIED).set_name("=http").call((push, &flush))?;
        lua.set_named_registry_value(&kept("response", name), method)?;
    }
    lua.set_named_registry_value(&kept("response", "flush"), flush)
}

fn answer(lua: &Lua, outcome: Result<bool, CallError>) -> mlua::Result<LuaValue> {
    match outcome {
        Ok(false) => Ok(LuaValue::Nil),
        Ok(true) => true.into_lua(lua),
        Err(error) => errors::to_lua(lua, error),
    }
}

fn encoded(lua: &Lua, value: &LuaValue) -> Result<String, CallError> {
    let value = raw::read_value(lua, value).and_then(|value| json::from_value(&value));
    Ok(value.map_err(CallError::from)?.to_string())
}

fn write_json(lua: &Lua, exchange: &Exchange, value: &LuaValue) -> Result<bool, CallError> {
    let text = encoded(lua, value).map_err(|error| error.context("write_json"))?;
    exchange.output.default_content_type("application/json");
    exchange.output.write(text.as_bytes())
}

/// One event, sent at once.
fn write_event(lua: &Lua, exchange: &Exchange, event: &Table) -> Result<bool, CallError> {
    let text =
        event_text(lua, event).map_err(|error| errors::from_mlua(&error, None).context("write_event"))?;
    if !exchange.output.is_event_stream() {
        exchange.output.set_events()?;
    }
    exchange.output.write(text.as_bytes())?;
    Ok(true)
}

fn event_text(lua: &Lua, event: &Table) -> mlua::Result<String> {
    let mut text = String::new();
    for (field, keys) in [("id", ["id", ""]), ("event", ["name", "event"])] {
        for key in keys {
            let Some(value) = event.raw_get::<Option<String>>(key)? else {
                continue;
            };
            if value.contains(['\n', '\r', '\0']) {
                return Err(errors::raise(CallError::invalid(format!(
                    "`{key}` has a line break"
                ))));
            }
            let _ = writeln!(text, "{field}: {value}");
            break;
        }
    }
    if let Some(retry_ms) = event.raw_get::<Option<u64>>("retry")? {
        let _ = writeln!(text, "retry: {retry_ms}");
    }
    let data: LuaValue = event.raw_get("data")?;
    let data = if let LuaValue::String(data) = &data {
        data.to_str()?.to_owned()
    } else {
        encoded(lua, &data).map_err(errors::raise)?
    };
    for line in data.split('\n') {
        let _ = writeln!(text, "data: {}", line.trim_end_matches('\r'));
    }
    text.push('\n');
    Ok(text)
}
