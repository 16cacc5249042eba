//! [`App`]: an application that was loaded, linked and prepared: call its functions, run its processes, serve.

mod change;
mod http;
mod metrics;
mod process;
mod services;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use wippy_registry::{Diagnostic, EntryId, LinkedEntry, Registry, schema, suggest};
use wippy_security::{CallError, Context, Dispatcher};
use wippy_wit::{Signature, Value, ValueReader, ValueWriter};

use crate::{
    Config, Failure,
    boot::{self, Prepared, Process},
    host::ProcessHost,
    report::Problems,
};

pub use self::process::{Exit, Input, Runnable, Started};

/// An application that is ready to run. Nothing of it runs by itself before [`serve`](Self::serve).
pub struct App {
    prepared: Prepared,
    /// Where the project is.
    root: PathBuf,
    hosts: BTreeMap<EntryId, Arc<ProcessHost>>,
    warnings: Problems,
}

/// A process that has a name on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandInfo {
    /// The entry.
    pub id: EntryId,
    /// The word after `wippy run`.
    pub name: String,
    /// One line about it.
    pub short: Option<String>,
    /// What it is for.
    pub use_case: Option<String>,
}

impl App {
    /// Loads, links and prepares the project in `directory`. This blocks for as long as compiling takes.
    ///
    /// # Errors
    /// Everything that is wrong with the project, if anything keeps it from starting.
    pub fn load(directory: &Path, config: &Config) -> Result<Self, Problems> {
        let (prepared, mut problems) = boot::prepare(directory, config);
        if !problems.has_errors()
            && let Err(error) = prepared.make()
        {
            let message = format!("a folder cannot be made: {error}");
            problems
                .diagnostics
                .push(Diagnostic::error("missing-directory", message));
        }
        if problems.has_errors() {
            return Err(problems);
        }
        prepared.warm_up();
        let hosts = services::hosts(prepared.entries());
        for (id, host) in &hosts {
            prepared
                .dispatcher
                .processes()
                .insert_host(id.clone(), Arc::clone(host) as _);
        }
        prepared.live.size(hosts.clone());
        Ok(Self {
            prepared,
            root: directory.to_owned(),
            hosts,
            warnings: problems,
        })
    }

    /// What is wrong with the project, and how many entries it has. Starts nothing.
    pub fn check(directory: &Path, config: &Config) -> (Problems, usize) {
        let (prepared, problems) = boot::prepare(directory, config);
        (problems, prepared.entries().len())
    }

    /// What is probably not meant as it stands, but keeps nothing from starting.
    pub fn warnings(&self) -> &Problems {
        &self.warnings
    }

    /// The entries.
    pub fn registry(&self) -> &Registry {
        self.prepared.live.registry()
    }

