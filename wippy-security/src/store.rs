//! [`Store`]: bytes under keys with a time to live, and the simplest of them, in memory.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use crate::{CallError, ErrorKind};

/// Bytes under keys with a time to live. It need not keep secrets: what is security's business is sealed.
#[async_trait]
pub trait Store: Send + Sync {
    /// What is kept under `key`, unless its time is over.
    ///
    /// # Errors
    /// When the store cannot be asked.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, CallError>;

    /// Keeps `value` under `key` for `ttl`, or for good; what was there is replaced.
    ///
    /// # Errors
    /// When the store has no room or cannot be reached.
    async fn set(&self, key: &str, value: Vec<u8>, ttl: Option<Duration>) -> Result<(), CallError>;

    /// Forgets what is kept under `key`, and says whether there was something.
    ///
    /// # Errors
    /// When the store cannot be reached.
    async fn delete(&self, key: &str) -> Result<bool, CallError>;
}

/// A store in memory that holds a limited number of keys.
pub struct MemoryStore {
    kept: Mutex<HashMap<String, Kept>>,
    keys_max: usize,
}

struct Kept {
    value: Vec<u8>,
    until: Option<Instant>,
}

impl MemoryStore {
    /// A store for at most `keys_max` keys.
    pub fn new(keys_max: usize) -> Self {
        Self {
            kept: Mutex::default(),
            keys_max,
        }
    }
}

impl Kept {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, CallError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.get(key).filter(|kept| !kept.is_over(Instant::now()));
        Ok(found.map(|kept| kept.value.clone()))
    }

    async fn set(&self, key: &str, value: Vec<u8>, ttl: Option<Duration>) -> Result<(), CallError> {
        let now = Instant::now();
        let until = ttl.and_then(|ttl| now.checked_add(ttl));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= self.keys_max && !kept.contains_key(key) {
            // What is over gives way; what is not over never does, because somebody relies on it.
            kept.retain(|_, kept| !kept.is_over(now));
            if kept.len() >= self.keys_max {
                return Err(full(self.keys_max));
            }
        }
        kept.insert(key.to_owned(), Kept { value, until });
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<bool, CallError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = kept.remove(key);
        Ok(removed.is_some_and(|kept| !kept.is_over(Instant::now())))
    }
}

#[cold]
fn full(keys_max: usize) -> CallError {
    let message = format!("the store is full: it holds {keys_max} keys");
    CallError::new(ErrorKind::Unavailable, message)
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("keys_max", &self.keys_max)
            .finish_non_exhaustive()
    }
}
