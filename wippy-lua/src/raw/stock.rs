//! Lua's own functions by name, so that a state has only those that its script uses.
//!
//! They are C functions without upvalues: their addresses are the same in every state, and pushing one takes no memory.

use std::{
    ffi::{c_int, c_void},
    ptr,
    sync::OnceLock,
};

use mlua::{
    Lua, LuaOptions, StdLib, Value as LuaValue,
    ffi::{self, lua_State},
};

use super::{bridge::push_bridge, lazy::Maker};

/// A function in C.
pub(crate) type CFunction = unsafe extern "C-unwind" fn(*mut lua_State) -> c_int;

/// The base library, whose functions are globals.
pub(crate) const BASE: &str = "_G";

/// The function `name` of a standard library.
///
/// # Panics
/// When there is none, which is a mistake in a table of this crate.
pub(crate) fn stock(library: &str, name: &str) -> CFunction {
    static STOCK: OnceLock<Vec<Stocked>> = OnceLock::new();
    let known = STOCK.get_or_init(all);
    let place = known.binary_search_by(|stocked| stocked.key().cmp(&(library, name)));
    place
        .ok()
        .and_then(|place| known.get(place))
        .expect("Lua's library has every function that is named in this crate")
        .function
}

/// A function of Lua's own.
struct Stocked {
    library: String,
    name: String,
    function: CFunction,
}

impl Stocked {
    fn key(&self) -> (&str, &str) {
        (&self.library, &self.name)
    }
}

/// The functions of a state that is made for this, in the order of their names.
fn all() -> Vec<Stocked> {
    let libraries =
        StdLib::COROUTINE | StdLib::TABLE | StdLib::STRING | StdLib::UTF8 | StdLib::MATH | StdLib::OS;
    let mut known = Vec::new();
    let Ok(lua) = Lua::new_with(libraries, LuaOptions::default()) else {
        return known;
    };
    let mut keep = |library: &str, name: &LuaValue, value: &LuaValue| {
        if let (Some(name), LuaValue::Function(function)) = (name.as_string(), value)
            && let Some(address) = address(&lua, function)
        {
            known.push(Stocked {
                library: library.to_owned(),
                name: name.to_string_lossy(),
                function: address,
            });
        }
    };
    for (name, value) in lua.globals().pairs().filter_map(Result::ok) {
        match (&value, &name) {
            (LuaValue::Table(table), LuaValue::String(library)) => {
                let library = library.to_string_lossy();
                for (name, value) in table.pairs().filter_map(Result::ok) {
                    keep(&library, &name, &value);
                }
            }
            _ => keep(BASE, &name, &value),
        }
    }
    if let Some(metatable) = lua.type_metatable::<mlua::LuaString>() {
        for (name, value) in metatable.pairs().filter_map(Result::ok) {
            keep(STRING_METATABLE, &name, &value);
        }
    }
    known.sort_unstable_by(|left, right| left.key().cmp(&right.key()));
    known
}

/// The metatable of strings, which has functions of its own.
pub(crate) const STRING_METATABLE: &str = "string metatable";

/// The address of a function in C, if it has no upvalues.
fn address(lua: &Lua, function: &mlua::Function) -> Option<CFunction> {
    let mut address = None;
    // SAFETY: the closure owns nothing and only asks; the function is its argument.
    let asked = unsafe {
        let address = &mut address;
        lua.exec_raw::<()>(function, move |l| {
            let has_upvalues = !ffi::lua_getupvalue(l, 1, 1).is_null();
            *address = ffi::lua_tocfunction(l, 1).filter(|_| !has_upvalues);
            ffi::lua_settop(l, 0);
        })
    };
    asked.ok().and(address)
}

/// Opens the mathematical library anew and pushes it, for its two functions that have a state.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn mathematics(lua: &Lua) -> mlua::Result<mlua::Table> {
    // SAFETY: the closure owns nothing. Opening the library makes one table, which it leaves at the top.
    unsafe {
        lua.exec_raw((), |l| {
            ffi::lua_pushcfunction(l, ffi::luaopen_math);
            ffi::lua_call(l, 0, 1);
        })
    }
}

/// The key under which the registry has the table of libraries, which tracebacks take names from.
pub(super) const LOADED: &std::ffi::CStr = c"_LOADED";

