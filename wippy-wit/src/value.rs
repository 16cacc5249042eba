//! [`Value`]: an owned, sendable value, for the places where one must outlive its source or change threads.

use std::{collections::HashMap, sync::Arc};

use crate::{
    Datum, Error, Foreign, Key, Reader, WriteError, Writer,
    cursor::{ScopeBody, copy},
};

/// Tables may be nested this deep; deeper values are refused rather than risk the stack.
pub const DEPTH_MAX: usize = 128;

/// An owned dynamic value.
#[derive(Debug, Clone, Default)]
pub enum Value {
    /// Nothing.
    #[default]
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
    String(Box<[u8]>),
    /// A table.
    Table(Box<Table>),
    /// Something opaque.
    Foreign(Arc<dyn Foreign>),
}

/// The parts of a [`Value::Table`].
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// The elements at indices 1, 2, …
    pub array: Vec<Value>,
    /// All other pairs, in no particular order.
    pub pairs: Vec<(Value, Value)>,
}

impl Value {
    /// Copies what `reader` stands on.
    ///
    /// # Errors
    /// When the value is nested deeper than 128 tables, or holds something that cannot leave its world.
    pub fn read(reader: &mut dyn Reader) -> Result<Self, Error> {
        let mut writer = ValueWriter::default();
        copy(reader, &mut writer, DEPTH_MAX)?;
        Ok(writer.finish())
    }

    /// Writes a copy of this value.
    ///
    /// # Errors
    /// When the sink has no room for it.
    pub fn write(&self, writer: &mut dyn Writer) -> Result<(), Error> {
        // The reader keeps a heap-allocated path, so it is made outside the scope.
        let mut reader = ValueReader::value(self);
        writer.scope(&mut |writer| copy(&mut reader, writer, DEPTH_MAX))
    }

    /// A string.
    pub fn string(text: impl AsRef<[u8]>) -> Self {
        Self::String(text.as_ref().into())
    }

    /// An array.
    pub fn array(elements: impl IntoIterator<Item = Self>) -> Self {
        Self::Table(Box::new(Table {
            array: elements.into_iter().collect(),
            pairs: Vec::new(),
        }))
    }

    /// A table keyed by names.
    pub fn record<N: AsRef<[u8]>>(fields: impl IntoIterator<Item = (N, Self)>) -> Self {
        let pairs = fields
            .into_iter()
            .map(|(name, value)| (Self::string(name), value))
            .collect();
        Self::Table(Box::new(Table {
            array: Vec::new(),
            pairs,
        }))
    }

    /// The value under `name`, if this is a table that has it.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Table(table) = self else { return None };
        table.pairs.iter().find_map(|(key, value)| {
            matches!(key, Self::String(text) if **text == *name.as_bytes()).then_some(value)
        })
    }

    /// The text, if this is a string of UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(bytes) = self {
            std::str::from_utf8(bytes).ok()
        } else {
            None
        }
    }

    /// About how many bytes it takes.
    pub fn weight(&self) -> usize {
        let own = size_of::<Self>();
        match self {
            Self::String(bytes) => own + bytes.len(),
            Self::Table(table) => {
                let elements = table.array.iter().map(Self::weight);
                let pairs = table
                    .pairs
                    .iter()
                    .map(|(key, value)| key.weight() + value.weight());
                own + elements.chain(pairs).sum::<usize>()
            }
            _ => own,
        }
    }

    /// Whether this is nil.
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::Nil)
    }

    /// What a reader standing here would say.
    pub fn datum(&self) -> Datum<'_> {
        match self {
            Self::Nil => Datum::Nil,
            Self::Boolean(value) => Datum::Boolean(*value),
            Self::Integer(value) => Datum::Integer(*value),
            Self::Unsigned(value) => Datum::Unsigned(*value),
            Self::Float(value) => Datum::Float(*value),
            Self::String(bytes) => Datum::String(bytes),
            Self::Table(_) => Datum::Table,
            Self::Foreign(foreign) => Datum::Foreign(foreign),
        }
    }
}

