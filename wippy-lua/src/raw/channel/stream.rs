//! Channels that guests read or write: [`Takers`] take values out of one, and [`source_of`] puts a guest's into one.
//!
//! A taker is one more receiver. It waits whenever it has room, and what it is given leaves the state as an owned value.

use std::{
    ffi::c_int,
    ptr,
    sync::{Arc, Weak, atomic::Ordering},
    task::{Context as Waking, Poll, Waker},
};

use mlua::ffi::{self, lua_State};
use wippy_security::{CallError, Inlet, Stream, stream};
use wippy_wit::{Error, Foreign, Reader as _, Value, WriteError};

use super::{
    super::{
        core::{Core, caught, park_error},
        object::is_kind,
        reader::LuaReader,
        schedule::{Ready, TaskWaker},
    },
    channel_at, register_pump,
    state::{Channel, Delivery, Offer, Source},
    with,
};

/// The most bytes of values that may be on their way out of a state.
const LENT_MAX: usize = 64 << 20;

/// Guests that take values out of a channel.
#[derive(Default)]
pub(in super::super) struct Takers {
    all: Vec<Taker>,
    /// What wakes the driver when one of them has room.
    waking: Option<(Arc<TaskWaker>, Waker)>,
}

struct Taker {
    inlet: Inlet,
    /// What it was given, which it may not have taken yet.
    stream: Weak<Stream>,
}

impl Takers {
    /// The first that has room. Those that want no more are forgotten.
    pub(super) fn ready(&mut self, core: &Core) -> Option<usize> {
        let (flag, waker) = self.waking.as_ref()?;
        flag.taken();
        let mut waking = Waking::from_waker(waker);
        let mut at = 0;
        while let Some(taker) = self.all.get(at) {
            match taker.inlet.poll_room(&mut waking) {
                Poll::Ready(true) => return Some(at),
                Poll::Ready(false) => {
                    self.all.swap_remove(at);
                    if self.all.is_empty() {
                        core.channels.connected(-1);
                    }
                }
                Poll::Pending => at += 1,
            }
        }
        None
    }

    /// Offers the value at `value` to whoever has room; nothing if nobody has.
    ///
    /// # Safety
    /// `l` runs with four free slots, and the index is absolute.
    pub(super) unsafe fn offer(&mut self, l: *mut lua_State, core: &Core, value: c_int) -> Option<Offer> {
        if self.all.is_empty() {
            return None;
        }
        // Checked even if it has to wait: then it is the sender who hears of it.
        // SAFETY: by the caller.
        let value = match unsafe { read(l, core, value) } {
            Ok(value) => value,
            Err(error) => {
                park_error(core, error);
                return Some(Offer::Unfit);
            }
        };
        let at = self.ready(core)?;
        self.all.get(at)?.inlet.put(value);
        Some(Offer::Sent)
    }

    /// Hands the value at the top to the taker at `at`, who has room.
    ///
    /// # Safety
    /// `l` runs no Lua and has four free slots.
    pub(super) unsafe fn hand(&mut self, l: *mut lua_State, core: &Core, at: usize) {
        let Some(taker) = self.all.get(at) else { return };
        // SAFETY: by the caller.
        match unsafe { read(l, core, ffi::lua_gettop(l)) } {
            Ok(value) => taker.inlet.put(value),
            Err(error) => taker.inlet.end(Err(error)),
        }
    }

    /// Ends all of them: there will be no further value.
    pub(super) fn end(&mut self, core: &Core) {
        if !self.all.is_empty() {
            self.all.clear();
            core.channels.connected(-1);
        }
    }
}

impl Channel {
    /// Hands everything that is buffered to a taker, whether it has room or not: the channel goes away.
    ///
    /// # Safety
    /// As for [`feed`](Self::feed).
    pub(super) unsafe fn flush(&mut self, l: *mut lua_State, core: &Core, channel: c_int) {
        // SAFETY: by the caller.
        unsafe {
            self.feed(l, core, channel);
            while self.takers.has_begun() && self.push_buffered(l, channel) {
                self.takers.hand(l, core, 0);
                ffi::lua_settop(l, -2);
            }
        }
    }
}

impl Takers {
    /// Whether the first of them has taken what it was given.
    fn has_begun(&self) -> bool {
        let is_free = |taker: &Taker| taker.stream.upgrade().is_some_and(|stream| stream.is_free());
        self.all.first().is_some_and(|taker| !is_free(taker))
    }
}

/// The value at the absolute index `value`, as it leaves the state.
unsafe fn read(l: *mut lua_State, core: &Core, value: c_int) -> Result<Value, CallError> {
    let mut reader = LuaReader::unset();
    // SAFETY: the frame is the one that runs, and its stack above the value is the reader's until it is dropped.
    let value = unsafe {
        reader.set(l, core, value, 1);
        let value = reader.enter_index(0).and_then(|()| Value::read(&mut reader));
        if value.is_ok() {
            reader.leave();
        }
        value
    };
    let value = value.map_err(|error| CallError::invalid(format!("what is sent to a guest: {error}")))?;
    if core
        .channels
        .lent
        .load(Ordering::Relaxed)
        .saturating_add(value.weight())
        > LENT_MAX
    {
        return Err(CallError::from(Error::from(WriteError::OutOfMemory)));
    }
    Ok(value)
}

