//! [`Core`]: what the C functions of a state share with its driver.

use std::{
    cell::{Cell, RefCell},
    collections::{HashSet, VecDeque},
    ffi::{c_char, c_int},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    rc::Rc,
    sync::Arc,
    task::Waker,
};

use mlua::ffi::{self, lua_State};
use tokio::time::Instant;
use wippy_security::{CallError, Context, ErrorKind, Function};
use wippy_wit::Foreign;

use crate::local::Local;

use super::{
    call::FramePointer,
    channel::{Channels, Wait},
    message::Messages,
    object::{KnownMetatables, Metatables},
    schedule::{Queue, Ready},
    suspending::Exchange,
};

/// What a coroutine waits for.
pub(super) enum Parked {
    /// A call of another entry.
    Call(FramePointer),
    /// A future made by safe code; its outcome goes to the [`Exchange`].
    Future(super::suspending::Suspension),
    /// Something that another coroutine does with a channel.
    Wait(Rc<Wait>),
}

/// A coroutine that a script started with `coroutine.spawn`, before the driver has seen it.
pub(super) struct Spawned {
    pub thread: *mut lua_State,
    pub reference: c_int,
    pub arguments: c_int,
}

/// A function that was called before.
pub(super) struct Callee {
    pub function: Arc<Function>,
    /// A frame for the next call, with what the invocation keeps for it; none while a call has it.
    pub idle: Option<FramePointer>,
}

/// The callees that were called last, by the address of their id, which the table of names keeps alive.
#[derive(Default)]
pub(super) struct Recent([Cell<(usize, i64)>; 8]);

impl Recent {
    /// The number of the callee whose id is at `address`; 0 if it is not among the last.
    #[inline]
    pub(super) fn find(&self, address: *const c_char) -> i64 {
        let (found, index) = self.slot(address).get();
        if found == address as usize { index } else { 0 }
    }

    pub(super) fn note(&self, address: *const c_char, index: i64) {
        self.slot(address).set((address as usize, index));
    }

    #[inline]
    fn slot(&self, address: *const c_char) -> &Cell<(usize, i64)> {
        // Strings are allocated in steps of sixteen bytes.
        let [.., last] = &self.0;
        self.0.get((address as usize >> 4) & 7).unwrap_or(last)
    }
}

/// What the C functions of a state share with its driver. See the safety argument of [`super`].
pub(super) struct Core {
    /// The thread of the main coroutine.
    pub root: Cell<*mut lua_State>,
    /// The main thread, which never runs Lua code while a coroutine does: values are built on it, where they do not move the
    /// frames of others.
    pub workbench: Cell<*mut lua_State>,
    /// The waker of the coroutine that runs; null between polls.
    pub waker: Cell<*const Waker>,
    /// Set by whoever yields to the driver, so that it is told from a script's own yield.
    pub suspending: Cell<bool>,
    /// How many frames on the native stack forbid yielding to the driver.
    pub pinned: Cell<u32>,
    /// How often Lua was resumed: iterations over tables must not span it.
    pub resumes: Cell<u64>,
    /// Which of the driver's coroutines runs.
    pub current: Cell<Ready>,
    /// What has been woken by what runs.
    pub woken: RefCell<VecDeque<Ready>>,
    /// What has been woken from elsewhere.
    pub queue: Arc<Queue>,
    /// What is known of channels.
    pub channels: Channels,
    /// What is known of messages and payloads.
    pub messages: Messages,
    /// From a yielding C function to the driver, and back once it is finished.
    pub handoff: RefCell<Option<Parked>>,
    /// Where safe futures and their outcomes pass.
    pub exchange: Arc<Exchange>,
    /// Functions that were called before, by the number that the table of names has for them.
    pub callees: RefCell<Vec<Callee>>,
    /// Frames for calls of methods.
    pub method_frames: RefCell<Vec<FramePointer>>,
    /// The names of methods that were called before, by the number that their functions have.
    pub methods: RefCell<Vec<Box<str>>>,
    /// The [class](wippy_security::Object::class) of an object that was last asked for a method, and where the state has the
    /// name of that.
    pub recent_method: Cell<(u64, *const c_char)>,
    /// The callees that were called last.
    pub recent: Recent,
    /// A string on its way to Lua. It is in an idle frame, and made into a Lua string before anything else happens.
    pub text: Cell<(*const c_char, usize)>,
    /// The context of the invocation.
    pub context: RefCell<Option<Arc<Context>>>,
    /// The deadline of the invocation.
    pub deadline: Cell<Option<Instant>>,
    /// Set once the invocation must end, whatever the script does about it.
    pub terminated: Cell<bool>,
    /// Whether an execution has ended that the state served.
    pub reused: Cell<bool>,
    /// Whether the script was given objects that belong to others.
    pub has_foreign: Cell<bool>,
    /// An object on its way to Lua, out of reach of a `longjmp`.
    pub object: RefCell<Option<Arc<dyn Foreign>>>,
    /// Coroutines that wait to be taken over by the driver.
    pub spawned: RefCell<Vec<Spawned>>,
    /// Suspended threads that belong to the driver: scripts may not resume or close them.
    pub guarded: RefCell<HashSet<usize>>,
    /// The metatables of our own userdata.
    pub metatables: KnownMetatables,
    /// The address of the metatable of lazy tables.
    pub lazy: Cell<*const std::ffi::c_void>,
    /// What belongs to the state.
    pub local: Arc<Local>,
    /// The memory that the state may have, in bytes; 0 for any.
    pub memory_limit: usize,
    /// Instructions between two looks at the clock.
    pub budget: c_int,
}

