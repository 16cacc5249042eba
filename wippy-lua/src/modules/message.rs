//! [`Message`]: what one process told another, as the script sees it.

use std::sync::Arc;

use mlua::{UserData, UserDataMethods};
use wippy_security::Message as Sent;
use wippy_wit::Value;

use super::payload;

/// A message from another process.
pub(crate) struct Message {
    from: Option<Arc<str>>,
    topic: Arc<str>,
    payloads: Vec<Value>,
}

impl Message {
    pub(crate) fn new(sent: Sent) -> Self {
        Self {
            from: sent.from.map(|pid| pid.as_str().into()),
            topic: sent.topic,
            payloads: sent.payloads,
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
        methods.add_method("payload", |lua, this, ()| {
            payload::of_value(lua, this.payloads.first().unwrap_or(&Value::Nil))
        });
        // A message may carry several values; this gives them all.
        methods.add_method("payloads", |lua, this, ()| {
            let payloads = this.payloads.iter().map(|value| payload::of_value(lua, value));
            lua.create_sequence_from(payloads.collect::<mlua::Result<Vec<_>>>()?)
        });
    }
}
