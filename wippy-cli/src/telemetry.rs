//! Logs: one subscriber that writes to standard error, as text or as JSON.
//!
//! A command's output is what people want to see, so commands log warnings only; serving logs what happens. Audit
//! events (target `wippy::audit`) follow the same levels. `WIPPY_LOG` takes a filter in the usual form and replaces
//! the flags.

use std::{
    io::{self, IsTerminal},
    sync::OnceLock,
};

use tracing_subscriber::{
    EnvFilter, Registry, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

use crate::config::LogEncoding;

/// What wippy is about to do, as far as logs care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// Something ends by itself, and its output matters.
    Command,
    /// The application serves.
    Serving,
}

/// How much is logged, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogConfig {
    /// How often `-v` was given.
    pub(crate) verbose: u8,
    /// Whether nothing is logged.
    pub(crate) silent: bool,
    /// What a line looks like.
    pub(crate) encoding: LogEncoding,
}

/// The way to the filter that is at work.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Installs the subscriber. A second call changes nothing, so that tests can boot many applications.
pub(crate) fn install(occasion: Occasion, config: LogConfig) {
    let (filter, handle) = reload::Layer::new(filter(occasion, config));
    let registry = tracing_subscriber::registry().with(filter);
    let ansi =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let installed = match config.encoding {
        LogEncoding::Console => registry
            .with(fmt::layer().with_writer(io::stderr).with_ansi(ansi))
            .try_init(),
        LogEncoding::Json => registry
            .with(fmt::layer().json().flatten_event(true).with_writer(io::stderr))
            .try_init(),
    };
    // Who asks for more logs wants to see them.
    if installed.is_ok() && config.verbose == 0 {
        let _ = FILTER.set(handle);
    }
}

/// Logs nothing from now on: the terminal belongs to a process that wants it for itself.
pub(crate) fn hide() {
    if let Some(filter) = FILTER.get() {
        let _ = filter.reload(EnvFilter::new("off"));
    }
}

fn filter(occasion: Occasion, config: LogConfig) -> EnvFilter {
    if config.silent {
        return EnvFilter::new("off");
    }
    if let Ok(filter) = EnvFilter::try_from_env("WIPPY_LOG") {
        return filter;
    }
    let base = match occasion {
        Occasion::Command => 0,
        Occasion::Serving => 1,
    };
    // Below -vvv the engine's own events stay at warnings: they say nothing about the application.
    EnvFilter::new(match base + config.verbose {
        0 => "warn",
        1 => "warn,wippy=info",
        2 => "warn,wippy=debug",
        _ => "trace",
    })
}
