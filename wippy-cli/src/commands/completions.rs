//! `wippy completions SHELL`

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{args::Args, output};

pub(super) fn run(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "wippy", &mut script);
    output::bytes(&script);
    ExitCode::SUCCESS
}
