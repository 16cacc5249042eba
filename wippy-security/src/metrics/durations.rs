//! [`Durations`]: a histogram of times that many threads add to at once without sharing cache lines.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::shards;

/// The upper bounds of the buckets, in nanoseconds. A call of a warm guest takes less than the first, a slow request
/// more than the last but one.
const BOUNDS: [u64; 22] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// One more for what is above all bounds.
const BUCKETS: usize = BOUNDS.len() + 1;

/// A histogram of times.
#[derive(Debug)]
pub struct Durations {
    /// As many as a power of two.
    shards: Box<[Shard]>,
}

/// The counters of some threads, on cache lines of their own; processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

/// What a histogram held when it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DurationCounts {
    buckets: [u64; BUCKETS],
    nanos: u64,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            shards: (0..shards::count()).map(|_| Shard::default()).collect(),
        }
    }
}

impl Durations {
    /// Adds a time.
    pub fn add(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < nanos);
        let index = shards::own(self.shards.len());
        let Some(shard) = self.shards.get(index) else {
            return;
        };
        if let Some(bucket) = shard.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        shard.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What it holds now. Times that are added meanwhile may be missing.
    pub fn counts(&self) -> DurationCounts {
        let mut counts = DurationCounts::default();
        for shard in &self.shards {
            for (sum, bucket) in counts.buckets.iter_mut().zip(&shard.buckets) {
                *sum += bucket.load(Ordering::Relaxed);
            }
            let nanos = shard.nanos.load(Ordering::Relaxed);
            counts.nanos = counts.nanos.wrapping_add(nanos);
        }
        counts
    }
}

impl DurationCounts {
    /// How many times were added.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// How many were in each bucket, with its upper bound; the last has none.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = BOUNDS.iter().map(|bound| Some(Duration::from_nanos(*bound)));
        bounds.chain([None]).zip(self.buckets.iter().copied())
    }
}
