//! Functions of the standard library that are refused some arguments, at next to no cost for all others.
//!
//! They are C functions, because a wrapper written in Lua makes `setmetatable` and `table.insert` twice as dear.

use std::ffi::{c_int, c_void};

use mlua::{
    Function, Lua,
    ffi::{self, lua_State},
};

use super::core::raise;

/// A length that a metamethod makes up may be astronomic, and loops over it are written in C.
const LENGTH_MAX: i64 = 1 << 24;

/// `setmetatable` without finalizers, which would run at any time.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn set_metatable_function(lua: &Lua) -> mlua::Result<Function> {
    // SAFETY: the closure owns nothing; the name becomes the function's upvalue.
    unsafe { lua.exec_raw("__gc", |l| ffi::lua_pushcclosure(l, set_metatable, 1)) }
}

unsafe extern "C-unwind" fn set_metatable(l: *mut lua_State) -> c_int {
    // SAFETY: nothing that needs dropping is alive here when something raises.
    unsafe {
        ffi::luaL_checktype(l, 1, ffi::LUA_TTABLE);
        match ffi::lua_type(l, 2) {
            ffi::LUA_TNIL => {}
            ffi::LUA_TTABLE => {
                ffi::lua_pushvalue(l, ffi::lua_upvalueindex(1));
                if ffi::lua_rawget(l, 2) != ffi::LUA_TNIL {
                    return raise(l, "`__gc` is not available: use `local x <close>` and `__close`");
                }
            }
            _ => return raise(l, "bad argument #2 to 'setmetatable' (nil or table expected)"),
        }
        if ffi::luaL_getmetafield(l, 1, c"__metatable".as_ptr()) != ffi::LUA_TNIL {
            return raise(l, "cannot change a protected metatable");
        }
        ffi::lua_settop(l, 2);
        ffi::lua_setmetatable(l, 1);
        1
    }
}

/// `original`, a C function without upvalues whose first argument is a list, for lists that say how long they are and
/// mean it. Anything else is given as it is.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn guard_length(lua: &Lua, original: &Function) -> mlua::Result<Function> {
    // SAFETY: the closure owns nothing. The function's address becomes an upvalue; a function in code does not move.
    unsafe {
        lua.exec_raw(original, |l| {
            let has_upvalues = !ffi::lua_getupvalue(l, 1, 1).is_null();
            let Some(function) = ffi::lua_tocfunction(l, 1).filter(|_| !has_upvalues) else {
                ffi::lua_settop(l, 1);
                return;
            };
            ffi::lua_pushlightuserdata(l, function as *mut c_void);
            ffi::lua_pushcclosure(l, guarded, 1);
            ffi::lua_replace(l, 1);
            ffi::lua_settop(l, 1);
        })
    }
}

unsafe extern "C-unwind" fn guarded(l: *mut lua_State) -> c_int {
    // SAFETY: nothing that needs dropping is alive here when something raises. The upvalue is the address of a C function,
    // which finds its arguments in this frame as if it had been called itself.
    unsafe {
        if ffi::lua_type(l, 1) == ffi::LUA_TTABLE && ffi::lua_getmetatable(l, 1) != 0 {
            ffi::lua_settop(l, -2);
            ffi::lua_len(l, 1);
            let length = ffi::lua_tointegerx(l, -1, std::ptr::null_mut());
            ffi::lua_settop(l, -2);
            let actual = i64::try_from(ffi::lua_rawlen(l, 1)).unwrap_or(i64::MAX);
            if length > LENGTH_MAX && length > actual {
                return raise(l, "the table claims to be too long");
            }
        }
        let address = ffi::lua_touserdata(l, ffi::lua_upvalueindex(1));
        let function: unsafe extern "C-unwind" fn(*mut lua_State) -> c_int = std::mem::transmute(address);
        function(l)
    }
}
