//! [`World`]: what scripts may reach outside of their state, as small faces that the program around them implements.
//!
//! Whatever touches the world takes a [`Permit`], which only the guard makes: a module cannot forget to ask.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use wippy_registry::{ChangeSet, EntryId, Registry, Version};
use wippy_security::{CallError, ErrorKind, Permit, ValueStore};

use crate::{Bus, HttpClients, Volume};

/// What scripts may reach outside of their state. What is missing answers `UNAVAILABLE`.
#[derive(Clone, Default)]
pub struct World {
    /// The environment variables of the application.
    pub variables: Option<Arc<dyn Variables>>,
    /// The `fs.*` entries.
    pub volumes: Option<Arc<dyn Volumes>>,
    /// The `store.*` entries.
    pub stores: Option<Arc<dyn Stores>>,
    /// Where events pass. A bus of one's own unless it is given.
    pub events: Bus,
    /// The connections that requests are made by.
    pub http: HttpClients,
    /// The entries, to be read and changed. The application owns them, and is not kept by its scripts.
    pub registry: Option<Weak<dyn LiveRegistry>>,
}

/// The environment variables that entries declare.
pub trait Variables: Send + Sync {
    /// The value of a variable, by its public name or its entry's id. It may look at a small file, but does not wait.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such variable or it has no value.
    fn get(&self, permit: Permit, name: &str) -> Result<String, CallError>;

    /// Gives a variable a value. It may write a file and is called where blocking does not matter.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such variable, [`ErrorKind::PermissionDenied`] when it or its storage
    /// is read-only.
    fn set(&self, permit: Permit, name: &str, value: &str) -> Result<(), CallError>;

    /// The names of all variables: public ones, and ids where there are none.
    fn names(&self) -> Vec<String>;
}

/// The folders that entries declare.
pub trait Volumes: Send + Sync {
    /// The folder of an entry. It is called where blocking does not matter.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such entry, [`ErrorKind::Unavailable`] when its folder cannot be used.
    fn volume(&self, permit: Permit, id: &EntryId) -> Result<Volume, CallError>;
}

/// The key-value stores that entries declare.
pub trait Stores: Send + Sync {
    /// The store of an entry.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such entry.
    fn store(&self, permit: Permit, id: &EntryId) -> Result<Arc<dyn ValueStore>, CallError>;
}

/// The entries of a running application.
#[async_trait]
pub trait LiveRegistry: Send + Sync {
    /// The entries, for reading.
    fn registry(&self) -> &Registry;

    /// Prepares everything that the changes are about, then makes them current, all or none.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with what is wrong as details; nothing changes then.
    async fn apply(&self, permit: Permit, changes: ChangeSet) -> Result<Version, CallError>;

    /// Makes the entries what they were at an earlier version, as a change like any other.
    ///
    /// # Errors
    /// As [`apply`](Self::apply); [`ErrorKind::NotFound`] when the history does not have the version.
    async fn apply_version(&self, permit: Permit, version: Version) -> Result<Version, CallError>;
}

/// A part of the world that this program does not have.
#[cold]
pub(crate) fn unavailable(what: &str) -> CallError {
    CallError::new(
        ErrorKind::Unavailable,
        format!("{what} are not available in this program"),
    )
    .with_retryable(false)
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("variables", &self.variables.is_some())
            .field("volumes", &self.volumes.is_some())
            .field("stores", &self.stores.is_some())
            .field("registry", &self.registry.is_some())
            .finish_non_exhaustive()
    }
}
