//! [`Registry`]: the current [`Snapshot`], and the only way to make another one current.
//!
//! Reading takes no lock. A change set goes through four steps under one lock: it is resolved against the current
//! entries, every [`Validator`] sees every change, the history records the version, the new snapshot becomes
//! current. Then every [`Listener`] sees the changes in dependency order. A failure before the last step leaves
//! everything as it was.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::entry::Entry;
use crate::error::Error;
use crate::history::{History, MemoryHistory};
use crate::id::EntryId;
use crate::link::order;
use crate::schema::{self, Reference};
use crate::version::{Change, ChangeSet, Entries, Version};

/// Entries as they are at one version. Never changes.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    version: Version,
    entries: Entries,
}

/// Says whether a change may happen.
pub trait Validator: Send + Sync {
    /// Looks at one change of a set; `after` is the state that the whole set leads to.
    ///
    /// # Errors
    /// The reason, when the set must not be applied.
    fn validate(&self, change: &Change, after: &Snapshot) -> Result<(), Rejection>;
}

/// Is told what changed.
pub trait Listener: Send + Sync {
    /// One change, in dependency order: what is created or updated comes after what it needs, what is deleted
    /// before.
    fn changed(&self, change: &Change, after: &Arc<Snapshot>);

    /// All changes of the set have been told.
    fn committed(&self, after: &Arc<Snapshot>) {
        let _ = after;
    }
}

/// Why a validator refuses a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The entry.
    pub id: EntryId,
    /// The reason, in the form of an error text.
    pub reason: String,
}

/// The versioned store of entries.
pub struct Registry {
    current: ArcSwap<Snapshot>,
    changing: Mutex<Changing>,
    /// The thread inside `apply`, so that a listener that applies gets an error and not a deadlock.
    applying: AtomicU64,
}

struct Changing {
    history: Box<dyn History>,
    validators: Vec<Arc<dyn Validator>>,
    listeners: Vec<Arc<dyn Listener>>,
}

impl Snapshot {
    /// Which version it is.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The entry of an id.
    pub fn get(&self, id: &EntryId) -> Option<&Arc<Entry>> {
        self.entries.get(id)
    }

    /// All entries in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn with(&self, changes: &[Change]) -> Self {
        let mut entries = self.entries.clone();
        for change in changes {
            match change {
                Change::Created(entry) | Change::Updated { after: entry, .. } => {
                    entries.insert(entry.id.clone(), Arc::clone(entry));
                }
                Change::Deleted(entry) => {
                    entries.remove(&entry.id);
                }
            }
        }
        Self {
            version: self.version.next(),
            entries,
        }
    }
}

impl Registry {
    /// An empty registry that remembers [`MemoryHistory::BOUND`] versions.
    pub fn new() -> Self {
        Self::with_history(Box::new(MemoryHistory::default()))
    }

    /// An empty registry with a history of one's own. Version 0 is recorded in it.
    pub fn with_history(mut history: Box<dyn History>) -> Self {
        let empty = Arc::new(Snapshot::default());
        // A history that cannot even take the empty version says so again at the first change.
        let _ = history.record(&empty, ChangeSet::new());
        Self {
            current: ArcSwap::new(empty),
            changing: Mutex::new(Changing {
                history,
                validators: Vec::new(),
                listeners: Vec::new(),
            }),
            applying: AtomicU64::new(0),
        }
    }

    /// Adds a validator for the sets to come.
    ///
    /// # Errors
    /// When called from a validator or listener.
    pub fn add_validator(&self, validator: Arc<dyn Validator>) -> Result<(), Error> {
        self.enter()?.validators.push(validator);
        Ok(())
    }

    /// Adds a listener for the sets to come.
    ///
    /// # Errors
    /// When called from a validator or listener.
    pub fn add_listener(&self, listener: Arc<dyn Listener>) -> Result<(), Error> {
        self.enter()?.listeners.push(listener);
        Ok(())
    }

    /// The current entries.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The current version.
    pub fn version(&self) -> Version {
        self.current.load().version
    }

    /// The entries as they would be after some changes, under the version that these would make.
    ///
    /// # Errors
    /// When an operation does not fit the current entries.
    pub fn preview(&self, changes: &ChangeSet) -> Result<Snapshot, Error> {
        let before = self.snapshot();
        Ok(before.with(&changes.resolve(&before.entries)?))
    }

    /// Applies all operations, or none.
    ///
    /// # Errors
    /// When an operation does not fit the current entries, a validator rejects one, or the history cannot record
    /// the version; nothing changes then.
    pub fn apply(&self, changes: ChangeSet) -> Result<Version, Error> {
        let changing = self.enter()?;
        self.apply_with(changing, changes)
    }

