//! `wippy wasm`: what a binary offers and needs, and annotations of what an application's functions take.

mod inspect;
mod stub;

use std::process::ExitCode;

use crate::{
    Failure,
    args::{Shared, WasmCommand},
};

pub(super) fn run(shared: &Shared, command: WasmCommand) -> Result<ExitCode, Failure> {
    match command {
        WasmCommand::Inspect { target, json } => inspect::run(shared, &target, json),
        WasmCommand::Stub { ids } => stub::run(shared, &ids),
    }
}
