//! [`LuaWriter`]: builds a value for Lua.

use std::{
    ffi::{c_char, c_int, c_void},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::Arc,
};

use mlua::ffi::{self, lua_State};
use wippy_wit::{Atom, Error, Foreign, Key, Scalar, ScopeBody, Value, ValueWriter, WriteError, Writer};

use super::{
    channel,
    core::{Core, core},
    object,
};

/// Hints beyond this size are not believed.
const HINT_MAX: usize = 1 << 16;

/// Strings up to this many bytes are kept until they can be made without protection, which costs more than a copy.
const TEXT_MAX: usize = 1 << 10;

/// Builds one value for Lua, which its owner then puts on a stack.
///
/// Scalars and short strings are kept as they are. Within [`scope`](Writer::scope) anything is built in place, on the
/// state's workbench. A handler that writes a table without one, or after the call had to wait, builds an owned value.
pub(super) struct LuaWriter {
    core: *const Core,
    state: State,
    text: Vec<u8>,
}

enum State {
    /// Nothing was written.
    Empty,
    /// A scalar.
    Scalar(Scalar),
    /// A string, which is in `text`.
    Text,
    /// Within a scope.
    Scoped,
    /// Done: the value is at the top of the workbench.
    Written,
    /// Anything is written to this.
    Detached(ValueWriter),
    /// A value that was written did not fit into memory.
    Failed,
}

/// # Safety
/// `l` has a free slot.
#[inline]
unsafe fn push_scalar(l: *mut lua_State, scalar: Scalar) {
    // SAFETY: by the caller; none of these raise.
    unsafe {
        match scalar {
            Scalar::Nil => ffi::lua_pushnil(l),
            Scalar::Boolean(value) => ffi::lua_pushboolean(l, c_int::from(value)),
            Scalar::Integer(value) => ffi::lua_pushinteger(l, value),
            Scalar::Float(value) => ffi::lua_pushnumber(l, value),
        }
    }
}

fn write_scalar(writer: &mut ValueWriter, scalar: Scalar) {
    match scalar {
        Scalar::Nil => writer.nil(),
        Scalar::Boolean(value) => writer.boolean(value),
        Scalar::Integer(value) => writer.integer(value),
        Scalar::Float(value) => writer.float(value),
    }
}

// SAFETY: the writer is used by the one thread that polls or runs the state; see `super`.
unsafe impl Send for LuaWriter {}

impl LuaWriter {
    pub(super) fn unset() -> Self {
        Self {
            core: ptr::null(),
            state: State::Empty,
            text: Vec::new(),
        }
    }

    /// Makes it ready for a value.
    ///
    /// # Safety
    /// The core outlives the use of the writer.
    pub(super) unsafe fn set(&mut self, core: &Core) {
        self.core = core;
        self.state = State::Empty;
    }

    /// From now on the workbench may be used by others: moves what is on it to the top of `l`, and builds anything
    /// else as an owned value. Answers whether a value was moved.
    ///
    /// # Safety
    /// `l` is a thread of the state with a free slot.
    pub(super) unsafe fn detach(&mut self, l: *mut lua_State) -> bool {
        let mut writer = ValueWriter::default();
        match mem::replace(&mut self.state, State::Empty) {
            State::Written | State::Scoped => {
                // SAFETY: the value is at the top of the workbench, and there is a slot for it.
                unsafe { ffi::lua_xmove((*self.core).workbench.get(), l, 1) };
                return true;
            }
            kept @ (State::Scalar(_) | State::Detached(_) | State::Failed) => {
                self.state = kept;
                return false;
            }
            State::Text => writer.string(&self.text),
            State::Empty => {}
        }
        self.state = State::Detached(writer);
        false
    }

    /// The string that was written, if it was one that is still to be made; it stays where it is until the next value.
    pub(super) fn text(&mut self) -> Option<(*const c_char, usize)> {
        if !matches!(self.state, State::Text) {
            return None;
        }
        self.state = State::Empty;
        Some((self.text.as_ptr().cast(), self.text.len()))
    }

