//! `channel`: values between the coroutines of a state, and from the world into it.
//!
//! Whatever happens between coroutines of one state happens here, at once and without a future: a sender finds a receiver
//! that waits and puts the value on its stack. Only sources involve wakers.

mod select;
mod state;
mod stream;

use std::{
    cell::{Cell, RefCell},
    ffi::{CStr, c_int, c_void},
    mem, ptr,
    rc::Rc,
};

use mlua::{
    Lua, Value as LuaValue,
    ffi::{self, lua_State},
};

use wippy_security::Gauge;

use self::state::{Cellular, Channel, DEADLOCK, FAILED, OUT_OF_MEMORY, Offer, Taken};
use super::{
    bridge::push_bridge,
    core::{Core, Parked, caught, core, raise, raise_parked},
    lazy::{Field, Recipe},
    message,
    object::is_kind,
};

pub(crate) use self::state::{Delivery, Source};
pub(super) use self::{
    state::{Wait, fail_deadlocked},
    stream::{is_channel, lend, source_of},
};

/// How much a channel may buffer.
const CAPACITY_MAX: i64 = 1 << 20;

/// The fields of `channel`.
pub(crate) static CHANNEL: Recipe = Recipe::new(&[
    ("new", Field::Function(new)),
    ("select", Field::Function(select::select)),
]);

/// Makes what the channels of a state share, unless it is there: the metatables of channels and of cases, and the weak table of
/// channels with sources.
unsafe fn prepare(l: *mut lua_State, core: &Core) {
    // SAFETY: called by functions in C that own nothing. The addresses become known when everything is there.
    unsafe {
        if !core.channels.channel.get().is_null() {
            return;
        }
        ffi::luaL_checkstack(l, 8, ptr::null());
        let methods: [(&CStr, ffi::lua_CFunction); 5] = [
            (c"send", send),
            (c"receive", receive),
            (c"close", close),
            (c"case_send", select::case_send),
            (c"case_receive", select::case_receive),
        ];
        push_metatable(l, c"channel", 4);
        ffi::lua_createtable(l, 0, 5);
        for (name, function) in methods {
            ffi::lua_pushcfunction(l, function);
            ffi::lua_setfield(l, -2, name.as_ptr());
        }
        ffi::lua_setfield(l, -2, c"__index".as_ptr());
        ffi::lua_pushcfunction(l, collect);
        ffi::lua_setfield(l, -2, c"__gc".as_ptr());
        push_metatable(l, c"channel case", 2);
        ffi::lua_createtable(l, 0, 0);
        ffi::lua_createtable(l, 0, 1);
        ffi::lua_pushlstring(l, c"v".as_ptr(), 1);
        ffi::lua_setfield(l, -2, c"__mode".as_ptr());
        ffi::lua_setmetatable(l, -2);
        ffi::lua_rawsetp(l, ffi::LUA_REGISTRYINDEX, pumps_address(core));
        let known = &core.channels;
        let case = ffi::lua_topointer(l, -1);
        known.case_reference.set(ffi::luaL_ref(l, ffi::LUA_REGISTRYINDEX));
        known.case.set(case);
        let channel = ffi::lua_topointer(l, -1);
        known
            .channel_reference
            .set(ffi::luaL_ref(l, ffi::LUA_REGISTRYINDEX));
        known.channel.set(channel);
    }
}

/// A metatable that scripts see nothing of but its `name`.
unsafe fn push_metatable(l: *mut lua_State, name: &CStr, fields: c_int) {
    // SAFETY: as for `prepare`.
    unsafe {
        ffi::lua_createtable(l, 0, fields);
        for field in [c"__name", c"__metatable"] {
            ffi::lua_pushstring(l, name.as_ptr());
            ffi::lua_setfield(l, -2, field.as_ptr());
        }
    }
}

