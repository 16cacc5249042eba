//! The request as scripts see it.

use std::sync::Arc;

use mlua::{Function, IntoLuaMulti, Lua, MultiValue, UserData, UserDataFields, UserDataMethods, UserDataRef};
use wippy_security::CallError;
use wippy_wit::json;

use super::{form, read, table};
use crate::{
    http::{Exchange, Limits},
    methods::made,
    suspend::suspending,
    values,
};

/// Bytes of a form when the script names no bound.
const FORM_MAX: usize = 32 << 20;

/// Bytes of a piece of a stream when the script names no size.
const PIECE_MAX: usize = 64 << 10;

/// What `http.request()` answers.
pub(super) struct RequestHandle {
    pub(super) exchange: Arc<Exchange>,
    pub(super) limits: Limits,
}

/// What `req:stream()` answers.
struct BodyStream {
    exchange: Arc<Exchange>,
    limits: Limits,
    is_closed: bool,
}

impl UserData for RequestHandle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "Request");
        fields.add_field("body", made(body));
        fields.add_field("body_json", made(body_json));
        fields.add_field("parse_multipart", made(parse_multipart));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("method", |_, this, ()| {
            Ok(this.exchange.request.parts.method.to_string())
        });
        methods.add_method("path", |_, this, ()| Ok(this.exchange.request.path().to_owned()));
        methods.add_method("query", |_, this, name: String| {
            let mut query = this.exchange.request.query();
            Ok(query.find_map(|(known, value)| (known == name).then(|| value.into_owned())))
        });
        methods.add_method("query_params", |lua, this, ()| table(lua, joined(&this.exchange)));
        methods.add_method("header", |_, this, name: String| {
            Ok(this.exchange.request.header(&name))
        });
        methods.add_method("headers", |lua, this, ()| {
            table(lua, this.exchange.request.headers())
        });
        methods.add_method("content_type", |_, this, ()| {
            Ok(this.exchange.request.header("content-type"))
        });
        methods.add_method("content_length", |_, this, ()| {
            let length = this.exchange.request.header("content-length");
            Ok(length.and_then(|length| length.parse::<i64>().ok()).unwrap_or(0))
        });
        methods.add_method("host", |_, this, ()| {
            Ok(this.exchange.request.host().map(std::borrow::Cow::into_owned))
        });
        methods.add_method("param", |_, this, name: String| {
            Ok(this.exchange.request.param(&name).map(str::to_owned))
        });
        methods.add_method("params", |lua, this, ()| {
            let params = this.exchange.request.params.iter();
            table(lua, params.map(|(name, value)| (&**name, value)))
        });
        methods.add_method("remote_addr", |_, this, ()| {
            Ok(this.exchange.request.remote_address.to_string())
        });
        methods.add_method("has_body", |_, this, ()| Ok(this.exchange.input.is_present()));
        methods.add_method("is_content_type", |_, this, wanted: String| {
            Ok(this.exchange.request.is_content_type(&wanted))
        });
        methods.add_method("accepts", |_, this, wanted: String| {
            Ok(this.exchange.request.accepts(&wanted))
        });
        methods.add_method("stream", |_, this, ()| {
            Ok(BodyStream {
                exchange: this.exchange.clone(),
                limits: this.limits,
                is_closed: false,
            })
        });
    }
}

impl UserData for BodyStream {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "Stream");
        fields.add_field("read", made(read_piece));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method_mut("close", |_, this, ()| {
            this.is_closed = true;
            Ok(true)
        });
    }
}

fn body(lua: &Lua) -> mlua::Result<Function> {
    suspending(lua, |_, this: UserDataRef<RequestHandle>| {
        let (exchange, limits) = this.parts();
        Ok(async move {
            let body = exchange.input.whole(limits).await;
            move |lua: &Lua| read(lua, body.map(Some))
        })
    })
}

fn body_json(lua: &Lua) -> mlua::Result<Function> {
    suspending(lua, |_, this: UserDataRef<RequestHandle>| {
        let (exchange, limits) = this.parts();
        Ok(async move {
            let body = exchange.input.whole(limits).await;
            move |lua: &Lua| values::answer(lua, body.and_then(|body| parsed(&body)))
        })
    })
}

fn parse_multipart(lua: &Lua) -> mlua::Result<Function> {
    suspending(
        lua,
        |_, (this, max): (UserDataRef<RequestHandle>, Option<usize>)| {
            let (exchange, limits) = this.parts();
            Ok(async move {
                let form = exchange.form(max.unwrap_or(FORM_MAX), limits).await;
                move |lua: &Lua| match form {
                    Ok(form) => form::to_lua(lua, form)?.into_lua_multi(lua),
                    Err(error) => values::refuse(lua, error),
                }
            })
        },
    )
}

fn read_piece(lua: &Lua) -> mlua::Result<Function> {
    suspending(
        lua,
        |_, (this, size): (UserDataRef<BodyStream>, Option<usize>)| {
            let (exchange, limits, is_closed) = (this.exchange.clone(), this.limits, this.is_closed);
            Ok(async move {
                let piece = match size {
                    _ if is_closed => Err(CallError::invalid("the stream is closed")),
                    Some(0) => exchange.input.rest(limits).await,
                    size => exchange.input.piece(size.unwrap_or(PIECE_MAX), limits).await,
                };
                move |lua: &Lua| -> mlua::Result<MultiValue> { read(lua, piece) }
            })
        },
    )
}

impl RequestHandle {
    fn parts(&self) -> (Arc<Exchange>, Limits) {
        (self.exchange.clone(), self.limits)
    }
}

fn parsed(body: &[u8]) -> Result<wippy_wit::Value, CallError> {
    serde_json::from_slice(body)
        .map_err(|error| CallError::invalid(format!("the request's body is not JSON: {error}")))
        .and_then(|json| json::to_value(&json).map_err(CallError::from))
}

/// The query with the values of one name joined by commas.
fn joined(exchange: &Exchange) -> Vec<(String, String)> {
    let mut joined: Vec<(String, String)> = Vec::new();
    for (name, value) in exchange.request.query() {
        match joined.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => {
                values.push(',');
                values.push_str(&value);
            }
            None => joined.push((name.into_owned(), value.into_owned())),
        }
    }
    joined
}
