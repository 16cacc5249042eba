//! Running one process to its end: which host it runs on, what its words mean, what its end means.

use std::sync::Arc;

use wippy_lua::Services;
use wippy_registry::{EntryId, schema, suggest};
use wippy_security::CallError;
use wippy_wasm::{Start, Stdio};
use wippy_wit::Value;

use super::App;
use crate::{Failure, arguments, boot::Process, terminal::StandardTerminal};

/// A process of an application, on the host where it would run.
pub struct Runnable<'a> {
    app: &'a App,
    process: &'a Process,
    /// Whether the host gives it the terminal.
    terminal: bool,
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
        let Some(process) = self.prepared.processes.get(id) else { return Err(self.unknown_process(id)) };
        let terminal = match host {
            Some(host) => self.is_terminal(host)?,
            None => true,
        };
        Ok(Runnable { app: self, process, terminal })
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

    fn is_terminal(&self, host: &EntryId) -> Result<bool, Failure> {
        match self.entry(host).map(|entry| (&entry.config, &entry.entry.kind)) {
            Some((schema::Config::TerminalHost(_), _)) => Ok(true),
            Some((schema::Config::ProcessHost(_), _)) => Ok(false),
            Some((_, kind)) => Err(Failure::usage(format!("`{host}` is a `{kind}`, not a host"))
                .help("a host is a `terminal.host` or a `process.host`")),
            None => Err(Failure::usage(format!("there is no host `{host}`"))),
        }
    }
}

impl Runnable<'_> {
    /// What `words` mean for this process; `invocation` is what its usage line begins with.
    ///
    /// # Errors
    /// Wrong usage when they do not fit its signature.
    pub fn input(&self, words: &[String], invocation: &str) -> Result<Input, Failure> {
        let arguments = match self.process {
            Process::Wasm(process) => match process.signature() {
                Some(signature) => arguments::typed(signature, words, invocation)?,
                None => Vec::new(),
            },
            Process::Lua(_) => words.iter().map(|word| Value::from(word.as_str())).collect(),
        };
        Ok(Input { words: words.to_vec(), arguments })
    }

    /// Runs it to its end. Dropping the future ends it.
    ///
    /// # Errors
    /// Its own error, or whatever stopped it.
    pub async fn run(&self, input: Input) -> Result<Exit, CallError> {
        let context = self.app.context();
        match self.process {
            Process::Wasm(process) => {
                let stdio = if self.terminal { Stdio::Terminal } else { Stdio::Log };
                let start = Start { arguments: input.arguments, argv: input.words, stdio };
                Ok(match process.run(&context, start).await? {
                    wippy_wasm::Exit::Value(value) => Exit { value: Some(value), code: 0 },
                    wippy_wasm::Exit::Code(code) => Exit { value: None, code: exit_code(code.into()) },
                })
            }
            Process::Lua(command) => {
                let terminal = StandardTerminal::new(input.words);
                let services =
                    Services { terminal: self.terminal.then(|| Arc::new(terminal) as _), ..Services::default() };
                let value = command.start(services)?.run(context, input.arguments).await?;
                Ok(Exit { value: None, code: if let Value::Integer(code) = value { exit_code(code) } else { 0 } })
            }
        }
    }
}

/// A system's exit codes have one byte. What does not fit still has to be a failure.
fn exit_code(code: i64) -> u8 {
    u8::try_from(code).unwrap_or(1)
}
