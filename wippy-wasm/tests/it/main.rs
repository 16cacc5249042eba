//! Real guests through the real dispatcher: values, methods, capabilities, limits and traps.

mod calls;
mod misbehaving;
mod preparing;
mod resources;
mod support;
