//! The program: boot, hosting, people.
//!
//! [`main`] reads the command line ([`args`]) and the configuration ([`Config`]), and hands over to one file of
//! `commands`. Those that need an application make an [`App`]: load, link, prepare, then call, run or serve. This is
//! the only crate that reads arguments and the environment, prints, or decides an exit code; it has no rules of its
//! own about values, permissions or guests.

pub mod app;
pub mod args;
mod arguments;
mod boot;
mod commands;
pub mod config;
mod cores;
mod failure;
mod host;
pub mod http;
mod live;
mod metrics;
mod otel;
mod output;
pub mod report;
mod service;
mod shutdown;
pub mod supervisor;
mod telemetry;
mod terminal;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

pub use crate::{app::App, config::Config, failure::Failure, metrics::MetricsEndpoint};

/// Runs the command line of this process; the exit code is 0 when it went well, 1 when something failed, 2 when it
/// was asked for wrongly or the project has problems, 130 when a signal ended it.
pub fn main() -> ExitCode {
    match args::Args::try_parse() {
        Ok(args) => commands::run(args).unwrap_or_else(|failure| failure.report()),
        Err(error) => commands::usage_error(&error),
    }
}
