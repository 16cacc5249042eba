//! `funcs`: calling other entries, waiting for them or not.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mlua::{
    FromLuaMulti, IntoLuaMulti, Lua, MultiValue, Table, UserData, UserDataMethods, UserDataRef,
    Value as LuaValue,
};
use tokio::{sync::Notify, task::AbortHandle};
use wippy_registry::EntryId;
use wippy_security::{CallError, Context, ErrorKind, Values};
use wippy_wit::{Value, ValueReader, ValueWriter, json};

use crate::{Retry, errors, raw, suspend::suspending, values};

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
    retry: Option<Retry>,
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

impl UserData for Executor {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("with_context", |lua, this, added: Table| {
            this.with_context(lua, &added)
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

impl UserData for Pending {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("is_complete", |_, this, ()| Ok(this.state.outcome().is_some()));
        methods.add_method("is_canceled", |_, this, ()| {
            Ok(this.state.outcome().is_some_and(|outcome| is_canceled(&outcome)))
        });
        methods.add_method("result", |lua, this, ()| match this.state.outcome() {
            Some(outcome) => values::answer(lua, outcome),
            None => ().into_lua_multi(lua),
        });
        methods.add_method("error", |lua, this, ()| match this.state.outcome() {
            Some(Err(error)) => errors::to_lua(lua, error),
            _ => Ok(LuaValue::Nil),
        });
        methods.add_method("cancel", |_, this, ()| {
            this.cancel();
            Ok(true)
        });
        methods.add_method("response", |_, this, ()| {
            Ok(Response {
                state: this.state.clone(),
            })
        });
        methods.add_method("channel", |_, this, ()| {
            Ok(Response {
                state: this.state.clone(),
            })
        });
        methods.add_meta_method("__index", |lua, _, name: String| {
            lua.named_registry_value::<LuaValue>(&method(&name))
        });
    }
}

impl UserData for Response {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
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
    let wait = suspending(lua, |_, this: UserDataRef<Pending>| {
        let state = this.state.clone();
        Ok(answered(async move { state.wait().await }))
    })?;
    lua.set_named_registry_value(&method("await"), wait)?;
    let receive = suspending(lua, |_, this: UserDataRef<Response>| {
        let state = this.state.clone();
        Ok(async move {
            let outcome = state.wait().await;
            move |lua: &Lua| match outcome {
                Ok(value) => (raw::write_value(lua, &value)?, true).into_lua_multi(lua),
                Err(_) => (LuaValue::Nil, false).into_lua_multi(lua),
            }
        })
    })?;
    lua.set_named_registry_value(&method("receive"), receive)
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
    let function = dispatcher.resolve(&id)?;
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
    let state = Arc::new(State::default());
    let shared = state.clone();
    let retry = executor.retry;
    let task = tokio::spawn(async move { shared.complete(try_call(context, request, retry).await) });
    let task = task.abort_handle();
    match lua.app_data_ref::<Tasks>() {
        Some(tasks) => tasks.keep(task.clone()),
        None => task.abort(),
    }
    Pending { state, task }.into_lua_multi(lua)
}

/// The calls that an invocation began and need not wait for. They end with it.
#[derive(Default)]
pub(crate) struct Tasks {
    running: Mutex<Vec<AbortHandle>>,
}

impl Tasks {
    fn keep(&self, task: AbortHandle) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.len() >= 64 {
            running.retain(|task| !task.is_finished());
        }
        running.push(task);
    }

    /// Cancels what still runs.
    pub(crate) fn end(&self) {
        for task in self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            task.abort();
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.end();
    }
}

/// What `async` answers.
struct Pending {
    state: Arc<State>,
    task: AbortHandle,
}

impl Pending {
    fn cancel(&self) {
        self.task.abort();
        self.state
            .complete(Err(CallError::new(ErrorKind::Canceled, "the call was cancelled")));
    }
}

/// What `future:response()` answers: gives the result once.
struct Response {
    state: Arc<State>,
}

/// The outcome of a call that runs on its own.
#[derive(Default)]
struct State {
    outcome: Mutex<Option<Result<Value, CallError>>>,
    completed: Notify,
}

impl State {
    fn outcome(&self) -> Option<Result<Value, CallError>> {
        self.outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sets the outcome, unless there is one.
    fn complete(&self, outcome: Result<Value, CallError>) {
        self.outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(outcome);
        self.completed.notify_waiters();
    }

    async fn wait(&self) -> Result<Value, CallError> {
        loop {
            let completed = self.completed.notified();
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            completed.await;
        }
    }
}

fn is_canceled(outcome: &Result<Value, CallError>) -> bool {
    matches!(outcome, Err(error) if error.kind() == ErrorKind::Canceled)
}
