//! Calls of other entries and of objects' methods, with arguments read from the caller's stack and the result written
//! to it.
//!
//! A call that is answered at once makes no trip through the driver and no allocation of its own: what it needs lives in a
//! frame that its callee has ready.

use std::{
    ffi::{c_int, c_void},
    mem,
    pin::Pin,
    ptr::{self, NonNull},
    slice,
    sync::Arc,
    task::{Context as Waking, Poll, Waker},
};

use mlua::{
    Function as LuaFunction, Lua,
    ffi::{self, lua_State},
};
use wippy_registry::EntryId;
use wippy_security::{
    Begun, Binding, Call, CallError, Calling, Context, ErrorKind, Function, Handle, Object, stack,
};
use wippy_wit::Foreign;

use super::{
    core::{Callee, Core, Parked, TOO_DEEP, caught, core, park_error, raise},
    object,
    reader::LuaReader,
    writer::{LuaWriter, push_keys},
};

/// A call in progress with everything that it borrows.
struct Frame {
    /// Borrows the other fields, so it is dropped before they change; see [`FramePointer`].
    calling: Option<Calling<'static>>,
    outcome: Option<Result<(), CallError>>,
    /// The context of a call that has to wait; until then it is the core's.
    context: Option<Arc<Context>>,
    target: Target,
    reader: LuaReader,
    writer: LuaWriter,
    /// Whether the caller's stack already has the result.
    moved: bool,
}

/// What a frame calls.
enum Target {
    /// A function: its place among the callees, and what the invocation keeps for calling it.
    Function(usize, Binding),
    /// A method of an object, while a call of it runs: the name is one of the core's, which keeps them.
    Method(Option<(Arc<dyn Object>, NonNull<str>)>),
}

/// The only owner of a frame. A raw pointer rather than a box, because a call borrows from its own frame.
pub(super) struct FramePointer(NonNull<Frame>);

impl FramePointer {
    fn new(target: Target) -> Self {
        let frame = Frame {
            calling: None,
            outcome: None,
            context: None,
            target,
            reader: LuaReader::unset(),
            writer: LuaWriter::unset(),
            moved: false,
        };
        Self(NonNull::from(Box::leak(Box::new(frame))))
    }

    /// Gives up what a frame that is not in use keeps for later calls.
    pub(super) fn release(&mut self) {
        // SAFETY: the frame is ours; a call that borrows from it is dropped first.
        unsafe {
            let frame = self.0.as_ptr();
            (&raw mut (*frame).calling).replace(None);
            if let Target::Function(_, binding) = &mut (*frame).target {
                binding.release();
            }
        }
    }

