//! `wippy call`: any function from the shell, arguments typed by its signature, the result as JSON.

use std::{
    io::Read as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use super::{configured, with_app};
use crate::{
    App, Failure,
    args::{CallArgs, Shared},
    arguments, output, shutdown,
    telemetry::Occasion,
};

pub(super) fn run(shared: &Shared, args: &CallArgs) -> Result<ExitCode, Failure> {
    let (directory, config) = configured(shared, Occasion::Command)?;
    let words = with_input(&args.arguments)?;
    let loading = Instant::now();
    with_app(&directory, &config, async |app| {
        let loaded = loading.elapsed();
        let calling = Instant::now();
        let result = call(app, args, &words).await;
        if args.time {
            output::tell(&format!(
                "load {}  call {}",
                milliseconds(loaded),
                milliseconds(calling.elapsed())
            ));
        }
        output::json(&result?);
        Ok(ExitCode::SUCCESS)
    })
}

async fn call(app: &App, args: &CallArgs, words: &[String]) -> Result<serde_json::Value, Failure> {
    if !app.has_function(&args.id) {
        return Err(app.unknown_function(&args.id));
    }
    let values = match app.signature(&args.id) {
        Some(signature) => arguments::typed(signature, words, &format!("wippy call {}", args.id))?,
        None => arguments::untyped(words),
    };
    let value = tokio::select! {
        value = app.call(&args.id, values) => value?,
        () = shutdown::requested() => return Err(Failure::Interrupted),
    };
    arguments::to_json(app.signature(&args.id), &value)
        .map_err(|error| Failure::Other(format!("the result cannot be shown as JSON: {error}")))
}

/// The words with `-` replaced by what standard input says.
fn with_input(words: &[String]) -> Result<Vec<String>, Failure> {
    let mut words = words.to_vec();
    let mut places = words.iter_mut().filter(|word| *word == "-");
    let Some(place) = places.next() else {
        return Ok(words);
    };
    if places.next().is_some() {
        return Err(Failure::usage("`-` can stand for one argument only"));
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::Other(format!("standard input cannot be read: {error}")))?;
    if let Err(error) = serde_json::from_str::<serde_json::Value>(&text) {
        return Err(Failure::usage(format!("standard input is not JSON: {error}")));
    }
    text.trim().clone_into(place);
    Ok(words)
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.3} ms", duration.as_secs_f64() * 1e3)
}
