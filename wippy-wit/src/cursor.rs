//! Cursors: how values are walked and built, whatever they live in.
//!
//! Both traits are object safe and cost one virtual call a step, so a call can go from any source to any sink without
//! an intermediate tree. A cursor never runs guest or script code: no metamethods, no iteration callbacks.

use std::{
    any::Any,
    collections::HashMap,
    fmt::{self, Write as _},
    sync::{Arc, OnceLock, RwLock},
};

use crate::{Error, Value, names};

/// A field name, interned process-wide, so that a language can keep its own string for it under [`Key::id`].
///
/// Two keys of the same text have the same id. Keys come from WIT texts and from the runtime itself, never from
/// values, so the table of them is bounded by the code that is loaded.
#[derive(Clone)]
pub struct Key {
    id: u32,
    /// With a NUL behind it.
    name: Arc<str>,
}

impl Key {
    /// Interns `name`.
    pub fn new(name: &str) -> Self {
        static KEYS: OnceLock<RwLock<HashMap<Box<str>, Key>>> = OnceLock::new();
        let keys = KEYS.get_or_init(RwLock::default);
        // A poisoned lock only means that a thread died between two whole insertions; the map is still right.
        let known = keys.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(key) = known.get(name) {
            return key.clone();
        }
        drop(known);
        let mut keys = keys.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let id = u32::try_from(keys.len() + 1).unwrap_or(u32::MAX);
        let new = || Self {
            id,
            name: format!("{name}\0").into(),
        };
        keys.entry(name.into()).or_insert_with(new).clone()
    }

    /// A small positive number that stands for this text in this process.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The text.
    pub fn name(&self) -> &str {
        self.name.get(..self.name.len() - 1).unwrap_or_default()
    }

    /// The text with a NUL behind it, for interfaces that want one. It is at the same address for as long as the process
    /// lives.
    pub fn terminated(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Key {}

/// A thing that is passed along without being looked into: an error object, a resource handle, an identity.
pub trait Foreign: Any + Send + Sync + fmt::Debug {
    /// What messages call it: `error`, `resource counter`.
    fn type_name(&self) -> &str;

    /// For downcasts to the concrete type.
    fn as_any(&self) -> &dyn Any;

    /// What it says, if it is an error.
    fn message(&self) -> Option<&str> {
        None
    }

    /// The value that it stands for, if it is nothing but a form of one: whoever wants a value takes that.
    fn value(&self) -> Option<&Value> {
        None
    }
}

/// What a [`Reader`] stands on.
#[derive(Debug, Clone, Copy)]
pub enum Datum<'a> {
    /// Nothing.
    Nil,
    /// A boolean.
    Boolean(bool),
    /// A signed integer.
    Integer(i64),
    /// An unsigned integer above [`i64::MAX`].
    Unsigned(u64),
    /// A float.
    Float(f64),
    /// Bytes, which may or may not be UTF-8.
    String(&'a [u8]),
    /// A table: enter it by index or key.
    Table,
    /// Something opaque.
    Foreign(&'a Arc<dyn Foreign>),
    /// Something that has no meaning outside its own world (a Lua function, say), by type name.
    Other(&'static str),
}

impl Datum<'_> {
    /// The type's name as a message would give it.
    pub fn type_name(&self) -> &str {
        match self {
            Self::Nil => "nil",
            Self::Boolean(_) => "boolean",
            Self::Integer(_) | Self::Unsigned(_) => "integer",
            Self::Float(_) => "number",
            Self::String(_) => "string",
            Self::Table => "table",
            Self::Foreign(foreign) => foreign.type_name(),
            Self::Other(name) => name,
        }
    }
}

/// A value that needs no memory of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    /// Nothing.
    Nil,
    /// A boolean.
    Boolean(bool),
    /// A signed integer.
    Integer(i64),
    /// A float.
    Float(f64),
}

impl From<Scalar> for Datum<'_> {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Nil => Self::Nil,
            Scalar::Boolean(value) => Self::Boolean(value),
            Scalar::Integer(value) => Self::Integer(value),
            Scalar::Float(value) => Self::Float(value),
        }
    }
}

