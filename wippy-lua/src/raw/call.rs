//! `funcs.call`: one entry calls another, with arguments read from the caller's stack and the result written to it.
//!
//! A call that is answered at once makes no trip through the driver and no allocation of its own: the cursors live in
//! a recycled frame, and the only box is the handler's future.

use std::{
    cell::Cell,
    ffi::c_int,
    mem,
    pin::Pin,
    ptr::NonNull,
    slice,
    sync::Arc,
    task::{Context as Waking, Poll},
};

use mlua::{
    Function as LuaFunction, Lua,
    ffi::{self, lua_State},
};
use wippy_registry::EntryId;
use wippy_security::{Binding, CallError, Calling, Context, Function};

use super::{
    core::{Callee, Core, Parked, caught, core, park_error, raise},
    object,
    reader::LuaReader,
    writer::{LuaWriter, push_keys},
};

/// A call in progress with the cursors that it borrows.
struct Frame {
    /// Borrows the other fields, so it is dropped before they change; see [`FramePointer`].
    calling: Option<Calling<'static>>,
    outcome: Option<Result<(), CallError>>,
    context: Option<Arc<Context>>,
    binding: Option<Box<Binding>>,
    /// The place of the binding among the callees.
    callee: usize,
    reader: LuaReader,
    writer: LuaWriter,
    /// Whether the caller's stack already has the result.
    moved: bool,
}

/// The only owner of a frame. A raw pointer rather than a box, because a call borrows from its own frame.
pub(super) struct FramePointer(NonNull<Frame>);

impl FramePointer {
    fn new() -> Self {
        let frame = Frame {
            calling: None,
            outcome: None,
            context: None,
            binding: None,
            callee: 0,
            reader: LuaReader::unset(),
            writer: LuaWriter::unset(),
            moved: false,
        };
        Self(NonNull::from(Box::leak(Box::new(frame))))
    }

    /// Polls the call.
    pub(super) fn poll(&mut self, waking: &mut Waking<'_>) -> Poll<()> {
        // SAFETY: the frame is ours. The call borrows the cursors, which are not touched here while it lives; it is
        // dropped before the outcome is looked at.
        unsafe {
            let calling = &raw mut (*self.0.as_ptr()).calling;
            let Some(call) = &mut *calling else {
                return Poll::Ready(());
            };
            match Pin::new(call).poll(waking) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(outcome) => {
                    *calling = None;
                    (&raw mut (*self.0.as_ptr()).outcome).write(Some(outcome));
                    Poll::Ready(())
                }
            }
        }
    }
}

impl Drop for FramePointer {
    fn drop(&mut self) {
        // SAFETY: made by `Box::leak` and owned by this pointer alone; `calling` is dropped first, as the first field.
        unsafe { drop(Box::from_raw(self.0.as_ptr())) }
    }
}

/// How far a call got.
#[derive(Clone, Copy)]
enum Progress {
    /// The value is at the top of the caller's stack.
    Value,
    /// The error is parked in the core.
    Error,
    /// The frame is parked in the core, and the caller yields.
    Pending,
}

/// Makes the Lua function that calls an entry by its id. `settle` makes a value of a userdata that is none of ours.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn call_function(lua: &Lua, settle: LuaFunction) -> mlua::Result<LuaFunction> {
    let names = lua.create_table()?;
    // SAFETY: the closure owns nothing; the table of names, that of interned keys and `settle` become the function's
    // upvalues.
    unsafe {
        lua.exec_raw((names, settle), |l| {
            push_keys(l, core(l));
            ffi::lua_insert(l, -2);
            ffi::lua_pushcclosure(l, call, 3);
        })
    }
}

/// Replaces arguments that are userdata of modules by what they stand for.
///
/// # Safety
/// As for anything that can raise: called from the outermost frame of a C function that owns nothing.
unsafe fn settle_arguments(l: *mut lua_State, core: &Core) {
    // SAFETY: by the caller; a C function has free slots.
    unsafe {
        for index in 2..=ffi::lua_gettop(l) {
            if ffi::lua_type(l, index) == ffi::LUA_TUSERDATA && object::kind(l, index, core).is_none() {
                ffi::lua_pushvalue(l, ffi::lua_upvalueindex(3));
                ffi::lua_pushvalue(l, index);
                ffi::lua_call(l, 1, 1);
                ffi::lua_replace(l, index);
            }
        }
    }
}

