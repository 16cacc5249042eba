//! Cursors over a single string: all that the functions of `wippy:runtime/funcs` need that take one and give one.

use std::{cell::Cell, sync::Arc};

use wippy_wit::{Datum, Error, Foreign, Key, Reader, ScopeBody, WriteError, Writer};

/// A list of one argument, which is a string.
pub(crate) struct TextArgument<'a> {
    text: &'a [u8],
    /// How deep the cursor is: 0 on the list, 1 on an argument.
    depth: u32,
    /// Whether the argument that it is on, or in, is the string.
    on_text: bool,
}

impl<'a> TextArgument<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            depth: 0,
            on_text: false,
        }
    }

    fn enter(&mut self, is_text: bool) {
        self.depth += 1;
        if self.depth == 1 {
            self.on_text = is_text;
        }
    }
}

impl Reader for TextArgument<'_> {
    fn datum(&mut self) -> Datum<'_> {
        match self.depth {
            0 => Datum::Table,
            1 if self.on_text => Datum::String(self.text),
            _ => Datum::Nil,
        }
    }

    fn len(&mut self) -> usize {
        usize::from(self.depth == 0)
    }

    fn enter_index(&mut self, index: usize) -> Result<(), Error> {
        self.enter(index == 0);
        Ok(())
    }

    fn enter_key(&mut self, _: &Key) -> Result<(), Error> {
        self.enter(false);
        Ok(())
    }

    fn enter_pair(&mut self, _: &mut u64) -> Result<bool, Error> {
        Ok(false)
    }

    fn enter_value(&mut self) {}

    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    fn stray_key(&mut self, _: usize) -> Option<String> {
        None
    }
}

/// A string of bytes, in memory that is used again and again.
pub(crate) struct Text(
    /// Only taken when it is dropped.
    Option<Box<Memory>>,
);

/// What a text lies in: boxed, since it is moved more often than it is looked at.
#[derive(Default)]
struct Memory(Vec<u8>);

/// So much memory a thread keeps for the next text, in bytes.
const SPARE_MAX: usize = 64 << 10;

thread_local! {
    /// Memory for the next text. What is in it does not count.
    static SPARE: Cell<Option<Box<Memory>>> = const { Cell::new(None) };
}

impl Text {
    fn new(bytes: &[u8]) -> Self {
        let mut memory = SPARE.take().unwrap_or_default();
        memory.0.clear();
        memory.0.extend_from_slice(bytes);
        Self(Some(memory))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], |memory| memory.0.as_slice())
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        if let Some(memory) = self.0.take_if(|memory| memory.0.capacity() <= SPARE_MAX) {
            SPARE.set(Some(memory));
        }
    }
}

/// A result that is expected to be a string.
#[derive(Default)]
pub(crate) struct TextResult {
    found: Option<Found>,
}

enum Found {
    Text(Text),
    /// The name of another type.
    Other(&'static str),
}

impl TextResult {
    /// The string, or the type of what was written instead.
    pub(crate) fn take(&mut self) -> Result<Text, &'static str> {
        match self.found.take() {
            Some(Found::Text(text)) => Ok(text),
            Some(Found::Other(name)) => Err(name),
            None => Err("nil"),
        }
    }

    /// What is written first says what it is: the parts of a table come after the table.
    fn other(&mut self, name: &'static str) {
        self.found.get_or_insert(Found::Other(name));
    }
}

impl Writer for TextResult {
    fn nil(&mut self) {
        self.other("nil");
    }

    fn boolean(&mut self, _: bool) {
        self.other("boolean");
    }

    fn integer(&mut self, _: i64) {
        self.other("integer");
    }

    fn unsigned(&mut self, _: u64) {
        self.other("integer");
    }

    fn float(&mut self, _: f64) {
        self.other("number");
    }

    fn string(&mut self, value: &[u8]) {
        if self.found.is_none() {
            self.found = Some(Found::Text(Text::new(value)));
        }
    }

    fn foreign(&mut self, _: Arc<dyn Foreign>) {
        self.other("an object");
    }

    fn table(&mut self, _: usize, _: usize) -> Result<(), WriteError> {
        self.other("table");
        Ok(())
    }

    fn set_index(&mut self, _: usize) {}

    fn set_key(&mut self, _: &Key) {}

    fn set_pair(&mut self) {}

    fn scope(&mut self, body: ScopeBody<'_>) -> Result<(), Error> {
        body(self)
    }
}
