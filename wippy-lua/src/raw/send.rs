//! `process.send`: the usual way of a message out of a state, without leaving Lua's frame for anything but the sending.

use std::{ffi::c_int, slice};

use mlua::ffi::{self, lua_State};
use wippy_wit::{Reader as _, Value};

use crate::{modules::send_function, payload::Sent};

use super::{
    core::{Core, caught, core, park_error, raise},
    lazy::Maker,
    message::{hand_over, payload_format, push_contents},
    object::push_parked,
    reader::LuaReader,
};

/// What became of a message.
enum Outcome {
    Sent,
    /// The error is parked.
    Refused,
    /// The arguments are not as usual, and are for the function that says so.
    Unusual,
}

/// `process.send(destination, topic, ...)`
pub(crate) unsafe extern "C-unwind" fn send(l: *mut lua_State) -> c_int {
    static CAREFUL: Maker = send_function;
    // SAFETY: nothing that needs dropping is alive here when something raises.
    unsafe {
        let core = core(l);
        match caught(|| try_send(l, core)) {
            Some(Outcome::Sent) => {
                ffi::lua_pushboolean(l, 1);
                1
            }
            Some(Outcome::Refused) => {
                ffi::lua_settop(l, 0);
                ffi::lua_pushnil(l);
                push_parked(l, core);
                2
            }
            Some(Outcome::Unusual) => hand_over(l, &CAREFUL),
            None => raise(l, "internal error: sending a message panicked"),
        }
    }
}

fn try_send(l: *mut lua_State, core: &Core) -> Outcome {
    let context = core.context.borrow();
    // SAFETY: the arguments stay where they are, and so do their texts.
    let (destination, topic) = unsafe { (text(l, 1), text(l, 2)) };
    let (Some(context), Some(destination), Some(topic)) = (context.as_deref(), destination, topic) else {
        return Outcome::Unusual;
    };
    // SAFETY: `l` runs a function in C, whose arguments they are.
    let Some(payloads) = (unsafe { payloads(l, core) }) else {
        return Outcome::Unusual;
    };
    let processes = context.dispatcher().processes();
    match processes.send(context, destination, topic.into(), payloads) {
        Ok(()) => Outcome::Sent,
        Err(error) => {
            park_error(core, error);
            Outcome::Refused
        }
    }
}

/// The text that is the argument at `index`.
///
/// # Safety
/// What is given is used as long as the argument stays there.
unsafe fn text<'a>(l: *mut lua_State, index: c_int) -> Option<&'a str> {
    // SAFETY: by the caller. A string is not converted in place.
    unsafe {
        if ffi::lua_type(l, index) != ffi::LUA_TSTRING {
            return None;
        }
        let mut len = 0;
        let text = ffi::lua_tolstring(l, index, &raw mut len);
        str::from_utf8(slice::from_raw_parts(text.cast(), len)).ok()
    }
}

/// What a message carries: copies of the arguments after the second, in which payloads stay what they are. Nothing if
/// one of them cannot be sent.
///
/// # Safety
/// `l` runs a function in C, whose stack is left as it was.
unsafe fn payloads(l: *mut lua_State, core: &Core) -> Option<Vec<Value>> {
    // SAFETY: by the caller. None of this raises.
    unsafe {
        let top = ffi::lua_gettop(l);
        if ffi::lua_checkstack(l, 4) == 0 {
            return None;
        }
        let mut payloads = Vec::with_capacity(usize::try_from(top - 2).unwrap_or_default());
        let mut reader = LuaReader::unset();
        for index in 3..=top {
            let format = payload_format(l, index, core);
            let place = if format.is_some() {
                push_contents(l, index);
                top + 1
            } else {
                index
            };
            reader.set(l, core, place, 1);
            let value = reader.enter_index(0).and_then(|()| Value::read(&mut reader));
            ffi::lua_settop(l, top);
            let value = value.ok()?;
            payloads.push(match format {
                Some(format) => Sent::carry(format, value).ok()?,
                None => value,
            });
        }
        Some(payloads)
    }
}