    /// Moves the value to the top of `l`; nil if none was written.
    ///
    /// # Errors
    /// When memory does not suffice for it; then nothing is pushed.
    ///
    /// # Safety
    /// `l` is a thread of the state with a free slot.
    pub(super) unsafe fn finish(&mut self, l: *mut lua_State) -> Result<(), Error> {
        match &mut self.state {
            // The usual case, in which nothing but this is looked at.
            State::Scalar(scalar) => {
                // SAFETY: by the caller.
                unsafe { push_scalar(l, *scalar) };
                self.state = State::Empty;
                return Ok(());
            }
            State::Detached(writer) => {
                let value = writer.take();
                self.state = State::Empty;
                value.write(self)?;
            }
            State::Text => {
                self.state = State::Empty;
                // SAFETY: by the caller.
                return unsafe { push_text(l, &*self.core, &self.text) };
            }
            State::Empty | State::Scoped | State::Written | State::Failed => {}
        }
        // SAFETY: as said by the caller; what was written is at the top of the workbench.
        unsafe {
            match mem::replace(&mut self.state, State::Empty) {
                State::Written | State::Scoped => ffi::lua_xmove((*self.core).workbench.get(), l, 1),
                State::Scalar(scalar) => push_scalar(l, scalar),
                State::Failed => return Err(WriteError::OutOfMemory.into()),
                State::Empty | State::Text | State::Detached(_) => ffi::lua_pushnil(l),
            }
        }
        Ok(())
    }

    /// Forgets what was written.
    pub(super) fn discard(&mut self) {
        if matches!(
            mem::replace(&mut self.state, State::Empty),
            State::Written | State::Scoped
        ) {
            // SAFETY: the value is at the top of the workbench.
            unsafe { ffi::lua_settop((*self.core).workbench.get(), -2) };
        }
    }

    #[inline]
    fn workbench(&self) -> *mut lua_State {
        // SAFETY: the core is alive.
        unsafe { (*self.core).workbench.get() }
    }

    /// Keeps a scalar, or pushes it where a value is being built.
    #[expect(
        clippy::inline_always,
        reason = "each kind of scalar has a copy of this: through memory, it would wait there for its parts to be written"
    )]
    #[inline(always)]
    fn scalar(&mut self, scalar: Scalar) {
        match &mut self.state {
            // SAFETY: within a scope `table` keeps slots free.
            State::Scoped => unsafe { push_scalar(self.workbench(), scalar) },
            State::Empty => self.state = State::Scalar(scalar),
            State::Detached(writer) => write_scalar(writer, scalar),
            // A second value where one was asked for is dropped.
            State::Scalar(_) | State::Text | State::Written | State::Failed => {}
        }
    }

    /// The writer of owned values, unless a scope is open.
    #[inline]
    fn detached(&mut self) -> Option<&mut ValueWriter> {
        if matches!(self.state, State::Scoped) {
            return None;
        }
        if !matches!(self.state, State::Detached(_)) {
            self.discard();
            self.state = State::Detached(ValueWriter::default());
        }
        match &mut self.state {
            State::Detached(writer) => Some(writer),
            State::Empty
            | State::Scalar(_)
            | State::Text
            | State::Scoped
            | State::Written
            | State::Failed => None,
        }
    }
}

/// What the protected part of a scope works on.
struct Protected<'a, 'b> {
    writer: &'a mut LuaWriter,
    body: ScopeBody<'b>,
    outcome: Option<Result<(), Error>>,
}

impl Writer for LuaWriter {
    fn nil(&mut self) {
        self.scalar(Scalar::Nil);
    }

    fn boolean(&mut self, value: bool) {
        self.scalar(Scalar::Boolean(value));
    }

    fn integer(&mut self, value: i64) {
        self.scalar(Scalar::Integer(value));
    }

    fn unsigned(&mut self, value: u64) {
        if let Ok(value) = i64::try_from(value) {
            return self.integer(value);
        }
        if let Some(writer) = self.detached() {
            return writer.unsigned(value);
        }
        // SAFETY: a scope is open, so running out of memory is caught.
        unsafe { object::push_unsigned(self.workbench(), value) }
    }

