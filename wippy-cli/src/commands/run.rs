//! `wippy run`: serves the application, lists its commands, or runs one process.

use std::{path::Path, process::ExitCode, time::Duration};

use serde_json::json;
use wippy_registry::EntryId;
use wippy_wit::Signature;

use super::{configured, usage_error, with_app};
use crate::{
    App, Config, Failure,
    app::{CommandInfo, Exit, Input, Runnable},
    args::{ListArgs, RunArgs, RunRequest, Shared},
    arguments, output, shutdown,
    telemetry::{self, Occasion},
};

pub(super) fn run(mut shared: Shared, args: RunArgs) -> Result<ExitCode, Failure> {
    let mut request = match args.request() {
        Ok(request) => request,
        Err(error) => return Ok(usage_error(&error)),
    };
    if let RunRequest::List(list) = &mut request {
        shared.extend(std::mem::take(&mut list.shared));
    }
    let occasion = if matches!(request, RunRequest::Serve) {
        Occasion::Serving
    } else {
        Occasion::Command
    };
    let (directory, config) = configured(&shared, occasion)?;
    match request {
        RunRequest::Serve => serve(&directory, &config),
        RunRequest::List(args) => list(&directory, &config, &args),
        RunRequest::Command { name, arguments } => with_app(&directory, &config, async |app| {
            let command = app.command(&name)?;
            execute(app, &command.id, None, &arguments, &format!("wippy run {name}")).await
        }),
        RunRequest::Execute { id, host, arguments } => with_app(&directory, &config, async |app| {
            execute(app, &id, host.as_ref(), &arguments, &format!("wippy run -x {id}")).await
        }),
    }
}

fn serve(directory: &Path, config: &Config) -> Result<ExitCode, Failure> {
    with_app(directory, config, async |app| {
        let _metrics = app.serve_metrics().await?;
        app.serve(shutdown::requested()).await;
        Ok(ExitCode::SUCCESS)
    })
}

fn list(directory: &Path, config: &Config, args: &ListArgs) -> Result<ExitCode, Failure> {
    with_app(directory, config, async |app| {
        let commands = app.commands();
        if args.json {
            output::json(
                &commands
                    .iter()
                    .map(|command| command_json(app, command))
                    .collect(),
            );
        } else if commands.is_empty() {
            output::tell("there are no commands; a process entry becomes one by `meta.command.name`");
        } else {
            let rows = commands.iter().map(|command| command_row(app, command)).collect();
            output::table(["COMMAND", "ENTRY", "ABOUT"], rows);
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn command_row(app: &App, command: &CommandInfo) -> [String; 3] {
    let usage = app
        .signature(&command.id)
        .map(arguments::usage)
        .unwrap_or_default();
    let call = format!("{} {usage}", command.name).trim_end().to_owned();
    [
        call,
        command.id.to_string(),
        command.short.clone().unwrap_or_default(),
    ]
}

fn command_json(app: &App, command: &CommandInfo) -> serde_json::Value {
    json!({
        "name": command.name,
        "entry": command.id,
        "short": command.short,
        "usage": app.signature(&command.id).map(arguments::usage),
        "signature": app.signature(&command.id).map(ToString::to_string),
    })
}

/// Runs a process to its end; `invocation` is what its usage line begins with.
pub(super) async fn execute(
    app: &App,
    id: &EntryId,
    host: Option<&EntryId>,
    words: &[String],
    invocation: &str,
) -> Result<ExitCode, Failure> {
    let process = app.process(id, host)?;
    let input = process.input(words, invocation)?;
    if process.hides_logs() {
        telemetry::hide();
    }
    let mut interrupted = std::pin::pin!(shutdown::requested());
    let services = app.start_services();
    // A command may rely on what runs beside it.
    let outcome = tokio::select! {
        () = services.settled() => run_to_end(&process, input, interrupted).await,
        () = &mut interrupted => Err(Failure::Interrupted),
    };
    services.stop().await;
    report(&outcome?, app.signature(id))
}

/// Runs a process to its end. When a signal comes it is told to end, and has a moment to do so.
async fn run_to_end(
    process: &Runnable<'_>,
    input: Input,
    interrupted: impl Future<Output = ()>,
) -> Result<Exit, Failure> {
    let started = process.start(input)?;
    tokio::select! {
        exit = started.exit() => return Ok(exit?),
        () = interrupted => {}
    }
    started.cancel(GRACE, "interrupted");
    // How it ends now does not matter any more.
    let _ = started.exit().await;
    Err(Failure::Interrupted)
}

/// What an interrupted process has to end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// Prints what a process returned. Its exit code is wippy's.
fn report(exit: &Exit, signature: Option<&Signature>) -> Result<ExitCode, Failure> {
    if let Some(value) = &exit.value {
        let shown = arguments::display(signature, value)
            .map_err(|error| Failure::Other(format!("the result cannot be shown: {error}")))?;
        if let Some(mut bytes) = shown {
            bytes.push(b'\n');
            output::bytes(&bytes);
        }
    }
    Ok(ExitCode::from(exit.code))
}
