//! Real guests through the real dispatcher: values, methods, capabilities, limits and traps.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test that finds something missing has failed, and some tell what they measured"
)]

mod alone;
mod bindings;
mod bounded;
mod cache;
mod calls;
mod error_contexts;
mod heap;
mod hostile;
mod http_client;
mod http_contexts;
mod http_handler;
mod http_permissions;
mod identity;
mod interfaces;
mod misbehaving;
mod mounts;
mod pools;
mod preparing;
mod processes;
mod programs;
mod resources;
mod server;
mod sleepers;
mod sockets;
mod storms;
mod stray_streams;
mod streams;
mod support;
mod trace;
mod waiting;
mod worker_class;