/// Whether a channel stands at `index`.
///
/// # Safety
/// A slot is free.
pub(in super::super) unsafe fn is_channel(l: *mut lua_State, index: c_int, core: &Core) -> bool {
    // SAFETY: by the caller.
    unsafe { is_kind(l, index, core.channels.channel.get()) }
}

/// The channel at `index` as a stream, for a guest to take values out of it. Nothing happens to it until somebody does.
/// Nothing if it cannot be passed along, or when memory does not suffice.
///
/// # Safety
/// `l` runs with three free slots; this does not raise.
pub(in super::super) unsafe fn lend(
    l: *mut lua_State,
    index: c_int,
    core: &Core,
) -> Option<Arc<dyn Foreign>> {
    // SAFETY: by the caller; the channel stays where it is.
    unsafe {
        let cell = channel_at(l, core, index);
        let known = with(cell, |channel| {
            let unbegun = || channel.takers.unbegun().map(|stream| stream as Arc<dyn Foreign>);
            channel.stream().or_else(unbegun)
        })?;
        if let Some(stream) = known {
            return Some(stream);
        }
        if with(cell, |channel| channel.is_sourced())? {
            return None;
        }
        let pump = match with(cell, |channel| channel.pump)? {
            Some(pump) => pump,
            None => known_to_driver(l, index, core)?,
        };
        let stream = with(cell, |channel| channel.lend(core, pump))?;
        Some(stream)
    }
}

/// Makes the channel at `index` known to the driver; answers its number, or nothing when memory does not suffice.
unsafe fn known_to_driver(l: *mut lua_State, index: c_int, core: &Core) -> Option<usize> {
    unsafe extern "C-unwind" fn run(l: *mut lua_State) -> c_int {
        // SAFETY: called below, protected, with the channel and its number.
        unsafe {
            let pump = usize::try_from(ffi::lua_tointegerx(l, 2, ptr::null_mut())).unwrap_or_default();
            ffi::lua_settop(l, 1);
            register_pump(l, super::core(l), pump);
        }
        0
    }
    let pump = core.channels.reserve();
    let workbench = core.workbench.get();
    // SAFETY: the workbench has room, or none is needed; what runs there is protected.
    let is_known = unsafe {
        if ffi::lua_checkstack(workbench, 8) == 0 {
            return None;
        }
        ffi::lua_pushcfunction(workbench, run);
        ffi::lua_pushvalue(l, index);
        ffi::lua_xmove(l, workbench, 1);
        ffi::lua_pushinteger(workbench, i64::try_from(pump).unwrap_or(i64::MAX));
        let status = ffi::lua_pcall(workbench, 2, 0, 0);
        if status != ffi::LUA_OK {
            ffi::lua_settop(workbench, -2);
        }
        status == ffi::LUA_OK
    };
    if !is_known {
        caught(|| core.channels.free.borrow_mut().push(pump));
    }
    is_known.then_some(pump)
}

impl Takers {
    /// A stream of the channel that nobody has taken yet.
    fn unbegun(&self) -> Option<Arc<Stream>> {
        let mut streams = self.all.iter().filter_map(|taker| taker.stream.upgrade());
        streams.find(|stream| stream.is_free())
    }
}

impl Channel {
    /// A stream of what is sent to the channel.
    fn lend(&mut self, core: &Core, pump: usize) -> Arc<Stream> {
        self.pump = Some(pump);
        let (inlet, outlet) = stream(core.channels.lent.clone());
        let stream = Arc::new(Stream::new(outlet));
        let takers = &mut self.takers;
        takers
            .waking
            .get_or_insert_with(|| TaskWaker::new(Ready::Pump(pump), core.queue.clone()));
        if takers.all.is_empty() {
            core.channels.connected(1);
        }
        takers.all.push(Taker {
            inlet,
            stream: Arc::downgrade(&stream),
        });
        // From now on the driver hears when it is taken.
        takers.ready(core);
        stream
    }
}

/// What a channel is made of that stands for `value`, if that is a stream.
pub(in super::super) fn source_of(value: &Arc<dyn Foreign>) -> Option<Box<dyn Source>> {
    Stream::of(&**value)?;
    Some(Box::new(Streamed(value.clone())))
}

/// A stream as the source of a channel.
struct Streamed(Arc<dyn Foreign>);

impl Source for Streamed {
    fn poll_next(&mut self, waking: &mut Waking<'_>) -> Poll<Option<Delivery>> {
        let Some(stream) = Stream::of(&*self.0) else {
            return Poll::Ready(None);
        };
        stream.poll_next(waking).map(|next| {
            next.map(|next| match next {
                Ok(value) => Delivery::Value(value),
                Err(error) => Delivery::Failed(error),
            })
        })
    }

    fn stream(&self) -> Option<Arc<dyn Foreign>> {
        Some(self.0.clone())
    }
}