impl PartialEq for Value {
    /// Floats are compared by their bits, opaque things by identity, so that equal means indistinguishable.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nil, Self::Nil) => true,
            (Self::Boolean(a), Self::Boolean(b)) => a == b,
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Unsigned(a), Self::Unsigned(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Table(a), Self::Table(b)) => a == b,
            (Self::Foreign(a), Self::Foreign(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl PartialEq for Table {
    /// The pairs may come in any order.
    fn eq(&self, other: &Self) -> bool {
        let within = |some: &Self, all: &Self| some.pairs.iter().all(|pair| all.pairs.contains(pair));
        self.array == other.array
            && (self.pairs == other.pairs
                || self.pairs.len() == other.pairs.len() && within(self, other) && within(other, self))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Self::Unsigned(value), Self::Integer)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::string(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into_bytes().into())
    }
}

static NIL: Value = Value::Nil;

/// A cursor over owned values.
#[derive(Debug)]
pub struct ValueReader<'a> {
    root: Place<'a>,
    /// What was entered, outermost first; the last is where the cursor stands. Empty at the root.
    path: Vec<Place<'a>>,
}

#[derive(Debug)]
struct Place<'a> {
    stands_on: Standing<'a>,
    /// On a pair's key, the value that belongs to it.
    pair: Option<&'a Value>,
    /// Elements that a sparse array has among its pairs, once they were asked for.
    sparse: Option<HashMap<i64, &'a Value>>,
}

#[derive(Debug, Clone, Copy)]
enum Standing<'a> {
    Arguments(&'a [Value]),
    Value(&'a Value),
}

impl<'a> Place<'a> {
    fn new(value: &'a Value) -> Self {
        Self {
            stands_on: Standing::Value(value),
            pair: None,
            sparse: None,
        }
    }

    fn elements(&self) -> &'a [Value] {
        match self.stands_on {
            Standing::Arguments(arguments) => arguments,
            Standing::Value(Value::Table(table)) => &table.array,
            Standing::Value(_) => &[],
        }
    }

    fn pairs(&self) -> &'a [(Value, Value)] {
        match self.stands_on {
            Standing::Value(Value::Table(table)) => &table.pairs,
            Standing::Value(_) | Standing::Arguments(_) => &[],
        }
    }

    fn element(&mut self, index: usize) -> &'a Value {
        if let Some(element) = self.elements().get(index) {
            return element;
        }
        let pairs = self.pairs();
        let sparse = self.sparse.get_or_insert_with(|| {
            let element = |(key, value): &'a (Value, Value)| match key {
                Value::Integer(key) => Some((*key, value)),
                _ => None,
            };
            pairs.iter().filter_map(element).collect()
        });
        let key = i64::try_from(index).unwrap_or(i64::MAX).saturating_add(1);
        sparse.get(&key).copied().unwrap_or(&NIL)
    }
}

impl<'a> ValueReader<'a> {
    /// A cursor over an argument list.
    pub fn arguments(arguments: &'a [Value]) -> Self {
        let root = Place {
            stands_on: Standing::Arguments(arguments),
            pair: None,
            sparse: None,
        };
        Self {
            root,
            path: Vec::new(),
        }
    }

    /// A cursor that starts on one value.
    pub fn value(value: &'a Value) -> Self {
        Self {
            root: Place::new(value),
            path: Vec::new(),
        }
    }

    fn place(&mut self) -> &mut Place<'a> {
        self.path.last_mut().unwrap_or(&mut self.root)
    }
}