/// What a state knows of its channels.
#[derive(Default)]
pub(super) struct Channels {
    channel: Cell<*const c_void>,
    channel_reference: Cell<c_int>,
    case: Cell<*const c_void>,
    case_reference: Cell<c_int>,
    /// Numbers of pumps that are free, and how many there are.
    free: RefCell<Vec<usize>>,
    pumps: Cell<usize>,
    /// How many sources there are.
    sources: Cell<isize>,
    /// A source on its way into a channel, out of reach of a `longjmp`.
    source: RefCell<Option<Box<dyn Source>>>,
    /// The last wait that is over.
    over: Cell<Option<Rc<Wait>>>,
    /// For a fair choice among cases that are ready.
    random: Cell<u64>,
    /// Counts what guests have not yet taken of what was sent to them.
    lent: Gauge,
}

impl Channels {
    /// Whether any channel has a source.
    pub(super) fn has_sources(&self) -> bool {
        self.sources.get() > 0
    }

    /// Keeps the memory of a wait that is over.
    pub(super) fn keep(&self, wait: Rc<Wait>) {
        self.over.set(Some(wait));
    }

    /// Counts a source that came or went.
    fn connected(&self, change: isize) {
        self.sources.set(self.sources.get() + change);
    }

    /// Puts a source where [`push_sourced`] finds it.
    pub(super) fn park_source(&self, source: Option<Box<dyn Source>>) {
        *self.source.borrow_mut() = source;
    }

    /// A number below `count`, which is not zero.
    fn random(&self, count: usize) -> usize {
        // xorshift64: fairness needs no more.
        let mut next = self.random.get() | 1;
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        self.random.set(next);
        usize::try_from(next >> 33).unwrap_or_default() % count
    }

    fn reserve(&self) -> usize {
        self.free.borrow_mut().pop().unwrap_or_else(|| {
            let next = self.pumps.get();
            self.pumps.set(next + 1);
            next
        })
    }
}

/// Where the registry has the weak table of channels with sources.
fn pumps_address(core: &Core) -> *const c_void {
    (&raw const core.channels).cast()
}

/// The key of a pump in that table.
fn pump_key(pump: usize) -> i64 {
    i64::try_from(pump).unwrap_or(i64::MAX - 1) + 1
}

/// The channel at `index`, if that is one.
///
/// # Safety
/// Three slots are free; the channel is used while it stays on the stack.
unsafe fn channel_at<'a>(l: *mut lua_State, core: &Core, index: c_int) -> Option<&'a Cellular> {
    // SAFETY: none of these raise. Only this module gives a userdata this metatable, and scripts cannot reach it.
    unsafe {
        if is_kind(l, index, core.channels.channel.get()) {
            ffi::lua_touserdata(l, index).cast::<Cellular>().as_ref()
        } else {
            None
        }
    }
}

/// What `body` does with a channel; nothing if the channel is busy, which takes a finalizer that uses it meanwhile.
fn with<R>(channel: Option<&Cellular>, body: impl FnOnce(&mut Channel) -> R) -> Option<R> {
    let mut channel = channel?.try_borrow_mut().ok()?;
    caught(|| body(&mut channel))
}

const BUSY: &str = "the channel is used by a finalizer";

/// Pushes a new channel.
///
/// # Safety
/// As for any function that can raise. Four free slots.
unsafe fn push_new(l: *mut lua_State, core: &Core, capacity: usize) {
    // SAFETY: by the caller. Before the metatable is there, nothing is collected.
    unsafe {
        prepare(l, core);
        let place = ffi::lua_newuserdatauv(l, mem::size_of::<Cellular>(), 1).cast::<Cellular>();
        ffi::lua_createtable(l, 0, 0);
        ffi::lua_setiuservalue(l, -2, 1);
        ptr::write(place, RefCell::new(Channel::new(capacity)));
        ffi::lua_rawgeti(
            l,
            ffi::LUA_REGISTRYINDEX,
            i64::from(core.channels.channel_reference.get()),
        );
        ffi::lua_setmetatable(l, -2);
    }
}

