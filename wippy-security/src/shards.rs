//! What threads share without sharing cache lines: one shard for each processor, and which of them is a thread's own.

use std::{
    cell::Cell,
    num::NonZero,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// More threads than this share shards.
const SHARDS_MAX: usize = 32;

thread_local! {
    /// Threads take shards in turn.
    static THREAD: Cell<usize> = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Cell::new(NEXT.fetch_add(1, Ordering::Relaxed))
    };
}

/// How many shards there are: a power of two. Asking for the number of processors opens files, so it is asked once.
pub(crate) fn count() -> usize {
    static SHARDS: OnceLock<usize> = OnceLock::new();
    *SHARDS.get_or_init(|| {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        processors.min(SHARDS_MAX).next_power_of_two()
    })
}

/// Which of `count` shards is this thread's; `count` is a power of two.
pub(crate) fn own(count: usize) -> usize {
    THREAD.with(Cell::get) & (count - 1)
}
