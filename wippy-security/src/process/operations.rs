//! What a guest may do with processes: every method asks the guard for the actions that it stands for.
//!
//! A destination is a PID or a name. For a name the guard is asked about both the name and the PID behind it, so that
//! a policy which refuses one of them cannot be got around by using the other.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};
use wippy_wit::Value;

use super::{
    Event, Message, Processes, Record, Spawn,
    exit::gone,
    relations,
    spawn::{Beginning, exit_of},
    table::Found,
};
use crate::{CallError, Context, ErrorKind, Exit, Pid, dispatcher::check_depth, guard};

/// How long a cancelled process may still run when nobody says so.
const GRACE: Duration = Duration::from_secs(5);

impl Processes {
    /// Starts a process: `process.spawn` on the entry, `process.host` on the host, and whatever else `spawn` asks for:
    /// `process.spawn.monitored`, `process.spawn.linked`, `process.registry.register` on the name, `process.context`,
    /// `process.security`.
    ///
    /// The process inherits the caller's actor, scope and request values, but neither its deadline nor its depth: it
    /// lives on its own.
    ///
    /// # Errors
    /// As the guard says; [`ErrorKind::NotFound`] for an entry or host that does not exist,
    /// [`ErrorKind::AlreadyExists`] for a name that is taken, [`ErrorKind::Unavailable`] when the host has no room.
    pub fn spawn(&self, context: &Context, spawn: Spawn) -> Result<Pid, CallError> {
        let entry = spawn.process.as_str();
        allow(context, "process.spawn", entry)?;
        if spawn.monitor {
            allow(context, "process.spawn.monitored", entry)?;
        }
        if spawn.link {
            allow(context, "process.spawn.linked", entry)?;
        }
        if spawn.monitor || spawn.link {
            own(context)?;
        }
        allow_conditions(context, &spawn)?;
        let record = self.start(context, spawn, Beginning::Free)?;
        Ok(record.pid().clone())
    }

