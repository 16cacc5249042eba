//! Futures: calls that run on their own, and what answers for them.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as Waking, Poll},
};

use mlua::{
    IntoLua, IntoLuaMulti, Lua, MultiValue, Table, UserData, UserDataMethods, UserDataRef, Value as LuaValue,
};
use tokio::{sync::Notify, task::AbortHandle};
use wippy_security::{CallError, ErrorKind};
use wippy_wit::Value;

use super::{
    ledger::{Charge, Ledger, charge},
    payload,
};
use crate::{
    errors,
    local::Local,
    raw::{self, Delivery, Source},
    suspend::suspending,
    values,
};

/// About how many bytes a call takes that runs on its own.
const CALL_WEIGHT: usize = 2 << 10;

/// Where the blocking method is kept: mlua's own methods cannot suspend.
const AWAIT: &str = "wippy.future.await";

/// Prepares a state for futures.
///
/// # Errors
/// When memory does not suffice.
pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    let wait = suspending(lua, |_, this: UserDataRef<Pending>| {
        let state = this.state.clone();
        Ok(async move {
            let outcome = state.wait().await;
            move |lua: &Lua| values::answer(lua, outcome)
        })
    })?;
    let methods = lua.create_table()?;
    methods.raw_set("await", wait)?;
    lua.set_named_registry_value(AWAIT, methods)
}

/// Runs `call` on its own; the answer is a future.
///
/// # Errors
/// When memory does not suffice.
pub(super) fn start(
    lua: &Lua,
    call: impl Future<Output = Result<Value, CallError>> + Send + 'static,
) -> mlua::Result<MultiValue> {
    let state = Arc::new(State::default());
    let (shared, ledger) = (state.clone(), Ledger::of(lua));
    // It is kept by the call and by whoever waits for it, whichever goes last.
    let charge = charge(lua, CALL_WEIGHT)?;
    let kept = charge.clone();
    let running = async move {
        let _kept = kept;
        let outcome = call.await;
        let bytes = outcome.as_ref().map_or(0, Value::weight);
        match ledger.take(bytes) {
            Some(charge) => shared.complete_with(outcome, charge),
            None => shared.complete(Err(errors::out_of_memory())),
        }
    };
    let task = tokio::spawn(running).abort_handle();
    Local::of(lua).tasks.keep(task.clone());
    let pending = Pending {
        state,
        task,
        channel: None,
        _charge: charge,
    };
    pending.into_lua_multi(lua)
}

/// The calls that an invocation began and need not wait for. They end with it.
#[derive(Default)]
pub(crate) struct Tasks {
    running: Mutex<Vec<AbortHandle>>,
    /// Whether there were any since they were [forgotten](Self::forget): what they came to may be kept by a future.
    had_any: AtomicBool,
}

impl Tasks {
    fn keep(&self, task: AbortHandle) {
        self.had_any.store(true, Ordering::Relaxed);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.len() >= 64 && running.len().is_power_of_two() {
            running.retain(|task| !task.is_finished());
        }
        running.push(task);
    }

    /// Whether the execution that ended began any.
    pub(crate) fn forget(&self) -> bool {
        self.had_any.swap(false, Ordering::Relaxed)
    }

    /// Cancels what still runs.
    pub(crate) fn end(&self) {
        if !self.had_any.load(Ordering::Relaxed) {
            return;
        }
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
    channel: Option<LuaValue>,
    _charge: Arc<Charge>,
}

impl Pending {
    fn cancel(&self) {
        self.task.abort();
        self.state
            .complete(Err(CallError::new(ErrorKind::Canceled, "the call was cancelled")));
    }

    /// The channel that gives the outcome once; always the same one.
    fn channel(&mut self, lua: &Lua) -> mlua::Result<LuaValue> {
        if let Some(channel) = &self.channel {
            return Ok(channel.clone());
        }
        let state = self.state.clone();
        let answer = Answer(Some(Box::pin(async move { state.wait().await })));
        let channel = raw::sourced_channel(lua, Box::new(answer))?;
        self.channel = Some(channel.clone());
        Ok(channel)
    }
}

impl UserData for Pending {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("is_complete", |_, this, ()| Ok(this.state.outcome().is_some()));
        methods.add_method("is_canceled", |_, this, ()| {
            Ok(this.state.outcome().is_some_and(|outcome| is_canceled(&outcome)))
        });
        methods.add_method("result", |lua, this, ()| match this.state.outcome() {
            Some(Ok(value)) => payload::of_value(lua, &value)?.into_lua_multi(lua),
            Some(Err(error)) => values::refuse(lua, error),
            None => (LuaValue::Nil, LuaValue::Nil).into_lua_multi(lua),
        });
        methods.add_method("error", |lua, this, ()| match this.state.outcome() {
            Some(Err(error)) => (errors::to_lua(lua, error)?, true).into_lua_multi(lua),
            _ => (LuaValue::Nil, false).into_lua_multi(lua),
        });
        methods.add_method("cancel", |_, this, ()| {
            this.cancel();
            Ok(true)
        });
        for name in ["response", "channel"] {
            methods.add_method_mut(name, |lua, this, ()| this.channel(lua));
        }
        methods.add_meta_method("__index", |lua, _, name: String| {
            lua.named_registry_value::<Table>(AWAIT)?
                .raw_get::<LuaValue>(name)
        });
    }
}

/// The outcome as the one value of a channel: a payload, or the error.
struct Answer(Option<Outcome>);

type Outcome = Pin<Box<dyn Future<Output = Result<Value, CallError>> + Send>>;

impl Source for Answer {
    fn poll_next(&mut self, waking: &mut Waking<'_>) -> Poll<Option<Delivery>> {
        let Some(waiting) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let Poll::Ready(outcome) = waiting.as_mut().poll(waking) else {
            return Poll::Pending;
        };
        self.0 = None;
        Poll::Ready(Some(Delivery::Build(Box::new(|lua: &Lua| match outcome {
            Ok(value) => payload::of_value(lua, &value)?.into_lua_multi(lua),
            Err(error) => errors::to_lua(lua, error)?.into_lua(lua)?.into_lua_multi(lua),
        }))))
    }
}

/// The outcome of a call that runs on its own.
#[derive(Default)]
struct State {
    /// For the outcome, as long as it is here.
    charge: OnceLock<Charge>,
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

    fn complete_with(&self, outcome: Result<Value, CallError>, charge: Charge) {
        // There is one already only if there is an outcome already.
        let _ = self.charge.set(charge);
        self.complete(outcome);
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
