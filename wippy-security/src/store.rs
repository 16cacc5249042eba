//! [`ValueStore`]: keys and values with a time to live, and [`MemoryStore`], the one that is kept in memory.
//!
//! Values go in and come out as copies. A store is bounded: by the number of its keys, and by what they hold together.
//! It knows nothing of permissions; whoever hands it out has asked for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use wippy_wit::Value;

use crate::{CallError, ErrorKind};

/// Keys and values with a time to live.
pub trait ValueStore: Send + Sync {
    /// What is kept under a key.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when nothing is, or no longer.
    fn get(&self, key: &str) -> Result<Stored, CallError>;

    /// Keeps a value under a key, for `ttl` or for good, and answers its version.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] or [`ErrorKind::Conflict`] when the condition does not hold,
    /// [`ErrorKind::Unavailable`] when the store is full, [`ErrorKind::Invalid`] when the value cannot be copied.
    fn put(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
        condition: Condition,
    ) -> Result<u64, CallError>;

    /// Forgets a key; whether there was one.
    ///
    /// # Errors
    /// As the store has them; one in memory has none.
    fn delete(&self, key: &str) -> Result<bool, CallError>;

    /// Whether something is kept under a key.
    ///
    /// # Errors
    /// As the store has them; one in memory has none.
    fn has(&self, key: &str) -> Result<bool, CallError>;

    /// At most `limit` keys that begin with `prefix`, in order, from the one after `after`.
    ///
    /// # Errors
    /// As the store has them; one in memory has none.
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, CallError>;
}

/// A value as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// A copy of the value.
    pub value: Value,
    /// Another one after every change of the key.
    pub version: u64,
}

/// What has to hold for a value to be kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// The key is free.
    Absent,
    /// The key has this version.
    Version(u64),
}

/// Some of the keys of a store.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// The keys with what is kept under them, in order.
    pub items: Vec<(Arc<str>, Stored)>,
    /// Whether there are more after the last one.
    pub has_more: bool,
}

/// A store in memory. When it is full, new keys are refused until others expire or are deleted.
pub struct MemoryStore {
    keys_max: usize,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    by_key: BTreeMap<Arc<str>, Kept>,
    /// Keys that expire, soonest first.
    expiring: BTreeSet<(Instant, Arc<str>)>,
    bytes: usize,
    version: u64,
}

struct Kept {
    stored: Stored,
    expires: Option<Instant>,
    bytes: usize,
}

impl MemoryStore {
    /// How much the keys and values of one store may hold together.
    pub const BYTES_MAX: usize = 256 << 20;

    /// An empty store for at most `keys_max` keys.
    pub fn new(keys_max: usize) -> Self {
        Self {
            keys_max,
            entries: Mutex::default(),
        }
    }

    /// Drops what has expired. Reading never shows it and writing makes room by itself; this gives memory back sooner.
    pub fn clean(&self) {
        drop(self.entries());
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries().by_key.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries without those that have expired.
    fn entries(&self) -> MutexGuard<'_, Entries> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.expire(Instant::now());
        entries
    }
}

impl ValueStore for MemoryStore {
    fn get(&self, key: &str) -> Result<Stored, CallError> {
        let entries = self.entries();
        let kept = entries.by_key.get(key).ok_or_else(|| missing(key))?;
        Ok(kept.stored.clone())
    }

    fn put(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
        condition: Condition,
    ) -> Result<u64, CallError> {
        let bytes = key.len() + size(&value)?;
        let mut entries = self.entries();
        let present = entries.by_key.get(key);
        condition.check(key, present.map(|kept| kept.stored.version))?;
        let freed = present.map_or(0, |kept| kept.bytes);
        let is_full = present.is_none() && entries.by_key.len() >= self.keys_max;
        if is_full || (entries.bytes - freed).saturating_add(bytes) > Self::BYTES_MAX {
            return Err(CallError::new(ErrorKind::Unavailable, "the store is full"));
        }
        entries.remove(key);
        // A time to live beyond what the clock can say is for good.
        let expires = ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        Ok(entries.insert(key.into(), value, bytes, expires))
    }

    fn delete(&self, key: &str) -> Result<bool, CallError> {
        Ok(self.entries().remove(key))
    }

    fn has(&self, key: &str) -> Result<bool, CallError> {
        Ok(self.entries().by_key.contains_key(key))
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, CallError> {
        let entries = self.entries();
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let mut found = entries
            .by_key
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix));
        let items = found
            .by_ref()
            .take(limit)
            .map(|(key, kept)| (Arc::clone(key), kept.stored.clone()))
            .collect();
        Ok(Page {
            items,
            has_more: found.next().is_some(),
        })
    }
}

impl Entries {
    fn expire(&mut self, now: Instant) {
        while let Some((expires, key)) = self.expiring.first() {
            if *expires > now {
                return;
            }
            let key = Arc::clone(key);
            self.remove(&key);
        }
    }

    fn insert(&mut self, key: Arc<str>, value: Value, bytes: usize, expires: Option<Instant>) -> u64 {
        self.version += 1;
        self.bytes += bytes;
        if let Some(expires) = expires {
            self.expiring.insert((expires, Arc::clone(&key)));
        }
        let stored = Stored {
            value,
            version: self.version,
        };
        self.by_key.insert(
            key,
            Kept {
                stored,
                expires,
                bytes,
            },
        );
        self.version
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some((key, kept)) = self.by_key.remove_entry(key) else {
            return false;
        };
        if let Some(expires) = kept.expires {
            self.expiring.remove(&(expires, key));
        }
        self.bytes -= kept.bytes;
        true
    }
}

impl Condition {
    fn check(self, key: &str, version: Option<u64>) -> Result<(), CallError> {
        match (self, version) {
            (Self::Absent, Some(_)) => Err(CallError::new(
                ErrorKind::AlreadyExists,
                format!("the key `{key}` exists already"),
            )),
            (Self::Version(wanted), version) if version != Some(wanted) => Err(CallError::new(
                ErrorKind::Conflict,
                format!("the key `{key}` was changed meanwhile"),
            )
            .with_retryable(true)),
            (Self::Always | Self::Absent | Self::Version(_), _) => Ok(()),
        }
    }
}

#[cold]
fn missing(key: &str) -> CallError {
    CallError::new(ErrorKind::NotFound, format!("there is no key `{key}`"))
}

/// About how much memory a value takes.
///
/// # Errors
/// When it holds something that is no value but stands for a thing elsewhere.
fn size(value: &Value) -> Result<usize, CallError> {
    let inside = match value {
        Value::Nil | Value::Boolean(_) | Value::Integer(_) | Value::Unsigned(_) | Value::Float(_) => 0,
        Value::String(bytes) => bytes.len(),
        Value::Table(table) => {
            let pairs = table.pairs.iter().flat_map(|(key, value)| [key, value]);
            let mut sizes = table.array.iter().chain(pairs).map(size);
            sizes.try_fold(0, |sum: usize, size| {
                Ok::<_, CallError>(sum.saturating_add(size?))
            })?
        }
        Value::Foreign(foreign) => {
            return Err(CallError::invalid(format!(
                "`{}` cannot be stored: it is no plain value",
                foreign.type_name()
            )));
        }
    };
    Ok(inside.saturating_add(size_of::<Value>()))
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("keys_max", &self.keys_max)
            .finish_non_exhaustive()
    }
}