    /// Polls the call.
    #[inline]
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
    /// The value is a string, which is parked in the core.
    Text,
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
    // SAFETY: the closure owns nothing; the tables of names and of interned keys and `settle` become the function's upvalues.
    unsafe {
        lua.exec_raw(settle, |l| {
            let core = core(l);
            ffi::lua_rawgetp(l, ffi::LUA_REGISTRYINDEX, names_address(core));
            push_keys(l, core);
            ffi::lua_rotate(l, -3, -1);
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

/// The registry's key for the table of names: at each id, the number of its callee, and at that number, the id.
pub(super) fn names_address(core: &Core) -> *const c_void {
    ptr::from_ref(&core.callees).cast()
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
        settle_arguments(l, core);
        let index = match core.recent.find(ffi::lua_tolstring(l, 1, ptr::null_mut())) {
            0 => look_up(l, core),
            index => index,
        };
        let progress = if index == 0 {
            Some(Progress::Error)
        } else {
            caught(|| begin(l, core, index))
        };
        go_on(l, core, progress)
    }
}

/// Answers what a call has come to, or waits for it.
unsafe fn go_on(l: *mut lua_State, core: &Core, progress: Option<Progress>) -> c_int {
    // SAFETY: called from the outermost frame of a C function that owns nothing.
    unsafe {
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

/// The number of the callee whose id is the first argument, from 1; 0 if there is none, with the error parked.
///
/// # Safety
/// Called from the outermost frame of [`call`].
unsafe fn look_up(l: *mut lua_State, core: &Core) -> i64 {
    // SAFETY: by the caller.
    unsafe {
        let names = ffi::lua_upvalueindex(1);
        ffi::lua_pushvalue(l, 1);
        let mut index = 0;
        if ffi::lua_rawget(l, names) == ffi::LUA_TNUMBER {
            index = ffi::lua_tointegerx(l, -1, ptr::null_mut());
        }
        ffi::lua_settop(l, -2);
        if index == 0 {
            index = caught(|| resolve(l, core)).unwrap_or_default();
            if index == 0 {
                return 0;
            }
            ffi::lua_pushvalue(l, 1);
            ffi::lua_rawseti(l, names, index);
            ffi::lua_pushvalue(l, 1);
            ffi::lua_pushinteger(l, index);
            ffi::lua_rawset(l, names);
        }
        // Strings that are equal need not be the same; only the one that the table keeps alive can be told by its address.
        ffi::lua_rawgeti(l, names, index);
        let kept = ffi::lua_tolstring(l, -1, ptr::null_mut());
        if ptr::eq(kept, ffi::lua_tolstring(l, 1, ptr::null_mut())) {
            core.recent.note(kept, index);
        }
        ffi::lua_settop(l, -2);
        index
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
            Progress::Text => {
                let (text, len) = core.text.get();
                ffi::lua_pushlstring(l, text, len);
                1
            }
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
            callees.push(Callee { function, idle: None });
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
    let index = usize::try_from(index - 1).unwrap_or(usize::MAX);
    // A second call at the same time has a frame of its own.
    let pointer = core.callees.borrow_mut().get_mut(index).map(|callee| {
        callee.idle.take().unwrap_or_else(|| {
            let binding = Binding::new(Arc::clone(&callee.function));
            FramePointer::new(Target::Function(index, binding))
        })
    });
    match pointer {
        Some(pointer) => start(l, core, pointer),
        None => failed(core, no_context()),
    }
}

/// Begins the call that the frame's target says, with the arguments after the first, and polls it once. The second
/// upvalue of the function that runs is the table of interned keys.
fn start(l: *mut lua_State, core: &Core, pointer: FramePointer) -> Progress {
    let frame = pointer.0.as_ptr();
    let context = core.context.borrow().as_deref().map(ptr::from_ref);
    let begun = match context {
        // SAFETY: the frame is ours alone and its parts are unborrowed. It outlives the call, which is dropped first
        // whenever the frame is dropped or used again, so the call may hold on to them. The context is the core's as
        // long as Lua runs; before that ends the call has ended, or shares it: see `park`.
        Some(context) => unsafe {
            let context = &*context;
            let arguments = ffi::lua_gettop(l) - 1;
            (*frame).moved = false;
            (*frame).reader.set(l, core, 2, arguments);
            (*frame).reader.set_keys(ffi::lua_upvalueindex(2));
            (*frame).reader.lend_channels();
            (*frame).writer.set(core);
            let call = Call {
                context,
                arguments: &mut (*frame).reader,
                result: &mut (*frame).writer,
            };
            let waker = || waker(l, core);
            match &mut (*frame).target {
                Target::Function(_, binding) => binding.begin(call, waker),
                Target::Method(Some((object, method))) => {
                    let method = method.as_ref();
                    context.dispatcher().begin_object(&**object, method, call, waker)
                }
                Target::Method(None) => Begun::Ended(Err(no_context())),
            }
        },
        None => Begun::Ended(Err(no_context())),
    };
    match begun {
        Begun::Ended(outcome) => settle(l, core, pointer, outcome),
        Begun::Running(calling) => {
            // SAFETY: the frame is ours, and its earlier call has ended.
            unsafe { (*frame).calling = Some(calling) };
            park(l, core, pointer)
        }
    }
}

fn failed(core: &Core, error: CallError) -> Progress {
    park_error(core, error);
    Progress::Error
}

/// Who is to be woken when a call that begins now can go on; nobody if it is not polled here.
///
/// # Safety
/// `l` is a running thread of the state. What is returned is used before Lua goes on.
unsafe fn waker<'a>(l: *mut lua_State, core: &Core) -> Option<&'a Waker> {
    // SAFETY: the driver set the waker for as long as Lua runs.
    let waker = unsafe { core.waker.get().as_ref()? };
    if !stack::is_deep() {
        return Some(waker);
    }
    // Calls that answer at once nest on the native stack. Before that becomes deep, the driver polls instead, after
    // everything here has returned to it.
    // SAFETY: by the caller.
    if unsafe { core.can_suspend(l) } {
        waker.wake_by_ref();
        return None;
    }
    (!stack::is_too_deep()).then_some(waker)
}

/// Hands a frame whose call has to wait to the driver.
fn park(l: *mut lua_State, core: &Core, pointer: FramePointer) -> Progress {
    // SAFETY: `l` runs.
    if unsafe { !core.can_suspend(l) } {
        recycle(core, pointer);
        return failed(core, cannot_wait());
    }
    // SAFETY: the call does not run, so nobody else uses the writer now; `l` has its minimum of free slots.
    unsafe {
        let frame = pointer.0.as_ptr();
        // Others may begin an invocation of their own before this one is over.
        (*frame).context.clone_from(&core.context.borrow());
        let free = ffi::lua_checkstack(l, 1) != 0;
        (*frame).moved = free && (*frame).writer.detach(l);
    }
    *core.handoff.borrow_mut() = Some(Parked::Call(pointer));
    Progress::Pending
}

#[cold]
fn cannot_wait() -> CallError {
    if stack::is_too_deep() {
        return CallError::new(ErrorKind::Unavailable, TOO_DEEP).with_retryable(false);
    }
    CallError::invalid("a call cannot wait here: a function written in C is on the stack")
}

/// A call that had to wait has been answered.
fn end(l: *mut lua_State, core: &Core) -> Progress {
    match core.handoff.borrow_mut().take() {
        Some(Parked::Call(pointer)) => {
            // SAFETY: the call is dropped, so the frame is ours alone.
            let outcome = unsafe { (*pointer.0.as_ptr()).outcome.take() };
            settle(l, core, pointer, outcome.unwrap_or_else(|| Err(no_context())))
        }
        Some(Parked::Future(_) | Parked::Wait(_)) | None => failed(core, no_context()),
    }
}

/// Puts the value of an answered call at the top of the caller's stack, or where [`finish`] finds it.
fn settle(l: *mut lua_State, core: &Core, pointer: FramePointer, outcome: Result<(), CallError>) -> Progress {
    // SAFETY: the call is dropped, so the frame is ours alone. `l` runs the frame that the arguments belong to, which has
    // its minimum of free slots once the reader has left what it entered.
    let progress = unsafe {
        let frame = &mut *pointer.0.as_ptr();
        match outcome {
            Ok(()) if frame.moved => {
                frame.writer.discard();
                Ok(Progress::Value)
            }
            Ok(()) => match frame.writer.text() {
                Some(text) => {
                    core.text.set(text);
                    Ok(Progress::Text)
                }
                None => frame
                    .writer
                    .finish(l)
                    .map(|()| Progress::Value)
                    .map_err(CallError::from),
            },
            Err(error) => {
                frame.writer.discard();
                Err(error)
            }
        }
    };
    put_back(core, pointer);
    progress.unwrap_or_else(|error| failed(core, error))
}

/// Ends whatever `pointer` still does and keeps the frame for the callee's next call.
fn recycle(core: &Core, pointer: FramePointer) {
    // SAFETY: the frame is ours; the call that borrows from it is dropped before the rest of it is used.
    unsafe {
        let frame = pointer.0.as_ptr();
        (&raw mut (*frame).calling).replace(None);
        (*frame).writer.discard();
    }
    put_back(core, pointer);
}

/// Keeps a frame whose call has ended, and whose value is taken or discarded, for the callee's next call.
fn put_back(core: &Core, pointer: FramePointer) {
    // SAFETY: the frame is ours, and no call borrows from it.
    let callee = unsafe {
        let frame = &mut *pointer.0.as_ptr();
        frame.reader.clear();
        frame.context = None;
        match &mut frame.target {
            Target::Function(callee, _) => Some(*callee),
            Target::Method(target) => {
                *target = None;
                None
            }
        }
    };
    let Some(callee) = callee else {
        let mut frames = core.method_frames.borrow_mut();
        if frames.len() < METHOD_FRAMES_MAX {
            frames.push(pointer);
        }
        return;
    };
    if let Some(callee) = core.callees.borrow_mut().get_mut(callee) {
        callee.idle.get_or_insert(pointer);
    }
}

/// So many frames are kept for calls of methods.
const METHOD_FRAMES_MAX: usize = 16;

/// Makes the Lua function that calls the method `name` of the object that is its first argument. Where that is none,
/// `misuse` is called, which raises.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn method_function(lua: &Lua, name: &str, misuse: &LuaFunction) -> mlua::Result<LuaFunction> {
    // SAFETY: the closure owns nothing; its argument becomes the first upvalue, the table of interned keys the second.
    unsafe {
        lua.exec_raw(misuse, |l| {
            let core = core(l);
            push_keys(l, core);
            let number = caught(|| {
                let mut methods = core.methods.borrow_mut();
                methods.push(name.into());
                i64::try_from(methods.len() - 1).unwrap_or(i64::MAX)
            });
            ffi::lua_pushinteger(l, number.unwrap_or(i64::MAX));
            ffi::lua_pushcclosure(l, call_method, 3);
        })
    }
}

unsafe extern "C-unwind" fn call_method(l: *mut lua_State) -> c_int {
    // SAFETY: as for `call`.
    unsafe {
        let core = core(l);
        let Some(object) = handle(l, core) else {
            ffi::lua_settop(l, 0);
            ffi::lua_pushvalue(l, ffi::lua_upvalueindex(1));
            ffi::lua_call(l, 0, 0);
            return 0;
        };
        let number = ffi::lua_tointegerx(l, ffi::lua_upvalueindex(3), ptr::null_mut());
        go_on(l, core, caught(|| begin_method(l, core, object, number)))
    }
}

/// The object whose handle the first argument is.
///
/// # Safety
/// `l` runs a C function; what is returned is used before anything else happens to its first argument.
unsafe fn handle<'a>(l: *mut lua_State, core: &Core) -> Option<&'a Arc<dyn Object>> {
    // SAFETY: by the caller; the userdata is of the kind that was asked for.
    unsafe {
        if ffi::lua_type(l, 1) != ffi::LUA_TUSERDATA
            || object::kind(l, 1, core) != Some(object::Kind::Foreign)
        {
            return None;
        }
        let foreign = &*ffi::lua_touserdata(l, 1).cast::<Arc<dyn Foreign>>();
        Handle::of(&**foreign).map(Handle::object)
    }
}

fn begin_method(l: *mut lua_State, core: &Core, object: &Arc<dyn Object>, number: i64) -> Progress {
    let name = usize::try_from(number).ok().and_then(|number| {
        core.methods
            .borrow()
            .get(number)
            .map(|name| NonNull::from(&**name))
    });
    let target = name.map(|name| (Arc::clone(object), name));
    let pointer = match core.method_frames.borrow_mut().pop() {
        Some(pointer) => pointer,
        None => FramePointer::new(Target::Method(None)),
    };
    // SAFETY: the frame is ours, and no call borrows from it.
    unsafe { (*pointer.0.as_ptr()).target = Target::Method(target) };
    start(l, core, pointer)
}

/// Makes the `__index` of handles: what `methods` has for a name, if the object has a method of that name; anything else
/// is left to `otherwise`, which is called with the same arguments.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn index_function(
    lua: &Lua,
    methods: &mlua::Table,
    otherwise: &LuaFunction,
) -> mlua::Result<LuaFunction> {
    // SAFETY: the closure owns nothing; its arguments become upvalues.
    unsafe { lua.exec_raw((methods, otherwise), |l| ffi::lua_pushcclosure(l, index, 2)) }
}

unsafe extern "C-unwind" fn index(l: *mut lua_State) -> c_int {
    // SAFETY: as for `call`.
    unsafe {
        if ffi::lua_type(l, 2) == ffi::LUA_TSTRING
            && let Some(Some(class)) = caught(|| class_with_method(l))
        {
            ffi::lua_pushvalue(l, 2);
            if ffi::lua_rawget(l, ffi::lua_upvalueindex(1)) == ffi::LUA_TFUNCTION {
                note_method(l, class);
                return 1;
            }
        }
        ffi::lua_settop(l, 2);
        ffi::lua_pushvalue(l, ffi::lua_upvalueindex(2));
        ffi::lua_insert(l, 1);
        ffi::lua_call(l, 2, 1);
        1
    }
}

/// The class of the first argument, or 0 if it has none, if it is an object with a method of the name that is the second.
fn class_with_method(l: *mut lua_State) -> Option<u64> {
    // SAFETY: the second argument is a string; both stay where they are.
    unsafe {
        let core = core(l);
        let object = handle(l, core)?;
        let class = object.class().unwrap_or_default();
        let mut len = 0;
        let name = ffi::lua_tolstring(l, 2, &raw mut len);
        if class != 0 && core.recent_method.get() == (class, name.cast()) {
            return Some(class);
        }
        let name = str::from_utf8(slice::from_raw_parts(name.cast(), len)).ok()?;
        object.has_method(name).then_some(class)
    }
}

/// Remembers that objects of `class` have the method whose name is the second argument, and which the table of methods has.
///
/// # Safety
/// `l` runs [`index`], whose second argument is a string.
unsafe fn note_method(l: *mut lua_State, class: u64) {
    /// Strings up to this long, equal ones are the same in Lua 5.4, so the table keeps the very one that is asked for.
    const SAME_MAX: usize = 40;
    // SAFETY: by the caller.
    unsafe {
        let mut len = 0;
        let name = ffi::lua_tolstring(l, 2, &raw mut len);
        if class != 0 && len <= SAME_MAX {
            core(l).recent_method.set((class, name));
        }
    }
}

const _: () = assert!(mem::size_of::<FramePointer>() == mem::size_of::<usize>());
