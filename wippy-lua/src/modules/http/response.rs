//! The response as scripts see it.

use std::{fmt::Write as _, sync::Arc};

use mlua::{
    FromLuaMulti, Function, IntoLua, IntoLuaMulti, Lua, LuaString, Table, UserData, UserDataFields,
    UserDataMethods, UserDataRef, Value as LuaValue,
};
use wippy_security::CallError;
use wippy_wit::json;

use super::only_error;
use crate::{errors, http::Exchange, methods::made, raw, suspend::suspending};

/// What `http.response()` answers.
pub(super) struct ResponseHandle {
    pub(super) exchange: Arc<Exchange>,
}

impl UserData for ResponseHandle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "Response");
        fields.add_field("flush", made(flush));
        fields.add_field(
            "write",
            made(|lua| {
                unhurried(lua, |lua, (this, bytes): (This, LuaString)| {
                    answer(lua, this.exchange.output.write(&bytes.as_bytes()))
                })
            }),
        );
        fields.add_field(
            "write_json",
            made(|lua| {
                unhurried(lua, |lua, (this, value): (This, LuaValue)| {
                    answer(lua, write_json(lua, &this.exchange, &value))
                })
            }),
        );
        fields.add_field(
            "write_event",
            made(|lua| {
                unhurried(lua, |lua, (this, event): (This, Table)| {
                    answer(lua, write_event(lua, &this.exchange, &event))
                })
            }),
        );
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
            only_error(lua, this.exchange.output.set_content_type(&value.as_bytes()))
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

type This = UserDataRef<ResponseHandle>;

/// Makes the method that sends what is there.
fn flush(lua: &Lua) -> mlua::Result<Function> {
    suspending(lua, |_, this: This| {
        let exchange = this.exchange.clone();
        Ok(async move {
            let outcome = exchange.output.flush().await;
            move |lua: &Lua| only_error(lua, outcome)?.into_lua_multi(lua)
        })
    })
}

/// Makes a method that mostly need not wait of `push`.
fn unhurried<A: FromLuaMulti + 'static>(
    lua: &Lua,
    push: fn(&Lua, A) -> mlua::Result<LuaValue>,
) -> mlua::Result<Function> {
    let push = lua.create_function(push)?;
    lua.load(UNHURRIED).set_name("=http").call((push, flush(lua)?))
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
