//! [`Channel`]: what is buffered, who waits, and where values come from.
//!
//! Values that wait lie in a Lua table, the channel's user value, under small numbers: slots. Whoever gets a value gets it
//! on the stack of its coroutine, which is suspended, so a hand-over copies nothing and asks for no memory.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    ffi::c_int,
    rc::Rc,
    sync::Arc,
    task::{Context as Waking, Poll, Waker},
};

use mlua::ffi::{self, lua_State};
use wippy_security::{CallError, Message};
use wippy_wit::{Foreign, Value};

use super::{
    super::{
        core::{Core, park_error},
        message,
        schedule::{Ready, TaskWaker},
        suspending::Completion,
        writer::push_value,
    },
    stream::Takers,
};

/// Where the values of a channel come from, if not from this state's own coroutines.
///
/// It is asked only when somebody wants a value, so what nobody wants stays there. Once it answered that it is
/// pending, it wakes the waker when that changes.
pub(crate) trait Source: Send {
    /// The next value; `None` when there will be none, which closes the channel.
    fn poll_next(&mut self, waking: &mut Waking<'_>) -> Poll<Option<Delivery>>;

    /// Says what is due when it has something: whoever gives that to the driver need not wake the waker. Called once,
    /// before it is asked for anything.
    fn connected(&mut self, _pump: Ready) {}

    /// What it reads, if that can be passed along to be read by somebody else.
    fn stream(&self) -> Option<Arc<dyn Foreign>> {
        None
    }
}

/// A value on its way into a state.
pub(crate) enum Delivery {
    /// Plain data.
    Value(Value),
    /// What another process told this one.
    Message(Message),
    /// Something with methods; the first of the values that are made is delivered.
    Build(Completion),
    /// There will be no further value, and this is why. Whoever waits for one raises it.
    Failed(CallError),
}

/// A coroutine that waits for one of several channels.
pub(in super::super) struct Wait {
    pub(in super::super) thread: *mut lua_State,
    pub(in super::super) task: Ready,
    /// Set by whichever channel comes first; the others find it and pass on.
    pub(in super::super) fired: Cell<bool>,
}

/// A coroutine that waits, and which of its cases this is.
struct Waiter {
    wait: Rc<Wait>,
    case: i64,
}

/// A coroutine that waits for its value to be taken.
struct Sender {
    waiter: Waiter,
    slot: i64,
}

/// The state of a channel; it lives in a userdata.
pub(in super::super) struct Channel {
    capacity: usize,
    closed: bool,
    buffer: VecDeque<i64>,
    free: Vec<i64>,
    slots: i64,
    receivers: VecDeque<Waiter>,
    senders: VecDeque<Sender>,
    source: Option<Sourced>,
    /// Guests that take values out of it.
    pub(super) takers: Takers,
    /// The number under which the driver knows the channel, if it has or had a source or takers.
    pub(super) pump: Option<usize>,
}

/// A source with what wakes the driver for it.
struct Sourced {
    source: Box<dyn Source>,
    flag: Arc<TaskWaker>,
    waker: Waker,
}

/// What became of the attempt to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// Somebody has it.
    Sent,
    /// There is room in the buffer.
    Room,
    /// One has to wait.
    Full,
    Closed,
    /// Values come from elsewhere.
    ReceiveOnly,
    /// The value cannot leave the state; the error is parked.
    Unfit,
}

/// What became of the attempt to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// The value is on the stack.
    Value,
    /// The value is to be made from what is in the exchange.
    Build,
    /// The value is the message that is parked in the core.
    Message,
    Closed,
    /// One has to wait.
    Nothing,
    /// There was a value, but no memory for it.
    OutOfMemory,
    /// The source failed; the error is parked.
    Failed,
}

/// Instead of the number of a case: memory did not suffice for the value.
pub(super) const OUT_OF_MEMORY: i64 = -1;

/// Instead of the number of a case: the source failed, and its error is the value.
pub(super) const FAILED: i64 = -3;

/// Instead of the number of a case: everybody waits for each other.
pub(in super::super) const DEADLOCK: i64 = -2;

