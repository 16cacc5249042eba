//! Real guests through the real dispatcher: values, methods, capabilities, limits and traps.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that finds something missing has failed"
)]

mod calls;
mod http_client;
mod http_contexts;
mod http_handler;
mod http_permissions;
mod identity;
mod misbehaving;
mod preparing;
mod programs;
mod resources;
mod server;
mod sockets;
mod support;
mod waiting;