    /// Starts a process and waits for its end: `process.exec` on the entry, `process.host` on the host, and whatever
    /// else `spawn` asks for. It ends by the caller's deadline, and dropping the future terminates it.
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn), and the process's own error.
    pub fn exec(
        &self,
        context: &Context,
        spawn: Spawn,
    ) -> Result<impl Future<Output = Result<Value, CallError>> + Send + use<>, CallError> {
        allow(context, "process.exec", spawn.process.as_str())?;
        allow_conditions(context, &spawn)?;
        check_depth(context, &spawn.process)?;
        let (process, deadline) = (spawn.process.clone(), context.deadline());
        let record = self.start(context, spawn, Beginning::Awaited)?;
        let exit = exit_of(&record);
        let guard = TerminateOnDrop(record);
        Ok(async move {
            let exit = match deadline {
                Some(deadline) => timeout_at(deadline, exit).await.map_err(|_| {
                    let message =
                        format!("the process `{process}` did not end before the deadline of its caller");
                    CallError::new(ErrorKind::Timeout, message)
                })?,
                None => exit.await,
            };
            drop(guard);
            Result::clone(&exit)
        })
    }

    /// Sends a message: `process.send`. A message to a process that has ended is dropped and counted, as if it had come
    /// a moment too late.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a name that nobody has, [`ErrorKind::RateLimited`] (worth a retry) when the mailbox
    /// is full, [`ErrorKind::Invalid`] for a reserved topic or a message that no mailbox could hold.
    pub fn send(
        &self,
        context: &Context,
        destination: &str,
        topic: Arc<str>,
        payloads: Vec<Value>,
    ) -> Result<(), CallError> {
        check_topic(&topic)?;
        let found = self.reach(context, "process.send", destination)?;
        let from = context.process().map(|process| process.pid().clone());
        let message = Message {
            from,
            topic,
            payloads,
        };
        let is_received = match found.record {
            Some(record) => record.deliver(message)?,
            None => false,
        };
        if !is_received {
            self.count_dropped();
        }
        Ok(())
    }

    /// Ends a process at once, wherever it is: `process.terminate`. That it has ended already is fine.
    ///
    /// # Errors
    /// As the guard says; [`ErrorKind::NotFound`] for a name that nobody has.
    pub fn terminate(&self, context: &Context, destination: &str) -> Result<(), CallError> {
        let found = self.reach(context, "process.terminate", destination)?;
        if let Some(record) = found.record {
            let message = format!("`{}` was terminated", record.pid());
            record.kill(Exit::new(Err(CallError::new(ErrorKind::Canceled, message))));
        }
        Ok(())
    }

    /// Tells a process to end, by an event: `process.cancel`. If it still runs after `grace` (five seconds when nothing
    /// is said), it is terminated.
    ///
    /// # Errors
    /// As the guard says; [`ErrorKind::NotFound`] for a name that nobody has.
    pub fn cancel(
        &self,
        context: &Context,
        destination: &str,
        grace: Option<Duration>,
        reason: Option<Arc<str>>,
    ) -> Result<(), CallError> {
        let found = self.reach(context, "process.cancel", destination)?;
        if let Some(record) = found.record {
            let from = context.process().map(|process| process.pid().clone());
            // A grace that no clock can express never ends.
            let deadline = Instant::now().checked_add(grace.unwrap_or(GRACE));
            record.cancel(from, deadline, reason);
        }
        Ok(())
    }

    /// From now on the calling process gets the EXIT event of another, once: `process.monitor`. If that has ended
    /// already, it comes at once and says so.
    ///
    /// # Errors
    /// As the guard says; [`ErrorKind::Invalid`] outside of a process; [`ErrorKind::NotFound`] for a name that nobody
    /// has; [`ErrorKind::RateLimited`] when the process watches too many.
    pub fn monitor(&self, context: &Context, destination: &str) -> Result<(), CallError> {
        let watcher = own(context)?;
        let found = self.reach(context, "process.monitor", destination)?;
        let Some(target) = &found.record else {
            let place = watcher.take_event_place()?;
            let event = Event::Exit {
                from: destination.parse()?,
                exit: Exit::unknown(destination),
            };
            watcher.notify(event, Some(place));
            return Ok(());
        };
        relations::monitor(watcher, target)
    }

    /// Undoes [`monitor`](Self::monitor): `process.unmonitor`. No EXIT is sent after this has returned.
    ///
    /// # Errors
    /// As the guard says; [`ErrorKind::Invalid`] outside of a process; [`ErrorKind::NotFound`] for a name that nobody
    /// has.
    pub fn unmonitor(&self, context: &Context, destination: &str) -> Result<(), CallError> {
        let watcher = own(context)?;
        if let Some(target) = &self.reach(context, "process.unmonitor", destination)?.record {
            relations::unmonitor(watcher, target);
        }
        Ok(())
    }

    /// From now on the calling process and another fail together: `process.link`.
    ///
    /// # Errors
    /// As the guard says; [`ErrorKind::Invalid`] outside of a process; [`ErrorKind::NotFound`] for a process that has
    /// ended or a name that nobody has; [`ErrorKind::RateLimited`] when one of them has too many links.
    pub fn link(&self, context: &Context, destination: &str) -> Result<(), CallError> {
        let process = own(context)?;
        let target = self.reach(context, "process.link", destination)?.running()?;
        relations::link(process, &target)
    }

    /// Undoes [`link`](Self::link): `process.unlink`.
    ///
    /// # Errors
    /// As the guard says; [`ErrorKind::Invalid`] outside of a process; [`ErrorKind::NotFound`] for a name that nobody
    /// has.
    pub fn unlink(&self, context: &Context, destination: &str) -> Result<(), CallError> {
        let process = own(context)?;
        if let Some(target) = &self.reach(context, "process.unlink", destination)?.record {
            relations::unlink(process, target);
        }
        Ok(())
    }

    /// Gives a process a name, until it ends: `process.registry.register` on the name, and for another process than
    /// the calling one `process.registry.foreign` on its PID.
    ///
    /// # Errors
    /// As the guard says; [`ErrorKind::AlreadyExists`] when another process has the name; [`ErrorKind::NotFound`] when
    /// the process has ended; [`ErrorKind::Invalid`] for something that cannot be a name.
    pub fn register(&self, context: &Context, name: &str, pid: Option<&str>) -> Result<(), CallError> {
        allow(context, "process.registry.register", name)?;
        let record = match pid {
            None => Arc::clone(own(context)?),
            Some(pid) => {
                let is_own = context.process().is_some_and(|own| own.pid().as_str() == pid);
                if !is_own {
                    allow(context, "process.registry.foreign", pid)?;
                }
                // A name for a name would be a way around what was just asked.
                let pid: Pid = pid.parse()?;
                self.get(&pid).ok_or_else(|| gone(pid.as_str()))?
            }
        };
        self.give_name(&name.into(), &record)
    }

    /// The PID of the process that has a name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn lookup(&self, name: &str) -> Result<Pid, CallError> {
        match self.find(name)?.record {
            Some(record) => Ok(record.pid().clone()),
            None => Err(gone(name)),
        }
    }

    /// Takes a name away: `process.registry.unregister` on the name, and when another process than the calling one has
    /// it `process.registry.foreign` on its PID. Answers whether anybody had it.
    ///
    /// # Errors
    /// As the guard says.
    pub fn unregister(&self, context: &Context, name: &str) -> Result<bool, CallError> {
        allow(context, "process.registry.unregister", name)?;
        let Some(holder) = self.named(name) else {
            return Ok(false);
        };
        let is_own = context.process().is_some_and(|own| *own.pid() == holder);
        if !is_own {
            allow(context, "process.registry.foreign", holder.as_str())?;
        }
        Ok(self.take_name(name, &holder))
    }

    /// Whom a destination means, if the actor of `context` may do `action` to it.
    fn reach<'a>(
        &self,
        context: &Context,
        action: &str,
        destination: &'a str,
    ) -> Result<Found<'a>, CallError> {
        let found = match self.find(destination) {
            Ok(found) => found,
            Err(unnamed) => {
                // Who may not reach a name does not learn either whether anybody has it.
                allow(context, action, destination)?;
                return Err(unnamed);
            }
        };
        match (&found.record, found.name) {
            (Some(record), Some(name)) => {
                drop(guard::authorize_alias(
                    context,
                    action,
                    name,
                    record.pid().as_str(),
                )?);
            }
            _ => allow(context, action, destination)?,
        }
        Ok(found)
    }
}

