//! What was typed: the command line as clap reads it, and nothing about what it means.
//!
//! Words behind the name of a command or function belong to it, not to wippy. [`RunArgs::request`] is where that
//! rule is spelled out.

use std::{fmt, path::PathBuf, str::FromStr};

use clap::{ArgAction, Args as Group, Parser, Subcommand, ValueEnum};
use wippy_registry::EntryId;

/// Runs applications made of WebAssembly components and Lua.
#[derive(Debug, Parser)]
#[command(name = "wippy", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Args {
    /// What most commands share.
    #[command(flatten)]
    pub shared: Shared,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that most commands share.
#[derive(Debug, Default, Group)]
#[command(next_help_heading = "Shared options")]
pub struct Shared {
    /// Work in this project instead of the current folder
    #[arg(short = 'C', long = "directory", value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,
    /// Read this configuration instead of `.wippy.yaml`; may be repeated, later files win
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Vec<PathBuf>,
    /// Apply this profile of the configuration
    #[arg(long, value_name = "NAME", global = true)]
    pub profile: Option<String>,
    /// Set one value of the configuration
    #[arg(long, value_name = "SECTION.PATH=VALUE", global = true)]
    pub set: Vec<Setting>,
    /// Override one field of an entry
    #[arg(short, long = "override", value_name = "NS:ENTRY:FIELD=VALUE", global = true)]
    pub overrides: Vec<Override>,
    /// Log more: -v information, -vv debugging, -vvv everything
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Log as text, whatever the configuration says
    #[arg(short, long, global = true, conflicts_with = "json_logs")]
    pub console: bool,
    /// Log nothing
    #[arg(short, long, global = true)]
    pub silent: bool,
    /// Log as JSON, one object a line
    #[arg(long, global = true)]
    pub json_logs: bool,
}

/// What wippy can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the current folder a project
    Init(InitArgs),
    /// Serve the application, or run one of its commands
    Run(RunArgs),
    /// Serve the application and follow its files as they change
    Dev,
    /// Call a function and print its result as JSON
    Call(CallArgs),
    /// Run the application's tests
    Test(TestArgs),
    /// Check everything that `run` would, and start nothing
    Lint(LintArgs),
    /// Look at the entries of the application
    Registry {
        /// How to look.
        #[command(subcommand)]
        command: RegistryCommand,
    },
    /// Ask what the policies of the application allow
    Policy {
        /// What to ask.
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Look at WebAssembly binaries
    Wasm {
        /// How to look.
        #[command(subcommand)]
        command: WasmCommand,
    },
    /// Print the version
    Version,
    /// Print a completion script
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

/// `wippy init`
#[derive(Debug, Group)]
pub struct InitArgs {
    /// Where entries are
    #[arg(long, value_name = "DIR", default_value = "./src")]
    pub src_dir: String,
    /// Where modules are installed
    #[arg(long, value_name = "DIR", default_value = ".wippy")]
    pub modules_dir: String,
    /// Also write a small application
    #[arg(long)]
    pub template: Option<Template>,
}

/// Applications that `init` can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// A WebAssembly function and a Lua command that calls it
    Wasm,
}

