//! Scripts run by the real dispatcher, with handlers in Rust on the other side.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

mod calls;
mod coroutines;
mod env;
mod events;
mod fs;
mod http_client;
mod limits;
mod loading;
mod modules;
mod registry;
mod retry;
mod store;
mod support;
mod values;
mod world;
