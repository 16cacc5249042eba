//! Scripts run by the real dispatcher, with handlers in Rust on the other side.

mod calls;
mod coroutines;
mod limits;
mod loading;
mod modules;
mod support;
mod values;
