//! Our userdata: errors and other opaque things, and unsigned integers that Lua has no form for.

use std::{
    cell::Cell,
    ffi::{CStr, c_int, c_void},
    mem, ptr,
    sync::Arc,
};

use mlua::{
    Lua, Value,
    ffi::{self, lua_State},
};
use wippy_security::CallError;
use wippy_wit::Foreign;

use super::{
    bridge::push_bridge,
    core::{Core, core},
    lazy::Maker,
};

/// How the metatables of our own userdata are made.
pub(crate) struct Metatables {
    /// Of error objects.
    pub(crate) error: Maker,
    /// Of other opaque things.
    pub(crate) foreign: Maker,
    /// Of unsigned integers beyond the signed ones.
    pub(crate) unsigned: Maker,
}

/// The metatables of our own userdata, each from the moment that the state has such a thing.
pub(super) struct KnownMetatables {
    error: Known,
    foreign: Known,
    unsigned: Known,
}

impl KnownMetatables {
    pub(super) fn new(metatables: &'static Metatables) -> Self {
        Self {
            error: Known::new(&metatables.error),
            foreign: Known::new(&metatables.foreign),
            unsigned: Known::new(&metatables.unsigned),
        }
    }
}

/// A metatable that the registry keeps once it is made.
struct Known {
    maker: &'static Maker,
    /// Null until then.
    address: Cell<*const c_void>,
    reference: Cell<c_int>,
}

impl Known {
    fn new(maker: &'static Maker) -> Self {
        Self {
            maker,
            address: Cell::new(ptr::null()),
            reference: Cell::new(ffi::LUA_NOREF),
        }
    }

    /// Makes it, unless it is there. `collects` says whether its things need to be dropped.
    ///
    /// # Safety
    /// As for any function that can raise; three free slots.
    unsafe fn prepare(&self, l: *mut lua_State, collects: bool) {
        // SAFETY: by the caller.
        unsafe {
            if !self.address.get().is_null() {
                return;
            }
            push_bridge(l);
            ffi::lua_pushlightuserdata(l, ptr::from_ref(self.maker).cast_mut().cast());
            ffi::lua_call(l, 1, 1);
            if collects {
                ffi::lua_pushcfunction(l, collect);
                ffi::lua_setfield(l, -2, c"__gc".as_ptr());
            }
            let address = ffi::lua_topointer(l, -1);
            self.reference.set(ffi::luaL_ref(l, ffi::LUA_REGISTRYINDEX));
            self.address.set(address);
        }
    }

    /// # Safety
    /// It is [prepared](Self::prepare); a free slot.
    unsafe fn push(&self, l: *mut lua_State) {
        // SAFETY: by the caller. A raw read does not raise.
        unsafe {
            ffi::lua_rawgeti(l, ffi::LUA_REGISTRYINDEX, i64::from(self.reference.get()));
        }
    }
}

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
        if ptr::eq(address, known.error.address.get()) || ptr::eq(address, known.foreign.address.get()) {
            Some(Kind::Foreign)
        } else if ptr::eq(address, known.unsigned.address.get()) {
            Some(Kind::Unsigned)
        } else {
            None
        }
    }
}

/// Whether a userdata with the metatable of that `address` stands at `index`.
///
/// # Safety
/// `l` is a thread of the state with a free slot.
pub(super) unsafe fn is_kind(l: *mut lua_State, index: c_int, address: *const c_void) -> bool {
    // SAFETY: none of these raise.
    unsafe {
        if ffi::lua_type(l, index) != ffi::LUA_TUSERDATA || ffi::lua_getmetatable(l, index) == 0 {
            return false;
        }
        let found = ffi::lua_topointer(l, -1);
        ffi::lua_settop(l, -2);
        ptr::eq(found, address)
    }
}

