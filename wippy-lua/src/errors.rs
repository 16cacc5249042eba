//! Error objects and the global `errors`.
//!
//! An error object is a [`CallError`] behind a userdata, so kind, retryable and details are the same on both sides of
//! every call. Whatever else a script raises or returns as its error is read as one.

use std::{str::FromStr, sync::Arc};

use mlua::{ExternalError, IntoLua, Lua, MultiValue, Table, Value as LuaValue};
use wippy_security::{CallError, ErrorKind};
use wippy_wit::Value;

use crate::{raw, traces};

/// The error object for `error`.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn to_lua(lua: &Lua, error: CallError) -> mlua::Result<LuaValue> {
    raw::wrap_foreign(lua, Arc::new(error))
}

/// Raises `error` out of a callback.
pub(crate) fn raise(error: CallError) -> mlua::Error {
    error.into_lua_err()
}

/// Reads any value as an error.
pub(crate) fn from_lua(lua: &Lua, value: &LuaValue, trace: Option<&str>) -> CallError {
    if let Some(error) = object(lua, value) {
        return with_trace(error, trace);
    }
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "everything else is told by its text"
    )]
    let error = match value {
        LuaValue::Error(error) => return from_mlua(error, trace),
        LuaValue::String(text) => from_message(&text.to_string_lossy()),
        LuaValue::Table(table) => from_table(lua, table),
        LuaValue::Nil => CallError::new(ErrorKind::Unknown, "nil"),
        other => {
            // What has no text of its own is shown by its address, which is nobody's business.
            let text = other.to_string().ok().filter(|text| !text.contains(": 0x"));
            let text = text.unwrap_or_else(|| format!("a {}", other.type_name()));
            CallError::new(ErrorKind::Unknown, text)
        }
    };
    with_trace(error, trace)
}

/// The error that an error object stands for.
pub(crate) fn object(lua: &Lua, value: &LuaValue) -> Option<CallError> {
    raw::foreign(lua, value)?
        .as_any()
        .downcast_ref::<CallError>()
        .cloned()
}

fn with_trace(error: CallError, trace: Option<&str>) -> CallError {
    match trace {
        Some(trace) if error.stack().is_none() => error.with_stack(trace),
        _ => error,
    }
}

/// What Lua itself says when an allocation is refused.
const OUT_OF_MEMORY: &str = "not enough memory";

fn from_message(message: &str) -> CallError {
    if message == OUT_OF_MEMORY {
        return out_of_memory();
    }
    CallError::internal(message.to_owned())
}

/// The script needs more memory than its state may have.
pub(crate) fn out_of_memory() -> CallError {
    CallError::internal("the script needs more memory than its limit allows")
        .with_details(Value::record([("limit", Value::from("memory"))]))
}

/// Reads `{message=, kind=, retryable=, details=}`.
fn from_table(lua: &Lua, table: &Table) -> CallError {
    let text = |name: &str| match table.raw_get(name) {
        Ok(LuaValue::String(text)) => Some(text.to_string_lossy()),
        _ => None,
    };
    let kind = text("kind")
        .and_then(|kind| ErrorKind::from_str(&kind).ok())
        .unwrap_or(ErrorKind::Unknown);
    let mut error = CallError::new(kind, text("message").unwrap_or_else(|| "a table".to_owned()));
    if let Ok(LuaValue::Boolean(retryable)) = table.raw_get("retryable") {
        error = error.with_retryable(retryable);
    }
    match table.raw_get::<LuaValue>("details") {
        Ok(LuaValue::Nil) | Err(_) => error,
        Ok(details) => match raw::read_value(lua, &details) {
            Ok(details) => error.with_details(details),
            Err(_) => error,
        },
    }
}

/// Reads an error of mlua, which is what a callback of ours raises.
#[expect(clippy::wildcard_enum_match_arm, reason = "mlua's enums grow")]
pub(crate) fn from_mlua(error: &mlua::Error, trace: Option<&str>) -> CallError {
    match error {
        mlua::Error::CallbackError { traceback, cause } => {
            let trace = if traceback.is_empty() {
                trace
            } else {
                Some(traceback.as_str())
            };
            let place = trace.and_then(first_place);
            let error = from_mlua(cause, trace);
            match place {
                Some(place) if !error.message().contains(place) && error.kind() != ErrorKind::Timeout => {
                    error.context(place)
                }
                _ => error,
            }
        }
        mlua::Error::ExternalError(cause) => match cause.downcast_ref::<CallError>() {
            Some(error) => with_trace(error.clone(), trace),
            None => with_trace(CallError::internal(cause.to_string()), trace),
        },
        mlua::Error::RuntimeError(message) => with_trace(from_message(message), trace),
        mlua::Error::MemoryError(_) => with_trace(out_of_memory(), trace),
        mlua::Error::WithContext { context, cause } => from_mlua(cause, trace).context(context),
        mlua::Error::BadArgument { to, pos, cause, .. } => {
            let place = format!("bad argument #{pos} to `{}`", to.as_deref().unwrap_or("function"));
            match cause.downcast_ref::<CallError>() {
                Some(error) => with_trace(error.clone().context(place), trace),
                None => with_trace(CallError::invalid(format!("{place}: {cause}")), trace),
            }
        }
        mlua::Error::FromLuaConversionError { from, to, message } => {
            let reason = message
                .as_deref()
                .map(|message| format!(" ({message})"))
                .unwrap_or_default();
            with_trace(
                CallError::invalid(format!("expected {to}, got {from}{reason}")),
                trace,
            )
        }
        other => with_trace(CallError::internal(other.to_string()), trace),
    }
}

