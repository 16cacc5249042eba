//! [`Stock`]: the instances of a pool that nobody uses at the moment. Unused ones are made ahead of calls; used ones
//! wait for a call that may see what the last one left in them.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{Ready, owner::Owner};

/// A used instance that nobody wanted for this long is dropped.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// The instances of a pool that nobody uses.
pub(super) struct Stock<T> {
    unused: Mutex<Vec<Box<T>>>,
    /// How many unused ones there should be.
    target: AtomicUsize,
    /// Whether the target follows the load.
    follows: bool,
    /// The most calls that ran or waited at once since the load was last looked at.
    peak: AtomicUsize,
    load: Mutex<Load>,
    used: Mutex<Vec<Used<T>>>,
    most: usize,
    /// Somebody took something.
    pub(super) taken: Notify,
}

/// The load of the last moments.
struct Load {
    peaks: [usize; MOMENTS],
    moment: usize,
    looked: Instant,
}

/// How long a moment is, in which only the peak counts.
const MOMENT: Duration = Duration::from_millis(250);

/// As many moments are looked back at, so that gusts with a calm of less than two seconds between them are one load.
const MOMENTS: usize = 8;

/// An instance that ran calls.
struct Used<T> {
    owner: Owner,
    since: Instant,
    instance: Box<T>,
}

impl<T> Stock<T> {
    pub(super) fn new(ready: Ready, most: usize) -> Self {
        let target = match ready {
            Ready::Nothing | Ready::Following => 0,
            Ready::Always(count) => count.min(most),
        };
        Self {
            unused: Mutex::default(),
            target: AtomicUsize::new(target),
            follows: ready == Ready::Following,
            peak: AtomicUsize::new(0),
            load: Mutex::new(Load {
                peaks: [0; MOMENTS],
                moment: 0,
                looked: Instant::now(),
            }),
            used: Mutex::default(),
            most,
            taken: Notify::new(),
        }
    }

    /// Whether it needs to know how many calls run.
    pub(super) fn follows(&self) -> bool {
        self.follows
    }

    /// Whether there is ever an unused instance.
    pub(super) fn makes_ahead(&self) -> bool {
        self.follows || self.target.load(Ordering::Relaxed) > 0
    }

    /// A used instance that `owner` may use.
    pub(super) fn take_used(&self, owner: &Owner) -> Option<Box<T>> {
        let mut used = lock(&self.used);
        let at = used.iter().rposition(|used| used.owner == *owner)?;
        Some(used.remove(at).instance)
    }

    /// Keeps an instance for `owner`. If there are too many, the one that waits longest gives way.
    pub(super) fn put_used(&self, owner: Owner, instance: Box<T>) {
        let mut used = lock(&self.used);
        let evicted = (used.len() >= self.most).then(|| used.remove(0));
        used.push(Used {
            owner,
            since: Instant::now(),
            instance,
        });
        drop(used);
        drop(evicted);
    }

    /// An instance that nobody has used.
    pub(super) fn take_unused(&self) -> Option<Box<T>> {
        if !self.makes_ahead() {
            return None;
        }
        let unused = lock(&self.unused).pop();
        self.taken.notify_one();
        unused
    }

    pub(super) fn put_unused(&self, instance: Box<T>) {
        lock(&self.unused).push(instance);
    }

    /// How many unused ones are missing.
    pub(super) fn missing(&self) -> usize {
        let there = lock(&self.unused).len();
        self.target.load(Ordering::Relaxed).saturating_sub(there)
    }

    /// So many calls run now.
    pub(super) fn note(&self, running: usize) {
        if self.follows {
            self.peak.fetch_max(running, Ordering::Relaxed);
        }
    }

    /// Follows the load and drops what is not needed; whether there is still something to look after.
    pub(super) fn tend(&self, running: usize) -> bool {
        if self.follows {
            self.follow(running);
        }
        let target = self.target.load(Ordering::Relaxed);
        let surplus = {
            let mut unused = lock(&self.unused);
            let keep = unused.len().min(target);
            unused.split_off(keep)
        };
        drop(surplus);
        let (expired, left) = {
            let mut used = lock(&self.used);
            // They were put there in the order of time.
            let fresh = used.iter().position(|used| used.since.elapsed() < IDLE_MAX);
            let expired = fresh.unwrap_or(used.len());
            let expired: Vec<Used<T>> = used.drain(..expired).collect();
            (expired, used.len())
        };
        drop(expired);
        left > 0 || target > 0
    }

    /// The target rises to the peak at once. Once a moment it falls by a part of what it is above the load of the last
    /// moments, so that it does not swing with every gust.
    fn follow(&self, running: usize) {
        let peak = self.peak.load(Ordering::Relaxed).min(self.most);
        let target = self.target.fetch_max(peak, Ordering::Relaxed).max(peak);
        let mut load = lock(&self.load);
        if load.looked.elapsed() < MOMENT {
            return;
        }
        load.looked = Instant::now();
        load.remember(peak);
        self.peak.store(running, Ordering::Relaxed);
        let lately = load.peaks.iter().copied().max().unwrap_or_default();
        let surplus = target.saturating_sub(lately);
        self.target.store(target - surplus.div_ceil(4), Ordering::Relaxed);
    }

    /// The sum of something over all that are here.
    pub(super) fn sum(&self, of: impl Fn(&T) -> usize) -> usize {
        let unused: usize = lock(&self.unused).iter().map(|instance| of(instance)).sum();
        let used: usize = lock(&self.used).iter().map(|used| of(&used.instance)).sum();
        unused + used
    }

    /// Unused and used instances.
    pub(super) fn counts(&self) -> (usize, usize) {
        (lock(&self.unused).len(), lock(&self.used).len())
    }
}

impl Load {
    fn remember(&mut self, peak: usize) {
        self.moment = (self.moment + 1) % MOMENTS;
        if let Some(oldest) = self.peaks.get_mut(self.moment) {
            *oldest = peak;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
