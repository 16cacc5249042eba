//! `coroutine`: as in stock Lua, except that a coroutine which waits for the driver takes everything below it along.
//!
//! When code inside a script's own coroutine blocks, `resume` sees a yield that is not the script's. It passes that
//! outwards, down to the driver, and resumes the inner coroutine again when it is resumed itself.

use std::ffi::c_int;

use mlua::ffi::{self, lua_State};

use super::{
    core::{Core, Spawned, core, raise},
    preempt,
    vm::{count_instructions, hook},
};

/// `resume` answers false and the error; `wrap`ped functions raise it.
const RESUME: isize = 0;
const WRAP: isize = 1;

pub(crate) unsafe extern "C-unwind" fn resume(l: *mut lua_State) -> c_int {
    // SAFETY: nothing that needs dropping is alive here when something raises or yields; so in all functions below.
    unsafe {
        let inner = ffi::lua_tothread(l, 1);
        if inner.is_null() {
            return raise(l, "bad argument #1 to 'resume' (coroutine expected)");
        }
        let arguments = ffi::lua_gettop(l) - 1;
        if core(l).is_guarded(inner) {
            ffi::lua_pushboolean(l, 0);
            push_text(l, "cannot resume non-suspended coroutine");
            return 2;
        }
        if ffi::lua_checkstack(inner, arguments) == 0 {
            ffi::lua_pushboolean(l, 0);
            push_text(l, "too many arguments to resume");
            return 2;
        }
        ffi::lua_xmove(l, inner, arguments);
        drive(l, inner, arguments, RESUME)
    }
}

unsafe extern "C-unwind" fn wrapped(l: *mut lua_State) -> c_int {
    // SAFETY: see `resume`; the upvalue is the coroutine that `wrap` made.
    unsafe {
        let inner = ffi::lua_tothread(l, ffi::lua_upvalueindex(1));
        let arguments = ffi::lua_gettop(l);
        if core(l).is_guarded(inner) {
            return raise(l, "cannot resume non-suspended coroutine");
        }
        if ffi::lua_checkstack(inner, arguments) == 0 {
            return raise(l, "too many arguments to resume");
        }
        ffi::lua_xmove(l, inner, arguments);
        drive(l, inner, arguments, WRAP)
    }
}

pub(crate) unsafe extern "C-unwind" fn wrap(l: *mut lua_State) -> c_int {
    // SAFETY: see `resume`.
    unsafe {
        ffi::luaL_checktype(l, 1, ffi::LUA_TFUNCTION);
        let inner = ffi::lua_newthread(l);
        ffi::lua_pushvalue(l, 1);
        ffi::lua_xmove(l, inner, 1);
        ffi::lua_pushcclosure(l, wrapped, 1);
        1
    }
}

/// Runs `inner` until it ends, yields to the script, or yields to the driver.
unsafe fn drive(l: *mut lua_State, inner: *mut lua_State, arguments: c_int, mode: isize) -> c_int {
    // SAFETY: see `resume`. `lua_resume` itself never raises, so the count of pins is balanced.
    unsafe {
        let core = core(l);
        let pins = c_int::from(ffi::lua_isyieldable(l) == 0).unsigned_abs();
        core.pinned.set(core.pinned.get() + pins);
        let mut results = 0;
        let outer = preempt::switch(inner);
        let status = ffi::lua_resume(inner, l, arguments, &raw mut results);
        preempt::switch(outer);
        core.pinned.set(core.pinned.get() - pins);
        if status == ffi::LUA_YIELD && core.suspending.get() {
            guard(core, inner);
            return ffi::lua_yieldk(l, 0, mode, Some(continued));
        }
        if core.terminated.get() && status != ffi::LUA_OK && status != ffi::LUA_YIELD {
            // The end of an invocation is nobody's to catch: this thread, too, goes no further.
            ffi::lua_sethook(l, Some(hook), ffi::LUA_MASKCOUNT, 1);
            ffi::lua_xmove(inner, l, 1);
            ffi::lua_error(l);
        }
        if status == ffi::LUA_OK || status == ffi::LUA_YIELD {
            if ffi::lua_checkstack(l, results + 1) == 0 {
                ffi::lua_settop(inner, -results - 1);
                if mode == WRAP {
                    return raise(l, "too many results to resume");
                }
                ffi::lua_pushboolean(l, 0);
                push_text(l, "too many results to resume");
                return 2;
            }
            if mode == RESUME {
                ffi::lua_pushboolean(l, 1);
            }
            ffi::lua_xmove(inner, l, results);
            return results + c_int::from(mode == RESUME);
        }
        fail(l, inner, mode)
    }
}

