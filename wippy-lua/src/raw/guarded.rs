//! Functions of the standard library that are refused some arguments, at next to no cost for all others.
//!
//! They are C functions, because a wrapper written in Lua makes `table.insert` twice as dear.

use std::{ffi::c_int, sync::OnceLock};

use mlua::ffi::{self, lua_State};

use crate::patterns::{self, Search};

use super::{
    core::raise,
    lazy::Field,
    stock::{CFunction, stock},
};

/// A length that a metamethod makes up may be astronomic, and loops over it are written in C.
const LENGTH_MAX: i64 = 1 << 24;

/// The functions that are guarded.
const GUARDED: [(&str, &str); 11] = [
    ("table", "concat"),
    ("table", "insert"),
    ("table", "move"),
    ("table", "remove"),
    ("table", "sort"),
    ("table", "unpack"),
    ("string", "rep"),
    ("string", "find"),
    ("string", "match"),
    ("string", "gmatch"),
    ("string", "gsub"),
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

/// `string.find` and its like, where matching comes to an end soon.
pub(crate) const FIND: Field = Field::Function(search::<7>);
pub(crate) const MATCH: Field = Field::Function(search::<8>);
pub(crate) const GMATCH: Field = Field::Function(search::<9>);
pub(crate) const GSUB: Field = Field::Function(search::<10>);

/// Calls one of [`GUARDED`] in the frame of its guard, as if it had been called itself.
unsafe fn original<const WHICH: usize>(l: *mut lua_State) -> c_int {
    static ORIGINALS: OnceLock<[CFunction; GUARDED.len()]> = OnceLock::new();
    let originals = ORIGINALS.get_or_init(|| GUARDED.map(|(library, name)| stock(library, name)));
    #[expect(clippy::indexing_slicing, reason = "each guard below is one of them")]
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

unsafe extern "C-unwind" fn search<const WHICH: usize>(l: *mut lua_State) -> c_int {
    // SAFETY: see `list`.
    unsafe {
        if !is_quick_here::<WHICH>(l) {
            return raise(l, "this pattern takes too long on this text");
        }
        original::<WHICH>(l)
    }
}

unsafe fn is_quick_here<const WHICH: usize>(l: *mut lua_State) -> bool {
    // SAFETY: the texts are arguments, which stay where they are while nothing of Lua runs.
    unsafe {
        let (Some(text), Some(pattern)) = (text(l, 1), text(l, 2)) else {
            return true;
        };
        let search = match WHICH {
            7 => Search::Find {
                plain: ffi::lua_toboolean(l, 4) != 0,
            },
            8 => Search::Match,
            9 => Search::All,
            _ => Search::Replace,
        };
        // As everywhere in Lua: from one, and from the end if it is negative. What is no number is found by Lua.
        let mut is_number = 0;
        let begins = ffi::lua_tointegerx(l, 3, &raw mut is_number);
        let from = match usize::try_from(begins) {
            _ if is_number == 0 || search == Search::Replace => 0,
            Ok(begins) => begins.saturating_sub(1),
            Err(_) => {
                let back = usize::try_from(begins.unsigned_abs()).unwrap_or(usize::MAX);
                text.len().saturating_sub(back)
            }
        };
        patterns::is_quick(text, pattern, from, search)
    }
}

/// An argument that is a text or a number, which is made a text in its place.
unsafe fn text<'a>(l: *mut lua_State, at: c_int) -> Option<&'a [u8]> {
    // SAFETY: what it points to lives as long as the argument, and the caller holds it no longer.
    unsafe {
        if !matches!(ffi::lua_type(l, at), ffi::LUA_TSTRING | ffi::LUA_TNUMBER) {
            return None;
        }
        let mut len = 0;
        let start = ffi::lua_tolstring(l, at, &raw mut len);
        (!start.is_null()).then(|| std::slice::from_raw_parts(start.cast::<u8>(), len))
    }
}
