//! [`Spawn`]: what is to be started, and how a process begins.

use std::sync::Arc;

use tokio::{sync::oneshot, time::Instant};
use wippy_registry::EntryId;
use wippy_wit::Value;

use super::{Event, Message, Processes, Record, Running, Terminal, relations};
use crate::{Actor, CallError, Context, ErrorKind, Exit, Pid, Scope, Values};

/// What is to be started, where and how. Whatever is not said is inherited from the context that spawns.
#[derive(Debug, Clone)]
pub struct Spawn {
    /// The process entry.
    pub process: EntryId,
    /// The host entry.
    pub host: EntryId,
    /// The arguments of the process's method.
    pub arguments: Vec<Value>,
    /// Whether the spawning process gets the EXIT event.
    pub monitor: bool,
    /// Whether the two fail together.
    pub link: bool,
    /// The name under which others find it. When it is taken, nothing starts.
    pub name: Option<Arc<str>>,
    /// Messages that it finds in its mailbox at the start, by topic.
    pub messages: Vec<(Arc<str>, Vec<Value>)>,
    /// Request values to add.
    pub values: Values,
    /// For whom it acts.
    pub actor: Option<Arc<Actor>>,
    /// Under which policies.
    pub scope: Option<Arc<Scope>>,
}

impl Spawn {
    /// A process entry on a host, with everything else inherited.
    pub fn new(process: EntryId, host: EntryId, arguments: Vec<Value>) -> Self {
        Self {
            process,
            host,
            arguments,
            monitor: false,
            link: false,
            name: None,
            messages: Vec::new(),
            values: Values::new(),
            actor: None,
            scope: None,
        }
    }
}

/// On what terms a process begins.
pub(super) enum Beginning {
    /// It lives on its own.
    Free,
    /// Its caller waits for its end.
    Awaited,
    /// An edge starts it, with these words for its terminal.
    Launched { words: Vec<String> },
}

impl Beginning {
    fn words(self) -> Vec<String> {
        match self {
            Self::Launched { words } => words,
            Self::Free | Self::Awaited => Vec::new(),
        }
    }
}

/// A process that an edge has started, and may stop. Dropping it lets the process be.
#[derive(Debug)]
pub struct Launched {
    record: Arc<Record>,
}

impl Launched {
    /// Its name.
    pub fn pid(&self) -> &Pid {
        self.record.pid()
    }

    /// Waits for its end.
    pub fn exit(&self) -> impl Future<Output = Exit> + Send + use<> {
        exit_of(&self.record)
    }

    /// Tells it to end; it is terminated if it has not done so by `deadline`.
    pub fn cancel(&self, deadline: Instant, reason: impl Into<Arc<str>>) {
        self.record.cancel(None, Some(deadline), Some(reason.into()));
    }

    /// Ends it at once.
    pub fn terminate(&self, reason: impl Into<std::borrow::Cow<'static, str>>) {
        self.record
            .kill(Exit::new(Err(CallError::new(ErrorKind::Canceled, reason))));
    }
}

/// How `record` ends.
pub(super) fn exit_of(record: &Record) -> impl Future<Output = Exit> + Send + use<> {
    let waiting: oneshot::Receiver<Exit> = record.wait();
    let pid = record.pid().clone();
    async move { waiting.await.unwrap_or_else(|_| Exit::unknown(pid.as_str())) }
}

impl Processes {
    /// Starts a process for an edge, which needs no permission: see [`Processes`]. `words` are what it finds as its
    /// terminal's arguments, if its host has one.
    ///
    /// # Errors
    /// When there is no such entry or host, the name is taken, or the host has no room.
    pub fn launch(&self, context: &Context, spawn: Spawn, words: Vec<String>) -> Result<Launched, CallError> {
        let record = self.start(context, spawn, Beginning::Launched { words })?;
        Ok(Launched { record })
    }

    /// Tells everything that runs on a host to end, for an edge that closes it. What still runs at `deadline` is
    /// terminated.
    pub fn cancel_host(&self, host: &EntryId, deadline: Instant, reason: &Arc<str>) {
        for record in self.all() {
            if record.pid().host() == host.as_str() {
                record.cancel(None, Some(deadline), Some(Arc::clone(reason)));
            }
        }
    }

    /// Starts a process. Who may decide that has decided it.
    pub(super) fn start(
        &self,
        context: &Context,
        spawn: Spawn,
        beginning: Beginning,
    ) -> Result<Arc<Record>, CallError> {
        let host = self.host(&spawn.host)?;
        // Looked up before anything is made, for the better error.
        self.program(&spawn.process)?;
        let awaited = matches!(beginning, Beginning::Awaited);
        let arguments = beginning.words();
        let terminal = host.has_terminal().then(|| Arc::new(Terminal { arguments }));
        let record = self.enter(spawn.process.clone(), &spawn.host);
        let own = context.for_process(&record, spawn.values, spawn.actor, spawn.scope, awaited);
        // From here on, dropping it is its end.
        let mut running = Running::new(own, Arc::clone(&record), Arc::clone(&host), terminal);
        if let Some(name) = &spawn.name {
            self.give_name(name, &record)?;
        }
        let from = context.process().map(|process| process.pid().clone());
        for (topic, payloads) in spawn.messages {
            let from = from.clone();
            record.deliver(Message {
                from,
                topic,
                payloads,
            })?;
        }
        running.begin(&spawn.process, spawn.arguments)?;
        host.run(running.hosted())?;
        // The relations come last, because they only concern what did start; if it has ended by now, they say so.
        if let Some(parent) = context.process() {
            let outcome = tie(parent, &record, spawn.monitor, spawn.link);
            if let Err(error) = outcome {
                record.kill(Exit::new(Err(error.clone())));
                return Err(error);
            }
        }
        Ok(record)
    }
}

fn tie(parent: &Arc<Record>, child: &Arc<Record>, monitor: bool, link: bool) -> Result<(), CallError> {
    if monitor {
        relations::monitor(parent, child)?;
    }
    if link {
        relations::link(parent, child)?;
    }
    Ok(())
}

impl Record {
    /// Tells the process to end, and ends it at `deadline`.
    pub(super) fn cancel(
        self: &Arc<Self>,
        from: Option<Pid>,
        deadline: Option<Instant>,
        reason: Option<Arc<str>>,
    ) {
        // Without a place the event is left out: who has so much unread will not read this one either.
        if let Ok(place) = self.take_event_place() {
            let event = Event::Cancel {
                from,
                deadline,
                reason,
            };
            self.notify(event, Some(place));
        }
        if let Some(deadline) = deadline {
            self.end_by(deadline);
        }
    }
}
