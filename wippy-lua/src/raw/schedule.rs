//! [`Queue`]: which of the things that a state's driver runs have been woken.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

/// Something that the driver gives turns to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// The main coroutine.
    Main,
    /// A coroutine that was started with `coroutine.spawn`, by its place.
    Spawned(usize),
    /// A channel whose source has something, by its number.
    Pump(usize),
    /// What runs beside the coroutines.
    Background,
}

/// What has been woken from anywhere, also from other threads.
#[derive(Default)]
pub(crate) struct Queue(Mutex<State>);

#[derive(Default)]
struct State {
    ready: VecDeque<Ready>,
    /// Whether the driver runs, and will look again before it stops.
    polling: bool,
    /// Wakes the driver.
    parent: Option<Waker>,
}

impl State {
    fn take(&mut self, ready: &mut VecDeque<Ready>) {
        if ready.is_empty() {
            mem::swap(ready, &mut self.ready);
        } else {
            ready.append(&mut self.ready);
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, ready: Ready) {
        let mut state = self.lock();
        state.ready.push_back(ready);
        let parent = if state.polling { None } else { state.parent.clone() };
        drop(state);
        if let Some(parent) = parent {
            parent.wake();
        }
    }

    /// Wakes nobody until a driver begins.
    pub(super) fn forget_parent(&self) {
        self.lock().parent = None;
    }

    /// The driver begins: until it ends, it looks here by itself. Everything that has been woken moves to the end of
    /// `ready`.
    pub(super) fn begin(&self, waker: &Waker, ready: &mut VecDeque<Ready>) {
        let mut state = self.lock();
        state.polling = true;
        state.take(ready);
        if state.parent.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            state.parent = Some(waker.clone());
        }
    }

    /// Moves everything that has been woken to the end of `ready`. If that is nothing, the driver ends; answers whether
    /// it goes on.
    pub(super) fn take_or_end(&self, ready: &mut VecDeque<Ready>) -> bool {
        let mut state = self.lock();
        state.polling = !state.ready.is_empty();
        state.take(ready);
        state.polling
    }

    /// The driver ends; answers whether something has been woken that it has not taken.
    pub(super) fn end(&self) -> bool {
        let mut state = self.lock();
        state.polling = false;
        !state.ready.is_empty()
    }
}

/// Wakes one thing that the driver runs.
pub(super) struct TaskWaker {
    ready: Ready,
    queued: AtomicBool,
    queue: Arc<Queue>,
}

impl TaskWaker {
    pub(super) fn new(ready: Ready, queue: Arc<Queue>) -> (Arc<Self>, Waker) {
        let flag = Arc::new(Self {
            ready,
            queued: AtomicBool::new(false),
            queue,
        });
        (flag.clone(), Waker::from(flag))
    }

    /// Its turn has come: from now on it can be woken again.
    pub(super) fn taken(&self) {
        self.queued.store(false, Ordering::Release);
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.queue.push(self.ready);
        }
    }
}
