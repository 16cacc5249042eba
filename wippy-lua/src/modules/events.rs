//! `events`: sending events to everyone who listens, and listening.
//!
//! A subscription is made under a context, and stays under it: a pattern that fits many systems shows only those that
//! the subscriber may listen to.

use std::sync::Arc;

use mlua::{IntoLuaMulti, Lua, Table, UserData, UserDataMethods, Value as LuaValue};
use wippy_security::{CallError, allows};
use wippy_wit::Value;

use super::Environment;
use crate::{
    Bus, Event, Subscriber, Subscription, errors,
    permission::{invocation, permit},
    raw::{self, Delivery},
    source_of::channel_of,
    values,
};

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua, environment: &Environment) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let bus = environment.world.events.clone();
    module.raw_set(
        "subscribe",
        lua.create_function(move |lua, (system, kind): (String, Option<String>)| {
            match subscribe(lua, &bus, &system, kind.as_deref()) {
                Ok(subscription) => Listening::new(lua, subscription)?.into_lua_multi(lua),
                Err(error) => values::refuse(lua, error),
            }
        })?,
    )?;
    let bus = environment.world.events.clone();
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
            allows(&watching, "events.subscribe", system, &Value::Nil)
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

/// The event as a table.
fn table(lua: &Lua, event: &Event) -> mlua::Result<Table> {
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
    Ok(table)
}

/// What `subscribe` answers.
struct Listening {
    subscription: Subscription,
    channel: LuaValue,
}

impl Listening {
    fn new(lua: &Lua, subscription: Subscription) -> mlua::Result<Self> {
        let listening = subscription.clone();
        let channel = channel_of(lua, move || {
            let subscription = listening.clone();
            async move {
                let event = subscription.recv().await?;
                let build = move |lua: &Lua| table(lua, &event)?.into_lua_multi(lua);
                Some(Delivery::Build(Box::new(build)))
            }
        })?;
        Ok(Self {
            subscription,
            channel,
        })
    }
}

impl UserData for Listening {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("channel", |_, this, ()| Ok(this.channel.clone()));
        methods.add_method("close", |_, this, ()| {
            this.subscription.close();
            Ok(true)
        });
    }
}
