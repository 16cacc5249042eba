//! A state for one execution after the other: what each of them gets anew, and what is kept because a script can use it
//! but not change it.
//!
//! Anew are tables: the globals, the libraries, what `require` gives. Kept are functions, which have no fields, and whose
//! upvalues no script sees, and the code of chunks. Only states that have served an execution before keep any of that: the
//! first one is made from what a process would have, which has nothing to spare.

use std::{
    ffi::{CStr, c_int, c_void},
    ptr,
};

use mlua::{
    Function, Lua, Table,
    ffi::{self, lua_State},
};

use super::{
    Kept,
    core::core,
    lazy::{Recipe, push_lazy},
    stock::{LOADED, unset_string_methods},
};

/// How deep the tables of a module are nested at most.
const DEPTH_MAX: u32 = 8;

/// Gives a state in which a script has run what it had at first: globals, libraries and methods of strings that nobody
/// has seen. `forgotten` are names in the registry of what hangs on the old ones; `chunk` is a chunk that is to run again.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn renew(
    lua: &Lua,
    globals: &'static Recipe,
    forgotten: &[&CStr],
    chunk: Option<Kept>,
) -> mlua::Result<()> {
    // SAFETY: the closure owns nothing, and has more free slots than it uses.
    unsafe {
        lua.exec_raw((), |l| {
            let core = core(l);
            core.reused.set(true);
            core.has_foreign.set(false);
            // Scripts do not see this table, but what is in it.
            ffi::lua_getfield(l, ffi::LUA_REGISTRYINDEX, LOADED.as_ptr());
            ffi::lua_pushnil(l);
            while ffi::lua_next(l, 1) != 0 {
                ffi::lua_settop(l, 2);
                ffi::lua_pushvalue(l, 2);
                ffi::lua_pushnil(l);
                ffi::lua_rawset(l, 1);
            }
            push_lazy(l, globals);
            ffi::lua_pushvalue(l, -1);
            ffi::lua_setfield(l, 1, c"_G".as_ptr());
            if let Some(chunk) = chunk {
                // A chunk has one upvalue at most, which is its globals.
                ffi::lua_rawgeti(l, ffi::LUA_REGISTRYINDEX, chunk.reference());
                ffi::lua_pushvalue(l, -2);
                ffi::lua_setupvalue(l, -2, 1);
                ffi::lua_settop(l, 2);
            }
            ffi::lua_rawseti(l, ffi::LUA_REGISTRYINDEX, ffi::LUA_RIDX_GLOBALS);
            unset_string_methods(l);
            ffi::lua_settop(l, 0);
            for name in forgotten {
                ffi::lua_pushnil(l);
                ffi::lua_setfield(l, ffi::LUA_REGISTRYINDEX, name.as_ptr());
            }
        })
    }
}

/// Whether the script has had objects of others in its hands since the state was [renewed](renew), such as resources of
/// guests.
pub(crate) fn has_foreign(lua: &Lua) -> bool {
    // SAFETY: mlua's current state is a thread of a state of ours.
    lua.exec_raw_lua(|raw| unsafe { core(raw.state()).has_foreign.get() })
}

/// The key under which the registry has the tables that copies are made of, and functions by names that no module has.
const ORIGINALS: &CStr = c"wippy.originals";

/// Pushes the original that is called `name`; nil if there is none.
///
/// # Safety
/// As for any function that can raise; three free slots.
unsafe fn push_original(l: *mut lua_State, name: &str) {
    // SAFETY: by the caller.
    unsafe {
        ffi::luaL_getsubtable(l, ffi::LUA_REGISTRYINDEX, ORIGINALS.as_ptr());
        ffi::lua_pushlstring(l, name.as_ptr().cast(), name.len());
        ffi::lua_rawget(l, -2);
        ffi::lua_remove(l, -2);
    }
}

/// Keeps what is at the top as the original that is called `name`, and pops it.
///
/// # Safety
/// As for any function that can raise; three free slots.
unsafe fn keep_original(l: *mut lua_State, name: &str) {
    // SAFETY: by the caller.
    unsafe {
        ffi::luaL_getsubtable(l, ffi::LUA_REGISTRYINDEX, ORIGINALS.as_ptr());
        ffi::lua_pushlstring(l, name.as_ptr().cast(), name.len());
        ffi::lua_rotate(l, -3, -1);
        ffi::lua_rawset(l, -3);
        ffi::lua_settop(l, -2);
    }
}