/// `__gc` of channels.
unsafe extern "C-unwind" fn collect(l: *mut lua_State) -> c_int {
    // SAFETY: Lua calls this once, with a userdata made by `push_new`; scripts cannot reach the function.
    unsafe {
        let core = core(l);
        let place = ffi::lua_touserdata(l, 1).cast::<Cellular>();
        if !place.is_null() {
            caught(|| {
                (*place).get_mut().flush(l, core, 1);
                if let Some(pump) = (*place).get_mut().disconnect(core) {
                    core.channels.free.borrow_mut().push(pump);
                }
                ptr::drop_in_place(place);
            });
        }
    }
    0
}

/// `channel.new([size])`
unsafe extern "C-unwind" fn new(l: *mut lua_State) -> c_int {
    // SAFETY: nothing that needs dropping is alive here when something raises or yields; so in all functions below.
    unsafe {
        let capacity = ffi::luaL_optinteger(l, 1, 0);
        match usize::try_from(capacity) {
            Ok(size) if capacity <= CAPACITY_MAX => push_new(l, core(l), size),
            _ => return raise(l, "the size of a channel is between 0 and 1048576"),
        }
        1
    }
}

/// `ch:send(value)`
unsafe extern "C-unwind" fn send(l: *mut lua_State) -> c_int {
    // SAFETY: see `new`.
    unsafe {
        ffi::lua_settop(l, 2);
        let core = core(l);
        let channel = channel_at(l, core, 1);
        if channel.is_none() {
            return raise(l, "use `ch:send(value)`, with a colon");
        }
        let Some(offer) = with(channel, |channel| channel.offer(l, core, 2)) else {
            return raise(l, BUSY);
        };
        match offer {
            Offer::Sent => {}
            Offer::Room => {
                let slot = put(l, channel, 1, 2);
                with(channel, |channel| channel.store(slot));
            }
            Offer::Closed => return raise(l, CLOSED),
            Offer::ReceiveOnly => return raise(l, RECEIVE_ONLY),
            Offer::Unfit => return raise_parked(l, core),
            Offer::Full => {
                if !core.can_suspend(l) {
                    return raise(l, CANNOT_WAIT);
                }
                let slot = put(l, channel, 1, 2);
                let waits = caught(|| {
                    let wait = park(l, core);
                    with(channel, |channel| channel.wait_to_send(wait, 0, slot))
                });
                return suspend(l, core, waits.flatten().is_some(), sent);
            }
        }
        ffi::lua_pushboolean(l, 1);
        1
    }
}

const CLOSED: &str = "the channel is closed: nothing can be sent";
const RECEIVE_ONLY: &str = "nothing can be sent to this channel: its values come from elsewhere";
const CANNOT_WAIT: &str = "a channel cannot be waited for here: a function written in C is on the stack";
const MEMORY: &str = "not enough memory for the value that was received";
const DEADLOCKED: &str = "deadlock: every coroutine waits for a channel, and nothing can wake one";

/// Puts a copy of the value at `value` among those of the channel at `channel`.
unsafe fn put(l: *mut lua_State, cell: Option<&Cellular>, channel: c_int, value: c_int) -> i64 {
    // SAFETY: as for any function that can raise; the slot is only used once this returns.
    unsafe {
        let slot = with(cell, Channel::reserve).unwrap_or_default();
        ffi::lua_getiuservalue(l, channel, 1);
        ffi::lua_pushvalue(l, value);
        ffi::lua_rawseti(l, -2, slot);
        ffi::lua_settop(l, -2);
        slot
    }
}

/// The coroutine that runs, as one that waits. It is parked by [`suspend`].
fn park(l: *mut lua_State, core: &Core) -> Rc<Wait> {
    let fresh = Wait {
        thread: l,
        task: core.current.get(),
        fired: Cell::new(false),
    };
    // A wait that is over lends its memory to the next one.
    let wait = match core.channels.over.take() {
        Some(mut over) => match Rc::get_mut(&mut over) {
            Some(wait) => {
                *wait = fresh;
                over
            }
            None => Rc::new(fresh),
        },
        None => Rc::new(fresh),
    };
    *core.handoff.borrow_mut() = Some(Parked::Wait(wait.clone()));
    wait
}

