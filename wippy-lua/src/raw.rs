//! The Lua C API, where mlua's safe interface cannot do the job: cursors over a Lua stack, coroutines that are driven
//! as futures, and the call of one entry by another.
//!
//! # Safety argument
//! The rest of the crate has no `unsafe`; what this module offers is safe for any use. It rests on these rules.
//!
//! *Who runs.* All Lua code of a state runs inside [`Vm::poll`](vm::Vm::poll) or inside mlua, and both need the only
//! [`Vm`](vm::Vm) of the state or a callback within them. So [`Core`](core::Core), which the C functions share with the
//! driver, is only ever used by the thread that runs or polls the state, one at a time, though that thread may change
//! between polls. It is found through the state's extra space, lives in a box, and is dropped after the state.
//!
//! *Non-local exits.* Lua raises errors and yields by `longjmp`. A C function here calls what can raise or yield only
//! from its outermost frame, while no Rust value that needs dropping is alive in it; what has to survive is parked in
//! `Core` first. Code that may hold such values uses only the part of the interface that cannot raise: type queries,
//! raw reads, and pushes of values that need no memory. Whatever needs memory runs in a C function under `lua_pcall`,
//! but for a string for which there is [memory for sure](writer::push_text). What raises in making one is only that its
//! allocator gives none, and this one does not refuse what the limit allows: without memory at all it ends the process.
//! The collector, which takes its step after that, raises nothing: finalizers run protected, and those of scripts not at all.
//!
//! *Panics* do not cross Lua's frames: the Rust part of each C function runs under `catch_unwind`.
//!
//! *Hidden things.* Light userdata are never given to scripts, so what stands under such a key, or is passed to the
//! [`bridge`] as one, was put there by this module. Scripts cannot reach the metatables by which it knows its own userdata
//! and its [`lazy`] tables.
//!
//! *Suspended coroutines.* A C function that yields leaves its frame, and so its arguments, in place. Threads that are
//! suspended by this module cannot be resumed or closed by scripts, so a parked [`Reader`](reader::LuaReader) stays
//! valid until the driver resumes the coroutine or drops what is parked. Iterations notice when Lua ran in between.
//!
//! *Preemption.* A signal handler sets the hook of the thread that runs; [`preempt`] says why it may.
#![expect(
    unsafe_code,
    reason = "the one home of the Lua C API, with its safety argument above"
)]

mod bridge;
mod call;
mod channel;
mod core;
pub(crate) mod coroutine;
pub(crate) mod guarded;
mod lazy;
mod message;
mod object;
mod preempt;
mod reader;
mod renew;
mod schedule;
mod send;
mod stock;
mod suspending;
mod vm;
mod writer;

pub(crate) use self::core::deadline_error;
pub(crate) use call::{call_function, index_function, method_function};
pub(crate) use channel::{CHANNEL, Delivery, Source, close_channel, sourced_channel};
pub(crate) use lazy::{
    Field, Maker, Recipe, get_metatable, lazy_table, next, raw_get, raw_set, set_metatable,
};
pub(crate) use message::{
    Methods, data as payload_data, format as payload_format, from as message_from, payload,
    payload_of as message_payload, payload_parts, payloads as message_payloads, topic as message_topic,
    transcode as payload_transcode, unmarshal as payload_unmarshal,
};
pub(crate) use object::{Metatables, foreign, integer_or_unsigned, unsigned, wrap_foreign};
pub(crate) use renew::{copied, has_foreign, kept_function, renew};
pub(crate) use schedule::Ready;
pub(crate) use send::send;
pub(crate) use stock::{BASE, mathematics, once, set_globals, set_string_metatable};
pub(crate) use suspending::{Completion, Suspension, suspending_function};
pub(crate) use vm::{End, Kept, Vm, context, local, read_argument, read_value, write_value};
