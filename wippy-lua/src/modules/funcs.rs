//! `funcs`: calling other entries, waiting for them or not.

use std::{future::Future, sync::Arc, time::Duration};

use mlua::{
    FromLuaMulti, IntoLuaMulti, Lua, MultiValue, Table, UserData, UserDataMethods, UserDataRef,
    Value as LuaValue,
};
use wippy_registry::EntryId;
use wippy_security::{Actor, CallError, Context, Scope, Values, authorize};
use wippy_wit::{Value, ValueReader, ValueWriter, json};

use super::{
    future,
    ledger::{Charge, charge},
    owned::{Owned, Owner, current},
    payload,
};
use crate::{Retry, errors, raw, suspend::suspending, values};

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let settle = lua.create_function(payload::settled)?;
    module.raw_set("call", raw::call_function(lua, settle)?)?;
    module.raw_set(
        "async",
        lua.create_function(|lua, request: Request| start(lua, &Executor::default(), request))?,
    )?;
    register(lua)?;
    module.raw_set("new", lua.create_function(|_, ()| Ok(Executor::default()))?)?;
    Ok(module)
}

/// The id of a function and the arguments for it.
struct Request {
    id: String,
    arguments: Vec<Value>,
}

impl FromLuaMulti for Request {
    fn from_lua_multi(values: MultiValue, lua: &Lua) -> mlua::Result<Self> {
        let mut values = values.into_iter();
        let Some(LuaValue::String(id)) = values.next() else {
            return Err(mlua::Error::runtime(
                "the first argument is the id of a function, such as \"app:report\"",
            ));
        };
        let mut arguments = Vec::with_capacity(values.len());
        for (index, value) in values.enumerate() {
            let value = raw::read_argument(lua, &payload::settled(lua, value)?);
            let value = value.map_err(|error| errors::raise(error.at_argument(index, "...").into()))?;
            arguments.push(value);
        }
        Ok(Self {
            id: id.to_string_lossy(),
            arguments,
        })
    }
}

/// How calls are made: never changed, every `with_...` makes another one.
#[derive(Clone, Default)]
struct Executor {
    values: Arc<Values>,
    /// What the script pays for them.
    charge: Option<Arc<Charge>>,
    timeout: Option<Duration>,
    actor: Option<Owned<Actor>>,
    scope: Option<Owned<Scope>>,
    /// Who was allowed to change what calls inherit, if anybody did.
    owner: Option<Owner>,
    retry: Option<Retry>,
}

impl Executor {
    /// The context for a call.
    fn context(&self, lua: &Lua) -> Result<Context, CallError> {
        let mut context = current(lua)?;
        if let Some(owner) = &self.owner {
            owner.check(&context, "executor")?;
        }
        if self.actor.is_some() || self.scope.is_some() {
            let (actor, scope) = (self.actor.as_ref(), self.scope.as_ref());
            let actor = actor.map(|actor| &actor.thing).or(context.actor()).cloned();
            let scope = scope.map(|scope| &scope.thing).or(context.scope()).cloned();
            context = context.with_identity(actor, scope);
        }
        if !self.values.is_empty() {
            context = context.with_values(Values::clone(&self.values));
        }
        if let Some(timeout) = self.timeout {
            context = context.with_timeout(timeout);
        }
        Ok(context)
    }

    /// A copy that may change what calls inherit: `resource` is `context` or `security`.
    fn permitted(&self, lua: &Lua, action: &str, resource: &str) -> Result<Self, CallError> {
        let context = current(lua)?;
        if let Some(owner) = &self.owner {
            owner.check(&context, "executor")?;
        }
        let _permit = authorize(&context, action, resource)?;
        Ok(Self {
            owner: Some(Owner::of(&context)),
            ..self.clone()
        })
    }

    fn with_actor(&self, lua: &Lua, actor: Owned<Actor>) -> Result<Self, CallError> {
        let mut executor = self.permitted(lua, "funcs.security", "security")?;
        executor.actor = Some(actor);
        Ok(executor)
    }

    fn with_scope(&self, lua: &Lua, scope: Owned<Scope>) -> Result<Self, CallError> {
        let mut executor = self.permitted(lua, "funcs.security", "security")?;
        executor.scope = Some(scope);
        Ok(executor)
    }