    fn float(&mut self, value: f64) {
        self.scalar(Scalar::Float(value));
    }

    fn string(&mut self, value: &[u8]) {
        match &mut self.state {
            // SAFETY: a scope is open, so running out of memory is caught.
            State::Scoped => unsafe {
                ffi::lua_pushlstring(self.workbench(), value.as_ptr().cast(), value.len());
            },
            State::Empty if value.len() <= TEXT_MAX => {
                self.text.clear();
                self.text.extend_from_slice(value);
                self.state = State::Text;
            }
            State::Empty => {
                let made = self.scope(&mut |writer| {
                    writer.string(value);
                    Ok(())
                });
                if made.is_err() {
                    self.state = State::Failed;
                }
            }
            State::Detached(writer) => writer.string(value),
            // As for scalars.
            State::Scalar(_) | State::Text | State::Written | State::Failed => {}
        }
    }

    fn foreign(&mut self, value: Arc<dyn Foreign>) {
        if let Some(writer) = self.detached() {
            return writer.foreign(value);
        }
        let source = channel::source_of(&value);
        // SAFETY: as for `unsigned`; what is pushed is parked where a `longjmp` does not lose it.
        unsafe {
            if source.is_some() {
                drop(value);
                (*self.core).channels.park_source(source);
                ffi::luaL_checkstack(self.workbench(), 8, ptr::null());
                return channel::push_sourced(self.workbench(), &*self.core);
            }
            *(*self.core).object.borrow_mut() = Some(value);
            object::push_parked(self.workbench(), &*self.core);
        }
    }

    fn table(&mut self, elements: usize, fields: usize) -> Result<(), WriteError> {
        if let Some(writer) = self.detached() {
            return writer.table(elements, fields);
        }
        let l = self.workbench();
        // SAFETY: as for `unsigned`. Room is made for the table, a key, a value and a key's string.
        unsafe {
            if ffi::lua_checkstack(l, 8) == 0 {
                return Err(WriteError::TooDeep);
            }
            let hint = |size: usize| c_int::try_from(size.min(HINT_MAX)).unwrap_or_default();
            ffi::lua_createtable(l, hint(elements), hint(fields));
        }
        Ok(())
    }

    fn set_index(&mut self, index: usize) {
        if let Some(writer) = self.detached() {
            return writer.set_index(index);
        }
        // SAFETY: as for `unsigned`; the table lies below the value.
        unsafe {
            let index = i64::try_from(index).unwrap_or(i64::MAX).saturating_add(1);
            ffi::lua_rawseti(self.workbench(), -2, index);
        }
    }

    fn set_key(&mut self, key: &Key) {
        if let Some(writer) = self.detached() {
            return writer.set_key(key);
        }
        // SAFETY: as for `unsigned`; the table lies below the value, and has no metatable. The key's text ends with a
        // NUL and never moves, so that Lua finds its own string for it by the address.
        unsafe {
            ffi::lua_setfield(self.workbench(), -2, key.terminated().as_ptr().cast());
        }
    }

    fn key(&mut self, key: &Key) {
        if matches!(self.state, State::Scoped) {
            // SAFETY: as for `unsigned`; `table` made room, and the scope's frame begins with the table of keys.
            unsafe { push_key_unprotected(self.workbench(), 1, key) };
        }
    }

    fn put(&mut self, key: &Key) {
        if !matches!(self.state, State::Scoped) {
            return self.set_key(key);
        }
        // SAFETY: as for `unsigned`; the table lies below the key, the key below the value.
        unsafe { ffi::lua_rawset(self.workbench(), -3) };
    }

    fn field(&mut self, key: &Key, atom: Atom<'_>) {
        if !matches!(self.state, State::Scoped) {
            atom.write(self);
            return self.set_key(key);
        }
        // SAFETY: as for `key` and `put`.
        unsafe {
            let l = self.workbench();
            push_key_unprotected(l, 1, key);
            atom.write(self);
            ffi::lua_rawset(l, -3);
        }
    }

