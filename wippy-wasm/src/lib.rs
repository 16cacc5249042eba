//! How a component runs: from the bytes that an entry names to a function that can be called.
//!
//! [`Engine::prepare`] checks, links and compiles a module once, at boot; every mistake that can be found is found
//! there. A [`WasmFunction`] then lends instances of it to calls, and a [`WasmProcess`] runs one to its end. Values
//! go straight between the caller's cursor and guest memory, by a plan compiled from the method's signature.
//!
//! A guest has what its entry's `imports` name and nothing else. It runs under the context of its caller, by its
//! caller's deadline and its own limits, on a fiber that gives its thread up whenever it waits and at a regular beat
//! when it does not. An instance that trapped is never used again.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "most matches on types and values treat a few of them and everything else alike"
)]

mod abi;
mod artifact;
mod bounded;
mod cache;
mod census;
mod component;
mod concurrent;
mod core_module;
mod deadline;
mod engine;
mod error;
mod error_contexts;
mod exports;
mod facts;
mod function;
mod hosts;
mod http;
mod instance;
mod limits;
mod module;
mod output;
mod pool;
mod process;
mod reserve;
mod resource;
mod slots;
mod state;
mod template;
mod text;
mod trap;
mod wasi;
mod worker;

pub use artifact::{Binary, Content, sha256};
pub use cache::CacheConfig;
pub use engine::{Allocator, EPOCH_TICK, Engine, EngineConfig, Prepared};
pub use error::Error;
pub use exports::{ExportedFunction, Surface};
pub use function::WasmFunction;
pub use hosts::{import_for, interfaces};
pub use http::serve::ResponseBody;
pub use limits::Limits;
pub use module::{Module, Spec};
pub use process::WasmProcess;
pub use wasi::{EnvironmentLookup, EnvironmentVariable, Mount, WasiConfig};
pub use wippy_security::{PoolConfig, Ready, Reuse};
pub use worker::{ThreadStart, WorkerClass};
