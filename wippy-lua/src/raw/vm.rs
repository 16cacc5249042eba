//! [`Vm`]: a Lua state and the driver that runs its coroutines as a future.

use std::{
    collections::VecDeque,
    ffi::{CStr, c_int},
    pin::pin,
    ptr,
    sync::Arc,
    task::{Context as Waking, Poll, Waker},
};

use mlua::{
    Function, Lua, MultiValue, Value as LuaValue,
    ffi::{self, lua_State},
};
use tokio::time::Instant;
use wippy_security::{CallError, Context, stack::StackMark};
use wippy_wit::{DEPTH_MAX, Datum, Error, Reader, Value, WriteError, Writer, accept::CHANNEL, copy};

use crate::local::Local;

use super::{
    bridge,
    call::names_address,
    channel::{close_pumps, fail_deadlocked, turn_pump},
    core::{Core, Parked, Spawned, core, deadline_error, park_error, raise},
    lazy,
    object::{self, Metatables},
    preempt,
    reader::{LuaReader, text},
    schedule::{Ready, TaskWaker},
    writer::{LuaWriter, keys_address, push_text, push_value},
};

/// A Lua state with the driver of its coroutines.
///
/// One invocation runs at a time: [`begin`](Self::begin) with a function and its arguments, [`poll`](Self::poll) until
/// it ends, then [`copy_result`](Self::copy_result) or [`take`](Self::take).
pub(crate) struct Vm {
    main: Task,
    spawned: Vec<Option<Task>>,
    free: Vec<usize>,
    /// What runs beside the coroutines, and what wakes it.
    background: Option<(Background, Arc<TaskWaker>, Waker)>,
    /// Turns that are due.
    due: VecDeque<Ready>,
    /// Dropped after everything that is parked, which may point into it.
    lua: Lua,
    /// Dropped after the state, whose functions use it.
    core: Box<Core>,
}

// SAFETY: nothing in it is bound to a thread, and only its owner uses it; see `super`.
unsafe impl Send for Vm {}

/// What runs beside the coroutines of a state, whenever its waker is woken.
///
/// What it finds to be due is given its turn right after it.
pub(crate) type Background = Box<dyn FnMut(&mut Waking<'_>, &mut VecDeque<Ready>) + Send>;

/// A coroutine that the driver runs.
struct Task {
    thread: *mut lua_State,
    /// What keeps the thread alive: a reference in the registry.
    reference: c_int,
    /// How many arguments wait on the stack for the first resume.
    arguments: c_int,
    parked: Option<Parked>,
    /// For spawned coroutines: wakes this one alone. The main one uses the waker of whoever polls.
    waker: Option<(Arc<TaskWaker>, Waker)>,
}

/// How an invocation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It returned; the values are on the coroutine's stack.
    Returned,
    /// It raised; the error object is on the coroutine's stack.
    Raised,
}

/// How a turn of a coroutine ended.
enum Turn {
    Waiting,
    /// It used up its instructions and wants to go on.
    Preempted,
    Ended(End),
}

impl Vm {
    /// Takes over a fresh state, in which nothing has run.
    ///
    /// # Errors
    /// When the memory limit does not suffice for an empty state.
    pub(crate) fn new(
        lua: Lua,
        budget: u32,
        metatables: &'static Metatables,
        local: Arc<Local>,
    ) -> mlua::Result<Self> {
        let core = Box::new(Core::new(budget, metatables, local));
        let by_time = preempt::is_available();
        let (mut root, mut reference) = (ptr::null_mut(), 0);
        // SAFETY: the state is fresh, so that every thread but mlua's own reference thread, which runs no code, gets
        // a copy of the extra space and of the hook. The closure owns nothing.
        unsafe {
            let core: *const Core = &raw const *core;
            let (root, reference) = (&mut root, &mut reference);
            lua.exec_raw::<()>((), move |l| {
                ffi::lua_rawgeti(l, ffi::LUA_REGISTRYINDEX, ffi::LUA_RIDX_MAINTHREAD);
                let main = ffi::lua_tothread(l, -1);
                ffi::lua_settop(l, -2);
                *ffi::lua_getextraspace(main).cast::<*const Core>() = core;
                *ffi::lua_getextraspace(l).cast::<*const Core>() = core;
                (*core).workbench.set(main);
                if !by_time {
                    count_instructions(main, &*core);
                }
                *root = ffi::lua_newthread(l);
                *reference = ffi::luaL_ref(l, ffi::LUA_REGISTRYINDEX);
                // Code that runs outside of a turn, such as `__tostring` of an error, is not watched over.
                count_instructions(main, &*core);
                ffi::lua_createtable(l, 0, 0);
                ffi::lua_rawsetp(l, ffi::LUA_REGISTRYINDEX, keys_address(&*core));
                ffi::lua_createtable(l, 0, 0);
                ffi::lua_rawsetp(l, ffi::LUA_REGISTRYINDEX, names_address(&*core));
                lazy::install(l);
            })?;
        }
        core.root.set(root);
        bridge::install(&lua)?;
        object::patch_failures(&lua)?;
        let main = Task {
            thread: root,
            reference,
            arguments: 0,
            parked: None,
            waker: None,
        };
        Ok(Self {
            main,
            spawned: Vec::new(),
            free: Vec::new(),
            background: None,
            due: VecDeque::new(),
            lua,
            core,
        })
    }

