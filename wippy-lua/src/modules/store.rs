//! `store`: the application's key-value stores.

use std::{sync::Arc, time::Duration};

use mlua::{IntoLuaMulti, Lua, Table, UserData, UserDataMethods, Value as LuaValue};
use wippy_registry::EntryId;
use wippy_security::{CallError, Condition, Permit, Stored, ValueStore, authorize_with};
use wippy_wit::Value;

use super::Environment;
use crate::{
    Stores, errors,
    permission::{entry_id, invocation, permit},
    raw, values,
    world::unavailable,
};

/// How many items a page has unless it is said, and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1000;

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua, environment: &Environment) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let stores = environment.world.stores.clone();
    module.raw_set(
        "get",
        lua.create_function(move |lua, id: String| match get(lua, stores.as_ref(), &id) {
            Ok(store) => store.into_lua_multi(lua),
            Err(error) => values::refuse(lua, error),
        })?,
    )?;
    let constants = |pairs: &[(&str, &str)]| lua.create_table_from(pairs.iter().copied());
    module.raw_set(
        "backend",
        constants(&[
            ("MEMORY", "memory"),
            ("SQL", "sql"),
            ("KV_RAFT", "kv.raft"),
            ("KV_CRDT", "kv.crdt"),
            ("UNKNOWN", "unknown"),
        ])?,
    )?;
    module.raw_set(
        "consistency",
        constants(&[
            ("LINEARIZABLE", "linearizable"),
            ("EVENTUAL", "eventual"),
            ("LOCAL", "local"),
            ("UNKNOWN", "unknown"),
        ])?,
    )?;
    Ok(module)
}

fn get(lua: &Lua, stores: Option<&Arc<dyn Stores>>, id: &str) -> Result<Store, CallError> {
    let id = entry_id(id)?;
    let permit = permit(lua, "store.get", id.as_str())?;
    let stores = stores.ok_or_else(|| unavailable("stores"))?;
    let store = stores.store(permit, &id)?;
    Ok(Store {
        id,
        store: Some(store),
    })
}

/// What `get` answers.
struct Store {
    id: EntryId,
    /// Nothing once it is released.
    store: Option<Arc<dyn ValueStore>>,
}

impl Store {
    /// The store, after asking for one of its keys.
    fn with_key(&self, lua: &Lua, action: &str, key: &str) -> Result<&dyn ValueStore, CallError> {
        if key.is_empty() {
            return Err(CallError::invalid("the key is empty"));
        }
        self.with(lua, action, "key", key)
    }

    fn with(&self, lua: &Lua, action: &str, name: &str, text: &str) -> Result<&dyn ValueStore, CallError> {
        let meta = Value::record([(name, Value::from(text))]);
        let _now: Permit = authorize_with(&invocation(lua)?, action, self.id.as_str(), &meta)?;
        self.store
            .as_deref()
            .ok_or_else(|| CallError::invalid("the store was released"))
    }

    fn get(&self, lua: &Lua, key: &str) -> Result<Value, CallError> {
        Ok(self.with_key(lua, "store.key.get", key)?.get(key)?.value)
    }

    fn entry(&self, lua: &Lua, key: &str) -> Result<Value, CallError> {
        let stored = self.with_key(lua, "store.key.get", key)?.get(key)?;
        Ok(shown(key, stored))
    }

    fn set(&self, lua: &Lua, key: &str, value: Value, ttl: Option<f64>) -> Result<Value, CallError> {
        let store = self.with_key(lua, "store.key.set", key)?;
        store.put(key, value, time_to_live(ttl)?, Condition::Always)?;
        Ok(true.into())
    }

    fn put(&self, lua: &Lua, key: &str, value: Value, options: &PutOptions) -> Result<Value, CallError> {
        let store = self.with_key(lua, "store.key.set", key)?;
        let ttl = time_to_live(options.ttl)?;
        let version = store.put(key, value.clone(), ttl, options.condition()?)?;
        Ok(shown(key, Stored { value, version }))
    }

    fn delete(&self, lua: &Lua, key: &str) -> Result<Value, CallError> {
        Ok(self.with_key(lua, "store.key.delete", key)?.delete(key)?.into())
    }

    fn has(&self, lua: &Lua, key: &str) -> Result<Value, CallError> {
        Ok(self.with_key(lua, "store.key.has", key)?.has(key)?.into())
    }

    fn list(&self, lua: &Lua, options: &ListOptions) -> Result<Value, CallError> {
        let prefix = options.prefix.as_deref().unwrap_or_default();
        let store = self.with(lua, "store.key.list", "prefix", prefix)?;
        let limit = options.limit.filter(|limit| *limit > 0).unwrap_or(PAGE);
        let page = store.list(prefix, options.after.as_deref(), limit.min(PAGE_MAX))?;
        let cursor = page.items.last().map(|(key, _)| Value::from(&**key));
        let items = page.items.into_iter().map(|(key, stored)| shown(&key, stored));
        Ok(Value::record([
            ("items", Value::array(items)),
            ("cursor", cursor.unwrap_or_else(|| Value::from(""))),
            ("has_more", page.has_more.into()),
        ]))
    }

