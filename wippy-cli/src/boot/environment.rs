//! The environment variables that entries declare: their values, and where those are kept.
//!
//! Scripts and guests see the same ones. Entries may change while values stay: what is kept in memory is kept by the id
//! of its storage.

mod file;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use wippy_lua::Variables;
use wippy_registry::{
    EntryId, Linked, schema,
    schema::env::{Storage, Variable},
};
use wippy_security::{CallError, ErrorKind, Permit};

use self::file::ValueFile;
use crate::config::Config;

/// Routers of routers deeper than this answer nothing.
const ROUTERS_MAX: usize = 16;

/// The variables of the application and where their values are kept.
#[derive(Debug)]
pub(crate) struct Environment {
    declared: RwLock<Arc<Declared>>,
    memory: Mutex<BTreeMap<EntryId, BTreeMap<String, String>>>,
    root: PathBuf,
    config: Config,
}

/// What the entries say.
#[derive(Debug, Default)]
struct Declared {
    variables: BTreeMap<EntryId, Variable>,
    storages: BTreeMap<EntryId, Storage>,
    files: BTreeMap<EntryId, Arc<ValueFile>>,
    /// Variables by their public names.
    names: HashMap<String, EntryId>,
}

impl Declared {
    fn new(linked: &Linked, root: &Path) -> Self {
        let mut declared = Self::default();
        for entry in &linked.entries {
            let id = entry.entry.id.clone();
            if let schema::Config::EnvVariable(variable) = &entry.config {
                if let Some(name) = &variable.variable {
                    declared.names.entry(name.clone()).or_insert_with(|| id.clone());
                }
                declared.variables.insert(id, variable.clone());
            } else if let schema::Config::EnvStorage(storage) = &entry.config {
                if let Some(file) = ValueFile::of(storage, root) {
                    declared.files.insert(id.clone(), Arc::new(file));
                }
                declared.storages.insert(id, storage.clone());
            }
        }
        declared
    }

    /// A variable by its public name, or by its id.
    fn find(&self, name: &str) -> Option<(&EntryId, &Variable)> {
        if let Some(id) = self.names.get(name) {
            return self.variables.get_key_value(id);
        }
        let id = EntryId::parse(name).ok()?;
        self.variables.get_key_value(&id)
    }
}

impl Environment {
    pub(crate) fn new(linked: &Linked, config: Config) -> Self {
        let root = linked.project.root.clone();
        Self {
            declared: RwLock::new(Arc::new(Declared::new(linked, &root))),
            memory: Mutex::default(),
            root,
            config,
        }
    }

