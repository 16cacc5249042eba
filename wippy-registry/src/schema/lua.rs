//! `function.lua`, `process.lua`, `library.lua`: scripts and what they may require.

use indexmap::IndexMap;

use crate::id::EntryId;
use crate::schema::decoder::Decoder;
use crate::schema::fields::{Fields, fields};
use crate::schema::lifecycle::{SecurityContext, security};
use crate::schema::pool::{Pool, pool};
use crate::schema::process::{Command, command};
use crate::schema::read::{json, list, named, non_empty, reference, source};
use crate::schema::reference::Target;
use crate::source::SourceText;

/// A function in Lua.
#[derive(Clone, Debug, PartialEq)]
pub struct LuaFunction {
    /// The code.
    pub script: Script,
    /// The function of the chunk's table.
    pub method: String,
    /// How many states there are; `None` leaves it to the runtime.
    pub pool: Option<Pool>,
    /// `meta.options`.
    pub options: IndexMap<String, serde_json::Value>,
    /// Whom it acts for instead of its caller.
    pub security: Option<SecurityContext>,
}

/// A process in Lua.
#[derive(Clone, Debug, PartialEq)]
pub struct LuaProcess {
    /// The code.
    pub script: Script,
    /// The function of the chunk's table.
    pub method: String,
    /// The command that starts it, if it is one.
    pub command: Option<Command>,
    /// Whom it acts for instead of its spawner.
    pub security: Option<SecurityContext>,
}

/// Code that other Lua entries import.
#[derive(Clone, Debug, PartialEq)]
pub struct LuaLibrary {
    /// The code.
    pub script: Script,
}

/// A chunk of Lua and what it may require.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// The text.
    pub source: SourceText,
    /// Host modules it may require; `None` when the entry says nothing about them.
    pub modules: Option<Vec<String>>,
    /// Libraries it may require, by alias.
    pub imports: IndexMap<String, EntryId>,
}

pub(crate) fn function(decoder: &mut Decoder<'_>) -> Option<LuaFunction> {
    let mut entry = decoder.fields();
    let script = script(&mut entry, decoder);
    let method = entry.required(decoder, "method", non_empty);
    let pool = entry.optional(decoder, "pool", fields(pool));
    let security = entry.optional(decoder, "security", fields(security));
    entry.finish(decoder);
    let mut options = IndexMap::new();
    decoder
        .meta(|meta, decoder| options = meta.optional(decoder, "options", named(json)).unwrap_or_default());
    Some(LuaFunction {
        script: script?,
        method: method?,
        pool,
        options,
        security,
    })
}

pub(crate) fn process(decoder: &mut Decoder<'_>) -> Option<LuaProcess> {
    let mut entry = decoder.fields();
    let script = script(&mut entry, decoder);
    let method = entry.required(decoder, "method", non_empty);
    let security = entry.optional(decoder, "security", fields(security));
    entry.finish(decoder);
    let command = command(decoder);
    Some(LuaProcess {
        script: script?,
        method: method?,
        command,
        security,
    })
}

pub(crate) fn library(decoder: &mut Decoder<'_>) -> Option<LuaLibrary> {
    let mut entry = decoder.fields();
    let script = script(&mut entry, decoder);
    entry.finish(decoder);
    Some(LuaLibrary { script: script? })
}

fn script(entry: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Script> {
    let source = entry.required(decoder, "source", source);
    let modules = entry.optional(decoder, "modules", list(non_empty));
    let imports = entry
        .optional(decoder, "imports", named(reference(Target::Library)))
        .unwrap_or_default();
    Some(Script {
        source: source?,
        modules,
        imports,
    })
}
