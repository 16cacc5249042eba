//! `events`: sending events to everyone who listens, and listening.
//!
//! A subscription is made under a context, and stays under it: a pattern that fits many systems shows only those that
//! the subscriber may listen to.

use std::sync::Arc;

use mlua::{IntoLuaMulti, Lua, MultiValue, Table, UserData, UserDataMethods, UserDataRef, Value as LuaValue};
use wippy_security::{CallError, is_allowed};

use super::Environment;
use crate::{
    Bus, Event, Subscriber, Subscription, errors, methods,
    permission::{invocation, permit},
    raw,
    suspend::suspending,
    values,
};

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua, environment: &Environment) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let bus = environment.services.world.events.clone();
    module.raw_set(
        "subscribe",
        lua.create_function(move |lua, (system, kind): (String, Option<String>)| {
            match subscribe(lua, &bus, &system, kind.as_deref()) {
                Ok(subscription) => Listening(subscription).into_lua_multi(lua),
                Err(error) => values::refuse(lua, error),
            }
        })?,
    )?;
    let bus = environment.services.world.events.clone();
    module.raw_set(
        "send",
        lua.create_function(
            move |lua, (system, kind, path, data): (String, String, String, LuaValue)| {
                let event = read_event(lua, system, kind, path, &data)?;
                match send(lua, &bus, event) {
                    Ok(()) => true.into_lua_multi(lua),
                    Err(error) => values::refuse(lua, error),
                }
            },
        )?,
    )?;
    let receive = suspending(lua, |_, this: UserDataRef<Receiver>| {
        let subscription = this.0.clone();
        Ok(async move {
            let event = subscription.recv().await;
            move |lua: &Lua| received(lua, event.as_deref())
        })
    })?;
    methods::install(lua, RECEIVER, [("receive", receive)])?;
    Ok(module)
}

fn subscribe(lua: &Lua, bus: &Bus, system: &str, kind: Option<&str>) -> Result<Subscription, CallError> {
    if system.is_empty() {
        return Err(CallError::invalid("the system to listen to is empty"));
    }
    // A permit is for now; what the pattern turns out to fit later is asked for then.
    let _now = permit(lua, "events.subscribe", system)?;
    let context = invocation(lua)?;
    let execution = Arc::downgrade(context.execution());
    let watching = context.with_own_execution();
    let subscriber = Subscriber {
        execution: Some(execution),
        admits: Some(Box::new(move |system| {
            is_allowed(&watching, "events.subscribe", system)
        })),
    };
    // An empty kind is none, as if it had been left out.
    bus.subscribe(system, kind.filter(|kind| !kind.is_empty()), subscriber)
}

fn read_event(lua: &Lua, system: String, kind: String, path: String, data: &LuaValue) -> mlua::Result<Event> {
    let data =
        raw::read_value(lua, data).map_err(|error| errors::raise(error.at_argument(3, "data").into()))?;
    Ok(Event {
        system,
        kind,
        path,
        data,
    })
}

fn send(lua: &Lua, bus: &Bus, event: Event) -> Result<(), CallError> {
    for (what, text) in [
        ("system", &event.system),
        ("kind", &event.kind),
        ("path", &event.path),
    ] {
        if text.is_empty() {
            return Err(CallError::invalid(format!("the event's {what} is empty")));
        }
    }
    let _now = permit(lua, "events.send", &event.system)?;
    bus.send(event);
    Ok(())
}

/// The event as a table and true, or nil and false when there will be no more.
fn received(lua: &Lua, event: Option<&Event>) -> mlua::Result<MultiValue> {
    let Some(event) = event else {
        return (LuaValue::Nil, false).into_lua_multi(lua);
    };
    let table = lua.create_table()?;
    let texts = [
        ("system", &event.system),
        ("kind", &event.kind),
        ("path", &event.path),
    ];
    for (name, text) in texts {
        table.raw_set(name, text.as_str())?;
    }
    table.raw_set("data", raw::write_value(lua, &event.data)?)?;
    (table, true).into_lua_multi(lua)
}

/// What `subscribe` answers.
struct Listening(Subscription);

impl UserData for Listening {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("channel", |_, this, ()| Ok(Receiver(this.0.clone())));
        methods.add_method("close", |_, this, ()| {
            this.0.close();
            Ok(true)
        });
    }
}

/// What `subscription:channel()` answers.
struct Receiver(Subscription);

const RECEIVER: &str = "events.receiver";

impl UserData for Receiver {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods::find(methods, RECEIVER);
    }
}
