//! Methods that may wait, for userdata: mlua's own methods cannot suspend, so these are [fields](made), made with the
//! metatable of their type when a state has its first value of it; or, where making them takes more than the state, they
//! are found by `__index` in a table of the registry that no script can reach.

use mlua::{Function, IntoLua, Lua, Table, UserData, UserDataMethods, Value as LuaValue};

/// A field that `make` makes in the state whose metatable gets it.
pub(crate) fn made<M>(make: M) -> impl IntoLua + 'static
where
    M: FnOnce(&Lua) -> mlua::Result<Function> + 'static,
{
    Made(make)
}

struct Made<M>(M);

impl<M: FnOnce(&Lua) -> mlua::Result<Function>> IntoLua for Made<M> {
    fn into_lua(self, lua: &Lua) -> mlua::Result<LuaValue> {
        (self.0)(lua).map(LuaValue::Function)
    }
}

/// Where the methods of a type are kept.
fn place(class: &str) -> String {
    format!("wippy.methods.{class}")
}

/// Keeps the methods of a type.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn install<const N: usize>(
    lua: &Lua,
    class: &str,
    methods: [(&str, Function); N],
) -> mlua::Result<()> {
    let table = lua.create_table_from(methods)?;
    lua.set_named_registry_value(&place(class), table)
}

/// Lets a type find the methods that were kept for it.
pub(crate) fn find<T: UserData, M: UserDataMethods<T>>(methods: &mut M, class: &'static str) {
    let place = place(class);
    methods.add_meta_method("__index", move |lua, _, name: LuaValue| {
        let methods: Option<Table> = lua.named_registry_value(&place)?;
        match methods {
            Some(methods) => methods.raw_get::<LuaValue>(name),
            None => LuaValue::Nil.into_lua(lua),
        }
    });
}
