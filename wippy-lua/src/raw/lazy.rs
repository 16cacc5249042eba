//! Lazy tables: a table whose fields are made when they are first looked at, so that a state holds only what its script
//! uses.
//!
//! A script cannot tell such a table from one that was filled at once. Looking at a field makes it; whatever looks at all
//! of them (`pairs`, `next`) makes what is missing first; a field that was set, to nil as well, stays as it was set; and
//! the metatable that does this is shown to nobody. So the functions of the base library that go around metamethods are
//! our own here.

use std::{
    ffi::{c_int, c_void},
    ptr, slice,
};

use mlua::{
    Lua, Table, Value as LuaValue,
    ffi::{self, lua_State},
};

use super::{
    bridge::push_bridge,
    core::{core, raise},
    renew::{keep, push_kept},
    stock::{BASE, CFunction, stock},
};

/// What a lazy table can have in it.
pub(crate) struct Recipe {
    /// In the order of their names.
    fields: &'static [(&'static str, Field)],
}

/// How a field is made.
#[derive(Clone, Copy)]
pub(crate) enum Field {
    /// The function of this library that has the same name.
    Stock(&'static str),
    /// A function in C without upvalues.
    Function(CFunction),
    /// A text.
    Text(&'static str),
    /// Anything else.
    Made(Maker),
    /// A function on which nothing hangs that belongs to one execution: it is made once for all that the state serves.
    Kept(Maker),
    /// The table itself.
    This,
}

/// Makes the value of a field.
pub(crate) type Maker = fn(&Lua) -> mlua::Result<LuaValue>;

impl Recipe {
    /// The fields of a table, in the order of their names.
    #[expect(clippy::indexing_slicing, reason = "a mistake does not compile")]
    pub(crate) const fn new(fields: &'static [(&'static str, Field)]) -> Self {
        assert!(fields.len() <= 64, "there is one bit for each field");
        let mut index = 1;
        while index < fields.len() {
            let ordered = is_before(fields[index - 1].0.as_bytes(), fields[index].0.as_bytes());
            assert!(ordered, "fields are found by their order");
            index += 1;
        }
        Self { fields }
    }

    fn find(&self, name: &[u8]) -> Option<(usize, &(&'static str, Field))> {
        let found = self
            .fields
            .binary_search_by(|(known, _)| known.as_bytes().cmp(name));
        found
            .ok()
            .and_then(|position| Some((position, self.fields.get(position)?)))
    }
}

#[expect(clippy::indexing_slicing, reason = "within both, and while compiling")]
const fn is_before(left: &[u8], right: &[u8]) -> bool {
    let mut index = 0;
    while index < left.len() && index < right.len() {
        if left[index] != right[index] {
            return left[index] < right[index];
        }
        index += 1;
    }
    left.len() < right.len()
}

/// The hidden fields of a lazy table: the address of its recipe, and which fields of that are made or were set. Scripts have
/// no light userdata, and are given none by us.
static RECIPE: u8 = 0;
static DONE: u8 = 1;

fn key(of: &'static u8) -> *const c_void {
    ptr::from_ref(of).cast()
}

/// Makes the metatable of lazy tables. The state is fresh.
///
/// # Safety
/// As for any function that can raise; six free slots.
pub(super) unsafe fn install(l: *mut lua_State) {
    // SAFETY: by the caller. The registry keeps the metatable, whose address is remembered.
    unsafe {
        let core = core(l);
        ffi::lua_createtable(l, 0, 4);
        for (name, function) in [
            (c"__index", index as CFunction),
            (c"__newindex", new_index),
            (c"__pairs", pairs),
        ] {
            ffi::lua_pushcfunction(l, function);
            ffi::lua_setfield(l, -2, name.as_ptr());
        }
        core.lazy.set(ffi::lua_topointer(l, -1));
        ffi::lua_rawsetp(l, ffi::LUA_REGISTRYINDEX, ptr::from_ref(&core.lazy).cast());
    }
}

/// A lazy table.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn lazy_table(lua: &Lua, recipe: &'static Recipe) -> mlua::Result<Table> {
    // SAFETY: the closure owns nothing.
    unsafe { lua.exec_raw((), |l| push_lazy(l, recipe)) }
}

/// Pushes a lazy table.
///
/// # Safety
/// As for any function that can raise; three free slots.
pub(super) unsafe fn push_lazy(l: *mut lua_State, recipe: &'static Recipe) {
    // SAFETY: by the caller.
    unsafe {
        ffi::lua_createtable(l, 0, 4);
        ffi::lua_pushlightuserdata(l, ptr::from_ref(recipe).cast_mut().cast());
        ffi::lua_rawsetp(l, -2, key(&RECIPE));
        ffi::lua_pushinteger(l, 0);
        ffi::lua_rawsetp(l, -2, key(&DONE));
        ffi::lua_rawgetp(l, ffi::LUA_REGISTRYINDEX, ptr::from_ref(&core(l).lazy).cast());
        ffi::lua_setmetatable(l, -2);
    }
}

