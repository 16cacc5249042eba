//! The WASI 0.2 interfaces, one function for each import.

use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::{
    WasiView as _,
    cli::{WasiCli, WasiCliView as _},
    clocks::{WasiClocks, WasiClocksView as _},
    filesystem::{WasiFilesystem, WasiFilesystemView as _},
    p2::bindings,
    random::WasiRandom,
};
use wasmtime_wasi_io::bindings::wasi::io as io_bindings;

use crate::state::GuestState;

type Result = wasmtime::Result<()>;

pub(super) fn cli(linker: &mut Linker<GuestState>) -> Result {
    use bindings::cli;
    cli::environment::add_to_linker::<_, WasiCli>(linker, GuestState::cli)?;
    cli::exit::add_to_linker::<_, WasiCli>(linker, GuestState::cli)?;
    cli::stdin::add_to_linker::<_, WasiCli>(linker, GuestState::cli)?;
    cli::stdout::add_to_linker::<_, WasiCli>(linker, GuestState::cli)?;
    cli::stderr::add_to_linker::<_, WasiCli>(linker, GuestState::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(linker, GuestState::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(linker, GuestState::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(linker, GuestState::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(linker, GuestState::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(linker, GuestState::cli)
}

/// Where the interfaces of `wasi:io` find their resources.
struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

pub(super) fn io(linker: &mut Linker<GuestState>) -> Result {
    io_bindings::error::add_to_linker::<_, Io>(linker, |state| state.ctx().table)?;
    io_bindings::streams::add_to_linker::<_, Io>(linker, |state| state.ctx().table)?;
    poll(linker)
}

pub(super) fn poll(linker: &mut Linker<GuestState>) -> Result {
    io_bindings::poll::add_to_linker::<_, Io>(linker, |state| state.ctx().table)
}

pub(super) fn clocks(linker: &mut Linker<GuestState>) -> Result {
    bindings::clocks::wall_clock::add_to_linker::<_, WasiClocks>(linker, GuestState::clocks)?;
    bindings::clocks::monotonic_clock::add_to_linker::<_, WasiClocks>(linker, GuestState::clocks)
}

pub(super) fn filesystem(linker: &mut Linker<GuestState>) -> Result {
    bindings::filesystem::types::add_to_linker::<_, WasiFilesystem>(linker, GuestState::filesystem)?;
    bindings::filesystem::preopens::add_to_linker::<_, WasiFilesystem>(linker, GuestState::filesystem)
}

pub(super) fn random(linker: &mut Linker<GuestState>) -> Result {
    bindings::random::random::add_to_linker::<_, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    bindings::random::insecure::add_to_linker::<_, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    bindings::random::insecure_seed::add_to_linker::<_, WasiRandom>(linker, |state| state.ctx().ctx.random())
}

/// What the preview1 adapter needs in any case; files, clocks and randomness take their own imports.
pub(super) fn preview1(linker: &mut Linker<GuestState>) -> Result {
    cli(linker)?;
    io(linker)
}