    /// The entries of an earlier version.
    ///
    /// # Errors
    /// When the history does not have it, or no longer.
    pub fn snapshot_at(&self, version: Version) -> Result<Arc<Snapshot>, Error> {
        self.enter()?.history.snapshot_at(version)
    }

    /// Makes the entries what they were at an earlier version. That is a change like any other: it is validated,
    /// listeners see it, and it makes a new version.
    ///
    /// # Errors
    /// As [`apply`](Self::apply) and [`snapshot_at`](Self::snapshot_at).
    pub fn apply_version(&self, version: Version) -> Result<Version, Error> {
        let changing = self.enter()?;
        let target = changing.history.snapshot_at(version)?;
        let changes = ChangeSet::between(self.snapshot().iter(), target.iter());
        self.apply_with(changing, changes)
    }

    /// The versions that can be read, oldest first.
    ///
    /// # Errors
    /// When called from a validator or listener.
    pub fn versions(&self) -> Result<Vec<Version>, Error> {
        Ok(self.enter()?.history.versions())
    }

    fn apply_with(&self, mut changing: Guard<'_>, set: ChangeSet) -> Result<Version, Error> {
        let before = self.snapshot();
        let changes = set.resolve(&before.entries)?;
        let after = Arc::new(before.with(&changes));
        changing.validate(&changes, &after)?;
        changing.history.record(&after, set)?;
        self.current.store(Arc::clone(&after));
        changing.tell(changes, &after);
        Ok(after.version)
    }

    fn enter(&self) -> Result<Guard<'_>, Error> {
        let thread = thread_number();
        if self.applying.load(Ordering::Relaxed) == thread {
            return Err(Error::Reentrant);
        }
        // The state behind the lock is consistent even if a listener panicked.
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.applying.store(thread, Ordering::Relaxed);
        Ok(Guard {
            changing,
            applying: &self.applying,
        })
    }
}

/// The lock, and the mark of who has it.
struct Guard<'r> {
    changing: MutexGuard<'r, Changing>,
    applying: &'r AtomicU64,
}

impl std::ops::Deref for Guard<'_> {
    type Target = Changing;

    fn deref(&self) -> &Changing {
        &self.changing
    }
}

impl std::ops::DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut Changing {
        &mut self.changing
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.applying.store(0, Ordering::Relaxed);
    }
}

impl Changing {
    fn validate(&self, changes: &[Change], after: &Snapshot) -> Result<(), Error> {
        let rejections: Vec<Rejection> = changes
            .iter()
            .flat_map(|change| {
                self.validators
                    .iter()
                    .filter_map(|validator| validator.validate(change, after).err())
            })
            .collect();
        if rejections.is_empty() {
            Ok(())
        } else {
            Err(Error::Rejected(rejections))
        }
    }

    fn tell(&self, changes: Vec<Change>, after: &Arc<Snapshot>) {
        // Finding the order means reading every entry.
        if self.listeners.is_empty() {
            return;
        }
        for change in &in_dependency_order(changes) {
            for listener in &self.listeners {
                listener.changed(change, after);
            }
        }
        for listener in &self.listeners {
            listener.committed(after);
        }
    }
}

/// Deletions with dependents first, then creations and updates with dependencies first.
fn in_dependency_order(changes: Vec<Change>) -> Vec<Change> {
    let (deleted, kept): (Vec<_>, Vec<_>) = changes
        .into_iter()
        .partition(|change| matches!(change, Change::Deleted(_)));
    let mut ordered = dependencies_first(deleted);
    ordered.reverse();
    ordered.extend(dependencies_first(kept));
    ordered
}

fn dependencies_first(changes: Vec<Change>) -> Vec<Change> {
    let graph = changes.iter().map(|change| {
        let references = schema::references(change.current());
        let needs = references
            .into_iter()
            .filter(Reference::orders)
            .map(|reference| reference.id);
        (change.id().clone(), needs.collect())
    });
    let order = order::boot_order(&graph.collect());
    let mut by_id: BTreeMap<EntryId, Change> = changes
        .into_iter()
        .map(|change| (change.id().clone(), change))
        .collect();
    order.ids.iter().filter_map(|id| by_id.remove(id)).collect()
}

/// A number for the current thread, never 0.
fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.snapshot();
        formatter
            .debug_struct("Registry")
            .field("version", &current.version)
            .field("entries", &current.len())
            .finish_non_exhaustive()
    }
}

impl Rejection {
    /// A refusal of an entry.
    pub fn new(id: &EntryId, reason: impl Into<String>) -> Self {
        Self {
            id: id.clone(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "entry `{}`: {}", self.id, self.reason)
    }
}
