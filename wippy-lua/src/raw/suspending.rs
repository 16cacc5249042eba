//! Blocking functions written in safe code: a start function that makes a future, a future that is polled by the
//! driver, and a finish function that turns its outcome into Lua values.

use std::{
    ffi::c_int,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use mlua::{
    Function, Lua, MultiValue,
    ffi::{self, lua_State},
};

use wippy_security::stack;

use super::{
    bridge::push_bridge,
    core::{Core, Parked, TOO_DEEP, caught, core, raise},
};

/// Makes Lua values of a future's outcome.
pub(crate) type Completion = Box<dyn FnOnce(&Lua) -> mlua::Result<MultiValue> + Send>;

/// The future behind a blocking function.
pub(crate) type Suspension = Pin<Box<dyn Future<Output = mlua::Result<Completion>> + Send>>;

/// Where futures and outcomes pass between the safe closures and the C function around them.
#[derive(Default)]
pub(crate) struct Exchange {
    started: Mutex<Option<Suspension>>,
    outcome: Mutex<Option<mlua::Result<Completion>>>,
}

impl Exchange {
    fn start(&self, suspension: Suspension) {
        *self.started.lock().unwrap_or_else(PoisonError::into_inner) = Some(suspension);
    }

    fn take_started(&self) -> Option<Suspension> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn complete(&self, outcome: mlua::Result<Completion>) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    pub(super) fn take_outcome(&self) -> Option<mlua::Result<Completion>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn clear(&self) {
        self.take_started();
        self.take_outcome();
    }
}

/// Makes a Lua function of `start`. It is given the arguments and answers the future to wait for; the running
/// coroutine is suspended until that is done, unless it is done at once.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn suspending_function<F>(lua: &Lua, start: F) -> mlua::Result<Function>
where
    F: Fn(&Lua, MultiValue) -> mlua::Result<Suspension> + Send + 'static,
{
    let exchange = exchange(lua);
    let start = lua.create_function(move |lua, arguments: MultiValue| {
        exchange.start(start(lua, arguments)?);
        Ok(())
    })?;
    // SAFETY: the closure owns nothing; the function is its argument and becomes an upvalue.
    unsafe { lua.exec_raw(start, |l| ffi::lua_pushcclosure(l, run, 1)) }
}

pub(super) fn exchange(lua: &Lua) -> Arc<Exchange> {
    // SAFETY: mlua's current state is a thread of a state of ours.
    lua.exec_raw_lua(|raw| unsafe { core(raw.state()).exchange.clone() })
}

/// How the first poll went.
#[derive(Clone, Copy)]
enum Begun {
    Ready,
    Pending,
    Refused,
    /// Refused, since the native stack is deep, too.
    TooDeep,
}

/// The C function: calls start, polls once, and either finishes or yields.
unsafe extern "C-unwind" fn run(l: *mut lua_State) -> c_int {
    // SAFETY: no Rust value that needs dropping is alive in this frame when something raises or yields.
    unsafe {
        let arguments = ffi::lua_gettop(l);
        ffi::lua_pushvalue(l, ffi::lua_upvalueindex(1));
        ffi::lua_insert(l, 1);
        ffi::lua_call(l, arguments, 0);
        match caught(|| begin(l, core(l))) {
            Some(Begun::Ready) => finish(l, ffi::LUA_OK, 0),
            Some(Begun::Pending) => {
                core(l).suspending.set(true);
                ffi::lua_yieldk(l, 0, 0, Some(finish))
            }
            Some(Begun::Refused) => raise(
                l,
                "a blocking function cannot wait here: a function written in C is on the stack",
            ),
            Some(Begun::TooDeep) => raise(l, TOO_DEEP),
            None => raise(l, "internal error: a blocking function panicked"),
        }
    }
}

/// Takes the future that start made and polls it once.
fn begin(l: *mut lua_State, core: &Core) -> Begun {
    let Some(mut suspension) = core.exchange.take_started() else {
        return Begun::Refused;
    };
    let waker = core.waker.get();
    if waker.is_null() {
        return Begun::Refused;
    }
    // SAFETY: the driver set the waker for as long as Lua runs.
    let waker = unsafe { &*waker };
    // SAFETY: `l` runs.
    let can_suspend = unsafe { core.can_suspend(l) };
    // What it waits for may be a call, which goes on on this stack; see `call`.
    if stack::is_deep() && can_suspend {
        waker.wake_by_ref();
        *core.handoff.borrow_mut() = Some(Parked::Future(suspension));
        return Begun::Pending;
    }
    if stack::is_too_deep() {
        return Begun::TooDeep;
    }
    let mut context = Context::from_waker(waker);
    match suspension.as_mut().poll(&mut context) {
        Poll::Ready(outcome) => {
            core.exchange.complete(outcome);
            Begun::Ready
        }
        Poll::Pending if can_suspend => {
            *core.handoff.borrow_mut() = Some(Parked::Future(suspension));
            Begun::Pending
        }
        Poll::Pending => Begun::Refused,
    }
}

/// The continuation: the outcome is in the exchange.
unsafe extern "C-unwind" fn finish(l: *mut lua_State, _status: c_int, _context: isize) -> c_int {
    // SAFETY: as for `run`.
    unsafe {
        ffi::lua_settop(l, 0);
        push_bridge(l);
        ffi::lua_call(l, 0, ffi::LUA_MULTRET);
        ffi::lua_gettop(l)
    }
}
