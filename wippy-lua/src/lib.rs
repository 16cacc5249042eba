//! How a script runs: sandboxed Lua 5.4 states, the modules scripts may ask for, and the coroutine driver.
//!
//! A [`Source`] is a chunk that returns a table of functions. [`LuaFunction`] makes one of them callable through the
//! dispatcher, [`LuaProcess`] runs one to its end. Both run it in a coroutine of a state of its own, in which every
//! blocking operation suspends the coroutine and never the thread; a script that does not block is preempted, ends by
//! its deadline and stays within its memory limit.
//!
//! A state starts with nothing but pure functions. Everything else comes through `require`, which gives what the entry
//! declares and nothing more.

mod annotations;
mod arguments;
mod base;
mod bus;
mod check;
mod error;
mod errors;
mod function;
mod handles;
pub mod http;
mod local;
mod methods;
mod modules;
mod numbers;
mod patterns;
mod payload;
mod permission;
mod pool;
mod process;
mod raw;
mod require;
mod retry;
mod sandbox;
mod services;
mod source;
mod source_of;
mod suspend;
mod tokens;
mod traces;
mod values;
mod volume;
mod wire;
mod worker;
mod world;

pub use bus::{Admits, Bus, Event, Subscriber, Subscription};
pub use check::{Required, check, plain, required};
pub use error::Error;
pub use function::LuaFunction;
pub use modules::{HttpClients, MODULES};
pub use process::LuaProcess;
pub use retry::{Retry, Retrying};
pub use services::{Services, Terminal};
pub use source::{Config, Library, Source};
pub use volume::Volume;
pub use wippy_security::{PoolConfig, Ready, Reuse};
pub use world::{LiveRegistry, Stores, Variables, Volumes, World};