impl Reader for ValueReader<'_> {
    fn datum(&mut self) -> Datum<'_> {
        match self.place().stands_on {
            Standing::Arguments(_) => Datum::Table,
            Standing::Value(value) => value.datum(),
        }
    }

    fn len(&mut self) -> usize {
        self.place().elements().len()
    }

    fn enter_index(&mut self, index: usize) -> Result<(), Error> {
        let element = self.place().element(index);
        self.path.push(Place::new(element));
        Ok(())
    }

    fn enter_key(&mut self, key: &Key) -> Result<(), Error> {
        let name = key.name().as_bytes();
        let mut pairs = self.place().pairs().iter();
        let found = pairs.find(|(key, _)| matches!(key, Value::String(text) if **text == *name));
        self.path.push(Place::new(found.map_or(&NIL, |(_, value)| value)));
        Ok(())
    }

    fn enter_pair(&mut self, position: &mut u64) -> Result<bool, Error> {
        // Array elements are pairs too; their keys are made on the spot, which a borrowed cursor cannot hold, so
        // callers of `enter_pair` walk the array by index first and this cursor only shows the rest.
        let pairs = self.place().pairs();
        let Some((key, value)) = usize::try_from(*position).ok().and_then(|at| pairs.get(at)) else {
            return Ok(false);
        };
        *position += 1;
        self.path.push(Place {
            pair: Some(value),
            ..Place::new(key)
        });
        Ok(true)
    }

    fn enter_value(&mut self) {
        let value = self.path.pop().and_then(|place| place.pair).unwrap_or(&NIL);
        self.path.push(Place::new(value));
    }

    fn leave(&mut self) {
        self.path.pop();
    }

    fn stray_key(&mut self, len: usize) -> Option<String> {
        if self.place().elements().len() > len {
            return Some((len + 1).to_string());
        }
        let in_array = |key: &Value| match key {
            Value::Integer(key) => usize::try_from(*key).is_ok_and(|key| (1..=len).contains(&key)),
            _ => false,
        };
        let stray = self.place().pairs().iter().find(|(key, _)| !in_array(key));
        stray.map(|(key, _)| crate::cursor::key_text(&key.datum()))
    }
}

/// Builds an owned [`Value`].
#[derive(Debug, Default)]
pub struct ValueWriter {
    stack: Vec<Value>,
}

impl ValueWriter {
    /// The value that was written; nil if nothing was.
    pub fn finish(mut self) -> Value {
        self.take()
    }

    /// Takes the value that was written and makes the writer empty again.
    pub fn take(&mut self) -> Value {
        let value = self.stack.pop().unwrap_or_default();
        self.stack.clear();
        value
    }

    fn below(&mut self) -> Option<&mut Table> {
        match self.stack.last_mut() {
            Some(Value::Table(table)) => Some(table),
            _ => None,
        }
    }
}

impl Writer for ValueWriter {
    fn nil(&mut self) {
        self.stack.push(Value::Nil);
    }

    fn boolean(&mut self, value: bool) {
        self.stack.push(Value::Boolean(value));
    }

    fn integer(&mut self, value: i64) {
        self.stack.push(Value::Integer(value));
    }

    fn unsigned(&mut self, value: u64) {
        self.stack.push(Value::from(value));
    }

    fn float(&mut self, value: f64) {
        self.stack.push(Value::Float(value));
    }

    fn string(&mut self, value: &[u8]) {
        self.stack.push(Value::String(value.into()));
    }

    fn foreign(&mut self, value: Arc<dyn Foreign>) {
        self.stack.push(Value::Foreign(value));
    }

    fn table(&mut self, elements: usize, fields: usize) -> Result<(), WriteError> {
        // The hints come from whoever made the value, so they are only trusted for small sizes.
        let array = Vec::with_capacity(elements.min(1024));
        let pairs = Vec::with_capacity(fields.min(1024));
        self.stack.push(Value::Table(Box::new(Table { array, pairs })));
        Ok(())
    }

    fn set_index(&mut self, index: usize) {
        let value = self.stack.pop().unwrap_or_default();
        if let Some(table) = self.below() {
            // An element that is nil keeps its place, so that the elements behind it keep theirs.
            if table.array.len() == index {
                table.array.push(value);
            } else if let Some(slot) = table.array.get_mut(index) {
                *slot = value;
            } else if let (Ok(key), false) = (i64::try_from(index), value.is_nil()) {
                table.pairs.push((Value::Integer(key.saturating_add(1)), value));
            }
        }
    }

    fn set_key(&mut self, key: &Key) {
        let value = self.stack.pop().unwrap_or_default();
        if !value.is_nil()
            && let Some(table) = self.below()
        {
            table.pairs.push((Value::string(key.name()), value));
        }
    }

    fn set_pair(&mut self) {
        let value = self.stack.pop().unwrap_or_default();
        let key = self.stack.pop().unwrap_or_default();
        let unusable = matches!(key, Value::Nil) || matches!(key, Value::Float(number) if number.is_nan());
        if !unusable
            && !value.is_nil()
            && let Some(table) = self.below()
        {
            table.pairs.push((key, value));
        }
    }

    fn scope(&mut self, body: ScopeBody<'_>) -> Result<(), Error> {
        body(self)
    }
}
