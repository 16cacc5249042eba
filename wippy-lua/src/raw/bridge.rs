//! The bridge: the one safe closure of a state by which functions in C reach safe code.
//!
//! A closure costs a state more than a table does. So whatever is made only when it is needed, and every outcome of a
//! future that becomes Lua values, goes through this one.

use mlua::{
    IntoLuaMulti, Lua, MultiValue, Value as LuaValue,
    ffi::{self, lua_State},
};

use super::{core::core, lazy::Maker};

/// Makes the bridge. The state is fresh.
///
/// # Errors
/// When memory does not suffice.
pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    let exchange = super::suspending::exchange(lua);
    let bridge = lua.create_function(move |lua, maker: LuaValue| -> mlua::Result<MultiValue> {
        if let LuaValue::LightUserData(maker) = maker {
            // SAFETY: only this crate's functions in C have the bridge, and what they give it is a maker that lives for
            // ever.
            let maker = unsafe { *maker.0.cast::<Maker>() };
            return maker(lua)?.into_lua_multi(lua);
        }
        match exchange.take_outcome() {
            Some(outcome) => outcome?(lua),
            None => Err(mlua::Error::runtime("a blocking function lost its outcome")),
        }
    })?;
    // SAFETY: the closure owns nothing; the function is its argument and is kept by the registry from now on.
    unsafe {
        lua.exec_raw(bridge, |l| {
            ffi::lua_rawsetp(l, ffi::LUA_REGISTRYINDEX, address(l));
        })
    }
}

/// Where the registry has it.
unsafe fn address(l: *mut lua_State) -> *const std::ffi::c_void {
    // SAFETY: by the caller, `l` is a thread of a state of ours.
    unsafe { std::ptr::from_ref(&core(l).exchange).cast() }
}

/// Pushes the bridge. Called with a [`Maker`], it answers what that makes; called with nothing, what the outcome in the
/// exchange makes.
///
/// # Safety
/// `l` is a thread of a state of ours with a free slot.
pub(super) unsafe fn push_bridge(l: *mut lua_State) {
    // SAFETY: by the caller. A raw read does not raise.
    unsafe {
        ffi::lua_rawgetp(l, ffi::LUA_REGISTRYINDEX, address(l));
    }
}