    /// The state.
    pub(crate) fn lua(&self) -> &Lua {
        &self.lua
    }

    /// What belongs to the state.
    pub(crate) fn local(&self) -> &Local {
        &self.core.local
    }

    /// Keeps `function` for [`begin`](Self::begin).
    ///
    /// # Errors
    /// When memory does not suffice.
    pub(crate) fn keep(&self, function: &Function) -> mlua::Result<Kept> {
        let mut reference = 0;
        // SAFETY: the closure owns nothing.
        unsafe {
            let reference = &mut reference;
            self.lua.exec_raw::<()>(function, move |l| {
                *reference = ffi::luaL_ref(l, ffi::LUA_REGISTRYINDEX);
            })?;
        }
        Ok(Kept(reference))
    }

    /// Keeps `function` no longer.
    pub(crate) fn forget(&self, function: Kept) {
        // SAFETY: the main thread runs no code now and has its minimum of free slots. Releasing a reference writes to what
        // is there, which needs no memory and does not raise.
        unsafe {
            ffi::luaL_unref(self.core.workbench.get(), ffi::LUA_REGISTRYINDEX, function.0);
        }
    }

    /// Keeps the function that the invocation returned, or the function `name` of the table that it returned; nothing if
    /// it returned neither. What it returned stays on the coroutine's stack.
    ///
    /// # Errors
    /// When memory does not suffice.
    pub(crate) fn keep_returned(&self, name: &str) -> mlua::Result<Option<Kept>> {
        let thread = self.main.thread;
        let mut reference = ffi::LUA_NOREF;
        // SAFETY: the main coroutine has ended, its stack holds the results and has room for another. The closure owns
        // nothing.
        unsafe {
            if ffi::lua_checkstack(thread, 1) == 0 || ffi::lua_gettop(thread) == 0 {
                return Ok(None);
            }
            let reference = &mut reference;
            self.lua.exec_raw::<()>((), move |l| {
                ffi::lua_pushvalue(thread, 1);
                ffi::lua_xmove(thread, l, 1);
                if ffi::lua_istable(l, 1) != 0 {
                    ffi::lua_pushlstring(l, name.as_ptr().cast(), name.len());
                    ffi::lua_rawget(l, 1);
                }
                if ffi::lua_isfunction(l, -1) != 0 {
                    *reference = ffi::luaL_ref(l, ffi::LUA_REGISTRYINDEX);
                }
                ffi::lua_settop(l, 0);
            })?;
        }
        Ok((reference != ffi::LUA_NOREF).then_some(Kept(reference)))
    }

    /// Begins an invocation of `function` with the arguments that `arguments` stands on the list of.
    ///
    /// # Errors
    /// When an argument cannot be sent or does not fit into memory.
    pub(crate) fn begin(
        &mut self,
        function: Kept,
        context: impl Into<Arc<Context>>,
        arguments: &mut dyn Reader,
    ) -> Result<(), CallError> {
        let thread = self.main.thread;
        let count = arguments.len();
        let room = c_int::try_from(count).ok().filter(|count| *count <= 250);
        let count = room.ok_or_else(|| CallError::invalid(format!("{count} arguments are too many")))?;
        // SAFETY: the main coroutine does not run and has no frames, and there is room for what is pushed.
        unsafe {
            if ffi::lua_checkstack(thread, count + 8) == 0 {
                return Err(Error::from(WriteError::OutOfMemory).into());
            }
            ffi::lua_settop(thread, 0);
            ffi::lua_rawgeti(thread, ffi::LUA_REGISTRYINDEX, i64::from(function.0));
            for index in 0..arguments.len() {
                let outcome = arguments
                    .enter_index(index)
                    .and_then(|()| push_argument(thread, &self.core, arguments));
                if let Err(error) = outcome {
                    let name = parameter_name(thread, index);
                    ffi::lua_settop(thread, 0);
                    return Err(error.at_argument(index, &name).into());
                }
                arguments.leave();
            }
        }
        self.main.arguments = count;
        let context = context.into();
        self.core.deadline.set(context.deadline());
        *self.core.context.borrow_mut() = Some(context);
        Ok(())
    }

