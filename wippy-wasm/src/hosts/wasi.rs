//! The WASI 0.2 interfaces, one function for each import.

use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::{
    WasiView as _,
    cli::{WasiCli, WasiCliView as _},
    clocks::{WasiClocks, WasiClocksView as _},
    filesystem::{WasiFilesystem, WasiFilesystemView as _},
    p2::bindings::{
        self,
        random::{insecure, random},
    },
    random::{WasiRandom, WasiRandomCtx},
};
use wasmtime_wasi_io::bindings::wasi::io as io_bindings;

use crate::{limits::Exceeded, state::GuestState};

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
    bindings::filesystem::preopens::add_to_linker::<_, WasiFilesystem>(linker, GuestState::filesystem)?;
    super::files::link(linker)
}

pub(super) fn random(linker: &mut Linker<GuestState>) -> Result {
    random::add_to_linker::<_, Random>(linker, |state| Bounded(state))?;
    insecure::add_to_linker::<_, Random>(linker, |state| Bounded(state))?;
    bindings::random::insecure_seed::add_to_linker::<_, WasiRandom>(linker, |state| state.ctx().ctx.random())
}

/// Randomness of which a guest gets as much at once as its limit says.
struct Bounded<'a>(&'a mut GuestState);

struct Random;

impl HasData for Random {
    type Data<'a> = Bounded<'a>;
}

impl Bounded<'_> {
    /// The source, for `bytes`.
    fn source(&mut self, bytes: u64) -> wasmtime::Result<&mut WasiRandomCtx> {
        let max = self.0.host_bytes;
        if usize::try_from(bytes).is_ok_and(|bytes| bytes <= max) {
            Ok(self.0.ctx().ctx.random())
        } else {
            Err(Exceeded::HostBytes(max).into())
        }
    }
}

impl random::Host for Bounded<'_> {
    fn get_random_bytes(&mut self, bytes: u64) -> wasmtime::Result<Vec<u8>> {
        random::Host::get_random_bytes(self.source(bytes)?, bytes)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        random::Host::get_random_u64(self.source(8)?)
    }
}

impl insecure::Host for Bounded<'_> {
    fn get_insecure_random_bytes(&mut self, bytes: u64) -> wasmtime::Result<Vec<u8>> {
        insecure::Host::get_insecure_random_bytes(self.source(bytes)?, bytes)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        insecure::Host::get_insecure_random_u64(self.source(8)?)
    }
}

/// What the preview1 adapter needs in any case; files, clocks and randomness take their own imports.
pub(super) fn preview1(linker: &mut Linker<GuestState>) -> Result {
    cli(linker)?;
    io(linker)
}