    fn set_pair(&mut self) {
        if let Some(writer) = self.detached() {
            return writer.set_pair();
        }
        // SAFETY: as for `unsigned`; the table lies below the key, the key below the value.
        unsafe {
            let l = self.workbench();
            let nan = ffi::lua_type(l, -2) == ffi::LUA_TNUMBER
                && ffi::lua_tonumberx(l, -2, ptr::null_mut()).is_nan();
            if nan || ffi::lua_type(l, -2) == ffi::LUA_TNIL {
                ffi::lua_settop(l, -3);
            } else {
                ffi::lua_rawset(l, -3);
            }
        }
    }

    fn scope(&mut self, body: ScopeBody<'_>) -> Result<(), Error> {
        match &mut self.state {
            State::Detached(_) | State::Scoped => return body(self),
            State::Written => self.discard(),
            State::Empty | State::Scalar(_) | State::Text | State::Failed => {}
        }
        self.state = State::Scoped;
        let l = self.workbench();
        let mut protected = Protected {
            writer: self,
            body,
            outcome: None,
        };
        // SAFETY: a light C function and light userdata need no memory, and there is room: the workbench is at its
        // bottom, or in a frame of its own with `table`'s reserve. The call is protected and leaves one value.
        let status = unsafe {
            ffi::lua_checkstack(l, 8);
            ffi::lua_pushcfunction(l, run_scope);
            push_keys(l, &*protected.writer.core);
            ffi::lua_pushlightuserdata(l, (&raw mut protected).cast::<c_void>());
            ffi::lua_pcall(l, 2, 1, 0)
        };
        let outcome = protected.outcome;
        match outcome {
            Some(Ok(())) if status == ffi::LUA_OK => {
                self.state = State::Written;
                Ok(())
            }
            outcome => {
                self.discard();
                Err(match outcome {
                    Some(Err(error)) => error,
                    _ => WriteError::OutOfMemory.into(),
                })
            }
        }
    }
}

/// Runs the body of a scope; what it leaves at the top is the value.
unsafe extern "C-unwind" fn run_scope(l: *mut lua_State) -> c_int {
    // SAFETY: `scope` pushed the keys and the address of its `Protected`, which outlives this call.
    unsafe {
        let protected = &mut *ffi::lua_touserdata(l, 2).cast::<Protected<'_, '_>>();
        ffi::lua_settop(l, 1);
        let writer: *mut LuaWriter = protected.writer;
        // A panic must not cross Lua. The closure owns nothing, as `longjmp` asks of everything between here and
        // the raising function; bodies promise the same.
        let body = &mut protected.body;
        if let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| body(&mut *writer))) {
            let is_ok = outcome.is_ok();
            protected.outcome = Some(outcome);
            if is_ok && ffi::lua_gettop(l) > 1 {
                return 1;
            }
        }
        ffi::lua_settop(l, 1);
        ffi::lua_pushnil(l);
        1
    }
}

/// Pushes the table of interned keys onto `l`.
///
/// # Safety
/// `l` is a thread of the state with a free slot.
pub(super) unsafe fn push_keys(l: *mut lua_State, core: &Core) {
    // SAFETY: by the caller. A raw read by address does not raise.
    unsafe {
        ffi::lua_rawgetp(l, ffi::LUA_REGISTRYINDEX, keys_address(core));
    }
}

/// The registry's key for the table of interned keys.
pub(super) fn keys_address(core: &Core) -> *const c_void {
    ptr::from_ref(&core.resumes).cast()
}

/// Pushes the string of `key`; `keys` is the index of the table of them.
///
/// # Safety
/// Within a protected call, with three free slots.
#[inline]
unsafe fn push_key_unprotected(l: *mut lua_State, keys: c_int, key: &Key) {
    // SAFETY: by the caller.
    unsafe {
        let id = i64::from(key.id());
        if ffi::lua_rawgeti(l, keys, id) != ffi::LUA_TSTRING {
            ffi::lua_settop(l, -2);
            ffi::lua_pushlstring(l, key.name().as_ptr().cast(), key.name().len());
            ffi::lua_pushvalue(l, -1);
            ffi::lua_rawseti(l, keys, id);
        }
    }
}

