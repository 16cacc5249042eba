//! Messages and payloads: what arrives in a script from elsewhere.

use std::sync::Arc;

use mlua::{IntoLuaMulti, Lua, MultiValue, UserData, UserDataMethods};
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
