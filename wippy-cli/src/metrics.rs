//! Metrics: what is counted while the application runs, and the endpoint at which Prometheus reads it.
//!
//! What is counted by entry is bounded by the entries: an entry that goes away takes its counts with it. Where
//! `prometheus.enabled` is not set there are no [`Metrics`], nothing is installed, and nothing is counted by call.

mod endpoint;
mod exposition;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use http::StatusCode;
use wippy_registry::EntryId;
use wippy_security::{CallMetrics, Durations};

pub use self::endpoint::MetricsEndpoint;
pub(crate) use self::{endpoint::ADDRESS, exposition::Sources};

/// What is counted while the application runs.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    calls: Mutex<BTreeMap<EntryId, Arc<CallMetrics>>>,
    services: Mutex<BTreeMap<EntryId, Arc<HttpMetrics>>>,
}

/// What is counted of the requests to one HTTP service.
#[derive(Debug, Default)]
pub(crate) struct HttpMetrics {
    durations: Durations,
    running: AtomicUsize,
    /// By the hundreds of the status, and last those that were never answered.
    answers: [AtomicU64; CLASSES.len()],
}

/// What answers are counted by.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

impl Metrics {
    /// Where the calls of a function are counted. Its counts go on when the entry changes.
    pub(crate) fn calls(&self, id: &EntryId) -> Arc<CallMetrics> {
        Arc::clone(lock(&self.calls).entry(id.clone()).or_default())
    }

    /// Where the requests to a service are counted.
    pub(crate) fn service(&self, id: &EntryId) -> Arc<HttpMetrics> {
        Arc::clone(lock(&self.services).entry(id.clone()).or_default())
    }

    /// Forgets the functions that are not there any more.
    pub(crate) fn retain(&self, is_there: impl Fn(&EntryId) -> bool) {
        lock(&self.calls).retain(|id, _| is_there(id));
    }

    fn all_services(&self) -> Vec<(EntryId, Arc<HttpMetrics>)> {
        let services = lock(&self.services);
        services
            .iter()
            .map(|(id, metrics)| (id.clone(), Arc::clone(metrics)))
            .collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request that is being answered. It counts when it is dropped.
#[derive(Debug)]
pub(crate) struct RequestWatch {
    metrics: Arc<HttpMetrics>,
    begun: Instant,
    pub(crate) status: Option<StatusCode>,
}

impl HttpMetrics {
    /// Begins to time a request.
    pub(crate) fn watch(self: &Arc<Self>) -> RequestWatch {
        self.running.fetch_add(1, Ordering::Relaxed);
        RequestWatch {
            metrics: Arc::clone(self),
            begun: Instant::now(),
            status: None,
        }
    }

    fn answers(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.answers.iter().map(|count| count.load(Ordering::Relaxed));
        CLASSES.into_iter().zip(counts)
    }
}

impl Drop for RequestWatch {
    fn drop(&mut self) {
        let class = match self.status.map(|status| status.as_u16() / 100) {
            Some(hundreds @ 1..=5) => usize::from(hundreds) - 1,
            Some(_) | None => CLASSES.len() - 1,
        };
        let metrics = &self.metrics;
        if let Some(count) = metrics.answers.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        metrics.durations.add(self.begun.elapsed());
        metrics.running.fetch_sub(1, Ordering::Relaxed);
    }
}