    fn info(&self, lua: &Lua) -> Result<Value, CallError> {
        let _now = permit(lua, "store.info", self.id.as_str())?;
        Ok(Value::record([
            ("id", Value::from(self.id.as_str())),
            ("backend", "memory".into()),
            ("consistency", "linearizable".into()),
            ("durable", false.into()),
            ("list", true.into()),
            ("versioned", true.into()),
            ("conditional_put", true.into()),
            ("ttl", true.into()),
        ]))
    }
}

impl UserData for Store {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("get", |lua, this, key: String| {
            values::answer(lua, this.get(lua, &key))
        });
        methods.add_method("entry", |lua, this, key: String| {
            values::answer(lua, this.entry(lua, &key))
        });
        methods.add_method(
            "set",
            |lua, this, (key, value, ttl): (String, LuaValue, Option<f64>)| {
                let value = read(lua, &value)?;
                values::answer(lua, this.set(lua, &key, value, ttl))
            },
        );
        methods.add_method(
            "put",
            |lua, this, (key, value, options): (String, LuaValue, Option<Table>)| {
                let (value, options) = (read(lua, &value)?, PutOptions::read(options.as_ref())?);
                values::answer(lua, this.put(lua, &key, value, &options))
            },
        );
        methods.add_method("delete", |lua, this, key: String| {
            values::answer(lua, this.delete(lua, &key))
        });
        methods.add_method("has", |lua, this, key: String| {
            values::answer(lua, this.has(lua, &key))
        });
        methods.add_method("list", |lua, this, options: Option<Table>| {
            let options = ListOptions::read(options.as_ref())?;
            values::answer(lua, this.list(lua, &options))
        });
        methods.add_method("info", |lua, this, ()| values::answer(lua, this.info(lua)));
        methods.add_method_mut("release", |_, this, ()| {
            this.store = None;
            Ok(true)
        });
    }
}

/// What `put` may be told.
#[derive(Default)]
struct PutOptions {
    ttl: Option<f64>,
    only_if_absent: bool,
    if_version: Option<String>,
}

impl PutOptions {
    fn read(table: Option<&Table>) -> mlua::Result<Self> {
        let Some(table) = table else {
            return Ok(Self::default());
        };
        Ok(Self {
            ttl: table.raw_get("ttl")?,
            only_if_absent: table.raw_get::<Option<bool>>("only_if_absent")?.unwrap_or(false),
            if_version: table.raw_get("if_version")?,
        })
    }

    fn condition(&self) -> Result<Condition, CallError> {
        match (&self.if_version, self.only_if_absent) {
            (None, false) => Ok(Condition::Always),
            (None, true) => Ok(Condition::Absent),
            (Some(version), false) => version
                .parse()
                .map(Condition::Version)
                .map_err(|_| CallError::invalid("`if_version` is a version that an entry had")),
            (Some(_), true) => Err(CallError::invalid(
                "`only_if_absent` and `if_version` exclude each other",
            )),
        }
    }
}

/// What `list` may be told.
#[derive(Default)]
struct ListOptions {
    prefix: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

impl ListOptions {
    fn read(table: Option<&Table>) -> mlua::Result<Self> {
        let Some(table) = table else {
            return Ok(Self::default());
        };
        Ok(Self {
            prefix: table.raw_get("prefix")?,
            after: table
                .raw_get::<Option<String>>("after")?
                .filter(|after| !after.is_empty()),
            limit: table.raw_get("limit")?,
        })
    }
}

/// An entry as scripts see it. Its version is opaque to them.
fn shown(key: &str, stored: Stored) -> Value {
    Value::record([
        ("key", Value::from(key)),
        ("value", stored.value),
        ("version", stored.version.to_string().into()),
    ])
}

fn read(lua: &Lua, value: &LuaValue) -> mlua::Result<Value> {
    raw::read_value(lua, value).map_err(|error| errors::raise(error.at_argument(1, "value").into()))
}

/// Seconds; none, or zero of them, are for good.
fn time_to_live(seconds: Option<f64>) -> Result<Option<Duration>, CallError> {
    let Some(seconds) = seconds.filter(|seconds| *seconds != 0.0) else {
        return Ok(None);
    };
    if seconds < 0.0 || seconds.is_nan() {
        return Err(CallError::invalid("the time to live is a number of seconds"));
    }
    // What is too long for a duration is for good, too.
    Ok(Duration::try_from_secs_f64(seconds).ok())
}
