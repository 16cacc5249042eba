//! [`Slots`]: how many instances there are, so that there are never too many, and idle ones only while there is room.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The instances of one engine that are alive.
#[derive(Debug)]
pub(crate) struct Slots {
    alive: AtomicUsize,
    max: usize,
    /// With more alive than this, none is kept idle.
    keep_max: usize,
}

impl Slots {
    /// Slots for `instances_max`; a quarter of them is left for calls that need a fresh one.
    pub(crate) fn new(instances_max: usize) -> Arc<Self> {
        Arc::new(Self {
            alive: AtomicUsize::new(0),
            max: instances_max,
            keep_max: instances_max / 4 * 3,
        })
    }

    /// Counts an instance for as long as what is returned lives; none when there are as many as may be.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Alive> {
        let alive = Alive(Arc::clone(self));
        (self.alive.fetch_add(1, Ordering::Relaxed) < self.max).then_some(alive)
    }

    /// Whether an instance may be kept although nobody uses it.
    pub(crate) fn has_room(&self) -> bool {
        self.alive.load(Ordering::Relaxed) <= self.keep_max
    }
}

/// Counts one instance.
#[derive(Debug)]
pub(crate) struct Alive(Arc<Slots>);

impl Alive {
    /// Whether the instance may be kept although nobody uses it.
    pub(crate) fn has_room(&self) -> bool {
        self.0.has_room()
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::Relaxed);
    }
}