/// Where a step of a cursor led.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step<'a> {
    /// To a scalar: the cursor did not move, and there is nothing to leave.
    Scalar(Scalar),
    /// To a string, on which the cursor stands now.
    Text(&'a [u8]),
    /// To something, which may be a string, too, on which the cursor stands now.
    Other,
}

/// A value that is written in one go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Atom<'a> {
    /// A boolean.
    Boolean(bool),
    /// A signed integer.
    Integer(i64),
    /// An unsigned integer, beyond the range of signed ones or not.
    Unsigned(u64),
    /// A float.
    Float(f64),
    /// A string of bytes.
    Text(&'a [u8]),
}

impl Atom<'_> {
    /// Writes it.
    #[inline]
    pub fn write(self, writer: &mut (impl Writer + ?Sized)) {
        match self {
            Self::Boolean(value) => writer.boolean(value),
            Self::Integer(value) => writer.integer(value),
            Self::Unsigned(value) => writer.unsigned(value),
            Self::Float(value) => writer.float(value),
            Self::Text(text) => writer.string(text),
        }
    }
}

/// Walks a value. The cursor starts on the argument list, which behaves like an array of the arguments.
///
/// Every successful `enter_*` is matched by one [`leave`](Reader::leave). After an error the cursor's place is
/// undefined and the reader is only good for dropping.
pub trait Reader: Send {
    /// What the cursor stands on.
    fn datum(&mut self) -> Datum<'_>;

    /// Whether the cursor stands on nil.
    fn is_nil(&mut self) -> bool {
        matches!(self.datum(), Datum::Nil)
    }

    /// The number of elements of the array part of the table under the cursor; 0 for anything else.
    fn len(&mut self) -> usize;

    /// Whether the table under the cursor has no array part.
    fn is_empty(&mut self) -> bool {
        self.len() == 0
    }

    /// Moves to element `index` (from 0) of the table under the cursor; a missing one reads as nil.
    ///
    /// # Errors
    /// When values are nested deeper than the source allows.
    fn enter_index(&mut self, index: usize) -> Result<(), Error>;

    /// Moves to the value under `key` of the table under the cursor; a missing one reads as nil.
    ///
    /// # Errors
    /// When values are nested deeper than the source allows.
    fn enter_key(&mut self, key: &Key) -> Result<(), Error>;

    /// As [`enter_index`](Self::enter_index), but if a scalar is there, the cursor need not move: then that is the answer,
    /// and there is nothing to leave. Nil is always an answer. After any other answer it has moved.
    ///
    /// # Errors
    /// As there.
    fn step_index(&mut self, index: usize) -> Result<Step<'_>, Error> {
        self.enter_index(index)?;
        Ok(leave_nil(self))
    }

    /// As [`enter_key`](Self::enter_key), but if a scalar is there, the cursor need not move: then that is the answer, and
    /// there is nothing to leave. Nil is always an answer. After any other answer it has moved.
    ///
    /// # Errors
    /// As there.
    fn step_key(&mut self, key: &Key) -> Result<Step<'_>, Error> {
        self.enter_key(key)?;
        Ok(leave_nil(self))
    }

    /// Moves to the next pair of the table under the cursor: true puts the cursor on the pair's key, from where
    /// [`enter_value`](Reader::enter_value) goes to its value; false means that there is no further pair.
    /// `position` starts at 0 and is the reader's own; the order is unspecified but visits every pair once.
    ///
    /// # Errors
    /// When values are nested deeper than the source allows.
    fn enter_pair(&mut self, position: &mut u64) -> Result<bool, Error>;

    /// From a pair's key to its value; a single [`leave`](Reader::leave) then goes back to the table.
    fn enter_value(&mut self);

    /// Back to the table that the cursor came from.
    fn leave(&mut self);

    /// A key of the table under the cursor that is not one of the first `len` indices, if there is any.
    fn stray_key(&mut self, len: usize) -> Option<String>;
}

