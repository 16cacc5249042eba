//! Spawning: the functions of the module, and builders that say under what conditions.

use std::sync::Arc;

use mlua::{
    FromLuaMulti, IntoLuaMulti, Lua, MultiValue, Table, UserData, UserDataMethods, UserDataRef,
    Value as LuaValue, Variadic,
};
use wippy_registry::EntryId;
use wippy_security::{Actor, CallError, Scope, Spawn, Values};
use wippy_wit::Value;

use super::{context, owned, parse_id, sendable};
use crate::{errors, modules::owned::Owned, raw, suspend::suspending, values};

/// The variants of spawning, with whether they monitor and link.
const VARIANTS: [(&str, bool, bool); 4] = [
    ("spawn", false, false),
    ("spawn_monitored", true, false),
    ("spawn_linked", false, true),
    ("spawn_linked_monitored", true, true),
];

/// Where the blocking method is kept: mlua's own methods cannot suspend.
const EXEC: &str = "wippy.spawner.exec";

/// `process.spawn` and its variants.
///
/// # Errors
/// When memory does not suffice; so for all functions here.
pub(super) fn spawn_function(lua: &Lua, monitor: bool, link: bool) -> mlua::Result<LuaValue> {
    let function =
        lua.create_function(move |lua, target: Target| Spawner::default().spawn(lua, target, monitor, link))?;
    Ok(LuaValue::Function(function))
}

/// `process.exec`
pub(super) fn exec_function(lua: &Lua) -> mlua::Result<LuaValue> {
    let function = suspending(lua, |lua, target: Target| {
        Ok(exec(start_exec(lua, &Spawner::default(), target)))
    })?;
    Ok(LuaValue::Function(function))
}

/// `process.with_context`
pub(super) fn with_context_function(lua: &Lua) -> mlua::Result<LuaValue> {
    let function = lua.create_function(|lua, values: Table| Spawner::default().with_context(lua, &values))?;
    Ok(LuaValue::Function(function))
}

/// `process.with_options`
pub(super) fn with_options_function(lua: &Lua) -> mlua::Result<LuaValue> {
    let function = lua.create_function(|_, options: Table| Spawner::default().with_options(&options))?;
    Ok(LuaValue::Function(function))
}

/// `builder:exec(...)`, which is made once.
fn exec_method(lua: &Lua) -> mlua::Result<LuaValue> {
    let known: LuaValue = lua.named_registry_value(EXEC)?;
    if !known.is_nil() {
        return Ok(known);
    }
    let method = suspending(lua, |lua, (this, target): (UserDataRef<Spawner>, Target)| {
        Ok(exec(start_exec(lua, &this, target)))
    })?;
    lua.set_named_registry_value(EXEC, &method)?;
    Ok(LuaValue::Function(method))
}

/// What is to be started, and where.
struct Target {
    process: EntryId,
    host: EntryId,
    arguments: Vec<Value>,
}

impl FromLuaMulti for Target {
    fn from_lua_multi(values: MultiValue, lua: &Lua) -> mlua::Result<Self> {
        let mut values = values.into_iter();
        let mut id = |what: &str| match values.next() {
            Some(LuaValue::String(text)) => parse_id(&text.to_string_lossy()).map_err(errors::raise),
            _ => Err(errors::raise(CallError::invalid(format!(
                "expected the id of {what}, as in `process.spawn(\"app:worker\", \"app:processes\", ...)`"
            )))),
        };
        let (process, host) = (id("a process")?, id("a host")?);
        let arguments: Vec<LuaValue> = values.collect();
        Ok(Self {
            process,
            host,
            arguments: owned(lua, &arguments, 2)?,
        })
    }
}

/// Under what conditions processes are started: never changed, every `with_...` makes another one.
#[derive(Clone, Default)]
struct Spawner {
    values: Values,
    name: Option<Arc<str>>,
    messages: Vec<(Arc<str>, Vec<Value>)>,
    actor: Option<Arc<Actor>>,
    scope: Option<Arc<Scope>>,
}

