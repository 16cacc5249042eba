//! [`LuaReader`]: a cursor over values on a Lua stack.

use std::{ffi::c_int, ptr, slice, sync::Arc};

use mlua::ffi::{self, lua_State};
use wippy_wit::{Datum, Error, Foreign, Key, Reader, Scalar, Step, accept::CHANNEL};

use super::{channel, core::Core, object, writer};

/// A cursor over values on a Lua stack. Each level is a slot above the one it came from; a table that is iterated
/// over has the key that the iteration has come to above it. Scalars and strings among the arguments are looked at
/// where they are.
///
/// It runs no Lua code and raises nothing: raw reads only, and no conversion in place.
pub(super) struct LuaReader {
    l: *mut lua_State,
    core: *const Core,
    /// The stack index of the first argument.
    first: c_int,
    arguments: c_int,
    /// The index of the table of interned keys, if the frame has it at hand.
    keys: Option<c_int>,
    /// How many slots are known to be free above the cursor.
    free: c_int,
    /// Where the cursor stands while there are no levels.
    standing: Standing,
    levels: Vec<Level>,
    /// [`Core::resumes`] when the latest iteration began.
    resumes: u64,
    /// Whether channels may be read as streams.
    lends: bool,
    /// The stream that the cursor stands on.
    lent: Option<Arc<dyn Foreign>>,
}

/// Where a cursor without levels stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// On the list of arguments.
    List,
    /// On the argument at this index of the stack, which has this Lua type.
    Argument(c_int, c_int),
}

/// What one level has on the stack, and the Lua type of what the cursor stands on there.
#[derive(Clone, Copy)]
struct Level {
    shape: Shape,
    kind: c_int,
}

/// What one level has on the stack.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A value.
    Value,
    /// A table, and the key that an iteration over it has come to.
    Iterated,
    /// A pair: its value, and its key above it.
    Pair,
}

impl Shape {
    #[inline]
    fn slots(self) -> c_int {
        match self {
            Self::Value => 1,
            Self::Iterated | Self::Pair => 2,
        }
    }
}

// SAFETY: the reader is used by the one thread that polls or runs the state; see `super`.
unsafe impl Send for LuaReader {}

impl LuaReader {
    /// A cursor that reads nothing.
    pub(super) fn unset() -> Self {
        Self {
            l: ptr::null_mut(),
            core: ptr::null(),
            first: 1,
            arguments: 0,
            keys: None,
            free: 0,
            standing: Standing::List,
            levels: Vec::new(),
            resumes: 0,
            lends: false,
            lent: None,
        }
    }

    /// Sets the cursor on the list of `arguments` values that begin at the absolute index `first`.
    ///
    /// # Safety
    /// While the reader is used, `l` is alive, its current frame stays the one that is current now, and the frame's
    /// stack above the arguments belongs to the reader.
    pub(super) unsafe fn set(&mut self, l: *mut lua_State, core: &Core, first: c_int, arguments: c_int) {
        self.l = l;
        self.core = core;
        self.keys = None;
        self.first = first;
        self.arguments = arguments;
        self.free = 0;
        self.standing = Standing::List;
        self.levels.clear();
        self.lends = false;
        self.lent = None;
    }

    /// From now on channels are read as streams, which whoever reads them may take values out of.
    pub(super) fn lend_channels(&mut self) {
        self.lends = true;
    }

    /// Gives up what it holds.
    pub(super) fn clear(&mut self) {
        self.lent = None;
    }

    /// Makes sure that four slots are free.
    #[inline]
    fn reserve(&mut self) -> Result<(), Error> {
        if self.free < 4 {
            // SAFETY: the query does not raise.
            if unsafe { ffi::lua_checkstack(self.l, 32) } == 0 {
                return Err(Error::new("values are nested too deeply"));
            }
            self.free = 32;
        }
        Ok(())
    }

    /// Says where the table of interned keys is.
    ///
    /// # Safety
    /// It is there, as long as the reader is used.
    pub(super) unsafe fn set_keys(&mut self, index: c_int) {
        self.keys = Some(index);
    }

    #[inline]
    fn entered(&mut self, shape: Shape, kind: c_int) {
        self.free -= shape.slots();
        self.levels.push(Level { shape, kind });
    }