impl Channel {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            closed: false,
            buffer: VecDeque::new(),
            free: Vec::new(),
            slots: 0,
            receivers: VecDeque::new(),
            senders: VecDeque::new(),
            source: None,
            takers: Takers::default(),
            pump: None,
        }
    }

    /// Connects the channel to `source`.
    pub(super) fn connect(&mut self, core: &Core, mut source: Box<dyn Source>, pump: usize) {
        source.connected(Ready::Pump(pump));
        let (flag, waker) = TaskWaker::new(Ready::Pump(pump), core.queue.clone());
        self.source = Some(Sourced { source, flag, waker });
        self.pump = Some(pump);
        core.channels.connected(1);
    }

    /// Ends what the driver knows of the channel; answers the number that is free now.
    pub(super) fn disconnect(&mut self, core: &Core) -> Option<usize> {
        if self.source.take().is_some() {
            core.channels.connected(-1);
        }
        self.takers.end(core);
        self.pump.take()
    }

    /// Takes a slot for a value. The number is lost if nothing is put there, which costs a number.
    pub(super) fn reserve(&mut self) -> i64 {
        self.free.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.slots
        })
    }

    /// Puts the value in `slot` at the end of the buffer.
    pub(super) fn store(&mut self, slot: i64) {
        self.buffer.push_back(slot);
    }

    /// Tries to send the value at `value`.
    ///
    /// # Safety
    /// `l` runs, and a slot above its top is free.
    pub(super) unsafe fn offer(&mut self, l: *mut lua_State, core: &Core, value: c_int) -> Offer {
        if self.source.is_some() {
            return Offer::ReceiveOnly;
        }
        if self.closed {
            return Offer::Closed;
        }
        while let Some(receiver) = self.receivers.pop_front() {
            // SAFETY: by the caller; whoever waits is suspended, and a copy of the value moves to its stack.
            let handed = receiver.fire(core, true, |thread| unsafe {
                ffi::lua_pushvalue(l, value);
                ffi::lua_xmove(l, thread, 1);
            });
            if handed {
                return Offer::Sent;
            }
        }
        // SAFETY: by the caller.
        if let Some(offer) = unsafe { self.takers.offer(l, core, value) } {
            return offer;
        }
        if self.buffer.len() < self.capacity {
            Offer::Room
        } else {
            Offer::Full
        }
    }

    /// Tries to receive; a value is pushed.
    ///
    /// # Safety
    /// `l` runs with four free slots, and the channel's userdata stands at the absolute index `channel`.
    pub(super) unsafe fn take(&mut self, l: *mut lua_State, core: &Core, channel: c_int) -> Taken {
        if let Some(slot) = self.buffer.pop_front() {
            // SAFETY: by the caller.
            unsafe { self.push_slot(l, channel, slot) };
            if let Some(sender) = self.next_sender() {
                self.buffer.push_back(sender.slot);
                sender.waiter.fire_nil(core, true);
            }
            return Taken::Value;
        }
        if let Some(sender) = self.next_sender() {
            // SAFETY: by the caller.
            unsafe { self.push_slot(l, channel, sender.slot) };
            sender.waiter.fire_nil(core, true);
            return Taken::Value;
        }
        match self.poll_source() {
            Poll::Ready(Some(Delivery::Value(value))) => {
                // SAFETY: by the caller.
                let pushed = unsafe { push_value(l, &value) };
                if pushed.is_ok() {
                    Taken::Value
                } else {
                    Taken::OutOfMemory
                }
            }
            Poll::Ready(Some(Delivery::Message(message))) => {
                core.messages.park(Some(message));
                Taken::Message
            }
            Poll::Ready(Some(Delivery::Build(completion))) => {
                core.exchange.complete(Ok(completion));
                Taken::Build
            }
            Poll::Ready(Some(Delivery::Failed(error))) => {
                self.close(core);
                park_error(core, error);
                Taken::Failed
            }
            Poll::Ready(None) => {
                self.close(core);
                Taken::Closed
            }
            Poll::Pending if self.closed => Taken::Closed,
            Poll::Pending => Taken::Nothing,
        }
    }

    /// The stream that its values come from, if it can be passed along.
    pub(super) fn stream(&self) -> Option<Arc<dyn Foreign>> {
        self.source.as_ref()?.source.stream()
    }

    /// Whether values come from elsewhere.
    pub(super) fn is_sourced(&self) -> bool {
        self.source.is_some()
    }

    /// Hands what waits in the channel to its takers, as long as they have room.
    ///
    /// # Safety
    /// `l` runs no Lua and has four free slots, and the channel's userdata stands at the absolute index `channel`.
    pub(super) unsafe fn feed(&mut self, l: *mut lua_State, core: &Core, channel: c_int) {
        while let Some(taker) = self.takers.ready(core) {
            let slot = match self.buffer.pop_front() {
                Some(slot) => {
                    if let Some(sender) = self.next_sender() {
                        self.buffer.push_back(sender.slot);
                        sender.waiter.fire_nil(core, true);
                    }
                    slot
                }
                None => match self.next_sender() {
                    Some(sender) => {
                        sender.waiter.fire_nil(core, true);
                        sender.slot
                    }
                    None => break,
                },
            };
            // SAFETY: by the caller; the value is taken off again.
            unsafe {
                self.push_slot(l, channel, slot);
                self.takers.hand(l, core, taker);
                ffi::lua_settop(l, -2);
            }
        }
        if self.closed && self.buffer.is_empty() {
            self.takers.end(core);
        }
    }

    /// Pushes the oldest value of the buffer; false if there is none.
    ///
    /// # Safety
    /// As for [`feed`](Self::feed).
    pub(super) unsafe fn push_buffered(&mut self, l: *mut lua_State, channel: c_int) -> bool {
        let Some(slot) = self.buffer.pop_front() else {
            return false;
        };
        // SAFETY: by the caller.
        unsafe { self.push_slot(l, channel, slot) };
        true
    }

    /// Pushes the value in `slot` and frees that.
    unsafe fn push_slot(&mut self, l: *mut lua_State, channel: c_int, slot: i64) {
        // SAFETY: three free slots by the caller. The table is there; writing nil to it never needs memory.
        unsafe {
            ffi::lua_getiuservalue(l, channel, 1);
            ffi::lua_rawgeti(l, -1, slot);
            ffi::lua_pushnil(l);
            ffi::lua_rawseti(l, -3, slot);
            ffi::lua_remove(l, -2);
        }
        self.free.push(slot);
    }

    /// The next sender that still waits. The slots of those that do not are free again.
    fn next_sender(&mut self) -> Option<Sender> {
        while let Some(sender) = self.senders.pop_front() {
            if !sender.waiter.wait.fired.get() {
                return Some(sender);
            }
            self.free.push(sender.slot);
        }
        None
    }

    fn poll_source(&mut self) -> Poll<Option<Delivery>> {
        match &mut self.source {
            Some(sourced) => sourced.source.poll_next(&mut Waking::from_waker(&sourced.waker)),
            None => Poll::Pending,
        }
    }

    /// Waits for a value.
    pub(super) fn wait_to_receive(&mut self, wait: Rc<Wait>, case: i64) {
        if self.receivers.len() >= 16 && self.receivers.len().is_power_of_two() {
            self.receivers.retain(|waiter| !waiter.wait.fired.get());
        }
        self.receivers.push_back(Waiter { wait, case });
    }

    /// Waits for the value in `slot` to be taken.
    pub(super) fn wait_to_send(&mut self, wait: Rc<Wait>, case: i64, slot: i64) {
        if self.senders.len() >= 16 && self.senders.len().is_power_of_two() {
            let free = &mut self.free;
            self.senders.retain(|sender| {
                let waits = !sender.waiter.wait.fired.get();
                if !waits {
                    free.push(sender.slot);
                }
                waits
            });
        }
        let waiter = Waiter { wait, case };
        self.senders.push_back(Sender { waiter, slot });
    }

    /// Closes the channel: who waits is told, what is buffered can still be received.
    pub(super) fn close(&mut self, core: &Core) {
        self.closed = true;
        if self.source.take().is_some() {
            core.channels.connected(-1);
        }
        for receiver in self.receivers.drain(..) {
            receiver.fire_nil(core, false);
        }
        for sender in self.senders.drain(..) {
            self.free.push(sender.slot);
            sender.waiter.fire_nil(core, false);
        }
        // What is buffered goes to them as they find room.
        if self.buffer.is_empty() {
            self.takers.end(core);
        }
    }

    /// Hands on what the source has, as long as somebody waits for it. What has to be built goes through `build`, which
    /// pushes the value onto the thread that it is given, or says that memory did not suffice.
    pub(super) fn hand_on(&mut self, core: &Core, build: &mut dyn FnMut(Completion, *mut lua_State) -> bool) {
        let Some(sourced) = &self.source else { return };
        sourced.flag.taken();
        loop {
            while self
                .receivers
                .front()
                .is_some_and(|waiter| waiter.wait.fired.get())
            {
                self.receivers.pop_front();
            }
            if self.receivers.is_empty() {
                return;
            }
            let delivery = match self.poll_source() {
                Poll::Pending => return,
                Poll::Ready(None) => return self.close(core),
                Poll::Ready(Some(delivery)) => delivery,
            };
            let Some(receiver) = self.receivers.pop_front() else {
                return;
            };
            let (delivery, has_failed) = match delivery {
                Delivery::Failed(error) => (Delivery::Value(Value::Foreign(Arc::new(error))), true),
                delivery @ (Delivery::Value(_) | Delivery::Message(_) | Delivery::Build(_)) => {
                    (delivery, false)
                }
            };
            let mut delivery = Some(delivery);
            let mut fits = true;
            receiver.fire(core, true, |thread| {
                fits = match delivery.take() {
                    // SAFETY: the thread is suspended and has room.
                    Some(Delivery::Value(value)) => unsafe { push_value(thread, &value).is_ok() },
                    // SAFETY: the same.
                    Some(Delivery::Message(message)) => unsafe { message::deliver(core, message, thread) },
                    Some(Delivery::Build(completion)) => build(completion, thread),
                    Some(Delivery::Failed(_)) | None => false,
                };
                if !fits {
                    // SAFETY: as above.
                    unsafe { ffi::lua_pushnil(thread) };
                }
            });
            if !fits {
                receiver.fail(OUT_OF_MEMORY);
            } else if has_failed {
                receiver.fail(FAILED);
                return self.close(core);
            }
        }
    }
}

