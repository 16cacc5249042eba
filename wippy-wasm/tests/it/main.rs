//! Real guests through the real dispatcher: values, methods, capabilities, limits and traps.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that finds something missing has failed"
)]

mod alone;
mod cache;
mod calls;
mod hostile;
mod interfaces;
mod misbehaving;
mod mounts;
mod pools;
mod preparing;
mod resources;
mod sleepers;
mod support;