/// `wippy run`
#[derive(Debug, Group)]
#[command(
    override_usage = "wippy run [OPTIONS]\n       \
                      wippy run [OPTIONS] list [--json]\n       \
                      wippy run [OPTIONS] NAME [ARGS]...\n       \
                      wippy run [OPTIONS] -x NS:ENTRY [ARGS]... [--host NS:HOST]",
    after_help = "Words behind NAME or NS:ENTRY go to the command, also those that look like options."
)]
pub struct RunArgs {
    /// Run this process instead of a named command
    #[arg(short = 'x', long, value_name = "NS:ENTRY")]
    pub execute: Option<EntryId>,
    /// Run the process on this host
    #[arg(long, value_name = "NS:HOST", requires = "execute")]
    pub host: Option<EntryId>,
    /// The command and its arguments; nothing serves the application, `list` lists the commands
    #[arg(value_name = "NAME", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

/// What a `wippy run` line asks for.
#[derive(Debug)]
pub enum RunRequest {
    /// Serve until told to stop.
    Serve,
    /// List the commands.
    List(ListArgs),
    /// Run the command of this name.
    Command {
        /// Its name.
        name: String,
        /// Its arguments.
        arguments: Vec<String>,
    },
    /// Run this process.
    Execute {
        /// The entry.
        id: EntryId,
        /// Where it runs, if that was said.
        host: Option<EntryId>,
        /// Its arguments.
        arguments: Vec<String>,
    },
}

/// `wippy run list`
#[derive(Debug, Parser)]
#[command(
    name = "wippy run list",
    bin_name = "wippy run list",
    about = "List the commands of the application"
)]
pub struct ListArgs {
    /// Options that may stand on either side of `list`.
    #[command(flatten)]
    pub shared: Shared,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `wippy call`
#[derive(Debug, Group)]
#[command(
    after_help = "Arguments are WAVE or JSON as the function's signature says; without a signature they are \
                        JSON, or else text.\nAn argument that starts with `-` and is no number comes after `--`."
)]
pub struct CallArgs {
    /// The function
    #[arg(value_name = "NS:NAME")]
    pub id: EntryId,
    /// Its arguments; `-` reads JSON from standard input
    #[arg(value_name = "ARGS", allow_negative_numbers = true)]
    pub arguments: Vec<String>,
    /// Print how long loading and the call took
    #[arg(long)]
    pub time: bool,
}

/// `wippy test`
#[derive(Debug, Group)]
pub struct TestArgs {
    /// Arguments for the test process
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

/// `wippy lint`
#[derive(Debug, Group)]
pub struct LintArgs {
    /// Print the problems as JSON
    #[arg(long)]
    pub json: bool,
}

/// `wippy registry`
#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// List entries, one a line
    List(RegistryArgs),
    /// Show entries in full
    Show(RegistryArgs),
}

/// Which entries, and in which form.
#[derive(Debug, Group)]
pub struct RegistryArgs {
    /// Only this entry
    #[arg(value_name = "NS:NAME")]
    pub id: Option<EntryId>,
    /// Only entries of this kind (`function.*`)
    #[arg(long, value_name = "GLOB")]
    pub kind: Option<String>,
    /// Only entries of this namespace (`app.*`)
    #[arg(long, value_name = "GLOB")]
    pub ns: Option<String>,
    /// Only entries of this name
    #[arg(long, value_name = "GLOB")]
    pub name: Option<String>,
    /// Only entries with this in `meta` (`type=api`, `~` regex, `*` contains, `^` starts with, `$` ends with)
    #[arg(long, value_name = "KEY=VALUE")]
    pub meta: Vec<String>,
    /// Print JSON
    #[arg(long, conflicts_with = "yaml")]
    pub json: bool,
    /// Print YAML
    #[arg(long)]
    pub yaml: bool,
}

/// `wippy policy`
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show which policies speak of a request, why, and what they decide together
    Explain(ExplainArgs),
}

/// `wippy policy explain`
#[derive(Debug, Group)]
pub struct ExplainArgs {
    /// The id of who acts
    #[arg(value_name = "ACTOR")]
    pub actor: String,
    /// What it wants to do (`funcs.call`)
    #[arg(value_name = "ACTION")]
    pub action: String,
    /// With what (`app:report`)
    #[arg(value_name = "RESOURCE")]
    pub resource: String,
    /// What is known about the request, as policies ask for it by `meta.…`
    #[arg(long, value_name = "JSON", value_parser = json)]
    pub meta: Option<serde_json::Value>,
    /// What is known about the actor, as policies ask for it by `actor.meta.…`
    #[arg(long, value_name = "JSON", value_parser = json)]
    pub actor_meta: Option<serde_json::Value>,
    /// Only this group, or this policy; may be repeated. Without it, all policies
    #[arg(long, value_name = "NS:GROUP")]
    pub scope: Vec<EntryId>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `wippy wasm`
#[derive(Debug, Subcommand)]
pub enum WasmCommand {
    /// Show what a binary exports and imports
    Inspect {
        /// A file, or an entry
        #[arg(value_name = "FILE|NS:NAME")]
        target: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print Lua annotations of the WebAssembly functions, for editors
    Stub {
        /// Only these functions
        #[arg(value_name = "NS:NAME")]
        ids: Vec<EntryId>,
    },
}

/// `--set wasm.cache.enabled=false`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The place in the configuration.
    pub path: String,
    /// The value, as YAML.
    pub value: String,
}

/// `-o app:compute:pool.max_size=4`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// What is overridden.
    pub target: Target,
    /// The value, as YAML.
    pub value: String,
}