unsafe extern "C-unwind" fn call(l: *mut lua_State) -> c_int {
    // SAFETY: no Rust value that needs dropping is alive in this frame when something raises or yields.
    unsafe {
        let core = core(l);
        if ffi::lua_type(l, 1) != ffi::LUA_TSTRING {
            return raise(
                l,
                "funcs.call: the first argument is the id of a function, such as \"app:report\"",
            );
        }
        ffi::lua_pushvalue(l, 1);
        let mut index = 0;
        if ffi::lua_rawget(l, ffi::lua_upvalueindex(1)) == ffi::LUA_TNUMBER {
            index = ffi::lua_tointegerx(l, -1, std::ptr::null_mut());
        }
        ffi::lua_settop(l, -2);
        if index == 0 {
            index = caught(|| resolve(l, core)).unwrap_or_default();
            if index != 0 {
                ffi::lua_pushvalue(l, 1);
                ffi::lua_pushinteger(l, index);
                ffi::lua_rawset(l, ffi::lua_upvalueindex(1));
            }
        }
        settle_arguments(l, core);
        let progress = if index == 0 {
            Some(Progress::Error)
        } else {
            caught(|| begin(l, core, index))
        };
        match progress {
            Some(Progress::Pending) => {
                core.suspending.set(true);
                ffi::lua_yieldk(l, 0, 0, Some(resume))
            }
            Some(progress) => finish(l, core, progress),
            None => raise(l, "internal error: a call panicked"),
        }
    }
}

/// The continuation of a call that had to wait: its frame has come back through the core.
unsafe extern "C-unwind" fn resume(l: *mut lua_State, _status: c_int, _context: isize) -> c_int {
    // SAFETY: as for `call`.
    unsafe {
        let core = core(l);
        match caught(|| end(l, core)) {
            Some(progress) => finish(l, core, progress),
            None => raise(l, "internal error: a call panicked"),
        }
    }
}

/// What Lua sees: a value, or nil and an error.
unsafe fn finish(l: *mut lua_State, core: &Core, progress: Progress) -> c_int {
    // SAFETY: called from the outermost frame of a C function that owns nothing.
    unsafe {
        match progress {
            Progress::Value => 1,
            Progress::Error | Progress::Pending => {
                ffi::lua_settop(l, 0);
                ffi::lua_pushnil(l);
                object::push_parked(l, core);
                2
            }
        }
    }
}

/// The number of the function whose id is the first argument, from 1; 0 if there is none, with the error parked.
#[cold]
fn resolve(l: *mut lua_State, core: &Core) -> i64 {
    // SAFETY: the first argument is a string and stays on the stack.
    let id = unsafe {
        let mut len = 0;
        let text = ffi::lua_tolstring(l, 1, &raw mut len);
        String::from_utf8_lossy(slice::from_raw_parts(text.cast(), len))
    };
    match find(core, &id) {
        Ok(function) => {
            let mut callees = core.callees.borrow_mut();
            callees.push(Callee {
                function,
                binding: None,
            });
            i64::try_from(callees.len()).unwrap_or_default()
        }
        Err(error) => {
            park_error(core, error);
            0
        }
    }
}

fn find(core: &Core, id: &str) -> Result<Arc<Function>, CallError> {
    let id = EntryId::parse(id).map_err(|error| CallError::invalid(error.to_string()))?;
    let context = core.context.borrow();
    let context = context.as_ref().ok_or_else(no_context)?;
    context.dispatcher().resolve_for(context, &id)
}

#[cold]
fn no_context() -> CallError {
    CallError::internal("a call was made outside of an invocation")
}

/// Begins the call and polls it once.
fn begin(l: *mut lua_State, core: &Core, index: i64) -> Progress {
    let pointer = core.frames.borrow_mut().pop().unwrap_or_else(FramePointer::new);
    let frame = pointer.0.as_ptr();
    let begun = {
        let context = core.context.borrow().clone();
        let index = usize::try_from(index - 1).unwrap_or(usize::MAX);
        let mut callees = core.callees.borrow_mut();
        match (context, callees.get_mut(index)) {
            // SAFETY: the frame is ours alone and its cursors are unborrowed. It outlives the call, which is dropped
            // first whenever the frame is dropped or used again, so the call may hold on to the cursors.
            (Some(context), Some(callee)) => unsafe {
                let arguments = ffi::lua_gettop(l) - 1;
                (*frame).moved = false;
                (*frame).outcome = None;
                (*frame).reader.set(l, core, 2, arguments);
                (*frame).reader.set_keys(ffi::lua_upvalueindex(2));
                (*frame).writer.set(core);
                // A second call at the same time has a binding of its own.
                let binding = callee.binding.take();
                let binding = binding.unwrap_or_else(|| Box::new(Binding::new(callee.function.clone())));
                (*frame).callee = index;
                let context: &Context = (*frame).context.insert(context);
                let binding = (*frame).binding.insert(binding);
                binding.call(context, &mut (*frame).reader, &mut (*frame).writer)
            },
            _ => Err(no_context()),
        }
    };
    match begun {
        // SAFETY: the frame is ours; writing the field drops the earlier call, if any.
        Ok(calling) => unsafe { (*frame).calling = Some(calling) },
        Err(error) => {
            park_error(core, error);
            recycle(core, pointer);
            return Progress::Error;
        }
    }
    poll_once(l, core, pointer)
}