/// Topics that begin with `@` are the system's.
fn check_topic(topic: &str) -> Result<(), CallError> {
    if topic.starts_with('@') {
        return Err(CallError::invalid(format!(
            "the topic `{topic:.40}` is reserved: a topic cannot begin with `@`"
        )));
    }
    Ok(())
}

fn allow(context: &Context, action: &str, resource: &str) -> Result<(), CallError> {
    guard::authorize(context, action, resource).map(drop)
}

/// What starting a process asks for besides the entry.
fn allow_conditions(context: &Context, spawn: &Spawn) -> Result<(), CallError> {
    allow(context, "process.host", spawn.host.as_str())?;
    if let Some(name) = &spawn.name {
        allow(context, "process.registry.register", name)?;
    }
    if !spawn.values.is_empty() {
        allow(context, "process.context", "context")?;
    }
    if spawn.actor.is_some() || spawn.scope.is_some() {
        allow(context, "process.security", "security")?;
    }
    spawn
        .messages
        .iter()
        .try_for_each(|(topic, _)| check_topic(topic))
}

/// The process that asks.
fn own(context: &Context) -> Result<&Arc<Record>, CallError> {
    context
        .process()
        .ok_or_else(|| CallError::invalid("only a process can do this, and a function that a process calls"))
}

struct TerminateOnDrop(Arc<Record>);

impl Drop for TerminateOnDrop {
    fn drop(&mut self) {
        if !self.0.has_ended() {
            let message = format!(
                "`{}` was terminated because nobody waits for it any more",
                self.0.pid()
            );
            self.0
                .kill(Exit::new(Err(CallError::new(ErrorKind::Canceled, message))));
        }
    }
}