    /// The functions.
    pub fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.prepared.dispatcher
    }

    /// A context for what comes from outside: no actor, no deadline, and a call id of its own.
    pub fn context(&self) -> Context {
        Context::root(Arc::clone(self.dispatcher())).with_new_call_id()
    }

    /// Calls a function.
    ///
    /// # Errors
    /// Whatever the function or the way to it says.
    pub async fn call(&self, id: &EntryId, arguments: Vec<Value>) -> Result<Value, CallError> {
        let function = self.dispatcher().resolve(id)?;
        let (mut reader, mut writer) = (ValueReader::arguments(&arguments), ValueWriter::default());
        self.dispatcher()
            .call(&self.context(), &function, &mut reader, &mut writer)?
            .await?;
        Ok(writer.finish())
    }

    /// Runs the command of a name with words as a shell would pass them.
    ///
    /// # Errors
    /// Wrong usage when there is no such command or the words do not fit it; else whatever the process says.
    pub async fn run_command(&self, name: &str, words: &[String]) -> Result<Exit, Failure> {
        let command = self.command(name)?;
        let process = self.process(&command.id, None)?;
        let input = process.input(words, &format!("wippy run {name}"))?;
        Ok(process.run(input).await?)
    }

    /// Whether there is a function of this id.
    pub fn has_function(&self, id: &EntryId) -> bool {
        self.dispatcher().resolve(id).is_ok()
    }

    /// The signature of a WebAssembly function or process; nothing for what takes any arguments.
    pub fn signature(&self, id: &EntryId) -> Option<&Signature> {
        if let Some(function) = self.prepared.functions.get(id) {
            return Some(function.wit_signature());
        }
        match &**self.prepared.processes.get(id)? {
            Process::Wasm(process) => process.signature().map(AsRef::as_ref),
            Process::Lua => None,
        }
    }

    /// The WebAssembly functions that were asked for, or all, in the order of their ids.
    pub fn wasm_functions(&self) -> impl Iterator<Item = (&EntryId, &Signature)> {
        self.prepared
            .functions
            .iter()
            .map(|(id, function)| (id, function.wit_signature().as_ref()))
    }

    /// The commands in the order of their names.
    pub fn commands(&self) -> Vec<CommandInfo> {
        let mut commands: Vec<CommandInfo> = self.prepared.entries().iter().filter_map(command_of).collect();
        commands.sort_by(|a, b| a.name.cmp(&b.name));
        commands
    }

    /// The command of a name.
    ///
    /// # Errors
    /// Wrong usage that says what there is instead.
    pub fn command(&self, name: &str) -> Result<CommandInfo, Failure> {
        let commands = self.commands();
        if let Some(command) = commands.iter().find(|command| command.name == name) {
            return Ok(command.clone());
        }
        let names: Vec<&str> = commands.iter().map(|command| command.name.as_str()).collect();
        let failure = Failure::usage(format!("there is no command `{name}`"));
        let failure = match suggest::closest(name, names.iter().copied()) {
            Some(near) => failure.help(format!("did you mean `{near}`?")),
            None => failure,
        };
        Err(match names.as_slice() {
            [] => failure
                .help("the application has no commands; a process entry becomes one by `meta.command.name`"),
            names => failure.help(format!("the commands are: {}", names.join(", "))),
        })
    }

    /// Why there is no function of this id.
    pub(crate) fn unknown_function(&self, id: &EntryId) -> Failure {
        let ids = || self.prepared.entries().iter().map(|entry| &entry.entry);
        if let Some(entry) = ids().find(|entry| entry.id == *id) {
            let failure = Failure::usage(format!("`{id}` is a `{}`, which cannot be called", entry.kind));
            let is_process = self.prepared.processes.contains_key(id);
            return if is_process {
                failure.help(format!("a process is run: `wippy run -x {id}`"))
            } else {
                failure
            };
        }
        let failure = Failure::usage(format!("there is no function `{id}`"));
        let functions = ids()
            .filter(|entry| entry.kind.family() == "function")
            .map(|entry| entry.id.as_str());
        match suggest::closest(id.as_str(), functions) {
            Some(near) => failure.help(format!("did you mean `{near}`?")),
            None => failure.help("`wippy registry list --kind 'function.*'` lists the functions"),
        }
    }

    /// The entry of an id.
    fn entry(&self, id: &EntryId) -> Option<&LinkedEntry> {
        self.prepared.entries().iter().find(|entry| entry.entry.id == *id)
    }

    /// Starts the services and serves until `until` is done, then stops them. A service that does not start is reported
    /// and tried again; it keeps nothing else from running.
    pub async fn serve(&self, until: impl Future<Output = ()>) {
        let services = self.start_services();
        let serving = async {
            services.settled().await;
            tracing::info!(target: "wippy", entries = self.prepared.entries().len(), "serving");
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = until => {}
            () = serving => {}
        }
        tracing::info!(target: "wippy", "stopping");
        services.stop().await;
    }
}

fn command_of(entry: &LinkedEntry) -> Option<CommandInfo> {
    let command = if let schema::Config::LuaProcess(process) = &entry.config {
        process.command.as_ref()?
    } else if let schema::Config::WasmProcess(process) = &entry.config {
        process.command.as_ref()?
    } else {
        return None;
    };
    Some(CommandInfo {
        id: entry.entry.id.clone(),
        name: command.name.clone(),
        short: command.short.clone(),
        use_case: command.use_case.clone(),
    })
}
