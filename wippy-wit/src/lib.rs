//! What values mean: WIT types, the plans compiled from them, and the cursors that carry values between worlds.
//!
//! A value crosses a boundary through two small traits. A [`Reader`] walks a value wherever it lives – on a Lua
//! stack, in JSON, in an owned [`Value`] – and a [`Writer`] builds one. Both speak of *dynamic* data (nil, booleans,
//! numbers, bytes, tables); the WIT type of what is being read or written lives in a [`Plan`], compiled once per
//! signature. The rules that say which dynamic form stands for which WIT type are in [`accept`] and nowhere else:
//!
//! | WIT | dynamic form |
//! |---|---|
//! | `bool` | boolean |
//! | integers | integer, or a float without fraction |
//! | `f32`, `f64` | number |
//! | `char`, `string` | UTF-8 string |
//! | `list<u8>` | string, or an array of integers |
//! | `list<t>`, `tuple<..>` | array |
//! | `record` | table keyed by field name, `kebab-case` or `snake_case` |
//! | `option<t>` | the value or nil; `{some = v}` where `t` can be nil itself |
//! | `result<t, e>` | `{ok = v}` or `{err = e}`; an err that can be nil has `tag = "err"` beside it |
//! | `variant` | `{tag = "case", value = v}`, `{case = v}` or `"case"` |
//! | `enum` | string |
//! | `flags` | `{read = true}` or an array of names |
//! | `map<k, v>` | table; where `v` is an option, its values are `{some = v}` or `{none = true}` |
//! | `stream<t>`, `future<t>` | channel; for `stream<u8>` also a string |
//! | `error-context` | error, or a string |
//!
//! This crate is pure: no files, no clock, no network, and no panic on any input.
//!
//! ```
//! use wippy_wit::Signature;
//!
//! let signature = Signature::parse("divide: func(a: s32, b: s32) -> result<s32, string>;")?;
//! assert_eq!(signature.to_lua(), "divide(a: integer, b: integer) -> integer, error");
//! # Ok::<(), wippy_wit::SignatureError>(())
//! ```

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a value has the form that is wanted or any other, and any other gets the same message"
)]

pub mod accept;
#[cfg(feature = "arbitrary")]
pub mod arbitrary;
mod cursor;
pub mod document;
mod error;
pub mod json;
pub mod names;
mod plan;
mod signature;
pub mod typed;
mod types;
mod value;
pub mod wave;

pub use cursor::{Atom, Datum, Foreign, Key, Reader, Scalar, ScopeBody, Step, WriteError, Writer, copy};
pub use document::Document;
pub use error::{Error, Segment};
pub use plan::{
    Case, CoreType, Entry, Field, Kind, MAX_FLAT_PARAMS, MAX_FLAT_RESULTS, Node, OptionForm, Param, Plan,
};
pub use signature::{Signature, SignatureError};
pub use types::{Type, TypeCase, TypeField};
pub use value::{DEPTH_MAX, Table, Value, ValueReader, ValueWriter};
