//! The workspace's own chores, run as `cargo xtask <command>`.
//!
//! Nothing here is part of the runtime: it builds the guests that tests run, and checks what a compiler does not.

#![expect(clippy::print_stdout, reason = "a program whose output is for people")]

mod fixtures;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "The workspace's own chores",
    max_term_width = 100
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the guests under `fixtures/guests` into `fixtures/wasm`, and what the example applications need of them
    Fixtures(fixtures::Arguments),
    /// Check the dependencies among our crates, and that every source file says what it is
    Tidy,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Fixtures(arguments) => fixtures::run(&arguments),
        Command::Tidy => tidy::run(),
    };
    match outcome {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => {
            for problem in &problems {
                println!("problem: {problem}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
