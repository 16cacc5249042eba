//! [`Cores`]: which processors the scheduler has, and which are reserved for guests that have threads of their own.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use core_affinity::CoreId;

use crate::config::Config;

/// The processors of this process, divided.
#[derive(Debug, Clone)]
pub(crate) struct Cores {
    pub(crate) scheduler: CoreSet,
    pub(crate) reserved: CoreSet,
}

/// Some processors, which threads take in turn.
#[derive(Debug, Clone)]
pub(crate) struct CoreSet {
    cores: Arc<[CoreId]>,
    next: Arc<AtomicUsize>,
}

impl Cores {
    /// Divides the processors as the configuration says; nothing if they are not to be divided, or cannot be.
    pub(crate) fn divide(config: &Config) -> Option<Self> {
        let isolation = config.wasm_isolation.as_ref()?;
        let all = available();
        let divided = divide(all, isolation.reserved_cores.unwrap_or(all.len() / 2));
        if divided.is_none() {
            tracing::warn!(
                target: "wippy",
                cores = all.len(),
                "`scheduler.wasm_isolation` needs two processors that threads can be bound to: guests share the scheduler's"
            );
        }
        divided
    }
}

/// The last ones are reserved: systems like to do their own work on the first. Each part has one at least.
fn divide(all: &[CoreId], reserved: usize) -> Option<Cores> {
    if all.len() < 2 {
        return None;
    }
    let reserved = reserved.clamp(1, all.len() - 1);
    let (scheduler, reserved) = all.split_at_checked(all.len() - reserved)?;
    Some(Cores {
        scheduler: CoreSet::new(scheduler),
        reserved: CoreSet::new(reserved),
    })
}

impl CoreSet {
    fn new(cores: &[CoreId]) -> Self {
        Self {
            cores: cores.into(),
            next: Arc::default(),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.cores.len()
    }

    /// Keeps the calling thread on one of these processors: on each of them as many threads as on any other.
    pub(crate) fn bind(&self) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let core = turn
            .checked_rem(self.len())
            .and_then(|index| self.cores.get(index));
        if let Some(core) = core
            && !core_affinity::set_for_current(*core)
        {
            tracing::warn!(target: "wippy", core = core.id, "a thread cannot be bound to its processor");
        }
    }
}

/// The processors that this process may use. Asked once, before any thread is bound.
fn available() -> &'static [CoreId] {
    static AVAILABLE: OnceLock<Vec<CoreId>> = OnceLock::new();
    AVAILABLE.get_or_init(|| core_affinity::get_core_ids().unwrap_or_default())
}
