//! Logs: one subscriber that writes to standard error, as text or as JSON.
//!
//! A command's output is what people want to see, so commands log warnings only; serving logs what happens. Audit
//! events (target `wippy::audit`) follow the same levels. `WIPPY_LOG` takes a filter in the usual form and replaces
//! the flags.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

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

/// Installs the subscriber. A second call changes nothing, so that tests can boot many applications.
pub(crate) fn install(occasion: Occasion, config: LogConfig) {
    let registry = tracing_subscriber::registry().with(filter(occasion, config));
    let ansi = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let _ = match config.encoding {
        LogEncoding::Console => registry.with(fmt::layer().with_writer(io::stderr).with_ansi(ansi)).try_init(),
        LogEncoding::Json => {
            registry.with(fmt::layer().json().flatten_event(true).with_writer(io::stderr)).try_init()
        }
    };
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
