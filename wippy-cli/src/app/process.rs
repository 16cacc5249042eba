//! Running one process to its end: which host it runs on, what its words mean, what its end means.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::Instant;
use wippy_registry::{EntryId, schema, suggest};
use wippy_security::{CallError, Identity, Launched, Spawn};
use wippy_wit::Value;

use super::{App, services};
use crate::{
    Failure, arguments,
    boot::{Process, policies},
};

/// A process of an application, on the host where it would run.
pub struct Runnable<'a> {
    app: &'a App,
    id: EntryId,
    process: Arc<Process>,
    host: EntryId,
    hides_logs: bool,
    /// Whom it acts for, as its host declares.
    identity: Identity,
}

/// What a process is started with.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// The words of the command line.
    pub words: Vec<String>,
    /// The arguments of its method.
    pub arguments: Vec<Value>,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Exit {
    /// What it returned, if that is to be shown.
    pub value: Option<Value>,
    /// Its exit code.
    pub code: u8,
}

impl App {
    /// A process and its host; the terminal when no host is named.
    ///
    /// # Errors
    /// Wrong usage when one of them does not exist or is something else.
    pub fn process(&self, id: &EntryId, host: Option<&EntryId>) -> Result<Runnable<'_>, Failure> {
        let Some(process) = self.prepared.live.process(id) else {
            return Err(self.unknown_process(id));
        };
        let host = match host {
            Some(host) => host.clone(),
            None => self.terminal()?,
        };
        let policies = self.dispatcher().policies();
        let lifecycle = self.entry(&host).and_then(|entry| entry.config.lifecycle());
        let identity = policies::identity_of(lifecycle, &policies)?;
        Ok(Runnable {
            app: self,
            id: id.clone(),
            process,
            hides_logs: self.hides_logs(&host)?,
            host,
            identity,
        })
    }

    fn unknown_process(&self, id: &EntryId) -> Failure {
        if let Some(entry) = self.entry(id) {
            let failure = Failure::usage(format!("`{id}` is a `{}`, not a process", entry.entry.kind));
            return match entry.entry.kind.family() {
                "function" => failure.help(format!("a function is called: `wippy call {id}`")),
                _ => failure,
            };
        }
        let failure = Failure::usage(format!("there is no process `{id}`"));
        match suggest::closest(id.as_str(), self.prepared.processes.keys().map(EntryId::as_str)) {
            Some(near) => failure.help(format!("did you mean `{near}`?")),
            None => failure.help("`wippy registry list --kind 'process.*'` lists the processes"),
        }
    }

    /// Whether what runs on this host wants the terminal without logs.
    fn hides_logs(&self, host: &EntryId) -> Result<bool, Failure> {
        let Some(entry) = self.entry(host) else {
            return if self.hosts.contains_key(host) {
                Ok(false)
            } else {
                Err(Failure::usage(format!("there is no host `{host}`")))
            };
        };
        if let schema::Config::TerminalHost(terminal) = &entry.config {
            return Ok(terminal.hide_logs);
        }
        if matches!(entry.config, schema::Config::ProcessHost(_)) {
            return Ok(false);
        }
        Err(
            Failure::usage(format!("`{host}` is a `{}`, not a host", entry.entry.kind))
                .help("a host is a `terminal.host` or a `process.host`"),
        )
    }

    /// The application's terminal, or one that is there anyway.
    fn terminal(&self) -> Result<EntryId, Failure> {
        let mut entries = self.prepared.entries().iter();
        let terminal = entries.find(|entry| matches!(entry.config, schema::Config::TerminalHost(_)));
        match terminal {
            Some(entry) => Ok(entry.entry.id.clone()),
            None => EntryId::parse(services::TERMINAL).map_err(|error| Failure::Other(error.to_string())),
        }
    }
}

impl Runnable<'_> {
    /// Whether logs are to stay off the terminal while it runs.
    pub fn hides_logs(&self) -> bool {
        self.hides_logs
    }

    /// What `words` mean for this process; `invocation` is what its usage line begins with.
    ///
    /// # Errors
    /// Wrong usage when they do not fit its signature.
    pub fn input(&self, words: &[String], invocation: &str) -> Result<Input, Failure> {
        let arguments = match &*self.process {
            Process::Wasm(process) => match process.signature() {
                Some(signature) => arguments::typed(signature, words, invocation)?,
                None => Vec::new(),
            },
            Process::Lua => words.iter().map(|word| Value::from(word.as_str())).collect(),
        };
        Ok(Input {
            words: words.to_vec(),
            arguments,
        })
    }

    /// Runs it to its end. Dropping the future ends it.
    ///
    /// # Errors
    /// Its own error, or whatever stopped it.
    pub async fn run(&self, input: Input) -> Result<Exit, CallError> {
        self.start(input)?.exit().await
    }

    /// Starts it: it has a PID, and others can reach it.
    ///
    /// # Errors
    /// When its host has no room.
    pub fn start(&self, input: Input) -> Result<Started, CallError> {
        let spawn = Spawn::new(self.id.clone(), self.host.clone(), input.arguments);
        let context = self.identity.over(&self.app.context());
        let launched = self
            .app
            .dispatcher()
            .processes()
            .launch(&context, spawn, input.words)?;
        Ok(Started {
            launched,
            returns: match &*self.process {
                Process::Lua => Returns::Code,
                Process::Wasm(process) if process.signature().is_some() => Returns::Value,
                Process::Wasm(_) => Returns::Nothing,
            },
        })
    }
}

/// A process that runs. Dropping it ends the process.
#[derive(Debug)]
pub struct Started {
    launched: Launched,
    returns: Returns,
}

/// What a process returns, as far as the command line cares.
#[derive(Debug, Clone, Copy)]
enum Returns {
    /// Its exit code, if it is an integer.
    Code,
    /// Something to show.
    Value,
    Nothing,
}

impl Started {
    /// Waits for its end.
    ///
    /// # Errors
    /// Its own error, or whatever stopped it.
    pub fn exit(&self) -> impl Future<Output = Result<Exit, CallError>> + Send + use<> {
        let (exit, returns) = (self.launched.exit(), self.returns);
        async move {
            match (Result::clone(&*exit.await), returns) {
                (Ok(Value::Integer(code)), Returns::Code) => Ok(Exit::code(code)),
                (Ok(value), Returns::Value) => Ok(Exit {
                    value: Some(value),
                    code: 0,
                }),
                (Ok(_), Returns::Code | Returns::Nothing) => Ok(Exit::code(0)),
                (Err(error), Returns::Code) => Err(error),
                // A guest that exited said what it had to say itself.
                (Err(error), Returns::Value | Returns::Nothing) => match error.details().get("exit_code") {
                    Some(Value::Integer(code)) => Ok(Exit::code(*code)),
                    _ => Err(error),
                },
            }
        }
    }

    /// Tells it to end; it is terminated if it has not done so after `grace`.
    pub fn cancel(&self, grace: Duration, reason: &str) {
        self.launched.cancel(Instant::now() + grace, reason);
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.launched.terminate("nobody waits for it any more");
    }
}

impl Exit {
    fn code(code: i64) -> Self {
        Self {
            value: None,
            code: exit_code(code),
        }
    }
}

/// A system's exit codes have one byte. What does not fit still has to be a failure.
fn exit_code(code: i64) -> u8 {
    u8::try_from(code).unwrap_or(1)
}
