//! HTTP for guests, both ways: requests that they make ([`client`]) and requests that they answer ([`serve`]).

mod body;
mod client;
mod connect;
mod destination;
mod idle;
pub(crate) mod outgoing;
pub(crate) mod serve;

use std::sync::Arc;

use wasmtime_wasi_http::WasiHttpCtx;

pub(crate) use client::Client;
use outgoing::Outgoing;

use crate::limits::Limits;

/// The HTTP side of an instance.
pub(crate) struct Http {
    pub(crate) ctx: WasiHttpCtx,
    pub(crate) outgoing: Outgoing,
}

impl Http {
    pub(crate) fn new(client: Arc<Client>, limits: &Limits) -> Self {
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(limits.http_header_bytes);
        Self {
            ctx,
            outgoing: Outgoing::new(client, limits),
        }
    }
}
