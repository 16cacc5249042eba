//! `wippy:runtime/process`: guests are processes among others, and send, receive and watch under their own context.

use std::time::Duration;

use serde_json::{Value as Json, json};
use wasmtime::{
    StoreContextMut,
    component::{ComponentType, Lift, Linker, LinkerInstance, Lower},
};
use wippy_registry::EntryId;
use wippy_security::{CallError, Context, Event, Exit, Letter, Mailbox, Message, Pid, Processes, Spawn};
use wippy_wit::json as values;

use super::funcs::{json_arguments, json_cost, report};
use crate::{limits::Exceeded, state::GuestState};

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut process = linker.instance("wippy:runtime/process@0.1.0")?;
    process.func_wrap("pid", |store, ()| {
        let pid = store.data().context.as_ref().and_then(Context::process);
        Ok((pid.map(|process| process.pid().to_string()),))
    })?;
    process.func_wrap_async("receive", |store, (timeout_ms,): (Option<u64>,)| {
        let mailbox = store.data().mailbox.clone();
        Box::new(async move {
            let letter = receive(mailbox, timeout_ms.map(Duration::from_millis)).await;
            Ok((letter.map_err(|error| report(&error)),))
        })
    })?;
    bounded_operation(
        &mut process,
        "send",
        |(_, _, payloads): &(String, String, String)| payloads,
        |context, (destination, topic, payloads): (String, String, String)| {
            let payloads = json_arguments(&payloads)?;
            of(context).send(context, &destination, topic.into(), payloads)
        },
    )?;
    bounded_operation(
        &mut process,
        "spawn",
        |(_, _, arguments, ..): &(String, String, String, bool, bool)| arguments,
        |context, (process, host, arguments, monitor, link): (String, String, String, bool, bool)| {
            let spawn = Spawn {
                monitor,
                link,
                ..Spawn::new(id(&process)?, id(&host)?, json_arguments(&arguments)?)
            };
            of(context).spawn(context, spawn).map(|pid| pid.to_string())
        },
    )?;
    operation(&mut process, "monitor", |context, (destination,): (String,)| {
        of(context).monitor(context, &destination)
    })?;
    operation(&mut process, "unmonitor", |context, (destination,): (String,)| {
        of(context).unmonitor(context, &destination)
    })?;
    operation(&mut process, "link", |context, (destination,): (String,)| {
        of(context).link(context, &destination)
    })?;
    operation(&mut process, "unlink", |context, (destination,): (String,)| {
        of(context).unlink(context, &destination)
    })?;
    operation(&mut process, "trap-links", |context, (traps,): (bool,)| {
        let process = context.process().ok_or_else(outside)?;
        process.set_traps_links(traps);
        Ok(())
    })?;
    operation(&mut process, "terminate", |context, (destination,): (String,)| {
        of(context).terminate(context, &destination)
    })?;
    operation(
        &mut process,
        "cancel",
        |context, (destination, grace_ms, reason): (String, Option<u64>, Option<String>)| {
            let grace = grace_ms.map(Duration::from_millis);
            of(context).cancel(context, &destination, grace, reason.map(Into::into))
        },
    )?;
    operation(&mut process, "register", |context, (name,): (String,)| {
        of(context).register(context, &name, None)
    })?;
    operation(&mut process, "unregister", |context, (name,): (String,)| {
        of(context).unregister(context, &name)
    })?;
    operation(&mut process, "lookup", |context, (name,): (String,)| {
        of(context).lookup(&name).map(|pid| pid.to_string())
    })
}

