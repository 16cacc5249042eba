//! Messages and payloads as scripts see them: what one process told another, and values with their format.
//!
//! A script asks each message that it gets for three or four things. So both are userdata of our own, and what a method
//! hands out lies in their user values, which count towards the state's memory and are collected with it. Only a table that
//! a message carries stays outside until it is asked for: whoever asks gets a copy. What has to be read or written as a text
//! first, and complaints, are left to safe code.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    ffi::{c_char, c_int, c_void},
    mem, ptr,
    sync::Arc,
};

use mlua::{
    Lua, Value as LuaValue,
    ffi::{self, lua_State},
};
use wippy_security::{CallError, Message, Pid};
use wippy_wit::{Foreign, Value};

use crate::{
    modules,
    payload::{Format, Sent},
};

use super::{
    bridge::push_bridge,
    core::{Core, caught, core, park_error, raise, raise_parked},
    lazy::Maker,
    object::{is_kind, push_parked},
    stock::CFunction,
    vm::write_value,
    writer::push_value,
};

/// What a state knows of messages and payloads.
#[derive(Default)]
pub(super) struct Messages {
    message: Class,
    payload: Class,
    /// A message on its way into the state, out of reach of a `longjmp`.
    parked: RefCell<Option<Message>>,
}

/// A metatable that the registry keeps once it is made.
#[derive(Default)]
struct Class {
    /// Null until then.
    address: Cell<*const c_void>,
    reference: Cell<c_int>,
}