impl Spawner {
    fn order(&self, target: Target) -> Spawn {
        Spawn {
            name: self.name.clone(),
            messages: self.messages.clone(),
            values: self.values.clone(),
            actor: self.actor.clone(),
            scope: self.scope.clone(),
            ..Spawn::new(target.process, target.host, target.arguments)
        }
    }

    fn spawn(&self, lua: &Lua, target: Target, monitor: bool, link: bool) -> mlua::Result<MultiValue> {
        let order = Spawn {
            monitor,
            link,
            ..self.order(target)
        };
        let spawned =
            context(lua).and_then(|context| context.dispatcher().processes().spawn(&context, order));
        match spawned {
            Ok(pid) => lua.create_string(pid.as_str())?.into_lua_multi(lua),
            Err(error) => values::refuse(lua, error),
        }
    }

    fn with_context(&self, lua: &Lua, added: &Table) -> mlua::Result<Self> {
        let mut spawner = self.clone();
        for pair in added.pairs::<String, LuaValue>() {
            let (key, value) = pair?;
            let value =
                raw::read_value(lua, &value).map_err(|error| errors::raise(error.at_field(&key).into()))?;
            spawner.values.insert(key.into(), value);
        }
        Ok(spawner)
    }

    fn with_options(&self, options: &Table) -> mlua::Result<Self> {
        match options.pairs::<String, LuaValue>().next() {
            None => Ok(self.clone()),
            Some(pair) => Err(errors::raise(CallError::invalid(format!(
                "there is no spawn option `{}` in this runtime",
                pair?.0
            )))),
        }
    }
}

/// Starts a process whose end is waited for.
fn start_exec(
    lua: &Lua,
    spawner: &Spawner,
    target: Target,
) -> Result<impl Future<Output = Result<Value, CallError>> + Send + use<>, CallError> {
    let context = context(lua)?;
    let order = spawner.order(target);
    context.dispatcher().processes().exec(&context, order)
}

/// Waits for the end of what was started, if it was.
async fn exec(
    started: Result<impl Future<Output = Result<Value, CallError>> + Send, CallError>,
) -> impl FnOnce(&Lua) -> mlua::Result<MultiValue> + Send {
    let outcome = match started {
        Ok(running) => running.await,
        Err(error) => Err(error),
    };
    move |lua: &Lua| values::answer(lua, outcome)
}

impl UserData for Spawner {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        for (name, monitor, link) in VARIANTS {
            methods.add_method(name, move |lua, this, target: Target| {
                this.spawn(lua, target, monitor, link)
            });
        }
        methods.add_method("with_context", |lua, this, values: Table| {
            this.with_context(lua, &values)
        });
        methods.add_method("with_options", |_, this, options: Table| {
            this.with_options(&options)
        });
        // Whether it may act for others, the guard is asked when something is started.
        methods.add_method("with_actor", |_, this, actor: Owned<Actor>| {
            Ok(Self {
                actor: Some(actor.thing),
                ..this.clone()
            })
        });
        methods.add_method("with_scope", |_, this, scope: Owned<Scope>| {
            Ok(Self {
                scope: Some(scope.thing),
                ..this.clone()
            })
        });
        methods.add_method("with_name", |_, this, name: String| {
            Ok(Self {
                name: Some(name.into()),
                ..this.clone()
            })
        });
        methods.add_method(
            "with_message",
            |lua, this, (topic, payloads): (String, Variadic<LuaValue>)| {
                let mut spawner = this.clone();
                spawner
                    .messages
                    .push((topic.into(), sendable(lua, &payloads, 1)?));
                Ok(spawner)
            },
        );
        methods.add_meta_method("__index", |lua, _, name: String| match &*name {
            "exec" => exec_method(lua),
            _ => Ok(LuaValue::Nil),
        });
    }
}
