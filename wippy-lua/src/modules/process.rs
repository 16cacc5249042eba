//! `process`: other processes, and what they and the system tell this one.
//!
//! Functions may send, spawn and look for names. What needs a mailbox of one's own, only processes have.

mod event;
mod names;
mod post;
mod spawner;

use std::{
    future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration as StdDuration,
};

use mlua::{FromLua, FromLuaMulti, IntoLuaMulti, Lua, MultiValue, Table, Value as LuaValue, Variadic};
use wippy_registry::EntryId;
use wippy_security::{CallError, Context, ErrorKind, Processes};
use wippy_wit::Value;

use self::post::{Delivered, Form, Topic};
use super::{payload, time::Duration};
use crate::{
    errors,
    local::Local,
    raw::{self, Field, Recipe},
    suspend::suspending,
    values,
};

pub(crate) use self::post::Post;

/// What a process's state has beyond that of a function.
pub(crate) struct Seat {
    pub(crate) post: Arc<Post>,
    upgrade: Mutex<Option<Upgrade>>,
    channels: Mutex<Channels>,
}

/// The channels that a process has opened.
#[derive(Default)]
struct Channels {
    inbox: Option<LuaValue>,
    events: Option<LuaValue>,
    listened: Vec<(LuaValue, Arc<str>)>,
}

/// What a process wants to go on as.
pub(crate) struct Upgrade {
    pub(crate) entry: Option<EntryId>,
    pub(crate) arguments: Vec<Value>,
}

impl Seat {
    pub(crate) fn new(post: Arc<Post>) -> Arc<Self> {
        Arc::new(Self {
            post,
            upgrade: Mutex::default(),
            channels: Mutex::default(),
        })
    }

