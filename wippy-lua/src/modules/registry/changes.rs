//! Changes about to be made, as scripts collect them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mlua::{AnyUserData, IntoLuaMulti, Lua, UserData, UserDataMethods, UserDataRef, Value as LuaValue};
use wippy_registry::{ChangeSet, Entry, EntryId, Op};
use wippy_security::{CallError, Permit};
use wippy_wit::Value;

use super::{Source, form, versions::VersionNumber};
use crate::{LiveRegistry, methods, permission::permit, suspend::suspending, values};

/// One set of changes has no more operations than this.
const OPERATIONS_MAX: usize = 10_000;

/// What `snapshot:changes` answers.
pub(super) struct Changes {
    source: Source,
    ops: Mutex<Vec<Op>>,
}

impl Changes {
    pub(super) fn new(source: &Source) -> Self {
        Self {
            source: source.clone(),
            ops: Mutex::default(),
        }
    }

    fn ops(&self) -> MutexGuard<'_, Vec<Op>> {
        self.ops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, op: Op) -> Result<(), CallError> {
        let mut ops = self.ops();
        if ops.len() >= OPERATIONS_MAX {
            return Err(CallError::invalid(format!(
                "there are more than {OPERATIONS_MAX} operations"
            )));
        }
        ops.push(op);
        Ok(())
    }

    /// What applying takes, once every operation is permitted.
    fn begin(&self, lua: &Lua) -> Result<(Arc<dyn LiveRegistry>, Permit, ChangeSet), CallError> {
        let ops = self.ops().clone();
        let mut permits = Vec::with_capacity(ops.len());
        for op in &ops {
            permits.push(permit(lua, "registry.apply", op.id().as_str())?);
        }
        let Some(permit) = permits.pop() else {
            return Err(CallError::invalid("there are no changes to apply"));
        };
        Ok((self.source.live()?, permit, ops.into_iter().collect()))
    }
}

impl UserData for Changes {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_function("create", |lua, (this, entry): (AnyUserData, LuaValue)| {
            let op = form::entry(lua, &entry).map(|entry| Op::Create(Arc::new(entry)));
            added(lua, this, op)
        });
        methods.add_function("update", |lua, (this, entry): (AnyUserData, LuaValue)| {
            let op = form::entry(lua, &entry).map(|entry| Op::Update(Arc::new(entry)));
            added(lua, this, op)
        });
        methods.add_function("delete", |lua, (this, id): (AnyUserData, LuaValue)| {
            added(lua, this, form::id(&id).map(Op::Delete))
        });
        methods.add_method("ops", |lua, this, ()| {
            values::answer(lua, shown(&this.ops(), |_| None))
        });
        methods::find(methods, CHANGES);
    }
}

/// Adds an operation, and answers the changes again, so that calls can be chained.
fn added(lua: &Lua, this: AnyUserData, op: Result<Op, CallError>) -> mlua::Result<mlua::MultiValue> {
    let outcome = op.and_then(|op| {
        let changes = this
            .borrow::<Changes>()
            .map_err(|error| CallError::invalid(error.to_string()))?;
        changes.add(op)
    });
    match outcome {
        Ok(()) => this.into_lua_multi(lua),
        Err(error) => values::refuse(lua, error),
    }
}

const CHANGES: &str = "registry.changes";

/// Makes `changes:apply`.
pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    let apply = suspending(lua, |lua, this: UserDataRef<Changes>| {
        let (begun, source) = (this.begin(lua), this.source.clone());
        Ok(async move {
            let outcome = match begun {
                Ok((live, permit, changes)) => live.apply(permit, changes).await,
                Err(error) => Err(error),
            };
            let outcome = outcome.map(|version| VersionNumber::new(&source, version));
            move |lua: &Lua| values::reply(lua, outcome)
        })
    })?;
    methods::install(lua, CHANGES, [("apply", apply)])
}

/// Operations as scripts see them: `{kind = "entry.create", entry = {...}}`. What is deleted shows as much as is known.
pub(super) fn shown(
    ops: &[Op],
    deleted: impl Fn(&EntryId) -> Option<Arc<Entry>>,
) -> Result<Value, CallError> {
    let one = |op: &Op| {
        let (kind, entry) = match op {
            Op::Create(entry) => ("entry.create", form::shown(entry)?),
            Op::Update(entry) => ("entry.update", form::shown(entry)?),
            Op::Delete(id) => {
                let entry = match deleted(id) {
                    Some(entry) => form::shown(&entry)?,
                    None => Value::record([("id", Value::from(id.as_str()))]),
                };
                ("entry.delete", entry)
            }
        };
        Ok(Value::record([("kind", Value::from(kind)), ("entry", entry)]))
    };
    let shown: Result<Vec<Value>, CallError> = ops.iter().map(one).collect();
    Ok(Value::array(shown?))
}
