//! What entries are at run time besides functions and processes: folders as volumes, stores.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use cap_std::{ambient_authority, fs::Dir};
use wippy_lua::{Stores, Volume, Volumes};
use wippy_registry::{EntryId, Linked, schema};
use wippy_security::{CallError, ErrorKind, MemoryStore, Permit, ValueStore};

use super::Directories;

/// The folders and stores of the application.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    directories: RwLock<Arc<Directories>>,
    stores: RwLock<BTreeMap<EntryId, Store>>,
}

#[derive(Debug, Clone)]
struct Store {
    keys_max: u64,
    store: Arc<MemoryStore>,
}

impl Resources {
    /// Takes over what the entries say now. A store that stays as it was keeps what it holds.
    pub(crate) fn update(&self, linked: &Linked, directories: &Directories) {
        *self.directories.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(directories.clone());
        let mut stores = self.stores.write().unwrap_or_else(PoisonError::into_inner);
        let known = std::mem::take(&mut *stores);
        for entry in &linked.entries {
            if let schema::Config::MemoryStore(config) = &entry.config {
                let id = &entry.entry.id;
                let kept = known.get(id).filter(|store| store.keys_max == config.max_size);
                let store = kept.cloned().unwrap_or_else(|| Store::new(config.max_size));
                stores.insert(id.clone(), store);
            }
        }
    }
}

impl Resources {
    /// A store, for what is not a guest.
    pub(crate) fn find_store(&self, id: &EntryId) -> Option<Arc<dyn ValueStore>> {
        let stores = self.stores.read().unwrap_or_else(PoisonError::into_inner);
        Some(stores.get(id)?.store.clone())
    }
}

impl Store {
    fn new(keys_max: u64) -> Self {
        Self {
            keys_max,
            store: Arc::new(MemoryStore::new(usize::try_from(keys_max).unwrap_or(usize::MAX))),
        }
    }
}

impl Volumes for Resources {
    fn volume(&self, _permit: Permit, id: &EntryId) -> Result<Volume, CallError> {
        let directories = Arc::clone(&self.directories.read().unwrap_or_else(PoisonError::into_inner));
        let Some((path, mode)) = directories.place(id) else {
            return Err(CallError::new(
                ErrorKind::NotFound,
                format!("there is no volume `{id}`"),
            ));
        };
        let folder = Dir::open_ambient_dir(path, ambient_authority()).map_err(|error| {
            tracing::warn!(target: "wippy", %id, %error, "a volume's folder cannot be opened");
            CallError::new(
                ErrorKind::Unavailable,
                format!("the folder of the volume `{id}` cannot be opened"),
            )
        })?;
        Ok(Volume::new(folder, mode))
    }
}

impl Stores for Resources {
    fn store(&self, _permit: Permit, id: &EntryId) -> Result<Arc<dyn ValueStore>, CallError> {
        let stores = self.stores.read().unwrap_or_else(PoisonError::into_inner);
        match stores.get(id) {
            Some(store) => Ok(store.store.clone()),
            None => Err(CallError::new(
                ErrorKind::NotFound,
                format!("there is no store `{id}`"),
            )),
        }
    }
}
