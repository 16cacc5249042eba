//! [`Slots`]: how many instances there are, so that there are never too many, and idle ones only while there is room.
//!
//! The first of them live in a small pool that every engine starts with, the others in a large one that is only reserved
//! when it is needed; see [`Reserve`](crate::reserve::Reserve).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The instances of one engine that are alive.
#[derive(Debug)]
pub(crate) struct Slots {
    /// Both counts in one word, so that counting an instance is one access to a line that all threads share: those that are
    /// alive below, and those of them in the first pool in the upper half.
    counts: AtomicU64,
    max: usize,
    /// With more alive than this, none is kept idle.
    keep_max: usize,
    first_max: usize,
}

/// One that is alive.
const ONE_ALIVE: u64 = 1;
/// One that is in the first pool.
const ONE_FIRST: u64 = 1 << 32;

/// Those that are alive, and those in the first pool.
fn split(counts: u64) -> (usize, usize) {
    let half = |half: u64| usize::try_from(half).unwrap_or(usize::MAX);
    (half(counts & (ONE_FIRST - 1)), half(counts >> 32))
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
            counts: AtomicU64::new(0),
            max: instances_max,
            keep_max: instances_max / 4 * 3,
            first_max: first_max.min(instances_max),
        })
    }

    /// Counts an instance for as long as what is returned lives; none when there are as many as may be.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Alive> {
        let one_more = |counts| {
            let (alive, first) = split(counts);
            (alive < self.max).then(|| counts + self.one(first))
        };
        let before = self
            .counts
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        let (_, first) = split(before.ok()?);
        let place = if first < self.first_max {
            Place::First
        } else {
            Place::Reserve
        };
        Some(Alive {
            slots: Arc::clone(self),
            place,
        })
    }

    /// What one more adds, with so many in the first pool.
    fn one(&self, first: usize) -> u64 {
        if first < self.first_max {
            ONE_ALIVE + ONE_FIRST
        } else {
            ONE_ALIVE
        }
    }

    /// How many are alive, and how many there may be.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (split(self.counts.load(Ordering::Relaxed)).0, self.max)
    }

    /// Whether an instance may be kept although nobody uses it.
    pub(crate) fn has_room(&self) -> bool {
        self.counts().0 <= self.keep_max
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
            self.slots.counts.fetch_sub(ONE_FIRST, Ordering::Relaxed);
        }
    }

    /// Whether the instance may be kept although nobody uses it.
    pub(crate) fn has_room(&self) -> bool {
        self.slots.has_room()
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let mine = match self.place {
            Place::First => ONE_ALIVE + ONE_FIRST,
            Place::Reserve => ONE_ALIVE,
        };
        self.slots.counts.fetch_sub(mine, Ordering::Relaxed);
    }
}