    /// The index of what the cursor stands on, and its Lua type; none for the list of arguments.
    #[inline]
    fn current(&self) -> Option<(c_int, c_int)> {
        match (self.levels.last(), self.standing) {
            (Some(level), _) if level.shape == Shape::Iterated => Some((-2, level.kind)),
            (Some(level), _) => Some((-1, level.kind)),
            (None, Standing::Argument(index, kind)) => Some((index, kind)),
            (None, Standing::List) => None,
        }
    }

    /// The stack index of the argument `index`, if the cursor stands on the list of arguments and there is one.
    #[inline]
    fn argument(&self, index: usize) -> Option<c_int> {
        let is_listed = self.levels.is_empty() && self.standing == Standing::List;
        let index = c_int::try_from(index).ok()?;
        (is_listed && index < self.arguments).then_some(self.first + index)
    }

    /// What was just pushed, popped again if it is a scalar; else the cursor is on it.
    ///
    /// # Safety
    /// Something of that `kind` was.
    #[inline]
    unsafe fn stepped(&mut self, kind: c_int) -> Step<'_> {
        // SAFETY: by the caller.
        unsafe {
            if let Some(scalar) = scalar(self.l, -1, kind) {
                ffi::lua_settop(self.l, -2);
                return Step::Scalar(scalar);
            }
            self.entered(Shape::Value, kind);
            if kind == ffi::LUA_TSTRING {
                Step::Text(text(self.l, -1))
            } else {
                Step::Other
            }
        }
    }

    /// The index of the table that the cursor stands on; none if it stands on something else. Tables have levels, so the
    /// index counts from the top.
    #[inline]
    fn table(&self) -> Option<c_int> {
        match self.current() {
            Some((index, ffi::LUA_TTABLE)) => Some(index),
            _ => None,
        }
    }

    /// Pushes the string of `key`.
    ///
    /// # Safety
    /// Three slots are free.
    #[inline]
    unsafe fn push_key(&self, key: &Key) -> Result<(), Error> {
        // SAFETY: by the caller; a raw read does not raise.
        unsafe {
            if let Some(keys) = self.keys {
                if ffi::lua_rawgeti(self.l, keys, i64::from(key.id())) == ffi::LUA_TSTRING {
                    return Ok(());
                }
                ffi::lua_settop(self.l, -2);
            }
            writer::push_key(self.l, &*self.core, key)
        }
    }
}