/// Whether a lazy table stands at `at`.
///
/// # Safety
/// `l` is a running thread of a state of ours with a free slot.
unsafe fn is_lazy(l: *mut lua_State, at: c_int) -> bool {
    // SAFETY: none of these raise.
    unsafe {
        if ffi::lua_type(l, at) != ffi::LUA_TTABLE || ffi::lua_getmetatable(l, at) == 0 {
            return false;
        }
        let metatable = ffi::lua_topointer(l, -1);
        ffi::lua_settop(l, -2);
        ptr::eq(metatable, core(l).lazy.get())
    }
}

/// The recipe of the lazy table at `at`, and what is done of it.
unsafe fn recipe(l: *mut lua_State, at: c_int) -> Option<(&'static Recipe, u64)> {
    // SAFETY: as for `is_lazy`. Only this module writes under these keys, and recipes live for ever.
    unsafe {
        ffi::lua_rawgetp(l, at, key(&RECIPE));
        let recipe = ffi::lua_touserdata(l, -1).cast::<Recipe>();
        ffi::lua_rawgetp(l, at, key(&DONE));
        let done = ffi::lua_tointegerx(l, -1, ptr::null_mut());
        ffi::lua_settop(l, -3);
        Some((recipe.as_ref()?, done.cast_unsigned()))
    }
}

/// A field of a lazy table that was neither made nor set.
struct Missing {
    position: usize,
    field: &'static (&'static str, Field),
    /// What is done of the table.
    done: u64,
}

/// The field of the lazy table at `table` that has the name at `name`, if it was neither made nor set.
unsafe fn missing(l: *mut lua_State, table: c_int, name: c_int) -> Option<Missing> {
    // SAFETY: as for `is_lazy`. A string is not converted, and stays while it is looked at.
    unsafe {
        if ffi::lua_type(l, name) != ffi::LUA_TSTRING {
            return None;
        }
        let (recipe, done) = recipe(l, table)?;
        let mut length = 0;
        let text = ffi::lua_tolstring(l, name, &raw mut length);
        let (position, field) = recipe.find(slice::from_raw_parts(text.cast(), length))?;
        let missing = Missing {
            position,
            field,
            done,
        };
        (done & (1 << position) == 0).then_some(missing)
    }
}

/// Remembers that a field of the lazy table at `table` was made or set, beside those that are `done`.
unsafe fn mark(l: *mut lua_State, table: c_int, position: usize, done: u64) {
    // SAFETY: as for `is_lazy`. The key is there, so that no memory is needed.
    unsafe {
        ffi::lua_pushinteger(l, (done | (1 << position)).cast_signed());
        ffi::lua_rawsetp(l, table, key(&DONE));
    }
}

/// Makes a field of the lazy table at `table`, and leaves its value at the top.
unsafe fn make(l: *mut lua_State, table: c_int, missing: &Missing) {
    // SAFETY: called by functions in C that own nothing.
    unsafe {
        let (name, field) = missing.field;
        let mut done = Some(missing.done);
        match field {
            Field::Stock(library) => ffi::lua_pushcfunction(l, stock(library, name)),
            Field::Function(function) => ffi::lua_pushcfunction(l, *function),
            Field::Text(text) => {
                ffi::lua_pushlstring(l, text.as_ptr().cast(), text.len());
            }
            Field::Made(maker) => {
                push_made(l, maker);
                done = None;
            }
            Field::Kept(maker) => {
                let key = ptr::from_ref(maker).cast();
                if !push_kept(l, key) {
                    push_made(l, maker);
                    keep(l, key);
                    done = None;
                }
            }
            Field::This => ffi::lua_pushvalue(l, table),
        }
        ffi::lua_pushlstring(l, name.as_ptr().cast(), name.len());
        ffi::lua_pushvalue(l, -2);
        ffi::lua_rawset(l, table);
        // Making one may have made others.
        if let Some(done) = done.or_else(|| recipe(l, table).map(|(_, done)| done)) {
            mark(l, table, missing.position, done);
        }
    }
}

unsafe fn push_made(l: *mut lua_State, maker: &'static Maker) {
    // SAFETY: called by functions in C that own nothing.
    unsafe {
        push_bridge(l);
        ffi::lua_pushlightuserdata(l, ptr::from_ref(maker).cast_mut().cast());
        ffi::lua_call(l, 1, 1);
    }
}

/// Makes what is missing in the lazy table at `table`, which is a plain one from then on.
unsafe fn fill(l: *mut lua_State, table: c_int) {
    // SAFETY: called by functions in C that own nothing.
    unsafe {
        ffi::luaL_checkstack(l, 8, ptr::null());
        let Some((recipe, _)) = recipe(l, table) else {
            return;
        };
        for (position, field) in recipe.fields.iter().enumerate() {
            // Making one may have made others.
            let Some((_, done)) = self::recipe(l, table) else {
                return;
            };
            if done & (1 << position) == 0 {
                let missing = Missing {
                    position,
                    field,
                    done,
                };
                make(l, table, &missing);
                ffi::lua_settop(l, -2);
            }
        }
        for hidden in [&RECIPE, &DONE] {
            ffi::lua_pushnil(l);
            ffi::lua_rawsetp(l, table, key(hidden));
        }
        ffi::lua_pushnil(l);
        ffi::lua_setmetatable(l, table);
    }
}

