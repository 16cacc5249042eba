//! `funcs`: calling other entries, waiting for them or not.

use std::{future::Future, time::Duration};

use mlua::{FromLuaMulti, Lua, MultiValue, Table, UserData, UserDataMethods, UserDataRef, Value as LuaValue};
use wippy_registry::EntryId;
use wippy_security::{CallError, Context, Values};
use wippy_wit::{Value, ValueReader, ValueWriter};

use super::future;
use crate::{errors, raw, suspend::suspending, values};

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    module.raw_set("call", raw::call_function(lua)?)?;
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
            let value = raw::read_value(lua, &value);
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
    values: Values,
    timeout: Option<Duration>,
}

impl Executor {
    /// The context for a call.
    fn context(&self, lua: &Lua) -> Result<Context, CallError> {
        let context = raw::context(lua);
        let mut context =
            context.ok_or_else(|| CallError::internal("a call was made outside of an invocation"))?;
        if !self.values.is_empty() {
            context = context.with_values(self.values.clone());
        }
        if let Some(timeout) = self.timeout {
            context = context.with_timeout(timeout);
        }
        Ok(context)
    }

    fn with_context(&self, lua: &Lua, added: &Table) -> mlua::Result<Self> {
        let mut executor = self.clone();
        for pair in added.pairs::<String, LuaValue>() {
            let (key, value) = pair?;
            let value =
                raw::read_value(lua, &value).map_err(|error| errors::raise(error.at_field(&key).into()))?;
            executor.values.insert(key.into(), value);
        }
        Ok(executor)
    }

    fn with_options(&self, options: &Table) -> mlua::Result<Self> {
        let mut executor = self.clone();
        if let Some(timeout_ms) = options.raw_get::<Option<f64>>("timeout")? {
            let timeout = Duration::try_from_secs_f64(timeout_ms / 1000.0);
            executor.timeout =
                Some(timeout.map_err(|_| mlua::Error::runtime("`timeout` is a number of milliseconds"))?);
        }
        Ok(executor)
    }
}

impl UserData for Executor {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("with_context", |lua, this, added: Table| {
            this.with_context(lua, &added)
        });
        methods.add_method("with_options", |_, this, options: Table| {
            this.with_options(&options)
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
        let context = this.context(lua);
        Ok(answered(async move { call(context?, request).await }))
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

/// Calls with owned values, for calls that outlive the frame of their caller.
async fn call(context: Context, request: Request) -> Result<Value, CallError> {
    let id = EntryId::parse(&request.id).map_err(|error| CallError::invalid(error.to_string()))?;
    let dispatcher = context.dispatcher().clone();
    let function = dispatcher.resolve(&id)?;
    let mut arguments = ValueReader::arguments(&request.arguments);
    let mut result = ValueWriter::default();
    dispatcher
        .call(&context, &function, &mut arguments, &mut result)?
        .await?;
    Ok(result.finish())
}

/// `async`: the call runs on its own; a future answers for it.
fn start(lua: &Lua, executor: &Executor, request: Request) -> mlua::Result<MultiValue> {
    let context = match executor.context(lua) {
        Ok(context) => context,
        Err(error) => return values::refuse(lua, error),
    };
    future::start(lua, call(context, request))
}