impl Reader for LuaReader {
    fn datum(&mut self) -> Datum<'_> {
        let Some((index, kind)) = self.current() else {
            return Datum::Table;
        };
        // SAFETY: these are the cursor's; the core is alive; slots are kept free.
        unsafe {
            let core = &*self.core;
            let datum = datum(self.l, index, kind, core);
            if !self.lends || !matches!(datum, Datum::Other(CHANNEL)) {
                return datum;
            }
            self.lent = channel::lend(self.l, index, core);
            self.lent.as_ref().map_or(datum, Datum::Foreign)
        }
    }

    fn is_nil(&mut self) -> bool {
        matches!(self.current(), Some((_, ffi::LUA_TNIL | ffi::LUA_TNONE)))
    }

    fn len(&mut self) -> usize {
        match self.current() {
            // SAFETY: `lua_rawlen` does not raise.
            Some((index, ffi::LUA_TTABLE)) => unsafe { ffi::lua_rawlen(self.l, index) },
            Some(_) => 0,
            None => usize::try_from(self.arguments).unwrap_or_default(),
        }
    }

    fn enter_index(&mut self, index: usize) -> Result<(), Error> {
        let argument = self.argument(index);
        if let Some(argument) = argument {
            // SAFETY: the argument is there, and asking for its type does not raise.
            let kind = unsafe { ffi::lua_type(self.l, argument) };
            if matches!(
                kind,
                ffi::LUA_TNIL | ffi::LUA_TBOOLEAN | ffi::LUA_TNUMBER | ffi::LUA_TSTRING
            ) {
                self.standing = Standing::Argument(argument, kind);
                return Ok(());
            }
        }
        self.reserve()?;
        // SAFETY: there is room for a slot, and none of these raise.
        let kind = unsafe {
            if let Some(argument) = argument {
                ffi::lua_pushvalue(self.l, argument);
                ffi::lua_type(self.l, -1)
            } else if let Some(table) = self.table() {
                let index = i64::try_from(index).unwrap_or(i64::MAX).saturating_add(1);
                ffi::lua_rawgeti(self.l, table, index)
            } else {
                ffi::lua_pushnil(self.l);
                ffi::LUA_TNIL
            }
        };
        self.entered(Shape::Value, kind);
        Ok(())
    }

    fn enter_key(&mut self, key: &Key) -> Result<(), Error> {
        self.reserve()?;
        // SAFETY: there is room, and none of these raise: a missing key string is made under protection.
        let kind = unsafe {
            if let Some(table) = self.table() {
                self.push_key(key)?;
                ffi::lua_rawget(self.l, table - 1)
            } else {
                ffi::lua_pushnil(self.l);
                ffi::LUA_TNIL
            }
        };
        self.entered(Shape::Value, kind);
        Ok(())
    }

    fn step_index(&mut self, index: usize) -> Result<Step<'_>, Error> {
        // SAFETY: the argument is there, and asking for it does not raise; there is room for a slot.
        unsafe {
            if let Some(argument) = self.argument(index) {
                let kind = ffi::lua_type(self.l, argument);
                if let Some(scalar) = scalar(self.l, argument, kind) {
                    return Ok(Step::Scalar(scalar));
                }
                if kind == ffi::LUA_TSTRING {
                    self.standing = Standing::Argument(argument, kind);
                    return Ok(Step::Text(text(self.l, argument)));
                }
                self.enter_index(index)?;
                return Ok(Step::Other);
            }
            let Some(table) = self.table() else {
                return Ok(Step::Scalar(Scalar::Nil));
            };
            self.reserve()?;
            let index = i64::try_from(index).unwrap_or(i64::MAX).saturating_add(1);
            let kind = ffi::lua_rawgeti(self.l, table, index);
            Ok(self.stepped(kind))
        }
    }

    fn step_key(&mut self, key: &Key) -> Result<Step<'_>, Error> {
        let Some(table) = self.table() else {
            return Ok(Step::Scalar(Scalar::Nil));
        };
        self.reserve()?;
        // SAFETY: there is room, and none of these raise: a missing key string is made under protection.
        unsafe {
            self.push_key(key)?;
            let kind = ffi::lua_rawget(self.l, table - 1);
            Ok(self.stepped(kind))
        }
    }

    fn enter_pair(&mut self, position: &mut u64) -> Result<bool, Error> {
        if self.table().is_none() {
            return Ok(false);
        }
        self.reserve()?;
        // SAFETY: the core is alive.
        let resumes = unsafe { (*self.core).resumes.get() };
        let Some(level) = self.levels.last_mut() else {
            return Ok(false);
        };
        // SAFETY: there is room for three slots. `lua_next` raises for a key that is not in the table; the key is one
        // that it gave before, and nothing has changed the table since unless Lua ran, which is checked.
        unsafe {
            if *position == 0 || level.shape != Shape::Iterated {
                if *position != 0 {
                    return Ok(false);
                }
                if level.shape == Shape::Iterated {
                    ffi::lua_settop(self.l, -2);
                    self.free += 1;
                }
                self.resumes = resumes;
                ffi::lua_pushnil(self.l);
                self.free -= 1;
                level.shape = Shape::Iterated;
            } else if self.resumes != resumes {
                return Err(Error::new("a table changed while it was read"));
            }
            if ffi::lua_next(self.l, -2) == 0 {
                level.shape = Shape::Value;
                self.free += 1;
                return Ok(false);
            }
            // table, key, value: the cursor goes on a copy of the key.
            ffi::lua_pushvalue(self.l, -2);
        }
        *position += 1;
        // SAFETY: the key is at the top.
        let kind = unsafe { ffi::lua_type(self.l, -1) };
        self.entered(Shape::Pair, kind);
        Ok(true)
    }

    fn enter_value(&mut self) {
        if let Some(level) = self.levels.last_mut()
            && level.shape == Shape::Pair
        {
            level.shape = Shape::Value;
            self.free += 1;
            // SAFETY: the key is at the top, its value below it.
            unsafe {
                ffi::lua_settop(self.l, -2);
                level.kind = ffi::lua_type(self.l, -1);
            }
        }
    }

    fn leave(&mut self) {
        match self.levels.pop() {
            Some(level) => {
                let slots = level.shape.slots();
                self.free += slots;
                // SAFETY: the slots are the reader's own.
                unsafe { ffi::lua_settop(self.l, -slots - 1) };
            }
            None => self.standing = Standing::List,
        }
    }

    fn stray_key(&mut self, len: usize) -> Option<String> {
        let table = self.table()?;
        self.reserve().ok()?;
        // SAFETY: there is room for three slots; the keys come from `lua_next` itself, and no Lua runs in between.
        // Keys are only looked at, so they are not converted in place.
        unsafe {
            let top = ffi::lua_gettop(self.l);
            let table = top + 1 + table;
            // The whole table is walked: where the last index is kept in the hash part, other keys may come before it.
            // A step costs a tenth of what reading an element does.
            ffi::lua_pushnil(self.l);
            while ffi::lua_next(self.l, table) != 0 {
                ffi::lua_settop(self.l, top + 1);
                let is_integer = ffi::lua_isinteger(self.l, -1) != 0;
                let key = if is_integer {
                    ffi::lua_tointegerx(self.l, -1, ptr::null_mut())
                } else {
                    0
                };
                let in_array = key >= 1 && usize::try_from(key).is_ok_and(|key| key <= len);
                if !in_array {
                    let text = key_text(&datum(self.l, -1, ffi::lua_type(self.l, -1), &*self.core));
                    ffi::lua_settop(self.l, top);
                    return Some(text);
                }
            }
            None
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "other keys are named by their type"
)]
fn key_text(datum: &Datum<'_>) -> String {
    match datum {
        // Not to be mistaken for the index.
        Datum::String(text) if text.iter().all(u8::is_ascii_digit) => {
            format!("\"{}\"", String::from_utf8_lossy(text))
        }
        Datum::String(text) => String::from_utf8_lossy(text).chars().take(64).collect(),
        Datum::Integer(index) => index.to_string(),
        Datum::Float(number) => number.to_string(),
        Datum::Boolean(value) => value.to_string(),
        other => format!("<{}>", other.type_name()),
    }
}