/// `__index`
unsafe extern "C-unwind" fn index(l: *mut lua_State) -> c_int {
    // SAFETY: nothing that needs dropping is alive here when something raises; so in all functions below.
    unsafe {
        match missing(l, 1, 2) {
            Some(missing) => make(l, 1, &missing),
            None => ffi::lua_pushnil(l),
        }
        1
    }
}

/// `__newindex`
unsafe extern "C-unwind" fn new_index(l: *mut lua_State) -> c_int {
    // SAFETY: see `index`.
    unsafe {
        if let Some(Missing { position, done, .. }) = missing(l, 1, 2) {
            mark(l, 1, position, done);
        }
        ffi::lua_settop(l, 3);
        ffi::lua_rawset(l, 1);
        0
    }
}

/// `__pairs`
unsafe extern "C-unwind" fn pairs(l: *mut lua_State) -> c_int {
    // SAFETY: see `index`.
    unsafe {
        ffi::lua_settop(l, 1);
        if is_lazy(l, 1) {
            fill(l, 1);
        }
        ffi::lua_pushcfunction(l, stock(BASE, "next"));
        ffi::lua_pushvalue(l, 1);
        ffi::lua_pushnil(l);
        3
    }
}

/// `next(table [, key])`
pub(crate) unsafe extern "C-unwind" fn next(l: *mut lua_State) -> c_int {
    // SAFETY: see `index`.
    unsafe {
        ffi::luaL_checktype(l, 1, ffi::LUA_TTABLE);
        ffi::lua_settop(l, 2);
        if is_lazy(l, 1) {
            fill(l, 1);
        }
        if ffi::lua_next(l, 1) != 0 {
            return 2;
        }
        ffi::lua_pushnil(l);
        1
    }
}

/// `rawget(table, key)`
pub(crate) unsafe extern "C-unwind" fn raw_get(l: *mut lua_State) -> c_int {
    // SAFETY: see `index`.
    unsafe {
        ffi::luaL_checktype(l, 1, ffi::LUA_TTABLE);
        ffi::luaL_checkany(l, 2);
        ffi::lua_settop(l, 2);
        ffi::lua_pushvalue(l, 2);
        if ffi::lua_rawget(l, 1) == ffi::LUA_TNIL && is_lazy(l, 1) {
            return index(l);
        }
        1
    }
}

/// `rawset(table, key, value)`
pub(crate) unsafe extern "C-unwind" fn raw_set(l: *mut lua_State) -> c_int {
    // SAFETY: see `index`.
    unsafe {
        ffi::luaL_checktype(l, 1, ffi::LUA_TTABLE);
        ffi::luaL_checkany(l, 2);
        ffi::luaL_checkany(l, 3);
        ffi::lua_settop(l, 3);
        if is_lazy(l, 1) {
            new_index(l);
        } else {
            ffi::lua_rawset(l, 1);
        }
        ffi::lua_settop(l, 1);
        1
    }
}

/// `getmetatable(value)`
pub(crate) unsafe extern "C-unwind" fn get_metatable(l: *mut lua_State) -> c_int {
    // SAFETY: see `index`.
    unsafe {
        ffi::luaL_checkany(l, 1);
        if is_lazy(l, 1) || ffi::lua_getmetatable(l, 1) == 0 {
            ffi::lua_pushnil(l);
        } else {
            // Whatever stands there instead of it is given instead of it.
            ffi::luaL_getmetafield(l, 1, c"__metatable".as_ptr());
        }
        1
    }
}

/// `setmetatable(table, metatable)`, without finalizers, which would run at any time.
pub(crate) unsafe extern "C-unwind" fn set_metatable(l: *mut lua_State) -> c_int {
    // SAFETY: see `index`.
    unsafe {
        ffi::luaL_checktype(l, 1, ffi::LUA_TTABLE);
        match ffi::lua_type(l, 2) {
            ffi::LUA_TNIL => {}
            ffi::LUA_TTABLE => {
                ffi::lua_pushlstring(l, c"__gc".as_ptr(), 4);
                if ffi::lua_rawget(l, 2) != ffi::LUA_TNIL {
                    return raise(l, "`__gc` is not available: use `local x <close>` and `__close`");
                }
            }
            _ => return raise(l, "bad argument #2 to 'setmetatable' (nil or table expected)"),
        }
        ffi::lua_settop(l, 2);
        if is_lazy(l, 1) {
            fill(l, 1);
        } else if ffi::luaL_getmetafield(l, 1, c"__metatable".as_ptr()) != ffi::LUA_TNIL {
            return raise(l, "cannot change a protected metatable");
        }
        ffi::lua_settop(l, 2);
        ffi::lua_setmetatable(l, 1);
        1
    }
}