/// Yields to the driver until the wait that was parked is over.
unsafe fn suspend(l: *mut lua_State, core: &Core, waits: bool, then: ffi::lua_KFunction) -> c_int {
    // SAFETY: called from the outermost frame, which owns nothing.
    unsafe {
        if !waits || ffi::lua_checkstack(l, 8) == 0 {
            caught(|| core.handoff.take());
            return raise(l, BUSY);
        }
        core.suspending.set(true);
        ffi::lua_yieldk(l, 0, 0, Some(then))
    }
}

/// The case that ended a wait; the value and whether it is `ok` stay at the top.
unsafe fn case(l: *mut lua_State) -> i64 {
    // SAFETY: whoever ends a wait pushes the three.
    unsafe {
        let case = ffi::lua_tointegerx(l, -1, ptr::null_mut());
        ffi::lua_settop(l, -2);
        match case {
            OUT_OF_MEMORY => {
                raise(l, MEMORY);
            }
            DEADLOCK => {
                raise(l, DEADLOCKED);
            }
            FAILED => {
                ffi::lua_settop(l, -2);
                ffi::lua_error(l);
            }
            _ => {}
        }
        case
    }
}

/// The value of a `send` that waited has been taken.
unsafe extern "C-unwind" fn sent(l: *mut lua_State, _status: c_int, _context: isize) -> c_int {
    // SAFETY: see `new`.
    unsafe {
        case(l);
        if ffi::lua_toboolean(l, -1) == 0 {
            return raise(l, CLOSED);
        }
        1
    }
}

/// `ch:receive()`
unsafe extern "C-unwind" fn receive(l: *mut lua_State) -> c_int {
    // SAFETY: see `new`.
    unsafe {
        ffi::lua_settop(l, 1);
        let core = core(l);
        let channel = channel_at(l, core, 1);
        if channel.is_none() {
            return raise(l, "use `ch:receive()`, with a colon");
        }
        let Some(taken) = with(channel, |channel| channel.take(l, core, 1)) else {
            return raise(l, BUSY);
        };
        if taken == Taken::Nothing {
            if !core.can_suspend(l) {
                return raise(l, CANNOT_WAIT);
            }
            let waits = caught(|| {
                let wait = park(l, core);
                with(channel, |channel| channel.wait_to_receive(wait, 0))
            });
            return suspend(l, core, waits.flatten().is_some(), received);
        }
        push_taken(l, taken);
        2
    }
}

/// Makes the value and whether it is `ok` of what was taken.
unsafe fn push_taken(l: *mut lua_State, taken: Taken) {
    // SAFETY: see `new`.
    unsafe {
        match taken {
            Taken::Value => ffi::lua_pushboolean(l, 1),
            Taken::Build => {
                push_bridge(l);
                ffi::lua_call(l, 0, 1);
                ffi::lua_pushboolean(l, 1);
            }
            Taken::Message => {
                message::push_message(l, core(l));
                ffi::lua_pushboolean(l, 1);
            }
            Taken::Closed | Taken::Nothing => {
                ffi::lua_pushnil(l);
                ffi::lua_pushboolean(l, 0);
            }
            Taken::OutOfMemory => {
                raise(l, MEMORY);
            }
            Taken::Failed => {
                raise_parked(l, core(l));
            }
        }
    }
}

/// A `receive` that waited has its value.
unsafe extern "C-unwind" fn received(l: *mut lua_State, _status: c_int, _context: isize) -> c_int {
    // SAFETY: see `new`.
    unsafe {
        case(l);
        2
    }
}

/// `ch:close()`
unsafe extern "C-unwind" fn close(l: *mut lua_State) -> c_int {
    // SAFETY: see `new`.
    unsafe {
        let core = core(l);
        let channel = channel_at(l, core, 1);
        if channel.is_none() {
            return raise(l, "use `ch:close()`, with a colon");
        }
        if with(channel, |channel| channel.close(core)).is_none() {
            return raise(l, BUSY);
        }
        0
    }
}

