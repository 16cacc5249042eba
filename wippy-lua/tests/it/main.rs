//! Scripts run by the real dispatcher, with handlers in Rust on the other side.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

mod annotations;
mod base;
mod base64;
mod calls;
mod channels;
mod constants;
mod coroutines;
mod crypto;
mod ends;
mod env;
mod errors;
mod events;
mod footprint;
mod fs;
mod hash;
mod http;
mod http_client;
mod json;
mod lazy;
mod limits;
mod loading;
mod logger;
mod modules;
mod patterns;
mod payload;
mod pools;
mod processes;
mod registry;
mod retry;
mod security;
mod store;
mod support;
mod text;
mod time;
mod uuid;
mod values;
mod world;
mod yaml;