/// Pushes the object that is parked in the core; nil if there is none.
///
/// # Safety
/// As for any function that can raise: nothing that needs dropping is alive in the calling frames. Three free slots.
pub(super) unsafe fn push_parked(l: *mut lua_State, core: &Core) {
    // SAFETY: by the caller. The metatable and the memory are made first; only then does the object move.
    unsafe {
        let is_error = core
            .object
            .borrow()
            .as_ref()
            .map(|object| object.as_any().is::<CallError>());
        let known = match is_error {
            Some(true) => &core.metatables.error,
            Some(false) => {
                core.has_foreign.set(true);
                &core.metatables.foreign
            }
            None => return ffi::lua_pushnil(l),
        };
        known.prepare(l, true);
        let slot =
            ffi::lua_newuserdatauv(l, mem::size_of::<Arc<dyn Foreign>>(), 0).cast::<Arc<dyn Foreign>>();
        let Some(object) = core.object.borrow_mut().take() else {
            ffi::lua_settop(l, -2);
            return ffi::lua_pushnil(l);
        };
        ptr::write(slot, object);
        known.push(l);
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
        let known = &core(l).metatables.unsigned;
        known.prepare(l, false);
        ptr::write(
            ffi::lua_newuserdatauv(l, mem::size_of::<u64>(), 0).cast::<u64>(),
            value,
        );
        known.push(l);
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

/// Gives the errors that mlua raises the methods of error objects, so that scripts need not tell them apart.
///
/// # Errors
/// When memory does not suffice.
pub(super) fn patch_failures(lua: &Lua) -> mlua::Result<()> {
    let failure = Value::Error(Box::new(mlua::Error::runtime("")));
    // SAFETY: the closure owns nothing; the error is its argument and has a metatable.
    unsafe {
        lua.exec_raw(failure, |l| {
            ffi::lua_getmetatable(l, -1);
            let functions: [(&CStr, ffi::lua_CFunction); 3] = [
                (c"__index", failure_index),
                (c"__tostring", failure_to_string),
                (c"__concat", failure_concat),
            ];
            for (name, function) in functions {
                ffi::lua_pushcfunction(l, function);
                ffi::lua_setfield(l, -2, name.as_ptr());
            }
            for name in [c"__name", c"__metatable"] {
                ffi::lua_pushstring(l, c"error".as_ptr());
                ffi::lua_setfield(l, -2, name.as_ptr());
            }
            ffi::lua_settop(l, 0);
        })
    }
}

/// Pushes a field of the metatable of error objects.
unsafe fn push_error_field(l: *mut lua_State, name: &CStr) {
    // SAFETY: called by functions in C that own nothing.
    unsafe {
        let known = &core(l).metatables.error;
        known.prepare(l, true);
        known.push(l);
        ffi::lua_getfield(l, -1, name.as_ptr());
        ffi::lua_remove(l, -2);
    }
}

unsafe extern "C-unwind" fn failure_index(l: *mut lua_State) -> c_int {
    // SAFETY: nothing that needs dropping is alive here when something raises; so in all functions below.
    unsafe {
        push_error_field(l, c"__index");
        ffi::lua_pushvalue(l, 2);
        ffi::lua_rawget(l, -2);
        1
    }
}

unsafe extern "C-unwind" fn failure_to_string(l: *mut lua_State) -> c_int {
    // SAFETY: see `failure_index`.
    unsafe { as_error(l, c"__tostring", 1) }
}

unsafe extern "C-unwind" fn failure_concat(l: *mut lua_State) -> c_int {
    // SAFETY: see `failure_index`.
    unsafe { as_error(l, c"__concat", 2) }
}

unsafe fn as_error(l: *mut lua_State, metamethod: &CStr, arguments: c_int) -> c_int {
    // SAFETY: see `failure_index`.
    unsafe {
        ffi::lua_settop(l, arguments);
        push_error_field(l, metamethod);
        ffi::lua_insert(l, 1);
        ffi::lua_call(l, arguments, 1);
        1
    }
}