fn poll_once(l: *mut lua_State, core: &Core, mut pointer: FramePointer) -> Progress {
    let waker = core.waker.get();
    if waker.is_null() {
        park_error(core, no_context());
        return Progress::Error;
    }
    // SAFETY: the driver set the waker for as long as Lua runs.
    let waker = unsafe { &*waker };
    // SAFETY: `l` runs.
    let can_suspend = unsafe { core.can_suspend(l) };
    let polled = if can_suspend && stack::is_deep() {
        // Calls that answer at once nest on the native stack. Before that becomes deep, the driver polls instead,
        // after everything here has returned to it.
        waker.wake_by_ref();
        Poll::Pending
    } else {
        pointer.poll(&mut Waking::from_waker(waker))
    };
    match polled {
        Poll::Ready(()) => settle(l, core, pointer),
        Poll::Pending if can_suspend => {
            // SAFETY: the call does not run, so nobody else uses the writer now; `l` has its minimum of free slots.
            unsafe {
                let writer = &mut (*pointer.0.as_ptr()).writer;
                let free = ffi::lua_checkstack(l, 1) != 0;
                (*pointer.0.as_ptr()).moved = free && writer.detach(l);
            }
            *core.handoff.borrow_mut() = Some(Parked::Call(pointer));
            Progress::Pending
        }
        Poll::Pending => {
            let message = "a call cannot wait here: a function written in C is on the stack";
            park_error(core, CallError::invalid(message));
            recycle(core, pointer);
            Progress::Error
        }
    }
}

/// A call that had to wait has been answered.
fn end(l: *mut lua_State, core: &Core) -> Progress {
    match core.handoff.borrow_mut().take() {
        Some(Parked::Call(pointer)) => settle(l, core, pointer),
        Some(Parked::Future(_) | Parked::Wait(_)) | None => {
            park_error(core, no_context());
            Progress::Error
        }
    }
}

/// Puts the value of an answered call at the top of the caller's stack.
fn settle(l: *mut lua_State, core: &Core, pointer: FramePointer) -> Progress {
    // SAFETY: the call is dropped, so the frame is ours alone. `l` runs the frame that the arguments belong to;
    // popping what a reader left makes room for the value.
    let outcome = unsafe {
        let frame = &mut *pointer.0.as_ptr();
        let outcome = frame.outcome.take().unwrap_or_else(|| Err(no_context()));
        match outcome {
            Ok(()) if frame.moved => Ok(()),
            Ok(()) => {
                ffi::lua_settop(l, 0);
                frame.writer.finish(l).map_err(CallError::from)
            }
            Err(error) => {
                frame.writer.discard();
                Err(error)
            }
        }
    };
    recycle(core, pointer);
    match outcome {
        Ok(()) => Progress::Value,
        Err(error) => {
            park_error(core, error);
            Progress::Error
        }
    }
}

/// Ends whatever `pointer` still does and keeps the frame for later calls.
fn recycle(core: &Core, pointer: FramePointer) {
    // SAFETY: the frame is ours; the call that borrows from it is dropped before the writer is used.
    unsafe {
        let frame = pointer.0.as_ptr();
        (&raw mut (*frame).calling).replace(None);
        (*frame).writer.discard();
        (*frame).context = None;
        if let Some(binding) = (*frame).binding.take()
            && let Some(callee) = core.callees.borrow_mut().get_mut((*frame).callee)
        {
            callee.binding.get_or_insert(binding);
        }
    }
    let mut frames = core.frames.borrow_mut();
    if frames.len() < 16 {
        frames.push(pointer);
    }
}

/// How deep the native stack is, counted from the outermost driver on this thread.
pub(super) mod stack {
    use super::Cell;

    /// Nesting beyond this many bytes goes through the driver.
    const DEEP: usize = 256 << 10;

    thread_local! {
        static BOTTOM: Cell<usize> = const { Cell::new(0) };
    }

    #[inline(never)]
    fn here() -> usize {
        let marker = 0_u8;
        std::hint::black_box(&raw const marker) as usize
    }

    /// Whether much of the native stack is taken.
    pub(crate) fn is_deep() -> bool {
        let bottom = BOTTOM.get();
        bottom != 0 && bottom.saturating_sub(here()) > DEEP
    }

    /// Marks the bottom while the outermost driver polls.
    pub(crate) struct Mark(bool);

    impl Mark {
        pub(crate) fn new() -> Self {
            let outermost = BOTTOM.get() == 0;
            if outermost {
                BOTTOM.set(here());
            }
            Self(outermost)
        }
    }

    impl Drop for Mark {
        fn drop(&mut self) {
            if self.0 {
                BOTTOM.set(0);
            }
        }
    }
}

const _: () = assert!(mem::size_of::<FramePointer>() == mem::size_of::<usize>());