/// Goes back from nil.
fn leave_nil<'a>(reader: &mut (impl Reader + ?Sized)) -> Step<'a> {
    if reader.is_nil() {
        reader.leave();
        Step::Scalar(Scalar::Nil)
    } else {
        Step::Other
    }
}

/// Why a value could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The receiving side has no memory left for it.
    #[error("the result does not fit the receiver's memory limit")]
    OutOfMemory,
    /// Values are nested deeper than the receiving side allows.
    #[error("values are nested too deeply")]
    TooDeep,
}

/// The work done inside [`Writer::scope`].
pub type ScopeBody<'a> = &'a mut dyn FnMut(&mut dyn Writer) -> Result<(), Error>;

/// Builds one value, innermost parts first: an element is written, then put into the table below it.
///
/// Writing a table goes `table`, then for each part: write it, then `set_index` or `set_key`.
pub trait Writer: Send {
    /// Writes nil.
    fn nil(&mut self);
    /// Writes a boolean.
    fn boolean(&mut self, value: bool);
    /// Writes a signed integer.
    fn integer(&mut self, value: i64);
    /// Writes an unsigned integer; those up to [`i64::MAX`] are the same as [`integer`](Writer::integer)s.
    fn unsigned(&mut self, value: u64);
    /// Writes a float.
    fn float(&mut self, value: f64);
    /// Writes bytes.
    fn string(&mut self, value: &[u8]);
    /// Writes an opaque thing.
    fn foreign(&mut self, value: Arc<dyn Foreign>);
    /// Begins a table; the sizes are hints.
    ///
    /// # Errors
    /// When values are nested deeper than the sink allows.
    fn table(&mut self, elements: usize, fields: usize) -> Result<(), WriteError>;
    /// Puts the value just written at `index` (from 0) of the table below it.
    fn set_index(&mut self, index: usize);
    /// Puts the value just written under `key` of the table below it.
    fn set_key(&mut self, key: &Key);
    /// Says under which key of the table just begun, or last put into, the next value goes; when that is written,
    /// [`put`](Self::put) puts it there. To a sink that keeps keys below their values this is worth something, to others
    /// nothing.
    fn key(&mut self, _key: &Key) {}
    /// Puts the value just written under `key`, of which [`key`](Self::key) spoke.
    fn put(&mut self, key: &Key) {
        self.set_key(key);
    }
    /// Puts `atom` under `key` of the table just begun, or last put into.
    fn field(&mut self, key: &Key, atom: Atom<'_>) {
        atom.write(self);
        self.set_key(key);
    }
    /// Puts the value just written under the key written just before it, into the table below both.
    /// A nil or NaN key is dropped with its value.
    fn set_pair(&mut self);

