//! `time.after`, `time.timer` and `time.ticker`: points in time as channels.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context as Waking, Poll, Waker},
    time::Duration as StdDuration,
};

use mlua::{IntoLuaMulti, Lua, MultiValue, Table, UserData, UserDataMethods, Value as LuaValue};
use tokio::time::{Instant, Sleep};
use wippy_security::CallError;

use super::time::{Duration, Time};
use crate::{
    raw::{self, Delivery, Source},
    values,
};

/// Adds the functions to the module.
///
/// # Errors
/// When memory does not suffice.
pub(super) fn install(lua: &Lua, module: &Table) -> mlua::Result<()> {
    module.raw_set("after", lua.create_function(after)?)?;
    module.raw_set(
        "timer",
        lua.create_function(|lua, duration| start(lua, "timer", duration, false))?,
    )?;
    module.raw_set(
        "ticker",
        lua.create_function(|lua, duration| start(lua, "ticker", duration, true))?,
    )
}

/// When a clock goes off next, and what waits for that.
#[derive(Default)]
struct State {
    due: Option<Instant>,
    /// Between two ticks; timers go off once.
    period: Option<StdDuration>,
    waker: Option<Waker>,
}

/// A clock that can be stopped and set from outside of its channel.
#[derive(Clone, Default)]
struct Clock(Arc<Mutex<State>>);

impl Clock {
    fn new(due: Instant, period: Option<StdDuration>) -> Self {
        Self(Arc::new(Mutex::new(State {
            due: Some(due),
            period,
            waker: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets it anew; answers whether it was running.
    fn set(&self, due: Option<Instant>) -> bool {
        let mut state = self.lock();
        let was_set = state.due.is_some();
        state.due = due;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        was_set
    }
}

/// What the channel of a clock asks.
struct Ticks {
    clock: Clock,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Source for Ticks {
    fn poll_next(&mut self, waking: &mut Waking<'_>) -> Poll<Option<Delivery>> {
        let mut state = self.clock.lock();
        let Some(due) = state.due else {
            state.waker = Some(waking.waker().clone());
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if sleep.deadline() != due {
            sleep.as_mut().reset(due);
        }
        if sleep.as_mut().poll(waking).is_pending() {
            state.waker = Some(waking.waker().clone());
            return Poll::Pending;
        }
        // Ticks that nobody took are lost: a slow receiver does not get them all at once later.
        state.due = state.period.map(|period| {
            let late = Instant::now().saturating_duration_since(due);
            let missed = late.as_nanos() / period.as_nanos().max(1);
            due + period.saturating_mul(u32::try_from(missed).unwrap_or(u32::MAX).saturating_add(1))
        });
        drop(state);
        let now = Time::now();
        Poll::Ready(Some(Delivery::Build(Box::new(move |lua: &Lua| {
            now.into_lua_multi(lua)
        }))))
    }
}

fn channel(lua: &Lua, clock: Clock) -> mlua::Result<LuaValue> {
    raw::sourced_channel(lua, Box::new(Ticks { clock, sleep: None }))
}

/// `time.after(duration)`
fn after(lua: &Lua, duration: Duration) -> mlua::Result<LuaValue> {
    let due = Instant::now() + duration.to_std();
    channel(lua, Clock::new(due, None))
}

/// `time.timer(duration)` and `time.ticker(duration)`
fn start(lua: &Lua, what: &str, duration: Duration, repeats: bool) -> mlua::Result<MultiValue> {
    let duration = duration.to_std();
    if duration.is_zero() {
        let message = format!("the duration of a {what} must be longer than zero");
        return values::refuse(lua, CallError::invalid(message));
    }
    let clock = Clock::new(Instant::now() + duration, repeats.then_some(duration));
    let channel = channel(lua, clock.clone())?;
    Timer { clock, channel }.into_lua_multi(lua)
}

/// What `timer` and `ticker` answer.
struct Timer {
    clock: Clock,
    channel: LuaValue,
}

impl UserData for Timer {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        for name in ["response", "channel"] {
            methods.add_method(name, |_, this, ()| Ok(this.channel.clone()));
        }
        methods.add_method("stop", |_, this, ()| Ok(this.clock.set(None)));
        methods.add_method("reset", |_, this, duration: Duration| {
            let duration = duration.to_std();
            let mut state = this.clock.lock();
            if state.period.is_some() {
                state.period = Some(duration.max(StdDuration::from_nanos(1)));
            }
            drop(state);
            Ok(this.clock.set(Some(Instant::now() + duration)))
        });
    }
}
