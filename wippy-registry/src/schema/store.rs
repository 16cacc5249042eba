//! `store.memory`: keys and values with a time to live.

use std::time::Duration;

use crate::schema::decoder::Decoder;
use crate::schema::duration::duration;
use crate::schema::lifecycle::{self, Lifecycle};
use crate::schema::read::count;

const MAX_SIZE: u64 = 10_000;
const CLEANUP_INTERVAL: Duration = Duration::from_mins(5);

/// A store in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryStore {
    /// The most keys it holds.
    pub max_size: u64,
    /// How often expired keys are dropped.
    pub cleanup_interval: Duration,
    /// How it starts and stops.
    pub lifecycle: Lifecycle,
}

pub(crate) fn memory(decoder: &mut Decoder<'_>) -> MemoryStore {
    let mut entry = decoder.fields();
    let max_size = entry
        .optional(decoder, "max_size", count)
        .filter(|size| *size > 0)
        .unwrap_or(MAX_SIZE);
    let cleanup_interval = entry
        .optional(decoder, "cleanup_interval", duration)
        .unwrap_or(CLEANUP_INTERVAL);
    let lifecycle = lifecycle::field(&mut entry, decoder);
    entry.finish(decoder);
    MemoryStore {
        max_size,
        cleanup_interval,
        lifecycle,
    }
}