/// The first `file:line` of a traceback.
fn first_place(trace: &str) -> Option<&str> {
    trace
        .lines()
        .skip(1)
        .map(str::trim)
        .find(|line| !line.starts_with('['))
        .and_then(|line| {
            let (place, _) = line.split_once(": in ")?;
            Some(place)
        })
}

/// The text of `tostring(err)`.
fn display(error: &CallError) -> String {
    error.message().to_owned()
}

/// Makes the metatable of error objects.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn metatable(lua: &Lua) -> mlua::Result<Table> {
    let methods = lua.create_table()?;
    let this = |lua: &Lua, value: &LuaValue| -> mlua::Result<CallError> {
        if let LuaValue::Error(error) = value {
            return Ok(from_mlua(error, None));
        }
        object(lua, value)
            .ok_or_else(|| mlua::Error::runtime("an error object is expected: use `err:kind()`"))
    };
    methods.raw_set(
        "kind",
        lua.create_function(move |lua, (value, kind): (LuaValue, Option<String>)| {
            let error = this(lua, &value)?;
            match kind {
                None => error.kind().as_str().into_lua(lua),
                Some(kind) => to_lua(lua, with_kind(&error, named_kind(&kind)?)),
            }
        })?,
    )?;
    methods.raw_set(
        "message",
        lua.create_function(move |lua, value: LuaValue| lua.create_string(this(lua, &value)?.message()))?,
    )?;
    methods.raw_set(
        "retryable",
        lua.create_function(move |lua, value: LuaValue| Ok(this(lua, &value)?.retryable()))?,
    )?;
    methods.raw_set(
        "details",
        lua.create_function(move |lua, value: LuaValue| raw::write_value(lua, this(lua, &value)?.details()))?,
    )?;
    methods.raw_set(
        "stack",
        lua.create_function(move |lua, value: LuaValue| {
            Ok(this(lua, &value)?
                .stack()
                .map(|stack| traces::attributed(lua, stack)))
        })?,
    )?;
    let metatable = lua.create_table()?;
    metatable.raw_set("__index", methods)?;
    metatable.raw_set(
        "__tostring",
        lua.create_function(move |lua, value: LuaValue| Ok(display(&this(lua, &value)?)))?,
    )?;
    metatable.raw_set(
        "__concat",
        lua.create_function(|lua, (left, right): (LuaValue, LuaValue)| {
            let text = |value: &LuaValue| match object(lua, value) {
                Some(error) => Ok(display(&error)),
                None => value.to_string(),
            };
            Ok(format!("{}{}", text(&left)?, text(&right)?))
        })?,
    )?;
    metatable.raw_set("__name", "error")?;
    metatable.raw_set("__metatable", "error")?;
    Ok(metatable)
}

/// Makes the global `errors`.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua) -> mlua::Result<Table> {
    let errors = lua.create_table()?;
    for kind in ErrorKind::ALL {
        errors.raw_set(kind.as_str(), kind.as_str())?;
    }
    errors.raw_set("new", lua.create_function(new)?)?;
    errors.raw_set("wrap", lua.create_function(wrap)?)?;
    errors.raw_set("is", lua.create_function(is)?)?;
    errors.raw_set(
        "call_stack",
        lua.create_function(|lua, value: LuaValue| {
            let error = from_lua(lua, &value, None);
            error.stack().map(|stack| traces::frames(lua, stack)).transpose()
        })?,
    )?;
    Ok(errors)
}

/// `errors.new(message)`, `errors.new(kind, message)` or `errors.new{message=, kind=, retryable=, details=}`.
fn new(lua: &Lua, arguments: MultiValue) -> mlua::Result<LuaValue> {
    let trace = lua.traceback(None, 1)?.to_string_lossy();
    let mut arguments = arguments.into_iter();
    let error = match (arguments.next(), arguments.next()) {
        (Some(LuaValue::Table(table)), _) => from_table(lua, &table),
        (Some(LuaValue::String(kind)), Some(LuaValue::String(message))) => {
            let kind = kind.to_string_lossy();
            CallError::new(named_kind(&kind)?, message.to_string_lossy())
        }
        (Some(LuaValue::String(message)), _) => CallError::new(ErrorKind::Unknown, message.to_string_lossy()),
        _ => return Err(mlua::Error::runtime("errors.new expects a message or a table")),
    };
    to_lua(lua, error.with_stack(trace))
}

fn named_kind(kind: &str) -> mlua::Result<ErrorKind> {
    ErrorKind::from_str(kind).map_err(|()| mlua::Error::runtime(format!("there is no error kind `{kind}`")))
}

/// The same error under another kind, which is what `err:kind(kind)` makes.
fn with_kind(error: &CallError, kind: ErrorKind) -> CallError {
    let mut changed = CallError::new(kind, error.message().to_owned())
        .with_retryable(error.retryable())
        .with_details(error.details().clone());
    if let Some(stack) = error.stack() {
        changed = changed.with_stack(stack);
    }
    changed
}

/// `errors.wrap(err, message)`: the same error with something said before its message.
fn wrap(lua: &Lua, (value, message): (LuaValue, String)) -> mlua::Result<LuaValue> {
    if value.is_nil() {
        return Ok(LuaValue::Nil);
    }
    let trace = lua.traceback(None, 1)?.to_string_lossy();
    to_lua(lua, from_lua(lua, &value, Some(&trace)).context(message))
}

/// `errors.is(err, kind)`.
fn is(lua: &Lua, (value, kind): (LuaValue, String)) -> mlua::Result<bool> {
    let kind = named_kind(&kind)?;
    Ok(!value.is_nil() && from_lua(lua, &value, None).kind() == kind)
}
