//! Our userdata: errors and other opaque things, and unsigned integers that Lua has no form for.

use std::{
    ffi::{c_int, c_void},
    mem, ptr,
    sync::Arc,
};

use mlua::{
    Lua, Value,
    ffi::{self, lua_State},
};
use wippy_security::CallError;
use wippy_wit::Foreign;

use super::core::{Core, core};

/// What a userdata of ours is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An `Arc<dyn Foreign>`.
    Foreign,
    /// A `u64`.
    Unsigned,
}

/// What the userdata at `index` is, if it is one of ours.
///
/// # Safety
/// A userdata stands at `index`, a slot above the top is free, and `core` is the state's.
pub(super) unsafe fn kind(l: *mut lua_State, index: c_int, core: &Core) -> Option<Kind> {
    // SAFETY: by the caller. None of these raise, and the metatable does not stay on the stack. Only this module
    // gives a userdata these metatables, and scripts cannot reach them.
    unsafe {
        if ffi::lua_getmetatable(l, index) == 0 {
            return None;
        }
        let address = ffi::lua_topointer(l, -1);
        ffi::lua_settop(l, -2);
        let known = &core.metatables;
        if ptr::eq(address, known.error.get()) || ptr::eq(address, known.foreign.get()) {
            Some(Kind::Foreign)
        } else if ptr::eq(address, known.unsigned.get()) {
            Some(Kind::Unsigned)
        } else {
            None
        }
    }
}

/// Pushes the object that is parked in the core; nil if there is none.
///
/// # Safety
/// As for any function that can raise: nothing that needs dropping is alive in the calling frames. Three free slots.
pub(super) unsafe fn push_parked(l: *mut lua_State, core: &Core) {
    // SAFETY: by the caller. The memory is made first; only then does the object move into it.
    unsafe {
        let slot =
            ffi::lua_newuserdatauv(l, mem::size_of::<Arc<dyn Foreign>>(), 0).cast::<Arc<dyn Foreign>>();
        let Some(object) = core.object.borrow_mut().take() else {
            ffi::lua_settop(l, -2);
            ffi::lua_pushnil(l);
            return;
        };
        let is_error = object.as_any().is::<CallError>();
        ptr::write(slot, object);
        let known = &core.metatables;
        let reference = if is_error {
            known.error_reference.get()
        } else {
            known.foreign_reference.get()
        };
        ffi::lua_rawgeti(l, ffi::LUA_REGISTRYINDEX, i64::from(reference));
        ffi::lua_setmetatable(l, -2);
    }
}

/// Pushes an unsigned integer that does not fit a signed one.
///
/// # Safety
/// As for [`push_parked`].
pub(super) unsafe fn push_unsigned(l: *mut lua_State, value: u64) {
    // SAFETY: by the caller.
    unsafe {
        let core = core(l);
        ptr::write(
            ffi::lua_newuserdatauv(l, mem::size_of::<u64>(), 0).cast::<u64>(),
            value,
        );
        ffi::lua_rawgeti(
            l,
            ffi::LUA_REGISTRYINDEX,
            i64::from(core.metatables.unsigned_reference.get()),
        );
        ffi::lua_setmetatable(l, -2);
    }
}

/// `__gc` of errors and other opaque things.
pub(super) unsafe extern "C-unwind" fn collect(l: *mut lua_State) -> c_int {
    // SAFETY: Lua calls this once, with a userdata made by `push_parked`; scripts cannot reach the function. A panic
    // of a destructor ends here.
    unsafe {
        let object = ffi::lua_touserdata(l, 1).cast::<Arc<dyn Foreign>>();
        if !object.is_null() {
            super::core::caught(|| ptr::drop_in_place(object));
        }
    }
    0
}

/// What `look` makes of the userdata `value`, if it is one of ours of that `wanted` kind.
fn look<R>(lua: &Lua, value: &Value, wanted: Kind, read: impl FnOnce(*const c_void) -> R) -> Option<R> {
    let Value::UserData(userdata) = value else {
        return None;
    };
    let mut address = ptr::null();
    // SAFETY: the closure owns nothing and only asks; the userdata is its argument, and `value` keeps it alive.
    let asked = unsafe {
        lua.exec_raw::<()>(userdata, |l| {
            if kind(l, -1, core(l)) == Some(wanted) {
                address = ffi::lua_touserdata(l, -1).cast_const();
            }
            ffi::lua_settop(l, -2);
        })
    };
    asked.ok()?;
    (!address.is_null()).then(|| read(address))
}

/// The opaque thing that `value` is.
pub(crate) fn foreign(lua: &Lua, value: &Value) -> Option<Arc<dyn Foreign>> {
    // SAFETY: a userdata of this kind holds such an `Arc`.
    look(lua, value, Kind::Foreign, |address| unsafe {
        (*address.cast::<Arc<dyn Foreign>>()).clone()
    })
}

/// The number that `value` is: an integer, or an unsigned one beyond those.
pub(crate) fn integer_or_unsigned(lua: &Lua, value: &Value) -> Option<i128> {
    if let Value::Integer(value) = value {
        return Some(i128::from(*value));
    }
    // SAFETY: a userdata of this kind holds a `u64`.
    look(lua, value, Kind::Unsigned, |address| unsafe {
        i128::from(*address.cast::<u64>())
    })
}

/// The userdata for an opaque thing.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn wrap_foreign(lua: &Lua, object: Arc<dyn Foreign>) -> mlua::Result<Value> {
    let mut object = Some(object);
    let object = &mut object;
    // SAFETY: the closure owns nothing; what it borrows is dropped here, whatever happens.
    unsafe {
        lua.exec_raw((), |l| {
            let core = core(l);
            *core.object.borrow_mut() = object.take();
            push_parked(l, core);
        })
    }
}

/// The userdata for an unsigned integer, or the integer if it fits.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn unsigned(lua: &Lua, value: u64) -> mlua::Result<Value> {
    if let Ok(value) = i64::try_from(value) {
        return Ok(Value::Integer(value));
    }
    // SAFETY: the closure owns nothing.
    unsafe { lua.exec_raw((), |l| push_unsigned(l, value)) }
}

/// The metatable of the errors that mlua raises.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn failure_metatable(lua: &Lua) -> mlua::Result<mlua::Table> {
    let failure = Value::Error(Box::new(mlua::Error::runtime("")));
    // SAFETY: the closure owns nothing; the error is its argument and has a metatable.
    unsafe {
        lua.exec_raw(failure, |l| {
            ffi::lua_getmetatable(l, -1);
            ffi::lua_remove(l, -2);
        })
    }
}
