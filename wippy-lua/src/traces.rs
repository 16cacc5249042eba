//! Tracebacks that say whose code it was: every line of a script gets the id of the entry it belongs to.

use std::{collections::BTreeMap, sync::Arc};

use mlua::{Lua, Table};
use wippy_registry::EntryId;
use wippy_security::CallError;

use crate::{Library, Source, local::Local};

/// Which entry a file belongs to, for all files that a state may run.
pub(crate) struct Origins(BTreeMap<Arc<str>, EntryId>);

impl Origins {
    pub(crate) fn new(source: &Source) -> Self {
        let mut origins = Self(BTreeMap::new());
        origins.add_libraries(&source.imports);
        origins.0.insert(source.name.clone(), source.id.clone());
        origins
    }

    fn add_libraries(&mut self, imports: &BTreeMap<String, Arc<Library>>) {
        for library in imports.values() {
            let known = self.0.insert(library.name.clone(), library.id.clone());
            if known.is_none() {
                self.add_libraries(&library.imports);
            }
        }
    }

    /// The entry of the file that `line` of a traceback is about.
    fn of(&self, line: &str) -> Option<&EntryId> {
        let place = place(line)?;
        self.0
            .iter()
            // Lua shows the end of a long name.
            .find(|(name, _)| match place.source.strip_prefix("...") {
                Some(end) => name.ends_with(end),
                None => ***name == *place.source,
            })
            .map(|(_, id)| id)
    }
}

/// One line of a traceback.
struct Place<'a> {
    source: &'a str,
    line: Option<i64>,
    name: &'a str,
}

/// Reads `file:line: in function 'name'` and `[C]: in function 'name'`.
fn place(line: &str) -> Option<Place<'_>> {
    let (place, name) = line.trim().split_once(": in ")?;
    let name = name.split(" [").next().unwrap_or(name);
    Some(match place.rsplit_once(':') {
        Some((source, line)) => Place {
            source,
            line: line.parse().ok(),
            name,
        },
        None => Place {
            source: place,
            line: None,
            name,
        },
    })
}

/// The traceback with the entry behind each line of a script.
pub(crate) fn attributed(lua: &Lua, trace: &str) -> String {
    let local = Local::of(lua);
    let origins = &local.program.origins;
    let mut lines = Vec::new();
    for line in trace.lines() {
        match origins.of(line) {
            Some(id) if !line.ends_with(&format!(" [{id}]")) => lines.push(format!("{line} [{id}]")),
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

/// The error with its traceback [`attributed`].
pub(crate) fn attribute(lua: &Lua, error: CallError) -> CallError {
    match error.stack() {
        None => error,
        Some(trace) => {
            let trace = attributed(lua, trace);
            error.with_stack(trace)
        }
    }
}

/// The traceback as `errors.call_stack` gives it: `{thread=, frames={{source=, line=, name=, entry=}, ...}}`.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn frames(lua: &Lua, trace: &str) -> mlua::Result<Table> {
    let frames = lua.create_table()?;
    for line in trace.lines() {
        let Some(place) = place(line) else { continue };
        let frame = lua.create_table()?;
        frame.raw_set("source", place.source)?;
        frame.raw_set("line", place.line.unwrap_or(-1))?;
        frame.raw_set("name", place.name)?;
        if let Some(id) = Local::of(lua).program.origins.of(line) {
            frame.raw_set("entry", id.as_str())?;
        }
        frames.raw_push(frame)?;
    }
    let stack = lua.create_table()?;
    stack.raw_set("thread", "main")?;
    stack.raw_set("frames", frames)?;
    Ok(stack)
}
