//! `registry`: the application's entries, to be read, and changed while it runs.
//!
//! Reading shows what the caller may see by `registry.get`. A change is prepared as a whole before any of it becomes
//! current, by whoever implements [`LiveRegistry`](crate::LiveRegistry).

mod changes;
mod form;
mod versions;

use std::sync::{Arc, Weak};

use mlua::{Lua, Table, UserData, UserDataMethods, Value as LuaValue};
use wippy_registry::{ChangeSet, Entry, EntryId, Query, Snapshot};
use wippy_security::{CallError, Context, ErrorKind, allows};
use wippy_wit::Value;

use self::{changes::Changes, versions::VersionNumber};
use super::Environment;
use crate::{
    LiveRegistry,
    permission::{entry_id, invocation, permit},
    suspend::suspending,
    values,
    world::unavailable,
};

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua, environment: &Environment) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let world = Source(environment.world.registry.clone());
    let source = world.clone();
    module.raw_set(
        "get",
        lua.create_function(move |lua, id: String| {
            values::answer(
                lua,
                current(&source).and_then(|snapshot| get(lua, &snapshot, &id)),
            )
        })?,
    )?;
    let source = world.clone();
    module.raw_set(
        "find",
        lua.create_function(move |lua, filter: Option<Table>| {
            values::answer(
                lua,
                current(&source).and_then(|snapshot| find(lua, &snapshot, filter.as_ref())),
            )
        })?,
    )?;
    module.raw_set(
        "parse_id",
        lua.create_function(|lua, id: String| {
            values::answer(lua, entry_id(&id).map(|id| form::id_parts(&id)))
        })?,
    )?;
    let source = world.clone();
    module.raw_set(
        "snapshot",
        lua.create_function(move |lua, ()| {
            values::reply(
                lua,
                current(&source).map(|snapshot| Taken::new(&source, snapshot)),
            )
        })?,
    )?;
    module.raw_set(
        "build_delta",
        lua.create_function(|lua, (from, to): (Table, Table)| values::answer(lua, delta(lua, &from, &to)))?,
    )?;
    versions::install(lua, &module, &world)?;
    changes::install(lua)?;
    let source = world;
    module.raw_set(
        "apply_version",
        suspending(lua, move |lua, version: LuaValue| {
            let begun = versions::number(&version).and_then(|version| {
                let permit = permit(lua, "registry.apply_version", &version.to_string())?;
                Ok((source.live()?, permit, version))
            });
            Ok(async move {
                let outcome = match begun {
                    Ok((live, permit, version)) => live.apply_version(permit, version).await,
                    Err(error) => Err(error),
                };
                move |lua: &Lua| values::reply(lua, outcome.map(|_| true))
            })
        })?,
    )?;
    Ok(module)
}

/// Where the entries are found.
#[derive(Clone)]
struct Source(Option<Weak<dyn LiveRegistry>>);

impl Source {
    fn live(&self) -> Result<Arc<dyn LiveRegistry>, CallError> {
        let Some(registry) = &self.0 else {
            return Err(unavailable("registry entries"));
        };
        registry
            .upgrade()
            .ok_or_else(|| CallError::new(ErrorKind::Unavailable, "the application is stopping"))
    }
}

/// What `registry.snapshot` answers: the entries as they were at one version.
struct Taken {
    source: Source,
    snapshot: Arc<Snapshot>,
}

impl Taken {
    fn new(source: &Source, snapshot: Arc<Snapshot>) -> Self {
        Self {
            source: source.clone(),
            snapshot,
        }
    }
}

impl UserData for Taken {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("get", |lua, this, id: String| {
            values::answer(lua, get(lua, &this.snapshot, &id))
        });
        methods.add_method("find", |lua, this, filter: Option<Table>| {
            values::answer(lua, find(lua, &this.snapshot, filter.as_ref()))
        });
        methods.add_method("entries", |lua, this, ()| {
            values::answer(lua, find(lua, &this.snapshot, None))
        });
        methods.add_method("namespace", |lua, this, namespace: String| {
            let inside = |entry: &Entry| entry.id.namespace() == namespace;
            values::answer(
                lua,
                invocation(lua).and_then(|context| listed(&context, &this.snapshot, inside)),
            )
        });
        methods.add_method("version", |_, this, ()| {
            Ok(VersionNumber::new(&this.source, this.snapshot.version()))
        });
        methods.add_method("changes", |_, this, ()| Ok(Changes::new(&this.source)));
    }
}

fn current(source: &Source) -> Result<Arc<Snapshot>, CallError> {
    Ok(source.live()?.registry().snapshot())
}

fn get(lua: &Lua, snapshot: &Snapshot, id: &str) -> Result<Value, CallError> {
    let id = entry_id(id)?;
    let _now = permit(lua, "registry.get", id.as_str())?;
    let entry = snapshot.get(&id).ok_or_else(|| missing(&id))?;
    form::shown(entry)
}

fn missing(id: &EntryId) -> CallError {
    CallError::new(ErrorKind::NotFound, format!("there is no entry `{id}`"))
}

fn find(lua: &Lua, snapshot: &Snapshot, filter: Option<&Table>) -> Result<Value, CallError> {
    let query = match filter {
        Some(filter) => form::query(filter)?,
        None => Query::new(),
    };
    listed(&invocation(lua)?, snapshot, |entry| query.matches(entry))
}

/// The entries that fit and that the caller may see.
fn listed(context: &Context, snapshot: &Snapshot, fits: impl Fn(&Entry) -> bool) -> Result<Value, CallError> {
    let seen = |entry: &&Arc<Entry>| allows(context, "registry.get", entry.id.as_str(), &Value::Nil);
    let entries = snapshot.iter().filter(|entry| fits(entry)).filter(seen);
    let shown: Result<Vec<Value>, CallError> = entries.map(|entry| form::shown(entry)).collect();
    Ok(Value::array(shown?))
}

/// What leads from some entries to others.
fn delta(lua: &Lua, from: &Table, to: &Table) -> Result<Value, CallError> {
    let entries = |table: &Table| -> Result<Vec<Arc<Entry>>, CallError> {
        let each = table.sequence_values::<LuaValue>();
        each.map(|entry| {
            let entry = entry.map_err(|error| CallError::invalid(error.to_string()))?;
            form::entry(lua, &entry).map(Arc::new)
        })
        .collect()
    };
    let (from, to) = (entries(from)?, entries(to)?);
    let deleted = |id: &EntryId| from.iter().find(|entry| entry.id == *id).cloned();
    changes::shown(ChangeSet::between(&from, &to).ops(), deleted)
}
