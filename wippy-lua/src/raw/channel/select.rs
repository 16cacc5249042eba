//! `channel.select`: the first of several cases that is ready, fairly chosen.

use std::{ffi::c_int, mem, ptr};

use mlua::ffi::{self, lua_State};

use super::{
    super::{
        core::{Core, caught, core, raise, raise_parked},
        object::is_kind,
    },
    BUSY, CANNOT_WAIT, CLOSED, Offer, RECEIVE_ONLY, Taken, case, channel_at, park, push_taken, put, suspend,
    with,
};

/// What a case wants of its channel, which is its first user value; what is to be sent is the second.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Send,
    Receive,
}

/// How many cases one `select` may have.
const CASES_MAX: usize = 1000;

/// `ch:case_send(value)`
pub(super) unsafe extern "C-unwind" fn case_send(l: *mut lua_State) -> c_int {
    // SAFETY: nothing that needs dropping is alive here when something raises or yields; so in all functions below.
    unsafe {
        ffi::lua_settop(l, 2);
        make(l, Case::Send)
    }
}

/// `ch:case_receive()`
pub(super) unsafe extern "C-unwind" fn case_receive(l: *mut lua_State) -> c_int {
    // SAFETY: see `case_send`.
    unsafe {
        ffi::lua_settop(l, 1);
        make(l, Case::Receive)
    }
}

unsafe fn make(l: *mut lua_State, wanted: Case) -> c_int {
    // SAFETY: see `case_send`. The memory is written before anybody can find it.
    unsafe {
        let core = core(l);
        if channel_at(l, core, 1).is_none() {
            return raise(
                l,
                "use `ch:case_receive()` or `ch:case_send(value)`, with a colon",
            );
        }
        let values = if wanted == Case::Send { 2 } else { 1 };
        let place = ffi::lua_newuserdatauv(l, mem::size_of::<Case>(), values).cast::<Case>();
        ptr::write(place, wanted);
        for value in 1..=values {
            ffi::lua_pushvalue(l, value);
            ffi::lua_setiuservalue(l, -2, value);
        }
        let reference = core.channels.case_reference.get();
        ffi::lua_rawgeti(l, ffi::LUA_REGISTRYINDEX, i64::from(reference));
        ffi::lua_setmetatable(l, -2);
        1
    }
}

/// Where the parts of a case are on the stack of `select`, below which is nothing but its argument.
#[derive(Clone, Copy)]
struct Place(c_int);

impl Place {
    fn new(index: usize) -> Self {
        // Bounded by `CASES_MAX`.
        Self(2 + 3 * c_int::try_from(index).unwrap_or_default())
    }

    /// The case; later, for one that waits to send, the slot of its value.
    fn case(self) -> c_int {
        self.0
    }

    fn channel(self) -> c_int {
        self.0 + 1
    }

    fn value(self) -> c_int {
        self.0 + 2
    }

    /// # Safety
    /// The case is there.
    unsafe fn wants(self, l: *mut lua_State) -> Case {
        // SAFETY: by the caller. A case that waits to send has become a number.
        unsafe {
            let place = ffi::lua_touserdata(l, self.case()).cast::<Case>();
            place.as_ref().copied().unwrap_or(Case::Send)
        }
    }
}