    /// Runs `background` at once and whenever its waker is woken, as long as the state lives.
    pub(crate) fn set_background(&mut self, background: Background) {
        let (flag, waker) = TaskWaker::new(Ready::Background, self.core.queue.clone());
        waker.wake_by_ref();
        self.background = Some((background, flag, waker));
    }

    /// Runs the invocation as far as it goes.
    pub(crate) fn poll(&mut self, waking: &mut Waking<'_>) -> Poll<End> {
        let _nesting = StackMark::nesting();
        let is_alone = self.is_alone();
        if !is_alone {
            self.core.queue.begin(waking.waker(), &mut self.due);
        }
        let preempted = match self.turn_main(waking.waker()) {
            Turn::Ended(end) => return Poll::Ready(end),
            Turn::Preempted => true,
            Turn::Waiting => false,
        };
        if is_alone && self.is_alone() {
            if preempted {
                let_others(waking);
            } else if self.end_deadlock() {
                waking.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        if is_alone {
            self.core.queue.begin(waking.waker(), &mut self.due);
        }
        self.poll_others(waking, preempted)
    }

    /// Whether the main coroutine is all there is to run.
    fn is_alone(&self) -> bool {
        self.spawned.is_empty()
            && self.background.is_none()
            && !self.core.channels.has_sources()
            && self.core.spawned.borrow().is_empty()
    }

    /// Gives everything that has been woken its turn, and the main coroutine another one if it was woken meanwhile.
    fn poll_others(&mut self, waking: &mut Waking<'_>, mut preempted: bool) -> Poll<End> {
        let mut has_ended = false;
        for _ in 0..TURNS_MAX {
            self.adopt();
            self.due.append(&mut self.core.woken.borrow_mut());
            // Whoever used up its instructions goes on after others had their turn on the thread.
            if self.due.is_empty() && !preempted {
                has_ended = !self.core.queue.take_or_end(&mut self.due);
            }
            let Some(ready) = self.due.pop_front() else { break };
            match ready {
                Ready::Main => match self.turn_main(waking.waker()) {
                    Turn::Ended(end) => return Poll::Ready(end),
                    Turn::Preempted => preempted = true,
                    Turn::Waiting => {}
                },
                Ready::Spawned(index) => preempted |= self.turn_spawned(index),
                Ready::Pump(index) => turn_pump(&self.lua, &self.core, index),
                Ready::Background => {
                    if let Some((background, flag, waker)) = &mut self.background {
                        flag.taken();
                        background(&mut Waking::from_waker(waker), &mut self.due);
                    }
                }
            }
        }
        let is_due = !self.due.is_empty() || !self.core.woken.borrow().is_empty();
        let is_due = (!has_ended && self.core.queue.end()) | is_due;
        if preempted {
            let_others(waking);
        } else if is_due || self.end_deadlock() {
            waking.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Ends the wait of the main coroutine with an error if nothing else can; answers whether it did.
    fn end_deadlock(&self) -> bool {
        let waits = |task: &Task| matches!(&task.parked, Some(Parked::Wait(_)));
        let Some(Parked::Wait(wait)) = &self.main.parked else {
            return false;
        };
        let is_stuck = !wait.fired.get()
            && self.background.is_none()
            && !self.core.channels.has_sources()
            && self.spawned.iter().flatten().all(waits);
        if is_stuck {
            fail_deadlocked(&self.core, wait);
        }
        is_stuck
    }

    fn turn_main(&mut self, waker: &Waker) -> Turn {
        self.core.current.set(Ready::Main);
        turn(&self.core, &mut self.main, waker)
    }

    /// Takes over what `coroutine.spawn` left.
    fn adopt(&mut self) {
        if self.core.spawned.borrow().is_empty() {
            return;
        }
        for Spawned {
            thread,
            reference,
            arguments,
        } in self.core.spawned.take()
        {
            let index = self.free.pop().unwrap_or(self.spawned.len());
            let waker = Some(TaskWaker::new(Ready::Spawned(index), self.core.queue.clone()));
            let task = Task {
                thread,
                reference,
                arguments,
                parked: None,
                waker,
            };
            match self.spawned.get_mut(index) {
                Some(slot) => *slot = Some(task),
                None => self.spawned.push(Some(task)),
            }
            self.due.push_back(Ready::Spawned(index));
        }
    }

    /// Gives a spawned coroutine its turn; true if it used up its instructions.
    fn turn_spawned(&mut self, index: usize) -> bool {
        let Some(slot) = self.spawned.get_mut(index) else {
            return false;
        };
        let Some(task) = slot else { return false };
        let Some((flag, waker)) = task.waker.clone() else {
            return false;
        };
        flag.taken();
        self.core.current.set(Ready::Spawned(index));
        match turn(&self.core, task, &waker) {
            Turn::Waiting => false,
            Turn::Preempted => {
                waker.wake();
                true
            }
            Turn::Ended(end) => {
                if let Some(task) = slot.take() {
                    self.free.push(index);
                    self.finish_spawned(&task, end);
                }
                false
            }
        }
    }

    fn finish_spawned(&self, task: &Task, end: End) {
        if end == End::Raised && !self.core.terminated.get() {
            let (message, trace) = self.raised(task.thread);
            let message = message
                .and_then(|message| message.to_string())
                .unwrap_or_else(|error| error.to_string());
            tracing::error!(target: "wippy::lua", stack = trace, "a spawned coroutine failed: {message}");
        }
        self.core.guarded.borrow_mut().remove(&(task.thread as usize));
        // SAFETY: the coroutine has ended; releasing its reference needs no memory that is not there.
        let _ = unsafe {
            self.lua.exec_raw::<()>((), |l| {
                // What it has yet to close is code of the script, outside of a turn.
                count_instructions(task.thread, &self.core);
                ffi::lua_closethread(task.thread, l);
                ffi::luaL_unref(l, ffi::LUA_REGISTRYINDEX, task.reference);
            })
        };
    }

    /// Whether the state may serve another invocation: everything that this one began has ended.
    pub(crate) fn is_reusable(&self) -> bool {
        self.spawned.iter().all(Option::is_none)
            && self.core.spawned.borrow().is_empty()
            && !self.core.terminated.get()
    }

    /// Makes the state ready for another invocation. Gives back the context of the one that ended.
    pub(crate) fn reset(&mut self) -> Option<Arc<Context>> {
        let context = self.core.context.take();
        self.core.deadline.set(None);
        close_pumps(&self.core);
        for callee in &mut *self.core.callees.borrow_mut() {
            if let Some(frame) = &mut callee.idle {
                frame.release();
            }
        }
        // SAFETY: the main coroutine has ended and holds only what it returned.
        unsafe { ffi::lua_settop(self.main.thread, 0) };
        context
    }

    /// Gives up what an invocation that failed in the middle of something may have left for a continuation that never came,
    /// and whom it woke.
    pub(crate) fn clear(&mut self) {
        self.core.object.borrow_mut().take();
        self.core.handoff.borrow_mut().take();
        self.core.queue.forget_parent();
    }

    /// Replaces a userdata of a module that the invocation returned by what `body` makes of it.
    ///
    /// # Errors
    /// Those of `body`, or when memory does not suffice.
    pub(crate) fn settle_returned(
        &mut self,
        body: impl FnOnce(&Lua, LuaValue) -> mlua::Result<LuaValue>,
    ) -> mlua::Result<()> {
        let thread = self.main.thread;
        // SAFETY: the main coroutine has ended; its stack holds the results and belongs to us. The closures own nothing.
        unsafe {
            let is_userdata = ffi::lua_type(thread, 1) == ffi::LUA_TUSERDATA
                && ffi::lua_checkstack(thread, 2) != 0
                && object::kind(thread, 1, &self.core).is_none();
            if !is_userdata {
                return Ok(());
            }
            let returned = self.lua.exec_raw((), |l| {
                ffi::lua_pushvalue(thread, 1);
                ffi::lua_xmove(thread, l, 1);
            })?;
            let settled = body(&self.lua, returned)?;
            self.lua.exec_raw(settled, |l| {
                ffi::lua_xmove(l, thread, 1);
                ffi::lua_replace(thread, 1);
            })
        }
    }

    /// Copies what the invocation returned to `result`: a value, or its error.
    ///
    /// # Errors
    /// `Err(Some(error))` when the value cannot be sent; `Err(None)` when the second value is an error, which
    /// [`take`](Self::take) gives.
    pub(crate) fn copy_result(&mut self, result: &mut dyn Writer) -> Result<(), Option<CallError>> {
        let thread = self.main.thread;
        // SAFETY: the main coroutine has ended; its stack holds the results and belongs to us.
        unsafe {
            let count = ffi::lua_gettop(thread);
            let failed = ffi::lua_type(thread, 1) == ffi::LUA_TNIL && count >= 2;
            if failed && ffi::lua_type(thread, 2) != ffi::LUA_TNIL {
                return Err(None);
            }
            if ffi::lua_type(thread, 1) == ffi::LUA_TSTRING {
                result.string(text(thread, 1));
                return Ok(());
            }
            let mut reader = LuaReader::unset();
            reader.set(thread, &self.core, 1, count.min(1));
            reader
                .enter_index(0)
                .map_err(|error| Some(CallError::from(error)))?;
            copy_value(&mut reader, result)
                .map_err(|error| Some(CallError::internal(format!("the result cannot be sent: {error}"))))
        }
    }

    /// Takes everything that the invocation returned.
    ///
    /// # Errors
    /// When memory does not suffice.
    pub(crate) fn take(&mut self) -> mlua::Result<MultiValue> {
        let thread = self.main.thread;
        // SAFETY: the main coroutine has ended; the closure owns nothing.
        unsafe {
            self.lua.exec_raw((), |l| {
                let count = ffi::lua_gettop(thread);
                if ffi::lua_checkstack(l, count) != 0 {
                    ffi::lua_xmove(thread, l, count);
                }
            })
        }
    }

    /// Takes what the invocation raised, with the traceback.
    pub(crate) fn take_raised(&mut self) -> (mlua::Result<LuaValue>, String) {
        self.raised(self.main.thread)
    }

    /// Takes the error that a dead coroutine ended with, and its traceback.
    fn raised(&self, thread: *mut lua_State) -> (mlua::Result<LuaValue>, String) {
        // SAFETY: the coroutine is dead, its error at the top; the closures own nothing.
        unsafe {
            let trace = self.lua.exec_raw::<mlua::LuaString>((), |l| {
                ffi::luaL_traceback(l, thread, ptr::null(), 0);
            });
            let value = self.lua.exec_raw((), |l| {
                if ffi::lua_gettop(thread) > 0 {
                    ffi::lua_xmove(thread, l, 1);
                } else {
                    ffi::lua_pushnil(l);
                }
            });
            (
                value,
                trace.map(|trace| trace.to_string_lossy()).unwrap_or_default(),
            )
        }
    }

    /// Whether the invocation was ended from outside.
    pub(crate) fn is_terminated(&self) -> bool {
        self.core.terminated.get()
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // What is parked may point into the state and goes first.
        self.background = None;
        self.main.parked = None;
        self.spawned.clear();
        self.core.handoff.take();
        self.core.exchange.clear();
        self.core.callees.take();
        self.core.method_frames.take();
        self.core.context.take();
    }
}

/// A function that a [`Vm`] keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept(c_int);

impl Kept {
    /// Where the registry has it.
    pub(super) fn reference(self) -> i64 {
        i64::from(self.0)
    }
}

/// Wakes the task again after everybody else had a turn, clocks and sockets among them: a plain wake would have the
/// scheduler look at those only after many more turns of this script.
fn let_others(waking: &mut Waking<'_>) {
    let mut others = pin!(tokio::task::yield_now());
    // It is pending once, and has then seen to the wake.
    let _ = others.as_mut().poll(waking);
}

/// Gives a coroutine its turn: polls what it waits for, and runs it when that is done.
fn turn(core: &Core, task: &mut Task, waker: &Waker) -> Turn {
    if let Some(parked) = &mut task.parked {
        let mut waking = Waking::from_waker(waker);
        let ready = match parked {
            Parked::Call(frame) => frame.poll(&mut waking).is_ready(),
            Parked::Future(suspension) => match suspension.as_mut().poll(&mut waking) {
                Poll::Pending => false,
                Poll::Ready(outcome) => {
                    core.exchange.complete(outcome);
                    true
                }
            },
            Parked::Wait(wait) => wait.fired.get(),
        };
        if !ready {
            return Turn::Waiting;
        }
        // The outcome of a future is in the exchange; only a call's frame goes back by the handoff. Anything left there
        // would be taken for what the coroutine waits for when it gives up its turn next.
        *core.handoff.borrow_mut() = match task.parked.take() {
            Some(Parked::Wait(wait)) => {
                core.channels.keep(wait);
                None
            }
            done => done.filter(|parked| matches!(parked, Parked::Call(_))),
        };
    }
    let status = resume(core, task, waker);
    match status {
        ffi::LUA_OK => Turn::Ended(End::Returned),
        ffi::LUA_YIELD => {
            task.parked = core.handoff.borrow_mut().take();
            if task.parked.is_some() {
                Turn::Waiting
            } else {
                Turn::Preempted
            }
        }
        _ => Turn::Ended(End::Raised),
    }
}

fn resume(core: &Core, task: &mut Task, waker: &Waker) -> c_int {
    core.resumes.set(core.resumes.get().wrapping_add(1));
    core.suspending.set(false);
    core.waker.set(waker);
    let arguments = std::mem::take(&mut task.arguments);
    let mut results = 0;
    let _turn = preempt::Turn::begin(task.thread);
    // SAFETY: the coroutine is suspended or has its function and arguments on its stack, and nobody else runs the
    // state. The waker is valid until the pointer is cleared below; `lua_resume` does not raise.
    let status = unsafe { ffi::lua_resume(task.thread, ptr::null_mut(), arguments, &raw mut results) };
    core.waker.set(ptr::null());
    core.suspending.set(false);
    status
}

/// Has `thread` call [`hook`] every so many instructions, which costs it half of its speed.
///
/// # Safety
/// `thread` is one of the state that `core` belongs to, and runs no code at the moment.
pub(super) unsafe fn count_instructions(thread: *mut lua_State, core: &Core) {
    // SAFETY: by the caller.
    unsafe { ffi::lua_sethook(thread, Some(hook), ffi::LUA_MASKCOUNT, core.budget) };
}

/// Called when a script has run for long enough: ends an invocation whose time is up, and lets others have a turn.
pub(super) unsafe extern "C-unwind" fn hook(l: *mut lua_State, _activation: *mut ffi::lua_Debug) {
    // SAFETY: nothing that needs dropping is alive here when the error is raised; a hook may yield without values.
    unsafe {
        let core = core(l);
        // Set by a signal, it has done its work with this call.
        if ffi::lua_gethookcount(l) == 1 {
            ffi::lua_sethook(l, None, 0, 0);
        }
        if !core.terminated.get()
            && core
                .deadline
                .get()
                .is_some_and(|deadline| Instant::now() >= deadline)
        {
            core.terminated.set(true);
        }
        if core.terminated.get() {
            // From now on every instruction of this thread raises, so that no `pcall` lets the script go on.
            ffi::lua_sethook(l, Some(hook), ffi::LUA_MASKCOUNT, 1);
            park_error(core, deadline_error());
            object::push_parked(l, core);
            ffi::lua_error(l);
        }
        let mut activation = std::mem::MaybeUninit::<ffi::lua_Debug>::uninit();
        if ffi::lua_getstack(l, LEVELS_MAX, activation.as_mut_ptr()) != 0 {
            // Lua has a limit of its own, but a script would meet its memory limit first and be told about that.
            raise(l, "stack overflow: functions call each other without end");
        }
        if core.can_suspend(l) {
            core.suspending.set(true);
            ffi::lua_yieldk(l, 0, 0, None);
        }
    }
}

/// How many turns a state's coroutines have before others get theirs.
const TURNS_MAX: usize = 64;

/// How deep Lua functions may call each other within one coroutine.
const LEVELS_MAX: c_int = 100_000;

/// Pushes the value under the cursor onto `thread`.
unsafe fn push_argument(thread: *mut lua_State, core: &Core, reader: &mut dyn Reader) -> Result<(), Error> {
    // SAFETY: the caller made room. Scalars need no memory; the rest sees to it that it is there, or is built under
    // protection.
    unsafe {
        match reader.datum() {
            Datum::Nil => ffi::lua_pushnil(thread),
            Datum::Boolean(value) => ffi::lua_pushboolean(thread, c_int::from(value)),
            Datum::Integer(value) => ffi::lua_pushinteger(thread, value),
            Datum::Float(value) => ffi::lua_pushnumber(thread, value),
            // Between scripts no stream is open.
            Datum::Foreign(thing) if thing.type_name() == CHANNEL => {
                return Err(Error::new("a channel cannot be sent to a script"));
            }
            Datum::String(bytes) => return push_text(thread, core, bytes),
            Datum::Unsigned(_) | Datum::Table | Datum::Foreign(_) | Datum::Other(_) => {
                let mut writer = LuaWriter::unset();
                writer.set(core);
                writer.scope(&mut |writer| copy(reader, writer, DEPTH_MAX))?;
                writer.finish(thread)?;
            }
        }
    }
    Ok(())
}

/// Copies the value under the cursor; a scalar without the cost of a scope.
fn copy_value(reader: &mut dyn Reader, writer: &mut dyn Writer) -> Result<(), Error> {
    match reader.datum() {
        Datum::Nil => writer.nil(),
        Datum::Boolean(value) => writer.boolean(value),
        Datum::Integer(value) => writer.integer(value),
        Datum::Float(value) => writer.float(value),
        Datum::Unsigned(_) | Datum::String(_) | Datum::Table | Datum::Foreign(_) | Datum::Other(_) => {
            return writer.scope(&mut |writer| copy(reader, writer, DEPTH_MAX));
        }
    }
    Ok(())
}

/// The name of a parameter of the function at the bottom of `thread`, for messages.
#[cold]
unsafe fn parameter_name(thread: *mut lua_State, index: usize) -> String {
    // SAFETY: the function is at the bottom; asking for its parameters does not raise, and names live with it.
    unsafe {
        ffi::lua_settop(thread, 1);
        let position = c_int::try_from(index).unwrap_or(c_int::MAX).saturating_add(1);
        let name = ffi::lua_getlocal(thread, ptr::null(), position);
        if name.is_null() {
            "...".to_owned()
        } else {
            CStr::from_ptr(name).to_string_lossy().into_owned()
        }
    }
}

/// The context of the invocation that runs.
pub(crate) fn context(lua: &Lua) -> Option<Context> {
    // SAFETY: mlua's current state is a thread of a state of ours.
    lua.exec_raw_lua(|raw| unsafe { core(raw.state()).context.borrow().as_deref().cloned() })
}

/// What belongs to the state.
pub(crate) fn local(lua: &Lua) -> Arc<Local> {
    // SAFETY: mlua's current state is a thread of a state of ours.
    lua.exec_raw_lua(|raw| unsafe { core(raw.state()).local.clone() })
}

/// An owned copy of a Lua value.
///
/// # Errors
/// When it is nested too deeply or holds something that cannot leave Lua.
pub(crate) fn read_value(lua: &Lua, value: &LuaValue) -> Result<Value, Error> {
    read(lua, value, false)
}

/// An owned copy of an argument, in which channels are streams.
///
/// # Errors
/// As for [`read_value`].
pub(crate) fn read_argument(lua: &Lua, value: &LuaValue) -> Result<Value, Error> {
    read(lua, value, true)
}

fn read(lua: &Lua, value: &LuaValue, lends: bool) -> Result<Value, Error> {
    let mut outcome = Ok(Value::Nil);
    // SAFETY: the closure owns nothing when Lua may raise: the reader does not raise. The value is its argument.
    let asked = unsafe {
        let outcome = &mut outcome;
        lua.exec_raw::<()>(value, move |l| {
            let mut reader = LuaReader::unset();
            reader.set(l, core(l), ffi::lua_gettop(l), 1);
            if lends {
                reader.lend_channels();
            }
            *outcome = reader.enter_index(0).and_then(|()| Value::read(&mut reader));
            ffi::lua_settop(l, 0);
        })
    };
    asked.map_err(|error| Error::new(error.to_string()))?;
    outcome
}

/// A Lua copy of an owned value.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn write_value(lua: &Lua, value: &Value) -> mlua::Result<LuaValue> {
    let mut outcome = Ok(());
    // SAFETY: the closure owns nothing; building is protected on its own, and what it borrows is dropped here.
    let pushed = unsafe {
        let outcome = &mut outcome;
        lua.exec_raw((), move |l| *outcome = push_value(l, value))
    };
    outcome.map_err(mlua::Error::external)?;
    pushed
}