    /// What the process wants to go on as, if it said so.
    pub(crate) fn take_upgrade(&self) -> Option<Upgrade> {
        self.upgrade.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether the process said that it wants to go on as something else.
    pub(crate) fn is_upgrading(&self) -> bool {
        self.upgrade
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    fn with_channels<R>(&self, body: impl FnOnce(&mut Channels) -> R) -> R {
        body(&mut self.channels.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The fields of `process`.
pub(crate) static PROCESS: Recipe = Recipe::new(&[
    ("cancel", Field::Kept(|lua| function(lua, cancel))),
    ("event", Field::Made(event::kinds)),
    ("events", Field::Kept(|lua| function(lua, events))),
    ("exec", Field::Kept(spawner::exec_function)),
    ("get_options", Field::Kept(|lua| function(lua, get_options))),
    ("id", Field::Kept(|lua| function(lua, id))),
    ("inbox", Field::Kept(|lua| function(lua, inbox))),
    ("link", Field::Kept(|lua| control(lua, Processes::link))),
    ("listen", Field::Kept(|lua| function(lua, listen))),
    ("monitor", Field::Kept(|lua| control(lua, Processes::monitor))),
    ("pid", Field::Kept(|lua| function(lua, pid))),
    ("registry", Field::Made(names::open)),
    ("send", Field::Function(raw::send)),
    ("set_options", Field::Kept(|lua| function(lua, set_options))),
    (
        "spawn",
        Field::Kept(|lua| spawner::spawn_function(lua, false, false)),
    ),
    (
        "spawn_linked",
        Field::Kept(|lua| spawner::spawn_function(lua, false, true)),
    ),
    (
        "spawn_linked_monitored",
        Field::Kept(|lua| spawner::spawn_function(lua, true, true)),
    ),
    (
        "spawn_monitored",
        Field::Kept(|lua| spawner::spawn_function(lua, true, false)),
    ),
    ("terminate", Field::Kept(|lua| control(lua, Processes::terminate))),
    ("unlink", Field::Kept(|lua| control(lua, Processes::unlink))),
    ("unlisten", Field::Kept(|lua| function(lua, unlisten))),
    ("unmonitor", Field::Kept(|lua| control(lua, Processes::unmonitor))),
    ("upgrade", Field::Kept(upgrade)),
    ("with_context", Field::Kept(spawner::with_context_function)),
    ("with_options", Field::Kept(spawner::with_options_function)),
]);

fn function<A: FromLuaMulti + 'static, R: IntoLuaMulti + 'static>(
    lua: &Lua,
    function: fn(&Lua, A) -> mlua::Result<R>,
) -> mlua::Result<LuaValue> {
    lua.create_function(function).map(LuaValue::Function)
}

/// `process.id()`: the call it is part of, or else the entry.
fn id(lua: &Lua, (): ()) -> mlua::Result<mlua::LuaString> {
    match raw::context(lua).as_ref().and_then(Context::call_id) {
        Some(call) => lua.create_string(call),
        None => lua.create_string(Local::of(lua).program.source.id.as_str()),
    }
}

/// The PID of the process that `context` acts for.
pub(super) fn pid_of(context: Option<&Context>) -> Option<&str> {
    Some(context?.process()?.pid().as_str())
}

fn pid(lua: &Lua, (): ()) -> mlua::Result<Option<mlua::LuaString>> {
    let context = raw::context(lua);
    pid_of(context.as_ref())
        .map(|pid| lua.create_string(pid))
        .transpose()
}

/// `process.terminate`, `monitor` and their like.
fn control(
    lua: &Lua,
    operation: fn(&Processes, &Context, &str) -> Result<(), CallError>,
) -> mlua::Result<LuaValue> {
    let function = lua.create_function(move |lua, destination: String| {
        done(lua, |processes, context| {
            operation(processes, context, &destination)
        })
    })?;
    Ok(LuaValue::Function(function))
}

/// `process.cancel(destination, reason_or_timeout)`: a duration is how long it may still run, any other text is why it
/// shall end.
fn cancel(lua: &Lua, (destination, detail): (String, LuaValue)) -> mlua::Result<MultiValue> {
    let (mut grace, mut reason): (Option<StdDuration>, Option<Arc<str>>) = (None, None);
    if !detail.is_nil() {
        match (Duration::from_lua(detail.clone(), lua), detail.as_string()) {
            (Ok(duration), _) => grace = Some(duration.to_std()),
            (Err(_), Some(text)) => reason = Some(text.to_string_lossy().into()),
            (Err(error), None) => return Err(error),
        }
    }
    done(lua, |processes, context| {
        processes.cancel(context, &destination, grace, reason)
    })
}

/// Makes the function that is called instead of `process.send` when there is something to complain about, or to convert.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn send_function(lua: &Lua) -> mlua::Result<LuaValue> {
    function(lua, send)
}

fn send(
    lua: &Lua,
    (destination, topic, payloads): (String, String, Variadic<LuaValue>),
) -> mlua::Result<MultiValue> {
    let payloads = sendable(lua, &payloads, 2)?;
    done(lua, |processes, context| {
        processes.send(context, &destination, topic.into(), payloads)
    })
}

/// Owned copies of arguments, the first of which is the argument after `before` others.
fn owned(lua: &Lua, arguments: &[LuaValue], before: usize) -> mlua::Result<Vec<Value>> {
    let read = |(index, value): (usize, &LuaValue)| {
        let value = payload::settled(lua, value.clone())?;
        read_argument(lua, &value, before + index)
    };
    arguments.iter().enumerate().map(read).collect()
}

/// The same for what a message carries, in which payloads stay what they are.
fn sendable(lua: &Lua, arguments: &[LuaValue], before: usize) -> mlua::Result<Vec<Value>> {
    let read = |(index, value): (usize, &LuaValue)| match payload::sendable(lua, value) {
        Ok(Some(payload)) => Ok(payload),
        Ok(None) => read_argument(lua, value, before + index),
        Err(error) => Err(errors::raise(error)),
    };
    arguments.iter().enumerate().map(read).collect()
}

fn read_argument(lua: &Lua, value: &LuaValue, index: usize) -> mlua::Result<Value> {
    raw::read_value(lua, value).map_err(|error| errors::raise(error.at_argument(index, "...").into()))
}

fn inbox(lua: &Lua, (): ()) -> mlua::Result<LuaValue> {
    let seat = seat(lua, "inbox")?;
    opened(lua, &seat, Topic::Inbox, |channels| &mut channels.inbox)
}

fn events(lua: &Lua, (): ()) -> mlua::Result<LuaValue> {
    let seat = seat(lua, "events")?;
    opened(lua, &seat, Topic::Events, |channels| &mut channels.events)
}

fn get_options(lua: &Lua, (): ()) -> mlua::Result<Table> {
    let options = lua.create_table()?;
    let context = raw::context(lua);
    let process = context.as_ref().and_then(Context::process);
    options.raw_set("trap_links", process.is_some_and(|process| process.traps_links()))?;
    Ok(options)
}

/// The channel for `topic`, which is always the same.
fn opened(
    lua: &Lua,
    seat: &Seat,
    topic: Topic,
    place: impl Fn(&mut Channels) -> &mut Option<LuaValue>,
) -> mlua::Result<LuaValue> {
    if let Some(channel) = seat.with_channels(|channels| place(channels).clone()) {
        return Ok(channel);
    }
    let source = Delivered::new(seat.post.clone(), topic, Form::Messages);
    let channel = raw::sourced_channel(lua, Box::new(source))?;
    seat.with_channels(|channels| *place(channels) = Some(channel.clone()));
    Ok(channel)
}

fn listen(lua: &Lua, (topic, options): (String, Option<Table>)) -> mlua::Result<MultiValue> {
    let seat = seat(lua, "listen")?;
    if topic.starts_with('@') {
        let message = format!("the topic `{topic:.40}` is reserved: a topic cannot begin with `@`");
        return values::refuse(lua, CallError::invalid(message));
    }
    let as_messages = match options {
        Some(options) => options.raw_get::<Option<bool>>("message")?.unwrap_or_default(),
        None => false,
    };
    let topic: Arc<str> = topic.into();
    if !seat.post.listen(&topic) {
        let message = format!("this process listens to `{topic:.40}` already");
        return values::refuse(lua, CallError::new(ErrorKind::AlreadyExists, message));
    }
    let form = if as_messages {
        Form::Messages
    } else {
        Form::Payloads
    };
    let source = Delivered::new(seat.post.clone(), Topic::Listened(topic.clone()), form);
    let channel = raw::sourced_channel(lua, Box::new(source))?;
    seat.with_channels(|channels| channels.listened.push((channel.clone(), topic)));
    channel.into_lua_multi(lua)
}

fn unlisten(lua: &Lua, (channel,): (LuaValue,)) -> mlua::Result<MultiValue> {
    let seat = seat(lua, "unlisten")?;
    let topic = seat.with_channels(|channels| {
        let index = channels
            .listened
            .iter()
            .position(|(known, _)| *known == channel)?;
        Some(channels.listened.swap_remove(index).1)
    });
    let Some(topic) = topic else {
        let message = "this is no channel that `process.listen` made";
        return values::refuse(lua, CallError::invalid(message));
    };
    seat.post.unlisten(&topic);
    raw::close_channel(lua, &channel)?;
    true.into_lua_multi(lua)
}

fn set_options(lua: &Lua, (options,): (Table,)) -> mlua::Result<MultiValue> {
    for pair in options.pairs::<String, LuaValue>() {
        let (name, _) = pair?;
        if name != "trap_links" {
            let message = format!("there is no process option `{name}`: the options are `trap_links`");
            return values::refuse(lua, CallError::invalid(message));
        }
    }
    let context = raw::context(lua);
    let Some(process) = context.as_ref().and_then(Context::process) else {
        return values::refuse(lua, CallError::invalid("only a process has options"));
    };
    if let Some(traps_links) = options.raw_get::<Option<bool>>("trap_links")? {
        process.set_traps_links(traps_links);
    }
    true.into_lua_multi(lua)
}

/// `process.upgrade(id_or_nil, ...)`: never returns. The script stops where it is, and the process goes on as the other.
fn upgrade(lua: &Lua) -> mlua::Result<LuaValue> {
    let function = suspending(
        lua,
        |lua, (entry, arguments): (Option<String>, Variadic<LuaValue>)| {
            let seat = seat(lua, "upgrade")?;
            let entry = match entry {
                Some(entry) => Some(parse_id(&entry).map_err(errors::raise)?),
                None => None,
            };
            let arguments = owned(lua, &arguments, 1)?;
            *seat.upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(Upgrade { entry, arguments });
            Ok(async {
                future::pending::<()>().await;
                |lua: &Lua| ().into_lua_multi(lua)
            })
        },
    )?;
    Ok(LuaValue::Function(function))
}

fn parse_id(text: &str) -> Result<EntryId, CallError> {
    EntryId::parse(text).map_err(|error| CallError::invalid(error.to_string()))
}

/// The process that runs this state.
fn seat(lua: &Lua, function: &str) -> mlua::Result<Arc<Seat>> {
    Local::of(lua).seat.get().cloned().ok_or_else(|| {
        let message = format!("`process.{function}` works in processes only: a function has no mailbox");
        errors::raise(CallError::invalid(message))
    })
}

/// The context of the invocation that runs.
fn context(lua: &Lua) -> Result<Context, CallError> {
    raw::context(lua).ok_or_else(|| CallError::internal("there is no invocation to act for"))
}

/// Does something with processes; true, or nil and the error.
fn done(
    lua: &Lua,
    body: impl FnOnce(&Processes, &Context) -> Result<(), CallError>,
) -> mlua::Result<MultiValue> {
    let outcome = context(lua).and_then(|context| body(context.dispatcher().processes(), &context));
    match outcome {
        Ok(()) => true.into_lua_multi(lua),
        Err(error) => values::refuse(lua, error),
    }
}