/// What came of looking at every case once.
#[derive(Clone, Copy)]
enum Found {
    Nothing,
    Sent(usize),
    /// There is room for the value of this one.
    Room(usize),
    Received(usize, Taken),
    Refused(&'static str),
    /// The error is parked in the core.
    Unfit,
}

/// `channel.select{case, ..., default = true}`
pub(super) unsafe extern "C-unwind" fn select(l: *mut lua_State) -> c_int {
    // SAFETY: see `case_send`.
    unsafe {
        ffi::lua_settop(l, 1);
        ffi::luaL_checktype(l, 1, ffi::LUA_TTABLE);
        let core = core(l);
        let count = ffi::lua_rawlen(l, 1);
        if count > CASES_MAX {
            return raise(l, "a select has at most 1000 cases");
        }
        ffi::lua_pushlstring(l, c"default".as_ptr(), 7);
        ffi::lua_rawget(l, 1);
        let has_default = ffi::lua_toboolean(l, -1) != 0;
        ffi::lua_settop(l, 1);
        if count == 0 && !has_default {
            return raise(
                l,
                "a select without cases and without `default` would wait for ever",
            );
        }
        spread(l, core, count);
        let Some(found) = caught(|| look(l, core, count)) else {
            return raise(l, BUSY);
        };
        match found {
            Found::Refused(why) => raise(l, why),
            Found::Unfit => raise_parked(l, core),
            Found::Sent(index) => {
                ffi::lua_pushvalue(l, Place::new(index).value());
                ffi::lua_pushboolean(l, 1);
                answer(l, index)
            }
            Found::Room(index) => {
                let place = Place::new(index);
                let channel = channel_at(l, core, place.channel());
                let slot = put(l, channel, place.channel(), place.value());
                with(channel, |channel| channel.store(slot));
                ffi::lua_pushvalue(l, place.value());
                ffi::lua_pushboolean(l, 1);
                answer(l, index)
            }
            Found::Received(index, taken) => {
                push_taken(l, taken);
                answer(l, index)
            }
            Found::Nothing if has_default => {
                ffi::lua_createtable(l, 0, 2);
                for name in [c"default", c"ok"] {
                    ffi::lua_pushboolean(l, 1);
                    ffi::lua_setfield(l, -2, name.as_ptr());
                }
                1
            }
            Found::Nothing => wait(l, core, count),
        }
    }
}

/// Puts each case, its channel and its value onto the stack.
unsafe fn spread(l: *mut lua_State, core: &Core, count: usize) {
    // SAFETY: see `case_send`.
    unsafe {
        ffi::luaL_checkstack(l, Place::new(count).value() + 20, c"too many cases".as_ptr());
        for index in 0..count {
            let number = i64::try_from(index).unwrap_or_default() + 1;
            ffi::lua_rawgeti(l, 1, number);
            if !is_kind(l, -1, core.channels.case.get()) {
                raise(
                    l,
                    "the cases of a select are made by `ch:case_receive()` and `ch:case_send(value)`",
                );
            }
            let place = Place::new(index);
            ffi::lua_getiuservalue(l, place.case(), 1);
            ffi::lua_getiuservalue(l, place.case(), 2);
        }
    }
}

/// Looks at every case once, beginning anywhere, and does the first that is ready.
fn look(l: *mut lua_State, core: &Core, count: usize) -> Found {
    let first = if count > 1 { core.channels.random(count) } else { 0 };
    for index in (first..count).chain(0..first) {
        let place = Place::new(index);
        // SAFETY: `spread` put the parts of every case there and left room above them.
        let found = unsafe {
            let channel = channel_at(l, core, place.channel());
            match place.wants(l) {
                Case::Send => {
                    with(channel, |channel| channel.offer(l, core, place.value())).map(|offer| match offer {
                        Offer::Sent => Found::Sent(index),
                        Offer::Room => Found::Room(index),
                        Offer::Full => Found::Nothing,
                        Offer::Closed => Found::Refused(CLOSED),
                        Offer::ReceiveOnly => Found::Refused(RECEIVE_ONLY),
                        Offer::Unfit => Found::Unfit,
                    })
                }
                Case::Receive => {
                    with(channel, |channel| channel.take(l, core, place.channel())).map(|taken| {
                        if taken == Taken::Nothing {
                            Found::Nothing
                        } else {
                            Found::Received(index, taken)
                        }
                    })
                }
            }
        };
        match found {
            Some(Found::Nothing) => {}
            Some(found) => return found,
            None => return Found::Refused(BUSY),
        }
    }
    Found::Nothing
}

/// Waits for every case at once.
unsafe fn wait(l: *mut lua_State, core: &Core, count: usize) -> c_int {
    // SAFETY: see `case_send`. What can raise comes first: nothing waits half.
    unsafe {
        if !core.can_suspend(l) {
            return raise(l, CANNOT_WAIT);
        }
        for index in 0..count {
            let place = Place::new(index);
            if place.wants(l) == Case::Send {
                let channel = channel_at(l, core, place.channel());
                let slot = put(l, channel, place.channel(), place.value());
                ffi::lua_pushinteger(l, slot);
                ffi::lua_replace(l, place.case());
            }
        }
        let waits = caught(|| enlist(l, core, count)).unwrap_or(false);
        suspend(l, core, waits, selected)
    }
}

/// Registers the wait with every channel.
fn enlist(l: *mut lua_State, core: &Core, count: usize) -> bool {
    let wait = park(l, core);
    for index in 0..count {
        let place = Place::new(index);
        let number = i64::try_from(index).unwrap_or_default();
        // SAFETY: as for `look`; a case that sends has its slot in its place.
        let enlisted = unsafe {
            let channel = channel_at(l, core, place.channel());
            match place.wants(l) {
                Case::Send => {
                    let slot = ffi::lua_tointegerx(l, place.case(), ptr::null_mut());
                    with(channel, |channel| {
                        channel.wait_to_send(wait.clone(), number, slot);
                    })
                }
                Case::Receive => with(channel, |channel| channel.wait_to_receive(wait.clone(), number)),
            }
        };
        if enlisted.is_none() {
            wait.fired.set(true);
            return false;
        }
    }
    true
}

/// A `select` that waited has a case.
unsafe extern "C-unwind" fn selected(l: *mut lua_State, _status: c_int, _context: isize) -> c_int {
    // SAFETY: see `case_send`. The value and whether it is `ok` are at the top.
    unsafe {
        let index = usize::try_from(case(l)).unwrap_or_default();
        let place = Place::new(index);
        if place.wants(l) == Case::Send {
            if ffi::lua_toboolean(l, -1) == 0 {
                return raise(l, CLOSED);
            }
            ffi::lua_pushvalue(l, place.value());
            ffi::lua_replace(l, -3);
        }
        answer(l, index)
    }
}

/// `{channel = ..., value = ..., ok = ...}` of what is at the top.
unsafe fn answer(l: *mut lua_State, index: usize) -> c_int {
    // SAFETY: see `case_send`.
    unsafe {
        ffi::lua_createtable(l, 0, 3);
        ffi::lua_insert(l, -3);
        ffi::lua_setfield(l, -3, c"ok".as_ptr());
        ffi::lua_setfield(l, -2, c"value".as_ptr());
        ffi::lua_pushvalue(l, Place::new(index).channel());
        ffi::lua_setfield(l, -2, c"channel".as_ptr());
        1
    }
}