/// A channel whose values come from `source`.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn sourced_channel(lua: &Lua, source: Box<dyn Source>) -> mlua::Result<LuaValue> {
    let mut source = Some(source);
    let source = &mut source;
    // SAFETY: the closure owns nothing; what it borrows is dropped here, whatever happens.
    unsafe {
        lua.exec_raw((), |l| {
            let core = core(l);
            core.channels.park_source(source.take());
            push_sourced(l, core);
        })
    }
}

/// Pushes a channel whose values come from the source that is parked in the core.
///
/// # Safety
/// As for any function that can raise. Six free slots.
pub(super) unsafe fn push_sourced(l: *mut lua_State, core: &Core) {
    // SAFETY: by the caller.
    unsafe {
        push_new(l, core, 0);
        let pump = core.channels.reserve();
        let channel = channel_at(l, core, -1);
        with(channel, |channel| {
            if let Some(source) = core.channels.source.borrow_mut().take() {
                channel.connect(core, source, pump);
            }
        });
        register_pump(l, core, pump);
    }
}

/// Makes the channel at the top known to the driver under the number `pump`.
///
/// # Safety
/// As for any function that can raise. Two free slots.
unsafe fn register_pump(l: *mut lua_State, core: &Core, pump: usize) {
    // SAFETY: by the caller.
    unsafe {
        ffi::lua_rawgetp(l, ffi::LUA_REGISTRYINDEX, pumps_address(core));
        ffi::lua_pushvalue(l, -2);
        ffi::lua_rawseti(l, -2, pump_key(pump));
        ffi::lua_settop(l, -2);
    }
}

/// Closes a channel.
///
/// # Errors
/// When `channel` is none.
pub(crate) fn close_channel(lua: &Lua, channel: &LuaValue) -> mlua::Result<()> {
    // SAFETY: the closure owns nothing; the channel is its argument.
    unsafe {
        lua.exec_raw::<()>(channel, |l| {
            close(l);
            ffi::lua_settop(l, 0);
        })
    }
}

/// Gives the channel of a pump its turn: what its source has goes to whoever waits.
pub(super) fn turn_pump(lua: &Lua, core: &Core, pump: usize) {
    let mut build = |completion: super::Completion, thread: *mut lua_State| {
        let built = completion(lua).map(|mut values| values.pop_front().unwrap_or(LuaValue::Nil));
        // SAFETY: the closure owns nothing; the value is its argument, and the thread has room.
        let moved =
            built.and_then(|value| unsafe { lua.exec_raw::<()>(value, |l| ffi::lua_xmove(l, thread, 1)) });
        moved.is_ok()
    };
    let workbench = core.workbench.get();
    // SAFETY: nothing runs. Reading the two tables does not raise, and the workbench has room at its bottom; the channel
    // stays there while it is used. Building values restores the workbench.
    unsafe {
        let top = ffi::lua_gettop(workbench);
        ffi::lua_rawgetp(workbench, ffi::LUA_REGISTRYINDEX, pumps_address(core));
        ffi::lua_rawgeti(workbench, -1, pump_key(pump));
        let channel = channel_at(workbench, core, -1);
        let place = ffi::lua_gettop(workbench);
        with(channel, |channel| {
            channel.feed(workbench, core, place);
            channel.hand_on(core, &mut build);
        });
        ffi::lua_settop(workbench, top);
    }
}

/// Closes every channel that has a source: the invocation that they belong to has ended.
pub(super) fn close_pumps(core: &Core) {
    for pump in 0..core.channels.pumps.get() {
        let workbench = core.workbench.get();
        // SAFETY: as for `turn_pump`.
        unsafe {
            let top = ffi::lua_gettop(workbench);
            ffi::lua_rawgetp(workbench, ffi::LUA_REGISTRYINDEX, pumps_address(core));
            ffi::lua_rawgeti(workbench, -1, pump_key(pump));
            let channel = channel_at(workbench, core, -1);
            with(channel, |channel| {
                channel.close(core);
                channel.takers.end(core);
            });
            ffi::lua_settop(workbench, top);
        }
    }
}
