//! The constants of the module.

use mlua::{Lua, Value as LuaValue};

use crate::http::ERRORS;

const METHODS: [&str; 8] = [
    "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE",
];

const STATUS: [(&str, u16); 35] = [
    ("OK", 200),
    ("CREATED", 201),
    ("ACCEPTED", 202),
    ("NO_CONTENT", 204),
    ("PARTIAL_CONTENT", 206),
    ("MOVED_PERMANENTLY", 301),
    ("FOUND", 302),
    ("SEE_OTHER", 303),
    ("NOT_MODIFIED", 304),
    ("TEMPORARY_REDIRECT", 307),
    ("PERMANENT_REDIRECT", 308),
    ("BAD_REQUEST", 400),
    ("UNAUTHORIZED", 401),
    ("PAYMENT_REQUIRED", 402),
    ("FORBIDDEN", 403),
    ("NOT_FOUND", 404),
    ("METHOD_NOT_ALLOWED", 405),
    ("NOT_ACCEPTABLE", 406),
    ("REQUEST_TIMEOUT", 408),
    ("CONFLICT", 409),
    ("GONE", 410),
    ("PRECONDITION_FAILED", 412),
    ("PAYLOAD_TOO_LARGE", 413),
    ("UNSUPPORTED_MEDIA_TYPE", 415),
    ("UNPROCESSABLE", 422),
    ("UNPROCESSABLE_ENTITY", 422),
    ("TOO_MANY_REQUESTS", 429),
    ("INTERNAL_ERROR", 500),
    ("INTERNAL_SERVER_ERROR", 500),
    ("NOT_IMPLEMENTED", 501),
    ("BAD_GATEWAY", 502),
    ("SERVICE_UNAVAILABLE", 503),
    ("GATEWAY_TIMEOUT", 504),
    ("VERSION_NOT_SUPPORTED", 505),
    ("HTTP_VERSION_NOT_SUPPORTED", 505),
];

const CONTENT: [(&str, &str); 7] = [
    ("JSON", "application/json"),
    ("FORM", "application/x-www-form-urlencoded"),
    ("MULTIPART", "multipart/form-data"),
    ("TEXT", "text/plain"),
    ("HTML", "text/html"),
    ("XML", "application/xml"),
    ("STREAM", "application/octet-stream"),
];

const TRANSFER: [(&str, &str); 2] = [("CHUNKED", "chunked"), ("SSE", "sse")];

/// `http.METHOD`
pub(super) fn method(lua: &Lua) -> mlua::Result<LuaValue> {
    themselves(lua, &METHODS)
}

/// `http.STATUS`
pub(super) fn status(lua: &Lua) -> mlua::Result<LuaValue> {
    lua.create_table_from(STATUS).map(LuaValue::Table)
}

/// `http.CONTENT`
pub(super) fn content(lua: &Lua) -> mlua::Result<LuaValue> {
    lua.create_table_from(CONTENT).map(LuaValue::Table)
}

/// `http.TRANSFER`
pub(super) fn transfer(lua: &Lua) -> mlua::Result<LuaValue> {
    lua.create_table_from(TRANSFER).map(LuaValue::Table)
}

/// `http.ERROR`
pub(super) fn error(lua: &Lua) -> mlua::Result<LuaValue> {
    themselves(lua, &ERRORS)
}

fn themselves(lua: &Lua, names: &[&'static str]) -> mlua::Result<LuaValue> {
    let table = lua.create_table_from(names.iter().map(|name| (*name, *name)))?;
    Ok(LuaValue::Table(table))
}
