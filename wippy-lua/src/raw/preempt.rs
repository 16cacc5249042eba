//! Taking the processor away from a script that does not give it up: by time, at no cost to those that do.
//!
//! A count hook that is always set makes Lua look at it with every instruction, which doubles what computing costs.
//! So no hook is set while a script runs. A thread of the process looks every few milliseconds which threads are still
//! within the same turn as before, and sends each of them a signal. Its handler runs on the thread that runs the
//! script, between any two machine instructions, and sets the hook: as Lua's own interpreter does when somebody types
//! Ctrl-C. The hook unsets itself and does what it always did; see [`hook`](super::vm::hook).
//!
//! # Safety argument
//! *What the handler does* is one call of `lua_sethook`, which Lua documents as the one function that may be called
//! asynchronously: it allocates nothing, raises nothing, takes no lock, and writes fields that are made for it. Both of
//! the fields that the interpreter reads at any time, `hookmask` of a thread and `trap` of a call, are
//! `volatile sig_atomic_t`. It walks the thread's list of calls from the current one outwards, to which the interpreter
//! only links a record that is complete.
//!
//! *Which thread it is called for*: the one in [`RUNNING`], which is set just around `lua_resume` and is local to the
//! system's thread. The handler runs on that thread too, so what it touches is never touched by two at once: the code
//! it interrupts stands still. It does not matter which code that is, whether the interpreter, an allocation, another
//! state, or a WebAssembly guest further up the stack. A signal that comes late finds nothing there, or another
//! script, which then gives up its turn too early.
//!
//! *Who gets signals*: threads in the list of slots, while the list is locked; a thread takes itself off the list, under
//! the same lock, before it ends. The signal is `SIGURG`, which is ignored by default and used by nobody here; a handler
//! that was there before is called too. `SA_RESTART` lets system calls go on, `SA_ONSTACK` keeps small stacks small.
//!
//! *What the handler calls* is safe in a signal: a load of a thread-local atomic that needs no initialization, and
//! `lua_sethook`.

#[cfg(unix)]
pub(super) use signals::{Turn, is_available};
#[cfg(not(unix))]
pub(super) use unavailable::{Turn, is_available};

use std::{
    ptr,
    sync::atomic::{AtomicPtr, Ordering, compiler_fence},
};

use mlua::ffi::lua_State;

thread_local! {
    /// The Lua thread that this thread runs.
    static RUNNING: AtomicPtr<lua_State> = const { AtomicPtr::new(ptr::null_mut()) };
}

/// Says that `l` runs from now on, and gives what ran before. Null for nothing.
pub(super) fn switch(l: *mut lua_State) -> *mut lua_State {
    compiler_fence(Ordering::SeqCst);
    // Only this thread writes to it, so this need not be one step, which would cost more than both.
    let before = RUNNING.with(|running| {
        let before = running.load(Ordering::Relaxed);
        running.store(l, Ordering::Relaxed);
        before
    });
    compiler_fence(Ordering::SeqCst);
    before
}

#[cfg(unix)]
mod signals {
    //! Everything about threads and signals.

    use std::{
        ffi::{c_int, c_void},
        mem::MaybeUninit,
        ptr,
        sync::{
            Arc, Mutex, OnceLock, PoisonError,
            atomic::{AtomicBool, AtomicU64, Ordering},
        },
        thread::{self, Thread},
        time::Duration,
    };

    use mlua::ffi::{self, lua_State};

    use super::{RUNNING, switch};
    use crate::raw::vm::hook;

    /// A script gives up its turn after one to two of these.
    const TICK: Duration = Duration::from_millis(5);
    /// After so many ticks in which nothing ran, the watch sleeps until something does.
    const IDLE_TICKS: u32 = 20;
    const SIGNAL: c_int = libc::SIGURG;

    /// Whether scripts are preempted by time. Where that is not possible, they have to count instructions.
    pub(crate) fn is_available() -> bool {
        WATCH.get_or_init(start).is_some()
    }

    static WATCH: OnceLock<Option<Watch>> = OnceLock::new();
    /// What was to be done about the signal before.
    static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

    /// Watches over the threads that run scripts.
    struct Watch {
        slots: Mutex<Vec<Watched>>,
        /// Whether the watch sleeps.
        is_parked: AtomicBool,
        thread: OnceLock<Thread>,
    }

    struct Watched {
        slot: Arc<Slot>,
        /// The turn that it was in at the last tick.
        seen: u64,
    }

    /// What a thread tells about itself.
    struct Slot {
        thread: libc::pthread_t,
        /// The number of the turn that it is in; 0 if it runs no script.
        turn: AtomicU64,
    }

    fn start() -> Option<Watch> {
        install()?;
        let watch = Watch {
            slots: Mutex::default(),
            is_parked: AtomicBool::new(false),
            thread: OnceLock::new(),
        };
        let thread = thread::Builder::new()
            .name("lua-preemption".to_owned())
            .spawn(|| {
                // The cell is set right after this thread is started.
                if let Some(watch) = WATCH.wait() {
                    watch.run();
                }
            });
        watch.thread.set(thread.ok()?.thread().clone()).ok()?;
        Some(watch)
    }

