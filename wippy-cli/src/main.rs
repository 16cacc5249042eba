//! The `wippy` binary; everything it does is in the library, so that tests and embedders can do it too.

use std::process::ExitCode;

/// Guests allocate on every call, and the system's allocator would be a good part of what a call costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    wippy_cli::main()
}
