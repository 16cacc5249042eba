//! Running one process to its end: which host it runs on, what its words mean, what its end means.

use std::sync::Arc;

use wippy_lua::Services;
use wippy_registry::{EntryId, LinkedEntry, schema, suggest};
use wippy_security::{CallError, Context, Identity};
use wippy_wasm::{Start, Stdio, WasmProcess};
use wippy_wit::Value;

use super::App;
use crate::{
    Failure, arguments,
    boot::{LuaCommand, Process, policies},
    terminal::StandardTerminal,
};

/// A process of an application, on the host where it would run.
pub struct Runnable<'a> {
    app: &'a App,
    process: Arc<Process>,
    host: Host,
    /// Whom it acts for: what its host declares, and over that what it declares itself.
    identities: [Identity; 2],
}

/// Where a process runs, as far as its output cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    /// It has the terminal.
    Terminal {
        /// Whether logs stay off it meanwhile.
        hide_logs: bool,
    },
    /// What it prints goes to the log.
    Background,
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
        let (host, host_entry) = match host {
            Some(host) => self.host(host)?,
            None => self.terminal(),
        };
        let policies = self.dispatcher().policies();
        let lifecycle = host_entry.and_then(|entry| entry.config.lifecycle());
        let own = self
            .entry(id)
            .map(|entry| policies::own_identity(&entry.config, &policies));
        Ok(Runnable {
            app: self,
            process,
            host,
            identities: [
                policies::identity_of(lifecycle, &policies)?,
                own.transpose()?.unwrap_or_default(),
            ],
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

    fn host(&self, id: &EntryId) -> Result<(Host, Option<&LinkedEntry>), Failure> {
        let Some(entry) = self.entry(id) else {
            return Err(Failure::usage(format!("there is no host `{id}`")));
        };
        if let schema::Config::TerminalHost(terminal) = &entry.config {
            let hide_logs = terminal.hide_logs;
            return Ok((Host::Terminal { hide_logs }, Some(entry)));
        }
        if matches!(entry.config, schema::Config::ProcessHost(_)) {
            return Ok((Host::Background, Some(entry)));
        }
        Err(
            Failure::usage(format!("`{id}` is a `{}`, not a host", entry.entry.kind))
                .help("a host is a `terminal.host` or a `process.host`"),
        )
    }

    /// The application's terminal, or one that is there anyway.
    fn terminal(&self) -> (Host, Option<&LinkedEntry>) {
        let terminal = self.prepared.entries.iter().find_map(|entry| {
            if let schema::Config::TerminalHost(terminal) = &entry.config {
                Some((terminal.hide_logs, entry))
            } else {
                None
            }
        });
        let hide_logs = terminal.is_some_and(|(hide_logs, _)| hide_logs);
        (Host::Terminal { hide_logs }, terminal.map(|(_, entry)| entry))
    }
}

impl Runnable<'_> {
    /// Whether logs are to stay off the terminal while it runs.
    pub fn hides_logs(&self) -> bool {
        self.host == Host::Terminal { hide_logs: true }
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
            Process::Lua(_) => words.iter().map(|word| Value::from(word.as_str())).collect(),
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
        match &*self.process {
            Process::Wasm(process) => self.run_wasm(process, input).await,
            Process::Lua(command) => self.run_lua(command, input).await,
        }
    }

    async fn run_wasm(&self, process: &WasmProcess, input: Input) -> Result<Exit, CallError> {
        let stdio = if self.has_terminal() {
            Stdio::Terminal
        } else {
            Stdio::Log
        };
        let start = Start {
            arguments: input.arguments,
            argv: input.words,
            stdio,
        };
        Ok(match process.run(&self.context(), start).await? {
            wippy_wasm::Exit::Value(value) => Exit {
                value: Some(value),
                code: 0,
            },
            wippy_wasm::Exit::Code(code) => Exit {
                value: None,
                code: exit_code(code.into()),
            },
        })
    }

    async fn run_lua(&self, command: &LuaCommand, input: Input) -> Result<Exit, CallError> {
        let terminal = self.has_terminal().then(|| Arc::new(StandardTerminal) as _);
        let process = command.start(Services {
            terminal,
            ..self.app.prepared.live.ground().services()
        })?;
        let value = process.run(self.context(), input.words, input.arguments).await?;
        let code = if let Value::Integer(code) = value {
            exit_code(code)
        } else {
            0
        };
        Ok(Exit { value: None, code })
    }

    /// Where everything that it does begins.
    fn context(&self) -> Context {
        let [host, own] = &self.identities;
        own.over(&host.over(&self.app.context()))
    }

    fn has_terminal(&self) -> bool {
        self.host != Host::Background
    }
}

/// A system's exit codes have one byte. What does not fit still has to be a failure.
fn exit_code(code: i64) -> u8 {
    u8::try_from(code).unwrap_or(1)
}