/// A table that `make` makes, which is called `name`. In a state that serves one execution after the other each of them
/// has a copy of the first one, if that has nothing but functions and plain values in it, and tables of these.
///
/// # Errors
/// As `make` has them, or when memory does not suffice.
pub(crate) fn copied(
    lua: &Lua,
    name: &str,
    make: impl FnOnce() -> mlua::Result<Table>,
) -> mlua::Result<Table> {
    // SAFETY: mlua's current state is a thread of a state of ours.
    if !lua.exec_raw_lua(|raw| unsafe { core(raw.state()).reused.get() }) {
        return make();
    }
    // SAFETY: the closure owns nothing.
    let copy: Option<Table> = unsafe {
        lua.exec_raw((), |l| {
            push_original(l, name);
            if !push_copy(l, -1, 0) {
                ffi::lua_pushnil(l);
            }
            ffi::lua_replace(l, 1);
            ffi::lua_settop(l, 1);
        })?
    };
    if let Some(copy) = copy {
        return Ok(copy);
    }
    let original = make()?;
    // SAFETY: the closure owns nothing; the table is its argument.
    unsafe {
        lua.exec_raw::<()>(&original, |l| {
            if push_copy(l, 1, 0) {
                keep_original(l, name);
            }
            ffi::lua_settop(l, 0);
        })?;
    }
    Ok(original)
}

/// The function that is called `name`, which `make` makes: once for all executions that the state serves, if it serves
/// several. With `globals`, these become the first upvalue of it, as those of a chunk are.
///
/// # Errors
/// As `make` has them, or when memory does not suffice.
pub(crate) fn kept_function(
    lua: &Lua,
    name: &str,
    globals: Option<&Table>,
    make: impl FnOnce() -> mlua::Result<Function>,
) -> mlua::Result<Function> {
    // SAFETY: the closure owns nothing; the table is its argument.
    let kept: Option<Function> = unsafe {
        lua.exec_raw(globals, |l| {
            push_original(l, name);
            let is_kept = ffi::lua_isfunction(l, -1) != 0;
            if is_kept && ffi::lua_istable(l, 1) != 0 {
                ffi::lua_pushvalue(l, 1);
                ffi::lua_setupvalue(l, -2, 1);
            }
            ffi::lua_replace(l, 1);
            ffi::lua_settop(l, 1);
        })?
    };
    if let Some(kept) = kept {
        return Ok(kept);
    }
    let original = make()?;
    // SAFETY: the closure owns nothing; the function is its argument.
    unsafe {
        lua.exec_raw::<()>(&original, |l| {
            if core(l).reused.get() {
                ffi::lua_pushvalue(l, 1);
                keep_original(l, name);
            }
            ffi::lua_settop(l, 0);
        })?;
    }
    Ok(original)
}

/// Pushes a copy of the table at `index`. Pushes nothing and answers false if that is none, or if a copy would share
/// something with it that scripts can change.
///
/// # Safety
/// As for any function that can raise; called from frames that own nothing.
unsafe fn push_copy(l: *mut lua_State, index: c_int, depth: u32) -> bool {
    // SAFETY: by the caller. The table is not changed while it is walked.
    unsafe {
        if ffi::lua_type(l, index) != ffi::LUA_TTABLE || depth > DEPTH_MAX {
            return false;
        }
        ffi::luaL_checkstack(l, 8, ptr::null());
        let original = ffi::lua_absindex(l, index);
        if ffi::lua_getmetatable(l, original) != 0 {
            ffi::lua_settop(l, -2);
            return false;
        }
        let mut fields = 0;
        ffi::lua_pushnil(l);
        while ffi::lua_next(l, original) != 0 {
            ffi::lua_settop(l, -2);
            fields += 1;
        }
        ffi::lua_createtable(l, 0, fields);
        let copy = ffi::lua_gettop(l);
        ffi::lua_pushnil(l);
        while ffi::lua_next(l, original) != 0 {
            match ffi::lua_type(l, -1) {
                ffi::LUA_TTABLE => {
                    if !push_copy(l, -1, depth + 1) {
                        ffi::lua_settop(l, copy - 1);
                        return false;
                    }
                    ffi::lua_replace(l, -2);
                }
                // It may have a state that a script can change.
                ffi::LUA_TTHREAD | ffi::LUA_TLIGHTUSERDATA => {
                    ffi::lua_settop(l, copy - 1);
                    return false;
                }
                _ => {}
            }
            ffi::lua_pushvalue(l, -2);
            ffi::lua_rotate(l, -2, 1);
            ffi::lua_rawset(l, copy);
        }
        true
    }
}

/// Pushes what the registry keeps under `key` for all executions of the state, if it is there.
///
/// # Safety
/// `l` is a running thread of a state of ours with a free slot.
pub(super) unsafe fn push_kept(l: *mut lua_State, key: *const c_void) -> bool {
    // SAFETY: by the caller; a raw read does not raise.
    unsafe {
        let is_kept = ffi::lua_rawgetp(l, ffi::LUA_REGISTRYINDEX, key) != ffi::LUA_TNIL;
        if !is_kept {
            ffi::lua_settop(l, -2);
        }
        is_kept
    }
}

/// Keeps the function at the top under `key`, if the state is one that serves several executions. It stays at the top.
///
/// # Safety
/// As for any function that can raise; a free slot.
pub(super) unsafe fn keep(l: *mut lua_State, key: *const c_void) {
    // SAFETY: by the caller.
    unsafe {
        if core(l).reused.get() {
            ffi::lua_pushvalue(l, -1);
            ffi::lua_rawsetp(l, ffi::LUA_REGISTRYINDEX, key);
        }
    }
}
