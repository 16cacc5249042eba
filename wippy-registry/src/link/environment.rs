//! What placeholders see while linking: variables that the project declares, then the world outside.
//!
//! A declared variable has a value here when its storage is static or the operating system, or through a router of
//! such; a storage that lives at run time (memory, files) has none yet, so the variable's default or the world
//! outside answers.

use std::collections::BTreeMap;

use crate::entry::Entry;
use crate::env::EnvLookup;
use crate::id::EntryId;
use crate::schema::env::{Storage, Variable};
use crate::schema::{self, Config};

/// Routers of routers deeper than this answer nothing.
const ROUTERS_MAX: usize = 16;

pub(super) struct Environment<'e> {
    storages: BTreeMap<EntryId, Storage>,
    variables: BTreeMap<EntryId, Variable>,
    outside: &'e dyn EnvLookup,
}

impl<'e> Environment<'e> {
    pub(super) fn new(entries: &[Entry], outside: &'e dyn EnvLookup) -> Self {
        let mut environment = Self {
            storages: BTreeMap::new(),
            variables: BTreeMap::new(),
            outside,
        };
        for entry in entries.iter().filter(|entry| entry.kind.family() == "env") {
            match schema::decode(entry, outside) {
                Ok(Config::EnvStorage(storage)) => {
                    environment.storages.entry(entry.id.clone()).or_insert(storage);
                }
                Ok(Config::EnvVariable(variable)) => {
                    environment.variables.entry(entry.id.clone()).or_insert(variable);
                }
                Ok(_) | Err(_) => {}
            }
        }
        environment
    }

    fn find(&self, name: &str) -> Option<(&EntryId, &Variable)> {
        let public = self
            .variables
            .iter()
            .find(|(_, variable)| variable.variable.as_deref() == Some(name));
        public.or_else(|| self.variables.iter().find(|(id, _)| id.as_str() == name))
    }

    fn read(&self, storage: &EntryId, name: &str, depth: usize) -> Option<String> {
        match self.storages.get(storage)? {
            Storage::Static { values } => values.get(name).cloned(),
            Storage::Os => self.outside.lookup(name),
            Storage::Router { storages } if depth < ROUTERS_MAX => storages
                .iter()
                .find_map(|storage| self.read(storage, name, depth + 1)),
            Storage::Router { .. } | Storage::Memory | Storage::File { .. } => None,
        }
    }
}

impl EnvLookup for Environment<'_> {
    fn lookup(&self, name: &str) -> Option<String> {
        let Some((id, variable)) = self.find(name) else {
            return self.outside.lookup(name);
        };
        let key = variable.variable.as_deref().unwrap_or_else(|| id.name());
        self.read(&variable.storage, key, 0)
            .or_else(|| self.outside.lookup(name))
            .or_else(|| variable.default.clone())
    }
}
