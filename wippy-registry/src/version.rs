//! Changes of the registry: [`Op`], [`ChangeSet`], the [`Version`] each applied one makes.
//!
//! Change sets form a small algebra: [`ChangeSet::invert`] undoes one, [`ChangeSet::squash`] joins two,
//! [`ChangeSet::between`] finds the one that leads from a state to another. Applying a set and then its inverse
//! leaves the entries as they were.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::entry::Entry;
use crate::error::Error;
use crate::id::EntryId;

/// Counts applied change sets; 0 is the empty registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

/// One operation on one entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Adds an entry that does not exist.
    Create(Arc<Entry>),
    /// Replaces an entry that exists.
    Update(Arc<Entry>),
    /// Removes an entry that exists.
    Delete(EntryId),
}

/// Operations that apply together or not at all, at most one for each entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChangeSet {
    ops: Vec<Op>,
}

/// What an operation did or is about to do, with the entry before and after.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The entry is new.
    Created(Arc<Entry>),
    /// The entry is another than before.
    Updated {
        /// As it was.
        before: Arc<Entry>,
        /// As it is.
        after: Arc<Entry>,
    },
    /// The entry is gone.
    Deleted(Arc<Entry>),
}

/// Entries by id, what a snapshot holds.
pub(crate) type Entries = BTreeMap<EntryId, Arc<Entry>>;

impl Version {
    /// The version after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Op {
    /// The entry it is about.
    pub fn id(&self) -> &EntryId {
        match self {
            Self::Create(entry) | Self::Update(entry) => &entry.id,
            Self::Delete(id) => id,
        }
    }
}

impl Change {
    /// The entry it is about.
    pub fn id(&self) -> &EntryId {
        &self.current().id
    }

    /// The entry after the change, or before it when it is deleted.
    pub fn current(&self) -> &Arc<Entry> {
        match self {
            Self::Created(entry) | Self::Deleted(entry) | Self::Updated { after: entry, .. } => entry,
        }
    }
}

impl ChangeSet {
    /// A set that changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an operation that creates an entry.
    #[must_use]
    pub fn create(self, entry: impl Into<Arc<Entry>>) -> Self {
        self.with(Op::Create(entry.into()))
    }

    /// Adds an operation that replaces an entry.
    #[must_use]
    pub fn update(self, entry: impl Into<Arc<Entry>>) -> Self {
        self.with(Op::Update(entry.into()))
    }

    /// Adds an operation that removes an entry.
    #[must_use]
    pub fn delete(self, id: EntryId) -> Self {
        self.with(Op::Delete(id))
    }

    /// Adds an operation.
    #[must_use]
    pub fn with(mut self, op: Op) -> Self {
        self.ops.push(op);
        self
    }