    /// Runs `body`, in which all the writing of one value happens, and turns running out of memory into an error.
    /// Scalars and strings that are the whole value need none.
    ///
    /// A sink that lives in a language with non-local exits leaves `body` without unwinding it: `body` and what it
    /// calls must hold nothing that needs dropping while they write.
    ///
    /// # Errors
    /// Whatever `body` returns, or [`WriteError::OutOfMemory`].
    fn scope(&mut self, body: ScopeBody<'_>) -> Result<(), Error>;
}

/// Copies whatever `reader` stands on to `writer`, untyped, at most `depth` tables deep.
///
/// # Errors
/// When the value is nested too deeply, or holds something that has no meaning outside its world.
pub fn copy(reader: &mut dyn Reader, writer: &mut dyn Writer, depth: usize) -> Result<(), Error> {
    match reader.datum() {
        Datum::Nil => writer.nil(),
        Datum::Boolean(value) => writer.boolean(value),
        Datum::Integer(value) => writer.integer(value),
        Datum::Unsigned(value) => writer.unsigned(value),
        Datum::Float(value) => writer.float(value),
        Datum::String(value) => writer.string(value),
        Datum::Foreign(value) => writer.foreign(value.clone()),
        Datum::Other(name) => return Err(Error::new(format!("a {name} cannot be sent"))),
        Datum::Table => {
            let Some(depth) = depth.checked_sub(1) else {
                return Err(Error::new(
                    "values are nested too deeply, or a table contains itself",
                ));
            };
            let len = reader.len();
            writer.table(len, 0)?;
            for index in 0..len {
                reader.enter_index(index)?;
                copy(reader, writer, depth).map_err(|error| error.at_index(index))?;
                reader.leave();
                writer.set_index(index);
            }
            copy_pairs(reader, writer, depth, len)?;
        }
    }
    Ok(())
}

/// The pairs of a table that are not among its first `len` elements.
fn copy_pairs(
    reader: &mut dyn Reader,
    writer: &mut dyn Writer,
    depth: usize,
    len: usize,
) -> Result<(), Error> {
    let mut position = 0;
    while reader.enter_pair(&mut position)? {
        let in_array = matches!(reader.datum(), Datum::Integer(key) if key >= 1 && usize::try_from(key).is_ok_and(|key| key <= len));
        if in_array {
            reader.leave();
            continue;
        }
        let label = Label::new(&reader.datum());
        copy(reader, writer, depth)?;
        reader.enter_value();
        copy(reader, writer, depth).map_err(|error| error.at_field(label.as_str()))?;
        reader.leave();
        writer.set_pair();
    }
    Ok(())
}

/// The beginning of a key, kept for an error's path without owning anything: see [`Writer::scope`]. It ends in `…` if
/// there was more of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Label {
    bytes: [u8; 48],
    len: usize,
}

/// What stands for the rest of a label.
const REST: &str = "…";

impl Label {
    pub(crate) fn new(datum: &Datum<'_>) -> Self {
        let mut label = Self {
            bytes: [0; 48],
            len: 0,
        };
        let whole = match datum {
            Datum::String(bytes) => bytes.utf8_chunks().try_for_each(|chunk| {
                label.write_str(chunk.valid())?;
                if chunk.invalid().is_empty() {
                    Ok(())
                } else {
                    label.write_char(char::REPLACEMENT_CHARACTER)
                }
            }),
            Datum::Integer(value) => write!(label, "{value}"),
            Datum::Unsigned(value) => write!(label, "{value}"),
            Datum::Float(value) => write!(label, "{value}"),
            Datum::Boolean(value) => write!(label, "{value}"),
            other => label.write_str(other.type_name()),
        };
        if whole.is_err() {
            label.len = label.as_str().floor_char_boundary(label.bytes.len() - REST.len());
            // There is room for it now.
            let _ = label.write_str(REST);
        }
        label
    }

    pub(crate) fn as_str(&self) -> &str {
        self.bytes
            .get(..self.len)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

impl fmt::Write for Label {
    /// Writes as many whole characters as there is room for.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let fits = text.floor_char_boundary(room.len());
        for (slot, byte) in room.iter_mut().zip(text.bytes().take(fits)) {
            *slot = byte;
        }
        self.len += fits;
        if fits == text.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

/// A table key as error paths show it.
pub(crate) fn key_text(datum: &Datum<'_>) -> String {
    match datum {
        // Not to be mistaken for the index.
        Datum::String(text) if text.iter().all(u8::is_ascii_digit) => {
            format!("\"{}\"", String::from_utf8_lossy(text))
        }
        Datum::String(text) => names::snake(&String::from_utf8_lossy(text)).into_owned(),
        Datum::Integer(index) => index.to_string(),
        Datum::Float(number) => number.to_string(),
        Datum::Boolean(value) => value.to_string(),
        other => format!("<{}>", other.type_name()),
    }
}
