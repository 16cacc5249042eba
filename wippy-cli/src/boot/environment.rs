//! What guests find in their environment: the values of `env.variable` entries, looked up when they are asked for.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use wippy_registry::{
    EntryId, Linked, schema,
    schema::env::{Storage, Variable},
};

use crate::config::Config;

/// Routers of routers deeper than this answer nothing.
const ROUTERS_MAX: usize = 16;

/// The variables of the application and where their values are kept.
#[derive(Debug)]
pub(crate) struct Environment {
    variables: BTreeMap<EntryId, Variable>,
    storages: BTreeMap<EntryId, Storage>,
    root: PathBuf,
    config: Config,
}

impl Environment {
    pub(super) fn new(linked: &Linked, config: Config) -> Self {
        let root = linked.project.root.clone();
        let mut environment = Self {
            variables: BTreeMap::new(),
            storages: BTreeMap::new(),
            root,
            config,
        };
        for entry in &linked.entries {
            let id = entry.entry.id.clone();
            if let schema::Config::EnvVariable(variable) = &entry.config {
                environment.variables.insert(id, variable.clone());
            } else if let schema::Config::EnvStorage(storage) = &entry.config {
                environment.storages.insert(id, storage.clone());
            }
        }
        environment
    }

    /// The value of a variable.
    pub(crate) fn value(&self, id: &EntryId) -> Option<String> {
        let variable = self.variables.get(id)?;
        let name = variable.variable.as_deref().unwrap_or_else(|| id.name());
        self.stored(&variable.storage, name, 0)
            .or_else(|| variable.default.clone())
    }

    fn stored(&self, storage: &EntryId, name: &str, depth: usize) -> Option<String> {
        match self.storages.get(storage)? {
            Storage::Os => self.config.variable(name),
            Storage::Static { values } => values.get(name).cloned(),
            Storage::File { file_path, .. } => in_file(&self.root.join(file_path), name),
            Storage::Router { storages } if depth < ROUTERS_MAX => storages
                .iter()
                .find_map(|storage| self.stored(storage, name, depth + 1)),
            // Nothing can be written yet, so memory is empty.
            Storage::Router { .. } | Storage::Memory => None,
        }
    }
}

/// The value of a name in a file of `NAME=value` lines; `#` begins a comment line, quotes around a value are taken off.
fn in_file(file: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let (_, value) = lines
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| key.trim() == name)?;
    let value = value.trim();
    let unquoted = ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    Some(unquoted.unwrap_or(value).to_owned())
}
