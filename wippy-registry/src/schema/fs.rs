//! `fs.directory`: a directory that guests and services may use.

use crate::schema::decoder::Decoder;
use crate::schema::read::{boolean, choice, non_empty};
use crate::yaml::{Node, Value};

const MODE: u32 = 0o755;

/// A directory of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// The path, absolute or relative to the base.
    pub directory: String,
    /// Whether it is made when missing.
    pub auto_init: bool,
    /// Permissions for what is made.
    pub mode: u32,
    /// What a relative path starts from.
    pub base: Base,
}

/// What a relative directory starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Base {
    /// The project.
    #[default]
    Project,
    /// The module that declares the entry.
    Module,
}

pub(crate) fn directory(decoder: &mut Decoder<'_>) -> Option<Directory> {
    let mut entry = decoder.fields();
    let directory = entry.required(decoder, "directory", non_empty);
    let auto_init = entry.optional(decoder, "auto_init", boolean).unwrap_or(false);
    let mode = entry.optional(decoder, "mode", mode).unwrap_or(MODE);
    let bases = [("project", Base::Project), ("module", Base::Module)];
    let base = entry
        .optional(decoder, "base", choice(&bases))
        .unwrap_or_default();
    entry.finish(decoder);
    Some(Directory {
        directory: directory?,
        auto_init,
        mode,
        base,
    })
}

/// A Unix mode in octal, `"0755"`; a bare `755` is taken for the octal digits it shows.
pub(crate) fn mode(node: &Node, decoder: &mut Decoder<'_>) -> Option<u32> {
    let digits = match node.value() {
        Value::String(_) => decoder.expanded(node)?.text,
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => String::new(),
    };
    let digits = digits.strip_prefix("0o").unwrap_or(&digits);
    match u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o7777) {
        Some(mode) => Some(mode),
        None => decoder.invalid(node, "an octal mode such as \"0755\""),
    }
}
