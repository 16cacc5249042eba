//! [`Places`]: how many calls run, and how many wait until they may.
//!
//! The places that are free lie in shards, one for each processor. A thread takes one from its own shard and puts it back
//! there; only if that is empty does it look into the others. So threads that call the same function do not pass a
//! cache line back and forth, which would cost more than the call of a small guest, and places wander to where they
//! are needed.

use std::{
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use tokio::sync::Notify;

use crate::{DurationCounts, Durations, shards};

/// The places of a pool, taken and free.
pub(super) struct Places {
    most: usize,
    free: Box<[Shard]>,
    waiting: AtomicUsize,
    freed: Notify,
    /// How long those calls waited that had to.
    waits: Durations,
}

/// Free places, on a cache line of their own; processors fetch lines in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Shard(AtomicUsize);

impl Shard {
    fn take(&self) -> bool {
        let less = |free: usize| free.checked_sub(1);
        self.0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
    }
}

impl Places {
    /// So many places, all free.
    pub(super) fn new(most: usize) -> Self {
        let count = shards::count();
        let share = |index| most / count + usize::from(index < most % count);
        Self {
            most,
            free: (0..count)
                .map(|index| Shard(AtomicUsize::new(share(index))))
                .collect(),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            waits: Durations::default(),
        }
    }

    /// How many there are.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Takes a free place, unless others wait for one: those go first. Takes no lock.
    pub(super) fn take_free(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0 && self.take()
    }

    /// Takes a free place. It may miss one if others come and go meanwhile; whoever gives one back later tells those
    /// who wait.
    fn take(&self) -> bool {
        let own = shards::own(self.free.len());
        let (before, from) = self.free.split_at(own);
        from.iter().chain(before).any(Shard::take)
    }

    /// Gives a place back.
    pub(super) fn vacate(&self) {
        if let Some(shard) = self.free.get(shards::own(self.free.len())) {
            shard.0.fetch_add(1, Ordering::SeqCst);
        }
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_one();
        }
    }

    /// Counts a call among those that wait, unless `queue` do so already.
    pub(super) fn wait(&self, queue: usize) -> Option<Waiting<'_>> {
        let before = self.waiting.fetch_add(1, Ordering::SeqCst);
        let waiting = Waiting {
            places: self,
            since: Instant::now(),
        };
        (before < queue).then_some(waiting)
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        let free: usize = self.free.iter().map(|shard| shard.0.load(Ordering::SeqCst)).sum();
        // Places that wander meanwhile may be counted twice.
        self.most.saturating_sub(free)
    }

    /// How many calls wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How long those calls waited that had to.
    pub(super) fn waits(&self) -> DurationCounts {
        self.waits.counts()
    }
}

/// Counts a waiting call for as long as it waits.
pub(super) struct Waiting<'a> {
    places: &'a Places,
    since: Instant,
}

impl Waiting<'_> {
    /// Takes a place as soon as one is free.
    pub(super) async fn take(&self) {
        let Places { freed, .. } = self.places;
        loop {
            // Registered before looking, so that a place given back in between is not missed. A call that ends looks
            // for waiting ones after it gave its place back, and this one counted itself before it looked for a place:
            // one of both sees the other.
            let mut freed = pin!(freed.notified());
            freed.as_mut().enable();
            if self.places.take() {
                return;
            }
            freed.await;
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let others = self.places.waiting.fetch_sub(1, Ordering::SeqCst) > 1;
        // A call that was woken and then dropped must not swallow the word that a place is free.
        if others {
            self.places.freed.notify_one();
        }
        self.places.waits.add(self.since.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
    };

    use super::Places;

    #[test]
    fn there_are_as_many_as_asked_for_from_any_thread() {
        for most in [1, 2, 3, 100] {
            let places = Places::new(most);
            for taken in 0..most {
                assert_eq!(places.taken(), taken);
                assert!(places.take_free());
            }
            assert!(!places.take_free(), "{most}");
            // Given back elsewhere, they are found here.
            thread::scope(|scope| {
                for _ in 0..most {
                    scope.spawn(|| places.vacate());
                }
            });
            assert_eq!(places.taken(), 0);
            assert!((0..most).all(|_| places.take_free()));
        }
    }

    #[test]
    fn never_more_are_taken_and_none_is_lost() {
        let places = Arc::new(Places::new(3));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .build()
            .expect("a runtime");
        let most = Arc::new(AtomicUsize::new(0));
        let running = Arc::new(AtomicUsize::new(0));
        runtime.block_on(async {
            let callers: Vec<_> = (0..16)
                .map(|caller| {
                    let (places, most, running) = (places.clone(), most.clone(), running.clone());
                    tokio::spawn(async move {
                        for turn in 0..2_000 {
                            if !places.take_free() {
                                let waiting = places.wait(16).expect("no more than 16 wait");
                                waiting.take().await;
                            }
                            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                            most.fetch_max(now, Ordering::SeqCst);
                            if (caller + turn) % 7 == 0 {
                                tokio::task::yield_now().await;
                            }
                            running.fetch_sub(1, Ordering::SeqCst);
                            places.vacate();
                        }
                    })
                })
                .collect();
            for caller in callers {
                caller.await.expect("every caller comes to its end");
            }
        });
        assert_eq!(places.taken(), 0);
        assert!(most.load(Ordering::SeqCst) <= 3);
    }
}
