//! `wippy version`

use std::process::ExitCode;

use crate::output;

pub(super) fn run() -> ExitCode {
    output::line(&format!("wippy {}", env!("CARGO_PKG_VERSION")));
    ExitCode::SUCCESS
}
