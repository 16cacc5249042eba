//! [`Slots`]: how many instances there are, so that there are never too many, and idle ones only while there is room.
//!
//! The first of them live in a small pool that every engine starts with, the others in a large one that is only reserved
//! when it is needed; see [`Reserve`](crate::reserve::Reserve).

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
    /// Those of them that live in the first pool.
    first: AtomicUsize,
    first_max: usize,
}

/// Where an instance lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the pool that the engine started with.
    First,
    /// In the one that is reserved when the first is full.
    Reserve,
}

impl Slots {
    /// Slots for `instances_max`, of which `first_max` are in the first pool; a quarter of all is left for calls that need
    /// a fresh one.
    pub(crate) fn new(instances_max: usize, first_max: usize) -> Arc<Self> {
        Arc::new(Self {
            alive: AtomicUsize::new(0),
            max: instances_max,
            keep_max: instances_max / 4 * 3,
            first: AtomicUsize::new(0),
            first_max: first_max.min(instances_max),
        })
    }

    /// Counts an instance for as long as what is returned lives; none when there are as many as may be.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Alive> {
        let mut alive = Alive {
            slots: Arc::clone(self),
            place: Place::Reserve,
        };
        if self.alive.fetch_add(1, Ordering::Relaxed) >= self.max {
            return None;
        }
        let free = |first| (first < self.first_max).then_some(first + 1);
        if self
            .first
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, free)
            .is_ok()
        {
            alive.place = Place::First;
        }
        Some(alive)
    }

    /// How many are alive, and how many there may be.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.alive.load(Ordering::Relaxed), self.max)
    }

    /// Whether an instance may be kept although nobody uses it.
    pub(crate) fn has_room(&self) -> bool {
        self.alive.load(Ordering::Relaxed) <= self.keep_max
    }
}

/// Counts one instance.
#[derive(Debug)]
pub(crate) struct Alive {
    slots: Arc<Slots>,
    place: Place,
}

impl Alive {
    /// Where the instance lives.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Lets it live in the reserve although the first pool has a slot: it may lack something else.
    pub(crate) fn move_to_reserve(&mut self) {
        if self.place == Place::First {
            self.place = Place::Reserve;
            self.slots.first.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether the instance may be kept although nobody uses it.
    pub(crate) fn has_room(&self) -> bool {
        self.slots.has_room()
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.move_to_reserve();
        self.slots.alive.fetch_sub(1, Ordering::Relaxed);
    }
}