    /// Takes over what the entries say now.
    pub(crate) fn update(&self, linked: &Linked) {
        let declared = Arc::new(Declared::new(linked, &self.root));
        let is_kept = |id: &EntryId| declared.storages.contains_key(id);
        self.memory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|id, _| is_kept(id));
        *self.declared.write().unwrap_or_else(PoisonError::into_inner) = declared;
    }

    /// Makes the files that are to be made.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn make(&self) -> io::Result<()> {
        self.declared().files.values().try_for_each(|file| file.make())
    }

    /// The value of a variable.
    pub(crate) fn value(&self, id: &EntryId) -> Option<String> {
        let declared = self.declared();
        let variable = declared.variables.get(id)?;
        self.value_of(&declared, id, variable)
    }

    /// The value of a variable by its name, for placeholders of entries that come while the application runs.
    pub(crate) fn named(&self, name: &str) -> Option<String> {
        let declared = self.declared();
        let (id, variable) = declared.find(name)?;
        self.value_of(&declared, id, variable)
    }

    fn declared(&self) -> Arc<Declared> {
        Arc::clone(&self.declared.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn value_of(&self, declared: &Declared, id: &EntryId, variable: &Variable) -> Option<String> {
        self.stored(declared, &variable.storage, key(id, variable), 0)
            .or_else(|| variable.default.clone())
    }

    fn stored(&self, declared: &Declared, storage: &EntryId, name: &str, depth: usize) -> Option<String> {
        match declared.storages.get(storage)? {
            Storage::Os => self.config.variable(name),
            Storage::Static { values } => values.get(name).cloned(),
            Storage::Memory => {
                let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
                memory.get(storage)?.get(name).cloned()
            }
            Storage::File { .. } => declared.files.get(storage)?.get(name),
            Storage::Router { storages } if depth < ROUTERS_MAX => storages
                .iter()
                .find_map(|storage| self.stored(declared, storage, name, depth + 1)),
            Storage::Router { .. } => None,
        }
    }

    fn store(
        &self,
        declared: &Declared,
        storage: &EntryId,
        name: &str,
        value: &str,
        depth: usize,
    ) -> Result<(), CallError> {
        match declared.storages.get(storage) {
            Some(Storage::Memory) => {
                let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
                let values = memory.entry(storage.clone()).or_default();
                values.insert(name.to_owned(), value.to_owned());
                Ok(())
            }
            Some(Storage::File { .. }) => match declared.files.get(storage) {
                Some(file) => file.set(name, value).map_err(|error| unwritable(storage, &error)),
                None => Err(missing_storage(storage)),
            },
            Some(Storage::Router { storages }) if depth < ROUTERS_MAX => match storages.first() {
                Some(first) => self.store(declared, first, name, value, depth + 1),
                None => Err(missing_storage(storage)),
            },
            Some(Storage::Os | Storage::Static { .. }) => Err(CallError::new(
                ErrorKind::PermissionDenied,
                format!("the storage `{storage}` is read-only"),
            )),
            Some(Storage::Router { .. }) | None => Err(missing_storage(storage)),
        }
    }
}

impl Variables for Environment {
    fn get(&self, _permit: Permit, name: &str) -> Result<String, CallError> {
        let declared = self.declared();
        let (id, variable) = declared.find(name).ok_or_else(|| unknown(name))?;
        self.value_of(&declared, id, variable)
            .ok_or_else(|| CallError::new(ErrorKind::NotFound, format!("the variable `{name}` has no value")))
    }

    fn set(&self, _permit: Permit, name: &str, value: &str) -> Result<(), CallError> {
        let declared = self.declared();
        let (id, variable) = declared.find(name).ok_or_else(|| unknown(name))?;
        if variable.readonly {
            return Err(CallError::new(
                ErrorKind::PermissionDenied,
                format!("the variable `{name}` is read-only"),
            ));
        }
        self.store(&declared, &variable.storage, key(id, variable), value, 0)
    }

    fn names(&self) -> Vec<String> {
        let declared = self.declared();
        let name = |(id, variable): (&EntryId, &Variable)| match &variable.variable {
            Some(name) if declared.names.get(name) == Some(id) => name.clone(),
            Some(_) | None => id.to_string(),
        };
        declared.variables.iter().map(name).collect()
    }
}

/// What a storage knows a variable by.
fn key<'a>(id: &'a EntryId, variable: &'a Variable) -> &'a str {
    variable.variable.as_deref().unwrap_or_else(|| id.name())
}

#[cold]
fn unknown(name: &str) -> CallError {
    CallError::new(ErrorKind::NotFound, format!("there is no variable `{name}`"))
}

#[cold]
fn missing_storage(storage: &EntryId) -> CallError {
    CallError::new(ErrorKind::NotFound, format!("there is no storage `{storage}`"))
}

/// The log has the reason; where the file is, is nobody's business.
#[cold]
fn unwritable(storage: &EntryId, error: &io::Error) -> CallError {
    tracing::warn!(target: "wippy", %storage, %error, "a value could not be stored");
    let (kind, reason) = if error.kind() == io::ErrorKind::InvalidInput {
        (ErrorKind::Invalid, "a value in a file is one line")
    } else if error.kind() == io::ErrorKind::NotFound {
        (
            ErrorKind::Unavailable,
            "its file does not exist, and `auto_create` is not set",
        )
    } else {
        (ErrorKind::Unavailable, "its file cannot be written")
    };
    CallError::new(
        kind,
        format!("the storage `{storage}` did not take the value: {reason}"),
    )
}
