//! Scripts run by the real dispatcher, with handlers in Rust on the other side.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

mod calls;
mod coroutines;
mod http;
mod limits;
mod loading;
mod modules;
mod support;
mod values;
