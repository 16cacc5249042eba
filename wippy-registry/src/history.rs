//! [`History`]: which earlier versions can still be read.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::Error;
use crate::store::Snapshot;
use crate::version::{ChangeSet, Version};

/// Keeps versions. The registry records a version before it becomes current, so a history that cannot take it
/// keeps the registry as it is.
pub trait History: Send {
    /// Takes a version and the changes that made it.
    ///
    /// # Errors
    /// When it cannot be kept; the change set is then not applied.
    fn record(&mut self, snapshot: &Arc<Snapshot>, changes: ChangeSet) -> Result<(), Error>;

    /// The entries as they were.
    ///
    /// # Errors
    /// When the version is unknown, or no longer kept.
    fn snapshot_at(&self, version: Version) -> Result<Arc<Snapshot>, Error>;

    /// The versions that can be read, oldest first.
    fn versions(&self) -> Vec<Version>;
}

/// The latest versions, in memory. Versions share the entries that they have in common.
#[derive(Debug)]
pub struct MemoryHistory {
    snapshots: VecDeque<Arc<Snapshot>>,
    bound: usize,
}

impl MemoryHistory {
    /// How many versions are kept unless said otherwise.
    pub const BOUND: usize = 256;

    /// Keeps this many versions, at least the current one.
    pub fn with_bound(bound: usize) -> Self {
        Self {
            snapshots: VecDeque::new(),
            bound: bound.max(1),
        }
    }
}

impl Default for MemoryHistory {
    fn default() -> Self {
        Self::with_bound(Self::BOUND)
    }
}

impl History for MemoryHistory {
    fn record(&mut self, snapshot: &Arc<Snapshot>, _changes: ChangeSet) -> Result<(), Error> {
        if self.snapshots.len() == self.bound {
            self.snapshots.pop_front();
        }
        self.snapshots.push_back(Arc::clone(snapshot));
        Ok(())
    }

    fn snapshot_at(&self, version: Version) -> Result<Arc<Snapshot>, Error> {
        let found = self
            .snapshots
            .iter()
            .find(|snapshot| snapshot.version() == version);
        found.cloned().ok_or(Error::UnknownVersion(version))
    }

    fn versions(&self) -> Vec<Version> {
        self.snapshots.iter().map(|snapshot| snapshot.version()).collect()
    }
}
