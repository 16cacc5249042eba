//! Messages and payloads: what arrives in a script from elsewhere.

use std::sync::Arc;

use mlua::{IntoLuaMulti, Lua, MultiValue, UserData, UserDataMethods};
use wippy_security::Message as Sent;
use wippy_wit::Value;

use crate::raw;

/// A value that was sent, as it left its sender. `data()` makes a copy for the script.
#[derive(Clone)]
pub(crate) struct Payload(Arc<Value>);

impl Payload {
    pub(crate) fn new(value: Value) -> Self {
        Self(Arc::new(value))
    }

    fn data(&self, lua: &Lua) -> mlua::Result<MultiValue> {
        raw::write_value(lua, &self.0)?.into_lua_multi(lua)
    }
}

impl UserData for Payload {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("data", |lua, this, ()| this.data(lua));
        methods.add_method("get_format", |_, _, ()| Ok("lua/any"));
    }
}

/// A message from another process.
pub(crate) struct Message {
    from: Option<Arc<str>>,
    topic: Arc<str>,
    payloads: Vec<Payload>,
}

impl Message {
    pub(crate) fn new(sent: Sent) -> Self {
        Self {
            from: sent.from.map(|pid| pid.as_str().into()),
            topic: sent.topic,
            payloads: sent.payloads.into_iter().map(Payload::new).collect(),
        }
    }
}

impl UserData for Message {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("topic", |lua, this, ()| lua.create_string(&*this.topic));
        methods.add_method("from", |lua, this, ()| {
            this.from
                .as_deref()
                .map(|from| lua.create_string(from))
                .transpose()
        });
        methods.add_method("payload", |_, this, ()| {
            let first = this.payloads.first().cloned();
            Ok(first.unwrap_or_else(|| Payload::new(Value::Nil)))
        });
        // A message may carry several values; this gives them all.
        methods.add_method("payloads", |_, this, ()| Ok(this.payloads.clone()));
    }
}
