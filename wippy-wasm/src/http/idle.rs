//! [`Idle`]: connections that wait for another request to the same place.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hyper::client::conn::http1::SendRequest;
use tokio::task::AbortHandle;
use wasmtime_wasi_http::WasiBody;

use super::destination::Origin;

/// How long a connection may wait.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// How many may wait for one place, and in all.
const PER_ORIGIN_MAX: usize = 32;
const TOTAL_MAX: usize = 512;

/// A connection that is ready for a request.
pub(super) struct Connection {
    pub(super) sender: SendRequest<WasiBody>,
    /// Whom it reaches: not every context may.
    pub(super) address: SocketAddr,
}

/// Connections that wait, by where they go; the last to come is the first to go.
#[derive(Default)]
pub(super) struct Idle(Mutex<HashMap<Origin, Vec<Waiting>>>);

struct Waiting {
    connection: Connection,
    _timer: Timer,
}

/// Closes a connection that waited too long, unless it is dropped before.
struct Timer(AbortHandle);

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Idle {
    /// A connection to `origin`, if one waits that goes to an address which `may_reach` allows.
    pub(super) fn take(
        &self,
        origin: &Origin,
        may_reach: impl FnOnce(SocketAddr) -> bool,
    ) -> Option<Connection> {
        let address = self.next(origin)?;
        // The guard is asked without the lock; meanwhile another request may take this very connection.
        if !may_reach(address) {
            return None;
        }
        let mut waiting = self.lock();
        let connections = waiting.get_mut(origin)?;
        let at = connections
            .iter()
            .rposition(|waiting| waiting.connection.address == address)?;
        let found = connections.remove(at).connection;
        if connections.is_empty() {
            waiting.remove(origin);
        }
        Some(found)
    }

    /// Where the next connection to `origin` goes; those that were closed meanwhile are forgotten.
    fn next(&self, origin: &Origin) -> Option<SocketAddr> {
        let mut waiting = self.lock();
        let connections = waiting.get_mut(origin)?;
        connections.retain(|waiting| waiting.connection.sender.is_ready());
        let next = connections.last().map(|waiting| waiting.connection.address);
        if next.is_none() {
            waiting.remove(origin);
        }
        next
    }

    /// Lets `connection` wait for another request; where too many wait it is closed.
    pub(super) fn put(self: &Arc<Self>, origin: Origin, connection: Connection) {
        let timer = self.close_later(origin.clone());
        let mut waiting = self.lock();
        let total: usize = waiting.values().map(Vec::len).sum();
        let connections = waiting.entry(origin).or_default();
        if total < TOTAL_MAX && connections.len() < PER_ORIGIN_MAX {
            connections.push(Waiting {
                connection,
                _timer: timer,
            });
        }
    }

    /// The connection that waits longest is the first of its origin: when this fires, that one is due.
    fn close_later(self: &Arc<Self>, origin: Origin) -> Timer {
        let idle = Arc::downgrade(self);
        let close = async move {
            tokio::time::sleep(WAIT_MAX).await;
            let Some(idle) = idle.upgrade() else { return };
            let mut waiting = idle.lock();
            let connections = waiting
                .get_mut(&origin)
                .filter(|connections| !connections.is_empty());
            let due = connections.map(|connections| connections.remove(0));
            if waiting.get(&origin).is_some_and(Vec::is_empty) {
                waiting.remove(&origin);
            }
            drop(waiting);
            drop(due);
        };
        Timer(tokio::spawn(close).abort_handle())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Origin, Vec<Waiting>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
