//! A small world for scripts: variables and stores in memory, volumes in a folder, actors who may do only some things.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use cap_std::{ambient_authority, fs::Dir};
use wippy_lua::{LiveRegistry, Stores, Variables, Volume, Volumes};
use wippy_registry::{
    ChangeSet, EntryId, Registry, Version,
    schema::security::{Effect, Policy as Declared, Rule},
};
use wippy_security::{Actor, CallError, Context, ErrorKind, MemoryStore, Permit, Policy, Scope, ValueStore};
use wippy_wit::{Value, json};

use crate::support::{App, id};

/// A value as JSON, for snapshots.
pub(crate) fn shown(value: &Value) -> String {
    json::from_value(value).unwrap().to_string()
}

/// A context of an actor who may do these actions on these resources, and nothing else.
pub(crate) fn only(app: &App, allowed: &[(&str, &str)]) -> Context {
    let policy = |(index, (action, resource)): (usize, &(&str, &str))| {
        let always = Rule::Conditions(Vec::new());
        compiled(
            &format!("test:policy_{index}"),
            Effect::Allow,
            action,
            resource,
            always,
        )
    };
    let calls = [("funcs.call", "*")];
    let allowed: Vec<_> = calls.iter().chain(allowed).enumerate().map(policy).collect();
    app.context().with_identity(
        Some(Arc::new(Actor::new("ada"))),
        Some(Arc::new(Scope::new(allowed))),
    )
}

/// Everything but these actions on these resources.
pub(crate) fn denying(denied: &[(&str, &str)]) -> Scope {
    let always = || Rule::Conditions(Vec::new());
    let all = compiled("test:all", Effect::Allow, "*", "*", always());
    let denials = denied.iter().enumerate().map(|(index, (action, resource))| {
        compiled(
            &format!("test:denial_{index}"),
            Effect::Deny,
            action,
            resource,
            always(),
        )
    });
    Scope::new(denials.chain([all]))
}

pub(crate) fn compiled(name: &str, effect: Effect, action: &str, resource: &str, rule: Rule) -> Arc<Policy> {
    let declared = Declared {
        actions: vec![action.to_owned()],
        resources: vec![resource.to_owned()],
        effect,
        rule,
        groups: Vec::new(),
    };
    Arc::new(Policy::compile(id(name), &declared).unwrap())
}

/// Variables in memory.
#[derive(Default)]
pub(crate) struct Known(pub(crate) Mutex<BTreeMap<String, String>>);

impl Variables for Known {
    fn get(&self, _permit: Permit, name: &str) -> Result<String, CallError> {
        let missing = || CallError::new(ErrorKind::NotFound, format!("there is no variable `{name}`"));
        self.0.lock().unwrap().get(name).cloned().ok_or_else(missing)
    }

    fn set(&self, _permit: Permit, name: &str, value: &str) -> Result<(), CallError> {
        self.0.lock().unwrap().insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }
}

/// The volume `test:files` in a folder.
pub(crate) struct Files {
    folder: Dir,
    mode: u32,
}

impl Files {
    pub(crate) fn new(path: &Path, mode: u32) -> Self {
        Self {
            folder: Dir::open_ambient_dir(path, ambient_authority()).unwrap(),
            mode,
        }
    }
}

impl Volumes for Files {
    fn volume(&self, _permit: Permit, wanted: &EntryId) -> Result<Volume, CallError> {
        if *wanted != id("test:files") {
            return Err(CallError::new(
                ErrorKind::NotFound,
                format!("there is no volume `{wanted}`"),
            ));
        }
        Ok(Volume::new(self.folder.try_clone().unwrap(), self.mode))
    }
}

/// The store `test:cache`.
pub(crate) struct Cache(pub(crate) Arc<MemoryStore>);

impl Stores for Cache {
    fn store(&self, _permit: Permit, wanted: &EntryId) -> Result<Arc<dyn ValueStore>, CallError> {
        if *wanted != id("test:cache") {
            return Err(CallError::new(
                ErrorKind::NotFound,
                format!("there is no store `{wanted}`"),
            ));
        }
        Ok(self.0.clone())
    }
}

/// A registry whose changes need no preparation.
#[derive(Default)]
pub(crate) struct Plain(pub(crate) Registry);

#[async_trait]
impl LiveRegistry for Plain {
    fn registry(&self) -> &Registry {
        &self.0
    }

    async fn apply(&self, _permit: Permit, changes: ChangeSet) -> Result<Version, CallError> {
        Ok(self.0.apply(changes)?)
    }

    async fn apply_version(&self, _permit: Permit, version: Version) -> Result<Version, CallError> {
        Ok(self.0.apply_version(version)?)
    }
}
