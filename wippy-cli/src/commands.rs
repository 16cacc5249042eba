//! The commands, one file each: every one turns its arguments into an exit code or a [`Failure`].

mod call;
mod completions;
mod dev;
mod init;
mod lint;
mod policy;
mod registry;
mod run;
mod test;
mod version;
mod wasm;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{
    App, Config, Failure,
    args::{Args, Command, Shared},
    cores::Cores,
    output,
    telemetry::{self, LogConfig, Occasion},
};

/// Guests run on their own stacks, but Lua, parsers and long chains of calls take the worker's.
const WORKER_STACK_BYTES: usize = 8 << 20;

/// Runs a command.
pub(crate) fn run(args: Args) -> Result<ExitCode, Failure> {
    let shared = &args.shared;
    match args.command {
        Command::Init(args) => init::run(shared, &args),
        Command::Run(run) => run::run(args.shared, run),
        Command::Call(args) => call::run(shared, &args),
        Command::Dev => dev::run(shared),
        Command::Test(args) => test::run(shared, &args),
        Command::Lint(args) => lint::run(shared, &args),
        Command::Registry { command } => registry::run(shared, command),
        Command::Policy { command } => policy::run(shared, command),
        Command::Wasm { command } => wasm::run(shared, command),
        Command::Version => Ok(version::run()),
        Command::Completions { shell } => Ok(completions::run(shell)),
    }
}

/// Prints what clap has to say: help and version to standard output with code 0, mistakes to standard error with 2.
pub(crate) fn usage_error(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// The folder of the project.
fn directory(shared: &Shared) -> Result<PathBuf, Failure> {
    let directory = shared.directory.clone().unwrap_or_else(|| PathBuf::from("."));
    if directory.is_dir() {
        return Ok(directory);
    }
    Err(Failure::usage(format!(
        "there is no folder `{}`",
        directory.display()
    )))
}

/// The folder and the configuration, with logs set up for the occasion.
fn configured(shared: &Shared, occasion: Occasion) -> Result<(PathBuf, Config), Failure> {
    let directory = directory(shared)?;
    let config = Config::read(&directory, shared)?;
    let logs = LogConfig {
        verbose: shared.verbose,
        silent: shared.silent,
        encoding: config.log_encoding,
    };
    telemetry::install(occasion, logs);
    Ok((directory, config))
}

/// Boots the application of `directory` and hands it to `body` on a runtime of its own.
fn with_app<T>(
    directory: &Path,
    config: &Config,
    body: impl AsyncFnOnce(&App) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let runtime = runtime(config)?;
    let mut tracer = None;
    let outcome = runtime.block_on(async {
        let app = App::load(directory, config)?;
        warn(&app);
        if let Some(cores) = Cores::divide(config) {
            // This thread does what the others do from now on. Before, it compiled, on all processors.
            cores.scheduler.bind();
        }
        tracer = app.dispatcher().tracer().cloned();
        body(&app).await
    });
    if let Some(tracer) = tracer {
        tracer.finish();
    }
    // A thread that waits for input cannot be woken, and must not keep the program.
    runtime.shutdown_background();
    outcome
}

/// Shows what keeps nothing from starting.
fn warn(app: &App) {
    let warnings = app.warnings();
    if !warnings.diagnostics.is_empty() {
        output::tell(&format!("{}\n", warnings.render()));
    }
}

fn runtime(config: &Config) -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(cores) = Cores::divide(config) {
        let own = cores.scheduler;
        builder.worker_threads(own.len());
        builder.on_thread_start(move || own.bind());
    }
    if let Some(workers) = config.workers.filter(|workers| *workers > 0) {
        builder.worker_threads(workers);
    }
    let builder = builder
        .enable_all()
        .thread_name("wippy")
        .thread_stack_size(WORKER_STACK_BYTES);
    builder
        .build()
        .map_err(|error| Failure::Other(format!("threads could not be started: {error}")))
}