    fn with_context(&self, lua: &Lua, added: &Table) -> mlua::Result<MultiValue> {
        let mut executor = match self.permitted(lua, "funcs.context", "context") {
            Ok(executor) => executor,
            Err(error) => return values::refuse(lua, error),
        };
        let mut values = Values::clone(&executor.values);
        for pair in added.pairs::<String, LuaValue>() {
            let (key, value) = pair?;
            let value =
                raw::read_value(lua, &value).map_err(|error| errors::raise(error.at_field(&key).into()))?;
            values.insert(key.into(), value);
        }
        let bytes = values.iter().map(|(key, value)| key.len() + value.weight()).sum();
        executor.charge = Some(charge(lua, bytes)?);
        executor.values = Arc::new(values);
        executor.into_lua_multi(lua)
    }

    fn with_options(&self, lua: &Lua, options: &Table) -> mlua::Result<Self> {
        let mut executor = self.clone();
        if let Some(timeout_ms) = options.raw_get::<Option<f64>>("timeout")? {
            let timeout = Duration::try_from_secs_f64(timeout_ms / 1000.0);
            executor.timeout =
                Some(timeout.map_err(|_| mlua::Error::runtime("`timeout` is a number of milliseconds"))?);
        }
        if let Some(retry) = options.raw_get::<Option<Table>>("retry")? {
            let retry =
                raw::read_value(lua, &LuaValue::Table(retry)).and_then(|retry| json::from_value(&retry));
            let retry = retry.map_err(|error| errors::raise(error.at_field("retry").into()))?;
            executor.retry = Some(Retry::from_json(&retry).map_err(mlua::Error::runtime)?);
        }
        Ok(executor)
    }
}

/// The executor, or nil and the error.
fn or_refuse(lua: &Lua, outcome: Result<Executor, CallError>) -> mlua::Result<MultiValue> {
    match outcome {
        Ok(executor) => executor.into_lua_multi(lua),
        Err(error) => values::refuse(lua, error),
    }
}

impl UserData for Executor {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("with_context", |lua, this, added: Table| {
            this.with_context(lua, &added)
        });
        methods.add_method("with_actor", |lua, this, actor: Owned<Actor>| {
            or_refuse(lua, this.with_actor(lua, actor))
        });
        methods.add_method("with_scope", |lua, this, scope: Owned<Scope>| {
            or_refuse(lua, this.with_scope(lua, scope))
        });
        methods.add_method("with_options", |lua, this, options: Table| {
            this.with_options(lua, &options)
        });
        methods.add_method("async", |lua, this, request: Request| start(lua, this, request));
        methods.add_meta_method("__index", |lua, _, name: String| {
            lua.named_registry_value::<LuaValue>(&method(&name))
        });
    }
}

/// Where the blocking methods are kept: mlua's own methods cannot suspend.
fn method(name: &str) -> String {
    format!("wippy.funcs.{name}")
}

fn register(lua: &Lua) -> mlua::Result<()> {
    let call = suspending(lua, |lua, (this, request): (UserDataRef<Executor>, Request)| {
        let (context, retry) = (this.context(lua), this.retry);
        Ok(answered(async move { try_call(context?, request, retry).await }))
    })?;
    lua.set_named_registry_value(&method("call"), call)?;
    future::install(lua)
}

async fn answered(
    outcome: impl Future<Output = Result<Value, CallError>> + Send + 'static,
) -> impl FnOnce(&Lua) -> mlua::Result<MultiValue> + Send + 'static {
    let outcome = outcome.await;
    move |lua: &Lua| values::answer(lua, outcome)
}

/// Calls, more than once if that is wanted and may help.
async fn try_call(context: Context, request: Request, retry: Option<Retry>) -> Result<Value, CallError> {
    match retry {
        Some(retry) => retry.run(context.deadline(), || call(&context, &request)).await,
        None => call(&context, &request).await,
    }
}

/// Calls with owned values, for calls that outlive the frame of their caller.
async fn call(context: &Context, request: &Request) -> Result<Value, CallError> {
    let id = EntryId::parse(&request.id).map_err(|error| CallError::invalid(error.to_string()))?;
    let dispatcher = context.dispatcher().clone();
    let function = dispatcher.resolve_for(context, &id)?;
    let mut arguments = ValueReader::arguments(&request.arguments);
    let mut result = ValueWriter::default();
    dispatcher
        .call(context, &function, &mut arguments, &mut result)?
        .await?;
    Ok(result.finish())
}

/// `async`: the call runs on its own; a future answers for it.
fn start(lua: &Lua, executor: &Executor, request: Request) -> mlua::Result<MultiValue> {
    let context = match executor.context(lua) {
        Ok(context) => context,
        Err(error) => return values::refuse(lua, error),
    };
    future::start(lua, try_call(context, request, executor.retry))
}
