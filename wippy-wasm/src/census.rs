//! [`Census`]: how many instances an entry has and what their memories hold, for an operator who wants to know.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// The instances of one entry.
#[derive(Debug, Default)]
pub(crate) struct Census {
    created: AtomicU64,
    alive: AtomicUsize,
    memory_bytes: AtomicUsize,
}

/// One instance, counted for as long as this lives.
#[derive(Debug)]
pub(crate) struct Resident {
    census: Arc<Census>,
    memory_bytes: usize,
}

impl Census {
    /// Instances that were made so far.
    pub(crate) fn created(&self) -> u64 {
        self.created.load(Ordering::Relaxed)
    }

    /// Instances that are alive.
    pub(crate) fn alive(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }

    /// What the memories of all of them hold.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// Counts an instance.
    pub(crate) fn enter(self: &Arc<Self>) -> Resident {
        self.created.fetch_add(1, Ordering::Relaxed);
        self.alive.fetch_add(1, Ordering::Relaxed);
        Resident {
            census: Arc::clone(self),
            memory_bytes: 0,
        }
    }
}

impl Resident {
    /// Its memories have grown.
    pub(crate) fn grow(&mut self, bytes: usize) {
        self.memory_bytes += bytes;
        self.census.memory_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        let Self { census, memory_bytes } = self;
        census.alive.fetch_sub(1, Ordering::Relaxed);
        census.memory_bytes.fetch_sub(*memory_bytes, Ordering::Relaxed);
    }
}