/// Pushes the string of `key` onto `l`, for a reader.
///
/// # Errors
/// When there is no memory to make it.
///
/// # Safety
/// `l` is a thread of the state with three free slots.
pub(super) unsafe fn push_key(l: *mut lua_State, core: &Core, key: &Key) -> Result<(), Error> {
    // SAFETY: raw reads do not raise; making the string is done under protection, on the workbench.
    unsafe {
        push_keys(l, core);
        if ffi::lua_rawgeti(l, -1, i64::from(key.id())) != ffi::LUA_TSTRING {
            intern(core, key)?;
            ffi::lua_settop(l, -2);
            ffi::lua_rawgeti(l, -1, i64::from(key.id()));
        }
        ffi::lua_remove(l, -2);
    }
    Ok(())
}

#[cold]
unsafe fn intern(core: &Core, key: &Key) -> Result<(), Error> {
    unsafe extern "C-unwind" fn run(l: *mut lua_State) -> c_int {
        // SAFETY: called below, protected, with the keys and the address of a key that outlives the call.
        unsafe {
            let key = &*ffi::lua_touserdata(l, 2).cast::<Key>();
            push_key_unprotected(l, 1, key);
        }
        0
    }
    let l = core.workbench.get();
    // SAFETY: as in `scope`.
    unsafe {
        ffi::lua_checkstack(l, 8);
        ffi::lua_pushcfunction(l, run);
        push_keys(l, core);
        ffi::lua_pushlightuserdata(l, ptr::from_ref(key).cast_mut().cast());
        if ffi::lua_pcall(l, 2, 0, 0) != ffi::LUA_OK {
            ffi::lua_settop(l, -2);
            return Err(WriteError::OutOfMemory.into());
        }
    }
    Ok(())
}

/// Pushes the string `text` onto `l`.
///
/// # Errors
/// When memory does not suffice; then nothing is pushed.
///
/// # Safety
/// `l` is a thread of the state of `core` with a free slot.
pub(super) unsafe fn push_text(l: *mut lua_State, core: &Core, text: &[u8]) -> Result<(), Error> {
    // SAFETY: by the caller. Where memory suffices for sure, the string can be made without protection: what raises in
    // making one is only that there is none. What it makes the collector do raises nothing.
    unsafe {
        if has_room(l, core, text.len()) {
            ffi::lua_pushlstring(l, text.as_ptr().cast(), text.len());
            return Ok(());
        }
        let mut writer = LuaWriter::unset();
        writer.set(core);
        writer.scope(&mut |writer| {
            writer.string(text);
            Ok(())
        })?;
        writer.finish(l)
    }
}

/// Whether a string of `len` bytes fits into memory for sure. Making it may double the table of short strings first, which
/// is always smaller than what it lists.
///
/// # Safety
/// `l` is a thread of the state of `core`.
unsafe fn has_room(l: *mut lua_State, core: &Core, len: usize) -> bool {
    /// What a string has beside its bytes, and what is left of a kibibyte, generously.
    const MARGIN: usize = 4 << 10;
    if core.memory_limit == 0 {
        return true;
    }
    // SAFETY: by the caller; it is only asked. It says less than nothing while the collector runs.
    let used = usize::try_from(unsafe { ffi::lua_gc(l, ffi::LUA_GCCOUNT) });
    used.is_ok_and(|kibibytes| {
        let wanted = kibibytes
            .saturating_mul(2 << 10)
            .saturating_add(len)
            .saturating_add(MARGIN);
        wanted <= core.memory_limit
    })
}

/// Builds `value` and moves it to the top of `l`.
///
/// # Errors
/// When memory does not suffice; then nothing is pushed.
///
/// # Safety
/// `l` is a thread of a state of ours with a free slot.
pub(super) unsafe fn push_value(l: *mut lua_State, value: &Value) -> Result<(), Error> {
    let mut writer = LuaWriter::unset();
    // SAFETY: by the caller.
    unsafe {
        writer.set(core(l));
        value.write(&mut writer)?;
        writer.finish(l)
    }
}