impl Core {
    pub(super) fn new(budget: u32, metatables: &'static Metatables, local: Arc<Local>) -> Self {
        Self {
            root: Cell::new(ptr::null_mut()),
            workbench: Cell::new(ptr::null_mut()),
            waker: Cell::new(ptr::null()),
            suspending: Cell::new(false),
            pinned: Cell::new(0),
            resumes: Cell::new(0),
            current: Cell::new(Ready::Main),
            woken: RefCell::default(),
            queue: Arc::default(),
            channels: Channels::default(),
            messages: Messages::default(),
            handoff: RefCell::default(),
            exchange: Arc::default(),
            callees: RefCell::default(),
            method_frames: RefCell::default(),
            methods: RefCell::default(),
            recent_method: Cell::new((0, ptr::null())),
            recent: Recent::default(),
            text: Cell::new((ptr::null(), 0)),
            context: RefCell::default(),
            deadline: Cell::new(None),
            terminated: Cell::new(false),
            reused: Cell::new(false),
            has_foreign: Cell::new(false),
            object: RefCell::default(),
            spawned: RefCell::default(),
            guarded: RefCell::default(),
            metatables: KnownMetatables::new(metatables),
            lazy: Cell::new(ptr::null()),
            memory_limit: local.program.config.memory_limit,
            local,
            budget: c_int::try_from(budget.max(100)).unwrap_or(c_int::MAX),
        }
    }

    /// Whether `thread` is one that scripts may neither resume nor close.
    pub(super) fn is_guarded(&self, thread: *mut lua_State) -> bool {
        ptr::eq(thread, self.root.get()) || self.guarded.borrow().contains(&(thread as usize))
    }

    /// Whether a coroutine may yield to the driver from here.
    ///
    /// # Safety
    /// `l` is a running thread of this state.
    pub(super) unsafe fn can_suspend(&self, l: *mut lua_State) -> bool {
        // SAFETY: by the caller; the query cannot raise.
        self.pinned.get() == 0 && !self.waker.get().is_null() && unsafe { ffi::lua_isyieldable(l) } != 0
    }
}

/// The core of the state that `l` is a thread of.
///
/// # Safety
/// `l` is a thread of a state made by [`Vm::new`](super::vm::Vm::new), which outlives `'a`.
pub(super) unsafe fn core<'a>(l: *mut lua_State) -> &'a Core {
    // SAFETY: `Vm::new` wrote the address into the main thread's extra space before any other thread was made, and
    // new threads start with a copy of it. The core is boxed and dropped after the state.
    unsafe { &**ffi::lua_getextraspace(l).cast::<*const Core>() }
}

/// Runs the Rust part of a C function; a panic becomes `None`.
pub(super) fn caught<R>(body: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(body)).ok()
}

/// Raises `message` with the place of the running function.
///
/// # Safety
/// As for `lua_error`: no value that needs dropping is alive in the calling frames.
pub(super) unsafe fn raise(l: *mut lua_State, message: &'static str) -> c_int {
    // SAFETY: by the caller.
    unsafe {
        ffi::luaL_where(l, 1);
        ffi::lua_pushlstring(l, message.as_ptr().cast(), message.len());
        ffi::lua_concat(l, 2);
        ffi::lua_error(l)
    }
}

/// Raises the error that is parked in the core.
///
/// # Safety
/// As for [`raise`].
pub(super) unsafe fn raise_parked(l: *mut lua_State, core: &Core) -> c_int {
    // SAFETY: by the caller.
    unsafe {
        super::object::push_parked(l, core);
        ffi::lua_error(l)
    }
}

/// Why something that may wait is refused where the native stack is deep and cannot be left.
pub(super) const TOO_DEEP: &str =
    "calls are nested too deeply here, where a function written in C is on the stack";

/// Parks `error` in the core, for [`push_object`](super::object::push_parked) to find.
pub(super) fn park_error(core: &Core, error: CallError) {
    *core.object.borrow_mut() = Some(Arc::new(error));
}

/// The error that ends an invocation whose deadline has passed.
pub(crate) fn deadline_error() -> CallError {
    CallError::new(ErrorKind::Timeout, "the script did not end before its deadline")
}
