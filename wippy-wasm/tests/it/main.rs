//! Real guests through the real dispatcher: values, methods, capabilities, limits and traps.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that finds something missing has failed"
)]

mod calls;
mod misbehaving;
mod preparing;
mod processes;
mod resources;
mod support;