    fn install() -> Option<()> {
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: all-zero bytes are a `sigaction`; the pointers are to live values; the handler keeps to what may be
        // done in one.
        let before = unsafe {
            if libc::sigaction(SIGNAL, ptr::null(), before.as_mut_ptr()) != 0 {
                return None;
            }
            before.assume_init()
        };
        BEFORE.get_or_init(|| before);
        // SAFETY: as above. What was before is known by now, so that the handler finds it.
        unsafe {
            let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut action.sa_mask);
            (libc::sigaction(SIGNAL, &raw const action, ptr::null_mut()) == 0).then_some(())
        }
    }

    extern "C" fn handler(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        let running = RUNNING.with(|running| running.load(Ordering::Relaxed));
        if !running.is_null() {
            // SAFETY: it runs on this very thread; see the argument of this module.
            unsafe { ffi::lua_sethook(running, Some(hook), ffi::LUA_MASKCOUNT, 1) };
        }
        let Some(before) = BEFORE.get() else { return };
        if before.sa_sigaction == libc::SIG_DFL || before.sa_sigaction == libc::SIG_IGN {
            return;
        }
        // SAFETY: it was installed as a handler of the kind that its flags say.
        unsafe {
            if before.sa_flags & libc::SA_SIGINFO == 0 {
                let handler: extern "C" fn(c_int) = std::mem::transmute(before.sa_sigaction);
                handler(signal);
            } else {
                let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                    std::mem::transmute(before.sa_sigaction);
                handler(signal, info, context);
            }
        }
    }

    impl Watch {
        fn run(&self) {
            let mut idle = 0;
            loop {
                thread::sleep(TICK);
                idle = if self.tick() { 0 } else { idle + 1 };
                if idle >= IDLE_TICKS {
                    self.park();
                    idle = 0;
                }
            }
        }

        /// Interrupts what has run since the last tick. False if nothing runs.
        fn tick(&self) -> bool {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let mut is_any = false;
            for Watched { slot, seen } in &mut *slots {
                let turn = slot.turn.load(Ordering::SeqCst);
                is_any |= turn != 0;
                if turn != 0 && turn == *seen {
                    // SAFETY: the thread is alive, since it takes itself off the list before it ends.
                    unsafe { libc::pthread_kill(slot.thread, SIGNAL) };
                }
                *seen = turn;
            }
            is_any
        }

        /// Sleeps until a turn begins.
        fn park(&self) {
            self.is_parked.store(true, Ordering::SeqCst);
            // A turn that began before that was said did not see it.
            if self.tick() {
                self.is_parked.store(false, Ordering::SeqCst);
            }
            while self.is_parked.load(Ordering::SeqCst) {
                thread::park();
            }
        }

        fn wake(&self) {
            if self.is_parked.load(Ordering::SeqCst)
                && self.is_parked.swap(false, Ordering::SeqCst)
                && let Some(thread) = self.thread.get()
            {
                thread.unpark();
            }
        }
    }

    /// A thread's place on the list, given up when it ends.
    struct Registration {
        slot: Arc<Slot>,
        watch: &'static Watch,
        turns: u64,
    }

    impl Registration {
        fn new(watch: &'static Watch) -> Self {
            let slot = Arc::new(Slot {
                // SAFETY: always succeeds.
                thread: unsafe { libc::pthread_self() },
                turn: AtomicU64::new(0),
            });
            let mut slots = watch.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.push(Watched {
                slot: slot.clone(),
                seen: 0,
            });
            Self {
                slot,
                watch,
                turns: 0,
            }
        }
    }

    impl Drop for Registration {
        fn drop(&mut self) {
            let mut slots = self.watch.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.retain(|watched| !Arc::ptr_eq(&watched.slot, &self.slot));
        }
    }

    thread_local! {
        static REGISTRATION: std::cell::RefCell<Option<Registration>> = const { std::cell::RefCell::new(None) };
    }

    /// A turn of a script: from here on it may be interrupted, until this is dropped.
    ///
    /// Turns of other states within it belong to it: what goes on for too long is the outermost one, and what gives up is
    /// the innermost one, whose caller then has to wait.
    pub(crate) struct Turn {
        before: *mut lua_State,
    }

    impl Turn {
        pub(crate) fn begin(l: *mut lua_State) -> Self {
            let before = switch(l);
            if before.is_null() {
                enter();
            }
            Self { before }
        }
    }

    impl Drop for Turn {
        fn drop(&mut self) {
            if self.before.is_null() {
                leave();
            }
            switch(self.before);
        }
    }

    fn enter() {
        let Some(Some(watch)) = WATCH.get() else { return };
        // A thread that is ending already cannot be watched any more.
        let _ = REGISTRATION.try_with(|registration| {
            let mut registration = registration.borrow_mut();
            let registration = registration.get_or_insert_with(|| Registration::new(watch));
            registration.turns += 1;
            registration.slot.turn.store(registration.turns, Ordering::SeqCst);
        });
        watch.wake();
    }

    fn leave() {
        let _ = REGISTRATION.try_with(|registration| {
            if let Some(registration) = &*registration.borrow() {
                registration.slot.turn.store(0, Ordering::Release);
            }
        });
    }
}

#[cfg(not(unix))]
mod unavailable {
    //! Where there are no signals, instructions are counted.

    use mlua::ffi::lua_State;

    pub(crate) fn is_available() -> bool {
        false
    }

    pub(crate) struct Turn;

    impl Turn {
        pub(crate) fn begin(_: *mut lua_State) -> Self {
            Self
        }
    }
}
