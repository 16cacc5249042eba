//! `wippy dev`: serves the application, and makes it what its files say whenever they change.

use std::{path::Path, process::ExitCode};

use super::{configured, with_app};
use crate::{
    App, Failure,
    args::Shared,
    output, shutdown,
    telemetry::Occasion,
    watch::{self, Changes},
};

pub(super) fn run(shared: &Shared) -> Result<ExitCode, Failure> {
    let (directory, config) = configured(shared, Occasion::Serving)?;
    with_app(&directory, &config, async |app| {
        // The watch is on before anybody is told that the application serves.
        let (changes, _watcher) = watch_over(&directory)?;
        let _metrics = app.serve_metrics().await?;
        tokio::select! {
            () = app.serve(shutdown::requested()) => {}
            () = follow(app, changes) => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn watch_over(directory: &Path) -> Result<(Changes, watch::Watcher), Failure> {
    watch::begin(directory).map_err(|error| {
        Failure::Other(format!(
            "the folder `{}` cannot be watched: {error}",
            directory.display()
        ))
    })
}

/// Loads the files again after every change of them, for as long as they are watched.
async fn follow(app: &App, mut changes: Changes) {
    while changes.next().await {
        match app.reload().await {
            Ok(Some(version)) => tracing::info!(target: "wippy", %version, "reloaded"),
            Ok(None) => {}
            Err(problems) => {
                output::tell(&format!("{}\n", problems.render()));
                tracing::warn!(target: "wippy", "not reloaded: what was there goes on");
            }
        }
    }
}
