//! Functions of the standard library that are refused some arguments, at next to no cost for all others.
//!
//! They are C functions, because a wrapper written in Lua makes `table.insert` twice as dear.

use std::{ffi::c_int, sync::OnceLock};

use mlua::ffi::{self, lua_State};

use super::{
    core::raise,
    lazy::Field,
    stock::{CFunction, stock},
};

/// A length that a metamethod makes up may be astronomic, and loops over it are written in C.
const LENGTH_MAX: i64 = 1 << 24;

/// The functions that are guarded.
const GUARDED: [(&str, &str); 7] = [
    ("table", "concat"),
    ("table", "insert"),
    ("table", "move"),
    ("table", "remove"),
    ("table", "sort"),
    ("table", "unpack"),
    ("string", "rep"),
];

/// `table.concat` and its like, for lists that say how long they are and mean it.
pub(crate) const CONCAT: Field = Field::Function(list::<0>);
pub(crate) const INSERT: Field = Field::Function(list::<1>);
pub(crate) const REMOVE: Field = Field::Function(list::<3>);
pub(crate) const SORT: Field = Field::Function(list::<4>);
pub(crate) const UNPACK: Field = Field::Function(list::<5>);

/// `table.move` of what can be moved in a moment.
pub(crate) const MOVE: Field = Field::Function(move_list::<2>);

/// `string.rep`, which takes its time for nothing repeated often.
pub(crate) const REP: Field = Field::Function(repeat::<6>);

/// Calls one of [`GUARDED`] in the frame of its guard, as if it had been called itself.
unsafe fn original<const WHICH: usize>(l: *mut lua_State) -> c_int {
    static ORIGINALS: OnceLock<[CFunction; GUARDED.len()]> = OnceLock::new();
    let originals = ORIGINALS.get_or_init(|| GUARDED.map(|(library, name)| stock(library, name)));
    #[expect(clippy::indexing_slicing, reason = "each guard below is one of the seven")]
    let original = originals[WHICH];
    // SAFETY: a function in C finds its arguments in this frame.
    unsafe { original(l) }
}

unsafe extern "C-unwind" fn list<const WHICH: usize>(l: *mut lua_State) -> c_int {
    // SAFETY: nothing that needs dropping is alive here when something raises; so in all functions below.
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
        original::<WHICH>(l)
    }
}

unsafe extern "C-unwind" fn move_list<const WHICH: usize>(l: *mut lua_State) -> c_int {
    // SAFETY: see `list`.
    unsafe {
        let [first, last] = [2, 3].map(|at| ffi::lua_tointegerx(l, at, std::ptr::null_mut()));
        if last.saturating_sub(first) > LENGTH_MAX {
            return raise(l, "too many elements to move");
        }
        original::<WHICH>(l)
    }
}

unsafe extern "C-unwind" fn repeat<const WHICH: usize>(l: *mut lua_State) -> c_int {
    // SAFETY: see `list`.
    unsafe {
        let is_empty = |at| ffi::lua_type(l, at) == ffi::LUA_TSTRING && ffi::lua_rawlen(l, at) == 0;
        if is_empty(1) && (ffi::lua_type(l, 3) <= ffi::LUA_TNIL || is_empty(3)) {
            ffi::lua_settop(l, 1);
            return 1;
        }
        original::<WHICH>(l)
    }
}