impl Waiter {
    /// Ends the wait: pushes what `push` pushes, whether it is `ok`, and the case. False if something else ended it.
    fn fire(&self, core: &Core, ok: bool, push: impl FnOnce(*mut lua_State)) -> bool {
        if self.wait.fired.replace(true) {
            return false;
        }
        let thread = self.wait.thread;
        // SAFETY: the thread is suspended in a C function of `super`, which left this room on its stack, and which
        // finds the three values on top when it goes on.
        unsafe {
            push(thread);
            ffi::lua_pushboolean(thread, c_int::from(ok));
            ffi::lua_pushinteger(thread, self.case);
        }
        core.woken.borrow_mut().push_back(self.wait.task);
        true
    }

    fn fire_nil(&self, core: &Core, ok: bool) {
        // SAFETY: as for `fire`.
        self.fire(core, ok, |thread| unsafe { ffi::lua_pushnil(thread) });
    }

    /// Puts `code` in the place of the case of a wait that has been ended.
    fn fail(&self, code: i64) {
        // SAFETY: the case is at the top of the suspended thread.
        unsafe {
            ffi::lua_settop(self.wait.thread, -2);
            ffi::lua_pushinteger(self.wait.thread, code);
        }
    }
}

/// Ends a wait that nothing else can end.
pub(in super::super) fn fail_deadlocked(core: &Core, wait: &Rc<Wait>) {
    let waiter = Waiter {
        wait: wait.clone(),
        case: DEADLOCK,
    };
    waiter.fire_nil(core, false);
}

/// A channel as it lies in its userdata.
pub(in super::super) type Cellular = RefCell<Channel>;
