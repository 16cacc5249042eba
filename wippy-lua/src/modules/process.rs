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

use mlua::{FromLua, Function, IntoLuaMulti, Lua, MultiValue, Table, Value as LuaValue, Variadic};
use wippy_registry::EntryId;
use wippy_security::{CallError, Context, ErrorKind, Processes};
use wippy_wit::Value;

use self::post::{Delivered, Form, Topic};
use super::{Environment, time::Duration};
use crate::{errors, raw, suspend::suspending, values};

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

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua, environment: &Environment) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let id = environment.id.as_str().to_owned();
    module.raw_set(
        "id",
        lua.create_function(
            move |lua, ()| match raw::context(lua).as_ref().and_then(Context::call_id) {
                Some(call) => lua.create_string(call),
                None => lua.create_string(&id),
            },
        )?,
    )?;
    module.raw_set("pid", lua.create_function(pid)?)?;
    module.raw_set("send", lua.create_function(send)?)?;
    spawner::install(lua, &module)?;
    control(lua, &module)?;
    receiving(lua, &module)?;
    module.raw_set("registry", names::open(lua)?)?;
    module.raw_set("upgrade", upgrade(lua)?)?;
    let kinds = lua.create_table()?;
    for (name, kind) in event::KINDS {
        kinds.raw_set(*name, *kind)?;
    }
    module.raw_set("event", kinds)?;
    Ok(module)
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

/// `process.terminate`, `cancel`, `monitor` and their like.
fn control(lua: &Lua, module: &Table) -> mlua::Result<()> {
    type Operation = fn(&Processes, &Context, &str) -> Result<(), CallError>;
    let plain: [(&str, Operation); 5] = [
        ("terminate", Processes::terminate),
        ("monitor", Processes::monitor),
        ("unmonitor", Processes::unmonitor),
        ("link", Processes::link),
        ("unlink", Processes::unlink),
    ];
    for (name, operation) in plain {
        let function = lua.create_function(move |lua, destination: String| {
            done(lua, |processes, context| {
                operation(processes, context, &destination)
            })
        })?;
        module.raw_set(name, function)?;
    }
    module.raw_set("cancel", lua.create_function(cancel)?)
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

fn send(
    lua: &Lua,
    (destination, topic, payloads): (String, String, Variadic<LuaValue>),
) -> mlua::Result<MultiValue> {
    let payloads = owned(lua, &payloads, 2)?;
    done(lua, |processes, context| {
        processes.send(context, &destination, topic.into(), payloads)
    })
}

/// Owned copies of arguments, the first of which is the argument after `before` others.
fn owned(lua: &Lua, arguments: &[LuaValue], before: usize) -> mlua::Result<Vec<Value>> {
    let read = |(index, value): (usize, &LuaValue)| {
        raw::read_value(lua, value)
            .map_err(|error| errors::raise(error.at_argument(before + index, "...").into()))
    };
    arguments.iter().enumerate().map(read).collect()
}

fn receiving(lua: &Lua, module: &Table) -> mlua::Result<()> {
    module.raw_set(
        "inbox",
        lua.create_function(|lua, ()| {
            let seat = seat(lua, "inbox")?;
            opened(lua, &seat, Topic::Inbox, |channels| &mut channels.inbox)
        })?,
    )?;
    module.raw_set(
        "events",
        lua.create_function(|lua, ()| {
            let seat = seat(lua, "events")?;
            opened(lua, &seat, Topic::Events, |channels| &mut channels.events)
        })?,
    )?;
    module.raw_set("listen", lua.create_function(listen)?)?;
    module.raw_set(
        "unlisten",
        lua.create_function(|lua, channel: LuaValue| unlisten(lua, &channel))?,
    )?;
    module.raw_set(
        "get_options",
        lua.create_function(|lua, ()| {
            let options = lua.create_table()?;
            let context = raw::context(lua);
            let process = context.as_ref().and_then(Context::process);
            options.raw_set("trap_links", process.is_some_and(|process| process.traps_links()))?;
            Ok(options)
        })?,
    )?;
    module.raw_set(
        "set_options",
        lua.create_function(|lua, options: Table| set_options(lua, &options))?,
    )
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

fn unlisten(lua: &Lua, channel: &LuaValue) -> mlua::Result<MultiValue> {
    let seat = seat(lua, "unlisten")?;
    let topic = seat.with_channels(|channels| {
        let index = channels.listened.iter().position(|(known, _)| known == channel)?;
        Some(channels.listened.swap_remove(index).1)
    });
    let Some(topic) = topic else {
        let message = "this is no channel that `process.listen` made";
        return values::refuse(lua, CallError::invalid(message));
    };
    seat.post.unlisten(&topic);
    raw::close_channel(lua, channel)?;
    true.into_lua_multi(lua)
}

fn set_options(lua: &Lua, options: &Table) -> mlua::Result<MultiValue> {
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
fn upgrade(lua: &Lua) -> mlua::Result<Function> {
    suspending(
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
    )
}

fn parse_id(text: &str) -> Result<EntryId, CallError> {
    EntryId::parse(text).map_err(|error| CallError::invalid(error.to_string()))
}

/// The process that runs this state.
fn seat(lua: &Lua, function: &str) -> mlua::Result<Arc<Seat>> {
    lua.app_data_ref::<Arc<Seat>>()
        .map(|seat| seat.clone())
        .ok_or_else(|| {
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
