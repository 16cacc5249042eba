//! `wasi:http`: the types of requests and responses, and requests that guests make.

use wasmtime::component::Linker;
use wasmtime_wasi_http::{
    WasiHttp, WasiHttpView as _,
    p2::bindings::http::{outgoing_handler, types},
};

use crate::state::GuestState;

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let options = types::LinkOptions::default();
    types::add_to_linker::<_, WasiHttp>(linker, &options, GuestState::http)?;
    outgoing_handler::add_to_linker::<_, WasiHttp>(linker, GuestState::http)
}
