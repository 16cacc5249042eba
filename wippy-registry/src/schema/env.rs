//! `env.storage.*` and `env.variable`: where values of environment variables come from.

use indexmap::IndexMap;

use crate::id::EntryId;
use crate::schema::decoder::Decoder;
use crate::schema::fs::mode;
use crate::schema::read::{boolean, list, named, non_empty, plain, reference, some, text};
use crate::schema::reference::Target;
use crate::yaml::Node;

const FILE_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o755;

/// Where values are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// `env.storage.memory`
    Memory,
    /// `env.storage.os`, read-only
    Os,
    /// `env.storage.static`, read-only
    Static {
        /// The values by name.
        values: IndexMap<String, String>,
    },
    /// `env.storage.file`
    File {
        /// The file of `NAME=value` lines.
        file_path: String,
        /// Whether it is made when missing.
        auto_create: bool,
        /// Permissions of the file.
        file_mode: u32,
        /// Permissions of directories made for it.
        dir_mode: u32,
    },
    /// `env.storage.router`: reads search in order, writes go to the first
    Router {
        /// The storages, at least one.
        storages: Vec<EntryId>,
    },
}

/// One variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The public name; without it only the entry id finds the variable.
    pub variable: Option<String>,
    /// Where its value is.
    pub storage: EntryId,
    /// The value when the storage has none.
    pub default: Option<String>,
    /// Whether setting it is refused.
    pub readonly: bool,
}

pub(crate) fn memory(decoder: &mut Decoder<'_>) -> Storage {
    decoder.fields().finish(decoder);
    Storage::Memory
}

pub(crate) fn os(decoder: &mut Decoder<'_>) -> Storage {
    decoder.fields().finish(decoder);
    Storage::Os
}

/// `static` is a keyword here, not in YAML.
pub(crate) fn fixed(decoder: &mut Decoder<'_>) -> Storage {
    let mut entry = decoder.fields();
    let values = entry
        .optional(decoder, "values", named(plain))
        .unwrap_or_default();
    entry.finish(decoder);
    Storage::Static { values }
}

pub(crate) fn file(decoder: &mut Decoder<'_>) -> Option<Storage> {
    let mut entry = decoder.fields();
    let file_path = entry.required(decoder, "file_path", non_empty);
    let auto_create = entry.optional(decoder, "auto_create", boolean).unwrap_or(false);
    let file_mode = entry.optional(decoder, "file_mode", mode).unwrap_or(FILE_MODE);
    let dir_mode = entry.optional(decoder, "dir_mode", mode).unwrap_or(DIR_MODE);
    entry.finish(decoder);
    Some(Storage::File {
        file_path: file_path?,
        auto_create,
        file_mode,
        dir_mode,
    })
}

pub(crate) fn router(decoder: &mut Decoder<'_>) -> Option<Storage> {
    let mut entry = decoder.fields();
    let storages = entry.required(decoder, "storages", some(list(reference(Target::EnvStorage))));
    entry.finish(decoder);
    Some(Storage::Router { storages: storages? })
}

pub(crate) fn variable(decoder: &mut Decoder<'_>) -> Option<Variable> {
    let mut entry = decoder.fields();
    let variable = entry.optional(decoder, "variable", variable_name);
    let storage = entry.required(decoder, "storage", reference(Target::EnvStorage));
    let default = entry.optional(decoder, "default", plain);
    let readonly = entry.optional(decoder, "readonly", boolean).unwrap_or(false);
    entry.finish(decoder);
    Some(Variable {
        variable,
        storage: storage?,
        default,
        readonly,
    })
}

fn variable_name(node: &Node, decoder: &mut Decoder<'_>) -> Option<String> {
    let name = text(node, decoder)?;
    let fits = !name.is_empty()
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if fits {
        Some(name)
    } else {
        decoder.invalid(node, "a name of letters, digits and `_`")
    }
}