/// The inner coroutine raised an error, or could not be resumed.
unsafe fn fail(l: *mut lua_State, inner: *mut lua_State, mode: isize) -> c_int {
    // SAFETY: see `resume`.
    unsafe {
        if mode == RESUME {
            ffi::lua_pushboolean(l, 0);
            ffi::lua_xmove(inner, l, 1);
            return 2;
        }
        let mut status = ffi::lua_status(inner);
        if status != ffi::LUA_OK && status != ffi::LUA_YIELD {
            count_instructions(inner, core(l));
            status = ffi::lua_closethread(inner, l);
        }
        ffi::lua_xmove(inner, l, 1);
        if status != ffi::LUA_ERRMEM && ffi::lua_type(l, -1) == ffi::LUA_TSTRING {
            ffi::luaL_where(l, 1);
            ffi::lua_insert(l, -2);
            ffi::lua_concat(l, 2);
        }
        ffi::lua_error(l)
    }
}

/// The driver has resumed the outer coroutine; on with the inner one.
unsafe extern "C-unwind" fn continued(l: *mut lua_State, _status: c_int, mode: isize) -> c_int {
    // SAFETY: see `resume`.
    unsafe {
        let index = if mode == RESUME {
            1
        } else {
            ffi::lua_upvalueindex(1)
        };
        let inner = ffi::lua_tothread(l, index);
        core(l).guarded.borrow_mut().remove(&(inner as usize));
        drive(l, inner, 0, mode)
    }
}

fn guard(core: &Core, inner: *mut lua_State) {
    core.guarded.borrow_mut().insert(inner as usize);
}

/// Whether `l` is a coroutine that the driver runs directly: nobody is there to take what it would yield.
fn is_outermost(core: &Core, l: *mut lua_State) -> bool {
    core.is_guarded(l)
}

pub(crate) unsafe extern "C-unwind" fn yielding(l: *mut lua_State) -> c_int {
    // SAFETY: see `resume`.
    unsafe {
        if is_outermost(core(l), l) {
            return raise(l, "attempt to yield from outside a coroutine");
        }
        ffi::lua_yieldk(l, ffi::lua_gettop(l), 0, None)
    }
}

pub(crate) unsafe extern "C-unwind" fn isyieldable(l: *mut lua_State) -> c_int {
    // SAFETY: see `resume`.
    unsafe {
        let thread = if ffi::lua_type(l, 1) == ffi::LUA_TTHREAD {
            ffi::lua_tothread(l, 1)
        } else {
            l
        };
        let yieldable = ffi::lua_isyieldable(thread) != 0 && !is_outermost(core(l), thread);
        ffi::lua_pushboolean(l, c_int::from(yieldable));
        1
    }
}

pub(crate) unsafe extern "C-unwind" fn running(l: *mut lua_State) -> c_int {
    // SAFETY: see `resume`.
    unsafe {
        ffi::lua_pushthread(l);
        ffi::lua_pushboolean(l, c_int::from(is_outermost(core(l), l)));
        2
    }
}

pub(crate) unsafe extern "C-unwind" fn close(l: *mut lua_State) -> c_int {
    // SAFETY: see `resume`. Only a coroutine without frames that run, or one that yielded to its script, is closed.
    unsafe {
        let inner = ffi::lua_tothread(l, 1);
        if inner.is_null() {
            return raise(l, "bad argument #1 to 'close' (coroutine expected)");
        }
        if inner == l {
            return raise(l, "cannot close a running coroutine");
        }
        let mut frame = std::mem::MaybeUninit::<ffi::lua_Debug>::zeroed();
        let status = ffi::lua_status(inner);
        let is_normal = status == ffi::LUA_OK && ffi::lua_getstack(inner, 0, frame.as_mut_ptr()) != 0;
        if is_normal || core(l).is_guarded(inner) {
            return raise(l, "cannot close a normal coroutine");
        }
        // What it has yet to close runs as part of this thread, which the watch does not know.
        count_instructions(inner, core(l));
        if ffi::lua_closethread(inner, l) == ffi::LUA_OK {
            ffi::lua_pushboolean(l, 1);
            1
        } else {
            ffi::lua_pushboolean(l, 0);
            ffi::lua_xmove(inner, l, 1);
            2
        }
    }
}

/// `coroutine.spawn(fn, ...)`: a coroutine that the driver runs beside this one.
pub(crate) unsafe extern "C-unwind" fn spawn(l: *mut lua_State) -> c_int {
    // SAFETY: see `resume`. The reference is made before the coroutine is known to the driver.
    unsafe {
        ffi::luaL_checktype(l, 1, ffi::LUA_TFUNCTION);
        let core = core(l);
        let arguments = ffi::lua_gettop(l) - 1;
        let thread = ffi::lua_newthread(l);
        ffi::lua_insert(l, 1);
        if ffi::lua_checkstack(thread, arguments + 1) == 0 {
            return raise(l, "too many arguments to spawn");
        }
        ffi::lua_xmove(l, thread, arguments + 1);
        let reference = ffi::luaL_ref(l, ffi::LUA_REGISTRYINDEX);
        guard(core, thread);
        core.spawned.borrow_mut().push(Spawned {
            thread,
            reference,
            arguments,
        });
        0
    }
}

/// # Safety
/// As for any function that can raise; a free slot.
unsafe fn push_text(l: *mut lua_State, text: &'static str) {
    // SAFETY: by the caller.
    unsafe {
        ffi::lua_pushlstring(l, text.as_ptr().cast(), text.len());
    }
}