    /// The operations in the order they were added.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The set that leads from some entries to others, in the order of ids. Entries that are equal are left alone.
    pub fn between<'e>(
        before: impl IntoIterator<Item = &'e Arc<Entry>>,
        after: impl IntoIterator<Item = &'e Arc<Entry>>,
    ) -> Self {
        let by_id = |entry: &'e Arc<Entry>| (&entry.id, entry);
        let before: BTreeMap<&EntryId, &Arc<Entry>> = before.into_iter().map(by_id).collect();
        let after: BTreeMap<&EntryId, &Arc<Entry>> = after.into_iter().map(by_id).collect();
        let ids: BTreeSet<&EntryId> = before.keys().chain(after.keys()).copied().collect();
        let op = |id: &EntryId| match (before.get(id), after.get(id)) {
            (None, Some(entry)) => Some(Op::Create(Arc::clone(entry))),
            (Some(_), None) => Some(Op::Delete(id.clone())),
            (Some(old), Some(new)) if old != new => Some(Op::Update(Arc::clone(new))),
            (Some(_), Some(_)) | (None, None) => None,
        };
        Self {
            ops: ids.into_iter().filter_map(op).collect(),
        }
    }

    /// The set that undoes this one when applied after it, given the entries before it.
    ///
    /// # Errors
    /// When this set cannot be applied to these entries.
    pub fn invert<'e>(&self, before: impl IntoIterator<Item = &'e Arc<Entry>>) -> Result<Self, Error> {
        let before: Entries = before
            .into_iter()
            .map(|entry| (entry.id.clone(), Arc::clone(entry)))
            .collect();
        let undo = |change: Change| match change {
            Change::Created(entry) => Op::Delete(entry.id.clone()),
            Change::Updated { before, .. } => Op::Update(before),
            Change::Deleted(entry) => Op::Create(entry),
        };
        Ok(Self {
            ops: self.resolve(&before)?.into_iter().rev().map(undo).collect(),
        })
    }

    /// The set that does what this one and then the next one do.
    ///
    /// # Errors
    /// When the next one cannot follow: it creates what this one leaves existing, or updates or deletes what this
    /// one deletes.
    pub fn squash(&self, next: &Self) -> Result<Self, Error> {
        let mut ops: Vec<Option<Op>> = self.ops.iter().cloned().map(Some).collect();
        let mut places: BTreeMap<EntryId, usize> = self
            .ops
            .iter()
            .enumerate()
            .map(|(place, op)| (op.id().clone(), place))
            .collect();
        for op in &next.ops {
            let place = *places.entry(op.id().clone()).or_insert_with(|| {
                ops.push(None);
                ops.len() - 1
            });
            if let Some(first) = ops.get_mut(place) {
                *first = join(first.take(), op)?;
            }
        }
        Ok(Self {
            ops: ops.into_iter().flatten().collect(),
        })
    }

    /// What the operations mean for these entries.
    pub(crate) fn resolve(&self, entries: &Entries) -> Result<Vec<Change>, Error> {
        let mut seen = BTreeSet::new();
        self.ops
            .iter()
            .map(|op| {
                let id = op.id();
                if !seen.insert(id) {
                    return Err(Error::DuplicateOperation(id.clone()));
                }
                match (op, entries.get(id)) {
                    (Op::Create(entry), None) => Ok(Change::Created(Arc::clone(entry))),
                    (Op::Create(_), Some(_)) => Err(Error::AlreadyExists(id.clone())),
                    (Op::Update(after), Some(before)) => Ok(Change::Updated {
                        before: Arc::clone(before),
                        after: Arc::clone(after),
                    }),
                    (Op::Delete(_), Some(before)) => Ok(Change::Deleted(Arc::clone(before))),
                    (Op::Update(_) | Op::Delete(_), None) => Err(Error::NotFound(id.clone())),
                }
            })
            .collect()
    }
}

/// One operation for two on the same entry; `None` when they cancel out.
fn join(first: Option<Op>, next: &Op) -> Result<Option<Op>, Error> {
    match (first, next) {
        (None, next) => Ok(Some(next.clone())),
        (Some(Op::Create(_)), Op::Update(entry)) => Ok(Some(Op::Create(Arc::clone(entry)))),
        (Some(Op::Create(_)), Op::Delete(_)) => Ok(None),
        (Some(Op::Update(_)), Op::Update(entry)) | (Some(Op::Delete(_)), Op::Create(entry)) => {
            Ok(Some(Op::Update(Arc::clone(entry))))
        }
        (Some(Op::Update(_)), Op::Delete(id)) => Ok(Some(Op::Delete(id.clone()))),
        (Some(Op::Create(_) | Op::Update(_)), Op::Create(entry)) => {
            Err(Error::AlreadyExists(entry.id.clone()))
        }
        (Some(Op::Delete(_)), Op::Update(_) | Op::Delete(_)) => Err(Error::NotFound(next.id().clone())),
    }
}

impl FromIterator<Op> for ChangeSet {
    fn from_iter<I: IntoIterator<Item = Op>>(ops: I) -> Self {
        Self {
            ops: ops.into_iter().collect(),
        }
    }
}