/// Makes `globals` the state's, and forgets those that it came with.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn set_globals(lua: &Lua, globals: &mlua::Table) -> mlua::Result<()> {
    // SAFETY: the closure owns nothing; the table is its argument.
    unsafe {
        lua.exec_raw(globals, |l| {
            ffi::lua_createtable(l, 0, 4);
            ffi::lua_pushvalue(l, 1);
            ffi::lua_setfield(l, -2, c"_G".as_ptr());
            ffi::lua_setfield(l, ffi::LUA_REGISTRYINDEX, LOADED.as_ptr());
            ffi::lua_rawseti(l, ffi::LUA_REGISTRYINDEX, ffi::LUA_RIDX_GLOBALS);
        })
    }
}

/// The one value of that `name` that a state has among its libraries; `make` makes it.
///
/// # Errors
/// As `make` has them.
pub(crate) fn once(
    lua: &Lua,
    name: &str,
    make: impl FnOnce(&Lua) -> mlua::Result<LuaValue>,
) -> mlua::Result<LuaValue> {
    // SAFETY: the closure owns nothing.
    let loaded: mlua::Table = unsafe {
        lua.exec_raw((), |l| {
            ffi::luaL_getsubtable(l, ffi::LUA_REGISTRYINDEX, LOADED.as_ptr());
        })?
    };
    let known: LuaValue = loaded.raw_get(name)?;
    if !known.is_nil() {
        return Ok(known);
    }
    let value = make(lua)?;
    loaded.raw_set(name, &value)?;
    Ok(value)
}

/// Lets strings find their methods in the library that `methods` makes when the first one is looked for, and calculate as
/// numbers. Scripts are not shown the metatable, so only what it leads to is ever changed.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn set_string_metatable(lua: &Lua, methods: &'static Maker) -> mlua::Result<()> {
    const ARITHMETIC: [&std::ffi::CStr; 8] = [
        c"__add", c"__sub", c"__mul", c"__mod", c"__pow", c"__div", c"__idiv", c"__unm",
    ];
    let functions = ARITHMETIC.map(|name| stock(STRING_METATABLE, &name.to_string_lossy()));
    // SAFETY: the closure owns nothing; the table is its argument.
    unsafe {
        lua.exec_raw((), |l| {
            ffi::lua_createtable(l, 0, 10);
            for (name, function) in ARITHMETIC.iter().zip(&functions) {
                ffi::lua_pushcfunction(l, *function);
                ffi::lua_setfield(l, -2, name.as_ptr());
            }
            ffi::lua_pushlightuserdata(l, ptr::from_ref(methods).cast_mut().cast());
            ffi::lua_rawsetp(l, ffi::LUA_REGISTRYINDEX, methods_key());
            ffi::lua_pushstring(l, c"string".as_ptr());
            ffi::lua_setfield(l, -2, c"__metatable".as_ptr());
            ffi::lua_pushlstring(l, c"".as_ptr(), 0);
            ffi::lua_pushvalue(l, -2);
            ffi::lua_setmetatable(l, -2);
            unset_string_methods(l);
            ffi::lua_settop(l, 0);
        })
    }
}

/// The key under which the registry has what makes the methods of strings.
fn methods_key() -> *const c_void {
    static KEY: u8 = 0;
    ptr::from_ref(&KEY).cast()
}

/// Has the library of strings' methods made anew, by whoever looks for a method next.
///
/// # Safety
/// As for any function that can raise; three free slots. The metatable of strings is ours.
pub(super) unsafe fn unset_string_methods(l: *mut lua_State) {
    // SAFETY: by the caller.
    unsafe {
        ffi::lua_pushlstring(l, c"".as_ptr(), 0);
        ffi::lua_getmetatable(l, -1);
        ffi::lua_pushcfunction(l, first_method);
        ffi::lua_setfield(l, -2, c"__index".as_ptr());
        ffi::lua_settop(l, -3);
    }
}

/// `__index` of strings until a method was looked for.
unsafe extern "C-unwind" fn first_method(l: *mut lua_State) -> c_int {
    // SAFETY: nothing that needs dropping is alive here when something raises. The bridge answers a table.
    unsafe {
        ffi::lua_settop(l, 2);
        push_bridge(l);
        ffi::lua_rawgetp(l, ffi::LUA_REGISTRYINDEX, methods_key());
        ffi::lua_call(l, 1, 1);
        ffi::lua_pushlstring(l, c"".as_ptr(), 0);
        ffi::lua_getmetatable(l, -1);
        ffi::lua_pushvalue(l, 3);
        ffi::lua_setfield(l, -2, c"__index".as_ptr());
        ffi::lua_pushvalue(l, 2);
        ffi::lua_gettable(l, 3);
        1
    }
}
