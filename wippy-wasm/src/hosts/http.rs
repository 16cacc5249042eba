//! `wasi:http`: the types of requests and responses, and requests that guests make.

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi_http::{
    Error, WasiHttp, WasiHttpView as _,
    p2::bindings::http::{outgoing_handler, types},
};

use crate::{http::outgoing, state::GuestState};

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let options = types::LinkOptions::default();
    types::add_to_linker::<_, WasiHttp>(linker, &options, GuestState::http)?;
    outgoing_handler::add_to_linker::<_, WasiHttp>(linker, GuestState::http)?;
    tell_stream_errors(linker)
}

/// What the engine's own function says of a failed stream is nothing: it looks for another type of error than its
/// streams fail with.
fn tell_stream_errors(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut types = linker.instance("wasi:http/types@0.2.12")?;
    types.func_wrap(
        "http-error-code",
        |mut store, (error,): (Resource<types::IoError>,)| {
            let state = store.data_mut();
            let error: &types::IoError = state.ctx().table.get(&error)?;
            Ok((error.downcast_ref::<Error>().map(outgoing::code),))
        },
    )
}