/// The scalar at `index`, if one is there.
///
/// # Safety
/// The index is acceptable; `kind` is its Lua type.
#[inline]
unsafe fn scalar(l: *mut lua_State, index: c_int, kind: c_int) -> Option<Scalar> {
    // SAFETY: each query suits the type, so nothing raises or converts.
    unsafe {
        match kind {
            ffi::LUA_TNIL | ffi::LUA_TNONE => Some(Scalar::Nil),
            ffi::LUA_TBOOLEAN => Some(Scalar::Boolean(ffi::lua_toboolean(l, index) != 0)),
            ffi::LUA_TNUMBER if ffi::lua_isinteger(l, index) != 0 => {
                Some(Scalar::Integer(ffi::lua_tointegerx(l, index, ptr::null_mut())))
            }
            ffi::LUA_TNUMBER => Some(Scalar::Float(ffi::lua_tonumberx(l, index, ptr::null_mut()))),
            _ => None,
        }
    }
}

/// The string at `index`.
///
/// # Safety
/// One is there, and stays there for `'a`.
#[inline]
pub(super) unsafe fn text<'a>(l: *mut lua_State, index: c_int) -> &'a [u8] {
    let mut len = 0;
    // SAFETY: a string is given as it is, with the length that it has.
    unsafe {
        let text = ffi::lua_tolstring(l, index, &raw mut len);
        slice::from_raw_parts(text.cast(), len)
    }
}

/// What stands at `index`.
///
/// # Safety
/// The index is valid and stays so for `'a`; `kind` is its Lua type; one slot above the top is free; `core` is the
/// state's.
unsafe fn datum<'a>(l: *mut lua_State, index: c_int, kind: c_int, core: &Core) -> Datum<'a> {
    // SAFETY: each query suits the type, so nothing raises or converts.
    unsafe {
        if let Some(scalar) = scalar(l, index, kind) {
            return scalar.into();
        }
        match kind {
            ffi::LUA_TSTRING => Datum::String(text(l, index)),
            ffi::LUA_TTABLE => Datum::Table,
            ffi::LUA_TUSERDATA => match object::kind(l, index, core) {
                Some(object::Kind::Foreign) => {
                    let object = ffi::lua_touserdata(l, index).cast::<Arc<dyn Foreign>>();
                    Datum::Foreign(&*object)
                }
                Some(object::Kind::Unsigned) => Datum::Unsigned(*ffi::lua_touserdata(l, index).cast::<u64>()),
                None if channel::is_channel(l, index, core) => Datum::Other(CHANNEL),
                None => Datum::Other("userdata"),
            },
            ffi::LUA_TFUNCTION => Datum::Other("function"),
            ffi::LUA_TTHREAD => Datum::Other("coroutine"),
            _ => Datum::Other("userdata"),
        }
    }
}