/// The methods of a type, by name.
pub(crate) type Methods = [(&'static str, CFunction)];

impl Class {
    /// Makes it, unless it is there.
    ///
    /// # Safety
    /// As for any function that can raise.
    unsafe fn prepare(&self, l: *mut lua_State, name: &str, methods: &Methods) {
        // SAFETY: by the caller. The address becomes known when everything is there.
        unsafe {
            if !self.address.get().is_null() {
                return;
            }
            ffi::luaL_checkstack(l, 8, ptr::null());
            ffi::lua_createtable(l, 0, 3);
            ffi::lua_pushlstring(l, name.as_ptr().cast(), name.len());
            ffi::lua_setfield(l, -2, c"__name".as_ptr());
            ffi::lua_pushboolean(l, 0);
            ffi::lua_setfield(l, -2, c"__metatable".as_ptr());
            ffi::lua_createtable(l, 0, c_int::try_from(methods.len()).unwrap_or_default());
            for (name, method) in methods {
                ffi::lua_pushlstring(l, name.as_ptr().cast(), name.len());
                ffi::lua_pushcfunction(l, *method);
                ffi::lua_rawset(l, -3);
            }
            ffi::lua_setfield(l, -2, c"__index".as_ptr());
            let address = ffi::lua_topointer(l, -1);
            self.reference.set(ffi::luaL_ref(l, ffi::LUA_REGISTRYINDEX));
            self.address.set(address);
        }
    }

    /// Gives the userdata at the top the metatable.
    ///
    /// # Safety
    /// It is [prepared](Self::prepare); a free slot.
    unsafe fn dress(&self, l: *mut lua_State) {
        // SAFETY: by the caller.
        unsafe {
            ffi::lua_rawgeti(l, ffi::LUA_REGISTRYINDEX, i64::from(self.reference.get()));
            ffi::lua_setmetatable(l, -2);
        }
    }
}

/// The user values of a message.
const FROM: c_int = 1;
const TOPIC: c_int = 2;
const CONTENTS: c_int = 3;

/// What the contents of a message are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carried {
    Nothing,
    /// One value that cannot change, as Lua has it.
    Value,
    /// [`Held`].
    Held,
}

/// What a message carries, if each who asks for it is to get a copy.
#[derive(Debug)]
struct Held(Vec<Value>);

impl Foreign for Held {
    fn type_name(&self) -> &'static str {
        "what a message carries"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// How the contents of a message come onto the stack.
enum Contents {
    Nothing,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Nil,
    /// A string that lies in the parked message.
    Text(Text),
    /// They are parked in the core.
    Held,
}

impl Contents {
    fn carried(&self) -> Carried {
        match self {
            Self::Nothing => Carried::Nothing,
            Self::Nil | Self::Boolean(_) | Self::Integer(_) | Self::Float(_) | Self::Text(_) => {
                Carried::Value
            }
            Self::Held => Carried::Held,
        }
    }
}

type Text = (*const c_char, usize);

fn text(bytes: &[u8]) -> Text {
    (bytes.as_ptr().cast(), bytes.len())
}

impl Messages {
    /// Puts a message where [`push_message`] finds it.
    pub(super) fn park(&self, message: Option<Message>) {
        let former = self.parked.replace(message);
        drop(former);
    }

    /// A part of the parked message, which stays where it is until that is taken.
    fn part(&self, part: impl Fn(&Message) -> Option<&str>) -> Option<Text> {
        let parked = self.parked.borrow();
        part(parked.as_ref()?).map(|part| text(part.as_bytes()))
    }

    /// What the parked message carries.
    fn contents(&self, core: &Core) -> Contents {
        let mut parked = self.parked.borrow_mut();
        let Some(message) = &mut *parked else {
            return Contents::Nothing;
        };
        match &*message.payloads {
            [] => Contents::Nothing,
            [Value::Nil] => Contents::Nil,
            [Value::Boolean(value)] => Contents::Boolean(*value),
            [Value::Integer(value)] => Contents::Integer(*value),
            [Value::Float(value)] => Contents::Float(*value),
            [Value::String(bytes)] => Contents::Text(text(bytes)),
            _ => {
                let held: Arc<dyn Foreign> = Arc::new(Held(mem::take(&mut message.payloads)));
                *core.object.borrow_mut() = Some(held);
                Contents::Held
            }
        }
    }
}

/// Pushes the message that is parked in the core.
///
/// # Safety
/// As for any function that can raise: nothing that needs dropping is alive in the calling frames. Six free slots.
pub(super) unsafe fn push_message(l: *mut lua_State, core: &Core) {
    // SAFETY: by the caller. What is parked outlives every push that may raise. The userdata is not reached by anybody
    // before it is complete.
    unsafe {
        let messages = &core.messages;
        messages.message.prepare(l, "Message", modules::message::METHODS);
        let carried = ffi::lua_newuserdatauv(l, mem::size_of::<Carried>(), 3).cast::<Carried>();
        match messages.part(|message| message.from.as_ref().map(Pid::as_str)) {
            Some((text, len)) => {
                ffi::lua_pushlstring(l, text, len);
            }
            None => ffi::lua_pushnil(l),
        }
        ffi::lua_setiuservalue(l, -2, FROM);
        if let Some((text, len)) = messages.part(|message| Some(&message.topic)) {
            ffi::lua_pushlstring(l, text, len);
            ffi::lua_setiuservalue(l, -2, TOPIC);
        }
        let contents = messages.contents(core);
        ptr::write(carried, contents.carried());
        match contents {
            Contents::Nothing | Contents::Nil => ffi::lua_pushnil(l),
            Contents::Boolean(value) => ffi::lua_pushboolean(l, c_int::from(value)),
            Contents::Integer(value) => ffi::lua_pushinteger(l, value),
            Contents::Float(value) => ffi::lua_pushnumber(l, value),
            Contents::Text((text, len)) => {
                ffi::lua_pushlstring(l, text, len);
            }
            Contents::Held => push_parked(l, core),
        }
        ffi::lua_setiuservalue(l, -2, CONTENTS);
        messages.message.dress(l);
        caught(|| messages.park(None));
    }
}

/// Makes `message` and moves it to the top of `thread`. False if memory does not suffice; then nothing is pushed.
///
/// # Safety
/// No Lua code runs; `thread` is one of the state with a free slot.
pub(super) unsafe fn deliver(core: &Core, message: Message, thread: *mut lua_State) -> bool {
    unsafe extern "C-unwind" fn run(l: *mut lua_State) -> c_int {
        // SAFETY: called below, protected, with a stack of its own.
        unsafe { push_message(l, super::core::core(l)) };
        1
    }
    core.messages.park(Some(message));
    let l = core.workbench.get();
    // SAFETY: the workbench has room; a light C function needs no memory; what runs there is protected and leaves one
    // value.
    unsafe {
        if ffi::lua_checkstack(l, 8) == 0 {
            core.messages.park(None);
            return false;
        }
        ffi::lua_pushcfunction(l, run);
        let is_made = ffi::lua_pcall(l, 0, 1, 0) == ffi::LUA_OK;
        if is_made {
            ffi::lua_xmove(l, thread, 1);
        } else {
            ffi::lua_settop(l, -2);
            core.messages.park(None);
        }
        is_made
    }
}

/// What the message that is the first argument carries, if it is one.
///
/// # Safety
/// `l` runs a function in C with a free slot.
unsafe fn carried(l: *mut lua_State, core: &Core) -> Option<Carried> {
    // SAFETY: by the caller. Only this module gives a userdata this metatable, and scripts cannot reach it.
    unsafe {
        if is_kind(l, 1, core.messages.message.address.get()) {
            ffi::lua_touserdata(l, 1).cast::<Carried>().as_ref().copied()
        } else {
            None
        }
    }
}

/// The format of the payload at `index`, if one stands there.
///
/// # Safety
/// `l` is a thread of the state with a free slot.
pub(super) unsafe fn payload_format(l: *mut lua_State, index: c_int, core: &Core) -> Option<Format> {
    // SAFETY: as for `carried`.
    unsafe {
        if is_kind(l, index, core.messages.payload.address.get()) {
            ffi::lua_touserdata(l, index).cast::<Format>().as_ref().copied()
        } else {
            None
        }
    }
}

/// Pushes what the payload at `index` holds.
///
/// # Safety
/// A payload stands there; a free slot.
pub(super) unsafe fn push_contents(l: *mut lua_State, index: c_int) {
    // SAFETY: by the caller; this does not raise.
    unsafe {
        ffi::lua_getiuservalue(l, index, 1);
    }
}

/// Makes a payload of the contents at the top.
///
/// # Safety
/// As for any function that can raise; four free slots.
unsafe fn wrap(l: *mut lua_State, core: &Core, format: Format) {
    // SAFETY: by the caller.
    unsafe {
        let class = &core.messages.payload;
        class.prepare(l, "Payload", modules::payload::METHODS);
        let place = ffi::lua_newuserdatauv(l, mem::size_of::<Format>(), 1).cast::<Format>();
        ptr::write(place, format);
        ffi::lua_insert(l, -2);
        ffi::lua_setiuservalue(l, -2, 1);
        class.dress(l);
    }
}

/// A payload with a copy of `contents`.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn payload(lua: &Lua, format: Format, contents: &Value) -> mlua::Result<LuaValue> {
    let contents = write_value(lua, contents)?;
    // SAFETY: the closure owns nothing; the contents are its argument.
    unsafe { lua.exec_raw(contents, |l| wrap(l, core(l), format)) }
}

/// The format and the contents of the payload that `value` is.
pub(crate) fn payload_parts(lua: &Lua, value: &LuaValue) -> Option<(Format, LuaValue)> {
    if !value.is_userdata() {
        return None;
    }
    let mut format = None;
    // SAFETY: the closure owns nothing and only asks; the userdata is its argument.
    let contents = unsafe {
        lua.exec_raw::<LuaValue>(value, |l| {
            format = payload_format(l, 1, core(l));
            if format.is_some() {
                push_contents(l, 1);
                ffi::lua_remove(l, 1);
            }
        })
    };
    Some((format?, contents.ok()?))
}

/// `msg:from()`
pub(crate) unsafe extern "C-unwind" fn from(l: *mut lua_State) -> c_int {
    // SAFETY: nothing that needs dropping is alive here when something raises; so in all functions below.
    unsafe {
        if carried(l, core(l)).is_none() {
            return misused(l, "Message.from", Some("Message"));
        }
        ffi::lua_getiuservalue(l, 1, FROM);
        1
    }
}

/// `msg:topic()`
pub(crate) unsafe extern "C-unwind" fn topic(l: *mut lua_State) -> c_int {
    // SAFETY: see `from`.
    unsafe {
        if carried(l, core(l)).is_none() {
            return misused(l, "Message.topic", Some("Message"));
        }
        ffi::lua_getiuservalue(l, 1, TOPIC);
        1
    }
}

/// `msg:payload()`
pub(crate) unsafe extern "C-unwind" fn payload_of(l: *mut lua_State) -> c_int {
    // SAFETY: see `from`.
    unsafe {
        let core = core(l);
        let Some(carried) = carried(l, core) else {
            return misused(l, "Message.payload", Some("Message"));
        };
        ffi::lua_settop(l, 1);
        ffi::lua_getiuservalue(l, 1, CONTENTS);
        if carried == Carried::Held {
            push_held(l, core, 2, 0);
        } else {
            wrap(l, core, Format::Lua);
        }
        1
    }
}

/// `msg:payloads()`: a message may carry several values; this gives them all.
pub(crate) unsafe extern "C-unwind" fn payloads(l: *mut lua_State) -> c_int {
    // SAFETY: see `from`.
    unsafe {
        let core = core(l);
        let Some(carried) = carried(l, core) else {
            return misused(l, "Message.payloads", Some("Message"));
        };
        ffi::lua_settop(l, 1);
        ffi::lua_getiuservalue(l, 1, CONTENTS);
        let count = match carried {
            Carried::Nothing => 0,
            Carried::Value => 1,
            Carried::Held => held(l, 2).len(),
        };
        ffi::lua_createtable(l, c_int::try_from(count).unwrap_or_default(), 0);
        for index in 0..count {
            if carried == Carried::Held {
                push_held(l, core, 2, index);
            } else {
                ffi::lua_pushvalue(l, 2);
                wrap(l, core, Format::Lua);
            }
            ffi::lua_rawseti(l, 3, i64::try_from(index).unwrap_or_default() + 1);
        }
        1
    }
}

/// What the message whose [`Held`] contents stand at `index` carries.
///
/// # Safety
/// It stands there, and stays as long as what is given is used.
unsafe fn held<'a>(l: *mut lua_State, index: c_int) -> &'a [Value] {
    // SAFETY: by the caller: it was pushed by `push_parked`.
    unsafe {
        let held = ffi::lua_touserdata(l, index).cast::<Arc<dyn Foreign>>().as_ref();
        match held.and_then(|held| held.as_any().downcast_ref::<Held>()) {
            Some(Held(values)) => values,
            None => &[],
        }
    }
}

/// Pushes a payload with a copy of one of the values that are [`Held`] at `holder`.
unsafe fn push_held(l: *mut lua_State, core: &Core, holder: c_int, index: usize) {
    // SAFETY: see `from`; the holder stays where it is while its value is copied.
    unsafe {
        let format = caught(|| {
            let nil = Value::Nil;
            let value = held(l, holder).get(index).unwrap_or(&nil);
            let (format, contents) = match Sent::of(value) {
                Some(sent) => (sent.format, &sent.contents),
                None => (Format::Lua, value),
            };
            match push_value(l, contents) {
                Ok(()) => Some(format),
                Err(error) => {
                    park_error(core, CallError::internal(error.to_string()));
                    None
                }
            }
        });
        match format {
            Some(Some(format)) => wrap(l, core, format),
            Some(None) => {
                raise_parked(l, core);
            }
            None => {
                raise(l, "internal error: a payload cannot be made");
            }
        }
    }
}

/// `payload:get_format()`
pub(crate) unsafe extern "C-unwind" fn format(l: *mut lua_State) -> c_int {
    // SAFETY: see `from`.
    unsafe {
        let Some(format) = payload_format(l, 1, core(l)) else {
            return misused(l, "Payload.get_format", Some("Payload"));
        };
        let name = format.name();
        ffi::lua_pushlstring(l, name.as_ptr().cast(), name.len());
        1
    }
}

/// `payload:data()`
pub(crate) unsafe extern "C-unwind" fn data(l: *mut lua_State) -> c_int {
    // SAFETY: see `from`.
    unsafe { read(l, "Payload.data") }
}

/// `payload:unmarshal()`, which is the same.
pub(crate) unsafe extern "C-unwind" fn unmarshal(l: *mut lua_State) -> c_int {
    // SAFETY: see `from`.
    unsafe { read(l, "Payload.unmarshal") }
}

unsafe fn read(l: *mut lua_State, method: &'static str) -> c_int {
    static DATA: Maker = modules::payload::data;
    // SAFETY: see `from`.
    unsafe {
        match payload_format(l, 1, core(l)) {
            Some(format) if format.is_plain() => {
                push_contents(l, 1);
                1
            }
            Some(_) => hand_over(l, &DATA),
            None => misused(l, method, None),
        }
    }
}

/// `payload:transcode(format)`
pub(crate) unsafe extern "C-unwind" fn transcode(l: *mut lua_State) -> c_int {
    static TRANSCODE: Maker = modules::payload::transcode;
    // SAFETY: see `from`.
    unsafe {
        match payload_format(l, 1, core(l)) {
            Some(_) => hand_over(l, &TRANSCODE),
            None => misused(l, "Payload.transcode", None),
        }
    }
}

/// Answers what the function that `maker` makes answers to the same arguments.
///
/// # Safety
/// As for any function that can raise; called from a function in C as the last thing that it does.
pub(super) unsafe fn hand_over(l: *mut lua_State, maker: &'static Maker) -> c_int {
    // SAFETY: by the caller.
    unsafe {
        let arguments = ffi::lua_gettop(l);
        ffi::luaL_checkstack(l, 4, ptr::null());
        push_bridge(l);
        ffi::lua_pushlightuserdata(l, ptr::from_ref(maker).cast_mut().cast());
        ffi::lua_call(l, 1, 1);
        ffi::lua_insert(l, 1);
        ffi::lua_call(l, arguments, ffi::LUA_MULTRET);
        ffi::lua_gettop(l)
    }
}

/// Raises that `method` was called on something else than it is for. If a type is `expected`, that is named.
unsafe fn misused(l: *mut lua_State, method: &'static str, expected: Option<&'static str>) -> c_int {
    static MISUSE: Maker = modules::message::misuse;
    // SAFETY: see `from`.
    unsafe {
        ffi::lua_settop(l, ffi::lua_gettop(l).min(1));
        ffi::lua_pushlstring(l, method.as_ptr().cast(), method.len());
        ffi::lua_insert(l, 1);
        match expected {
            Some(expected) => {
                ffi::lua_pushlstring(l, expected.as_ptr().cast(), expected.len());
            }
            None => ffi::lua_pushnil(l),
        }
        ffi::lua_insert(l, 2);
        hand_over(l, &MISUSE)
    }
}