/// Links a function that does not wait.
fn operation<P, R, F>(linker: &mut LinkerInstance<'_, GuestState>, name: &str, act: F) -> wasmtime::Result<()>
where
    P: ComponentType + Lift + wasmtime::component::ComponentNamedList + Send + Sync + 'static,
    R: ComponentType + Lower + Send + Sync + 'static,
    F: Fn(&Context, P) -> Result<R, CallError> + Send + Sync + 'static,
{
    bounded_operation(linker, name, |_| "", act)
}

/// Links a function that does not wait, of whose parameters one is JSON, which takes far more once it is read.
fn bounded_operation<P, R, F>(
    linker: &mut LinkerInstance<'_, GuestState>,
    name: &str,
    json: fn(&P) -> &str,
    act: F,
) -> wasmtime::Result<()>
where
    P: ComponentType + Lift + wasmtime::component::ComponentNamedList + Send + Sync + 'static,
    R: ComponentType + Lower + Send + Sync + 'static,
    F: Fn(&Context, P) -> Result<R, CallError> + Send + Sync + 'static,
{
    linker.func_wrap(
        name,
        move |store: StoreContextMut<'_, GuestState>, parameters: P| {
            let max = store.data().host_bytes;
            if json_cost(json(&parameters)) > max {
                return Err(Exceeded::HostBytes(max).into());
            }
            let outcome = match &store.data().context {
                Some(context) => act(context, parameters),
                None => Err(CallError::internal(
                    "processes cannot be reached while an instance is made",
                )),
            };
            Ok((outcome.map_err(|error| report(&error)),))
        },
    )
}

fn of(context: &Context) -> &Processes {
    context.dispatcher().processes()
}

fn id(text: &str) -> Result<EntryId, CallError> {
    EntryId::parse(text).map_err(|error| CallError::invalid(error.to_string()))
}

#[cold]
fn outside() -> CallError {
    CallError::invalid("only a process can do this, and a function that a process calls")
}

/// The oldest letter as JSON; nothing when `timeout` is over first.
async fn receive(mailbox: Option<Mailbox>, timeout: Option<Duration>) -> Result<Option<String>, CallError> {
    let mailbox = mailbox.ok_or_else(|| CallError::invalid("only a process has a mailbox"))?;
    let letter = match timeout {
        Some(timeout) => match tokio::time::timeout(timeout, mailbox.next()).await {
            Ok(letter) => letter,
            Err(_) => return Ok(None),
        },
        None => mailbox.next().await,
    };
    // The letter is consumed: the guest has its own copy. Its place is free when it is dropped here.
    to_json(&letter).map(|letter| Some(letter.to_string()))
}

fn to_json(letter: &Letter) -> Result<Json, CallError> {
    Ok(match letter {
        Letter::Message(message, _) => message_to_json(message)?,
        Letter::Event(Event::Cancel { from, reason, .. }, _) => json!({
            "kind": "cancel",
            "from": from.as_ref().map(Pid::as_str),
            "reason": reason.as_deref(),
        }),
        Letter::Event(Event::Exit { from, exit }, _) => exit_to_json("exit", from, exit)?,
        Letter::Event(Event::LinkDown { from, exit }, _) => exit_to_json("link-down", from, exit)?,
        Letter::Event(Event::Outdated, _) => json!({ "kind": "outdated" }),
    })
}

fn message_to_json(message: &Message) -> Result<Json, CallError> {
    let payloads: Vec<Json> = message
        .payloads
        .iter()
        .map(values::from_value)
        .collect::<Result<_, _>>()
        .map_err(|error| {
            let topic = &message.topic;
            CallError::invalid(format!(
                "a message about `{topic}` cannot be written as JSON: {error}"
            ))
        })?;
    Ok(json!({
        "kind": "message",
        "from": message.from.as_ref().map(Pid::as_str),
        "topic": &*message.topic,
        "payloads": payloads,
    }))
}

fn exit_to_json(kind: &str, from: &Pid, exit: &Exit) -> Result<Json, CallError> {
    Ok(match exit.as_ref() {
        Ok(value) => json!({ "kind": kind, "from": from.as_str(), "value": values::from_value(value)? }),
        Err(error) => json!({ "kind": kind, "from": from.as_str(), "error": {
            "kind": error.kind().as_str(),
            "message": error.message(),
        } }),
    })
}
