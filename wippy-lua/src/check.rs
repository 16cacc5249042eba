//! Looking at a script without running it.

use wippy_registry::EntryId;

use crate::Error;

/// Compiles `text` without running it. `name` is what errors call the file.
///
/// # Errors
/// [`Error::Syntax`].
pub fn check(_id: Option<&EntryId>, _name: &str, _text: &str) -> Result<(), Error> {
    unimplemented!()
}

/// One `require("name")` of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Required {
    /// What is required.
    pub name: String,
    /// The line, from 1.
    pub line: usize,
    /// The column of the name's first letter, in bytes from 1.
    pub column: usize,
}

/// The modules and libraries that a script requires by a literal name, in the order of their places.
pub fn required(_text: &str) -> Vec<Required> {
    unimplemented!()
}