/// `app:compute:pool.max_size`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The entry.
    pub entry: EntryId,
    /// The field, with dots for parts.
    pub field: String,
}

impl Shared {
    /// Adds options that were typed further behind: lists go on, single values are replaced.
    pub fn extend(&mut self, later: Self) {
        self.directory = later.directory.or(self.directory.take());
        self.config.extend(later.config);
        self.profile = later.profile.or(self.profile.take());
        self.set.extend(later.set);
        self.overrides.extend(later.overrides);
        self.verbose = self.verbose.saturating_add(later.verbose);
        self.console |= later.console;
        self.silent |= later.silent;
        self.json_logs |= later.json_logs;
    }
}

impl RunArgs {
    /// What the line asks for.
    ///
    /// # Errors
    /// When `list` has arguments of its own that do not fit.
    pub fn request(self) -> Result<RunRequest, clap::Error> {
        if let Some(id) = self.execute {
            let (arguments, host) = split_host(self.words, self.host)?;
            return Ok(RunRequest::Execute { id, host, arguments });
        }
        let mut words = self.words.into_iter();
        Ok(match words.next() {
            None => RunRequest::Serve,
            Some(name) if name == "list" => {
                RunRequest::List(ListArgs::try_parse_from(std::iter::once(name).chain(words))?)
            }
            Some(name) => RunRequest::Command {
                name,
                arguments: words.collect(),
            },
        })
    }
}

/// The one option that may stand behind the arguments: a final `--host NS:HOST`.
fn split_host(
    mut words: Vec<String>,
    host: Option<EntryId>,
) -> Result<(Vec<String>, Option<EntryId>), clap::Error> {
    let Some([option, value]) = words.last_chunk::<2>() else {
        return Ok((words, host));
    };
    if option != "--host" || host.is_some() {
        return Ok((words, host));
    }
    let invalid = |error| {
        clap::Error::raw(
            clap::error::ErrorKind::ValueValidation,
            format!("--host: {error}\n"),
        )
    };
    let host = value.parse().map_err(invalid)?;
    words.truncate(words.len() - 2);
    Ok((words, Some(host)))
}

/// A JSON object.
fn json(text: &str) -> Result<serde_json::Value, String> {
    match serde_json::from_str(text) {
        Ok(object @ serde_json::Value::Object(_)) => Ok(object),
        Ok(_) => Err("expected a JSON object".to_owned()),
        Err(error) => Err(format!("expected a JSON object: {error}")),
    }
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((path, value)) if !path.is_empty() => Ok(Self {
                path: path.to_owned(),
                value: value.to_owned(),
            }),
            Some(_) | None => Err("expected `section.path=value`".to_owned()),
        }
    }
}

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((target, value)) = text.split_once('=') else {
            return Err("expected `namespace:entry:field=value`".to_owned());
        };
        Ok(Self {
            target: target.parse()?,
            value: value.to_owned(),
        })
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once(':') {
            Some((entry, field)) if entry.contains(':') && !field.is_empty() => {
                let entry = EntryId::parse(entry).map_err(|error| error.to_string())?;
                Ok(Self {
                    entry,
                    field: field.to_owned(),
                })
            }
            Some(_) | None => Err(format!("expected `namespace:entry:field`, got `{text}`")),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.entry, self.field)
    }
}
