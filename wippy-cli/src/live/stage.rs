//! [`Staged`]: the entries as they would be after a change, with everything that is new or touched by it ready to run.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use wippy_registry::{
    Diagnostic, Entry, EntryId, Linked, LinkedEntry, Loaded, Node, Snapshot, SourceId, SourceMap, Span, link,
    schema,
    yaml::{Include, Map, Value},
};

use super::Current;
use crate::{
    boot::{Ground, MadeReady, Which, make_ready},
    report::Problems,
};

/// What the source of an entry's WIT is called by, after its id.
const WIT: &str = "#wit";

/// The entries as they would be.
pub(super) struct Staged {
    pub(super) linked: Arc<Linked>,
    /// The entries as files have them.
    pub(super) written: BTreeMap<EntryId, Arc<Entry>>,
    pub(super) made: MadeReady,
}

/// Entries as files have them now, with the places of everything.
pub(super) type Files = (Loaded, BTreeMap<EntryId, Arc<Entry>>);

impl Staged {
    /// What the application starts with.
    pub(super) fn initial(
        linked: Arc<Linked>,
        written: BTreeMap<EntryId, Arc<Entry>>,
        made: MadeReady,
    ) -> Self {
        Self {
            linked,
            written,
            made,
        }
    }

    /// Looks at the entries of `after`, and makes ready what is not so already.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(super) fn prepare(
        current: &Current,
        ground: &Ground,
        after: &Snapshot,
        files: Option<Files>,
    ) -> Result<Self, Problems> {
        let (loaded, written) = gather(current, after, files)?;
        let lookup = |name: &str| {
            let outside = ground.settings.variable(name);
            outside.or_else(|| ground.environment.named(name))
        };
        let linked = link::link(loaded, &lookup);
        let mut diagnostics = linked.diagnostics.clone();
        let touched = touched(current.linked.as_deref(), &linked);
        let which = Which::Only(&touched, &current.libraries, &current.running.functions);
        let made = make_ready(&linked, ground, &which, &mut diagnostics);
        let is_wrong = |diagnostics: &[Diagnostic]| diagnostics.iter().any(Diagnostic::is_error);
        if !is_wrong(&diagnostics)
            && let Err(error) = made.directories.make()
        {
            diagnostics.push(unmade(&error));
        }
        if is_wrong(&diagnostics) {
            return Err(Problems::new(linked.sources, diagnostics));
        }
        Ok(Self {
            linked: Arc::new(linked),
            written,
            made,
        })
    }
}

fn unmade(error: &io::Error) -> Diagnostic {
    Diagnostic::error(
        "missing-directory",
        format!("a folder cannot be made: {}", error.kind()),
    )
}

/// All entries of `after`, each where a file has it, if one has.
fn gather(
    current: &Current,
    after: &Snapshot,
    files: Option<Files>,
) -> Result<(Loaded, BTreeMap<EntryId, Arc<Entry>>), Problems> {
    let (mut loaded, written) = match files {
        Some(files) => without_repeated(files)?,
        None => (known_files(current)?, current.written.clone()),
    };
    loaded.entries.clear();
    for entry in after.iter() {
        let entry = match written.get(&entry.id).filter(|known| *known == entry) {
            Some(known) => Entry::clone(known),
            None => placed(entry, &mut loaded.sources),
        };
        loaded.entries.push(entry);
    }
    Ok((loaded, written))
}

/// Files in which every id stands once; else what linking says about that.
fn without_repeated((loaded, written): Files) -> Result<Files, Problems> {
    if written.len() == loaded.entries.len() {
        return Ok((loaded, written));
    }
    let mut linked = link::link(loaded, &|_: &str| None);
    // It had no environment to find anything else wrong by.
    linked
        .diagnostics
        .retain(|diagnostic| diagnostic.code == "duplicate-id");
    Err(Problems::new(linked.sources, linked.diagnostics))
}

/// The files as they were read last.
fn known_files(current: &Current) -> Result<Loaded, Problems> {
    let Some(linked) = &current.linked else {
        return Err(Problems::message(
            "not-started",
            "the application has not started yet",
        ));
    };
    Ok(Loaded {
        sources: sources(linked),
        entries: Vec::new(),
        diagnostics: Vec::new(),
        project: linked.project.clone(),
    })
}

/// The texts of the files, without those of entries that earlier changes added behind them.
fn sources(linked: &Linked) -> SourceMap {
    let is_file = |path: &str| {
        let id = path.strip_suffix(WIT).unwrap_or(path);
        EntryId::parse(id).is_err()
    };
    let all = linked.sources.iter();
    let files = all.take_while(|(_, source)| is_file(source.path()));
    linked.sources.first(files.count())
}

/// An entry that no file has, with a place all the same: what is wrong in its texts has a line there, everything else is
/// at its beginning.
fn placed(entry: &Entry, sources: &mut SourceMap) -> Entry {
    let text_of = |field: &str| match entry.data.at(field).map(Node::value) {
        Some(Value::String(text)) => Some(Arc::clone(text)),
        Some(_) | None => None,
    };
    let source = text_of("source");
    let id = sources.add(entry.id.as_str(), source.clone().unwrap_or_default());
    let beginning = Span::new(id, 0..0);
    let mut entry = Entry {
        meta: placed_at(&entry.meta, beginning),
        data: placed_at(&entry.data, beginning),
        origin: beginning,
        kind_span: beginning,
        ..entry.clone()
    };
    if let Some(text) = source {
        let path = entry.id.to_string();
        include(&mut entry.data, "source", text, id, &path);
    }
    if let Some(text) = text_of("wit") {
        let path = format!("{}{WIT}", entry.id);
        let id = sources.add(path.as_str(), Arc::clone(&text));
        include(&mut entry.data, "wit", text, id, &path);
    }
    entry
}

/// The same value, all of it at one place.
fn placed_at(node: &Node, span: Span) -> Node {
    let value = match node.value() {
        Value::List(items) => Value::List(items.iter().map(|item| placed_at(item, span)).collect()),
        Value::Map(map) => {
            let mut placed = Map::default();
            for (key, field) in map.iter() {
                placed.insert(key, span, placed_at(&field.node, span));
            }
            Value::Map(placed)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => node.value().clone(),
    };
    Node::new(value, span)
}

/// Makes a text field one that comes from a source of its own.
fn include(data: &mut Node, field: &str, text: Arc<str>, source: SourceId, path: &str) {
    let Value::Map(map) = data.value_mut() else { return };
    let span = Span::new(source, 0..text.len());
    let include = Include {
        reference: path.into(),
        span,
        path: path.into(),
    };
    map.insert(field, span, Node::included(text, span, include));
}

/// The entries that are new, that say something else than before, or that need such a one.
fn touched(before: Option<&Linked>, after: &Linked) -> BTreeSet<EntryId> {
    let known: BTreeMap<&EntryId, &LinkedEntry> = before
        .iter()
        .flat_map(|linked| &linked.entries)
        .map(|entry| (&entry.entry.id, entry))
        .collect();
    let mut touched = BTreeSet::new();
    // What an entry needs comes before it.
    for entry in &after.entries {
        let id = &entry.entry.id;
        let is_same = known.get(id).is_some_and(|known| is_same(known, entry));
        let needs_touched = || {
            entry
                .references
                .iter()
                .any(|reference| touched.contains(&reference.id))
        };
        if !is_same || needs_touched() {
            touched.insert(id.clone());
        }
    }
    touched
}

/// Whether two entries say the same and mean the same: a placeholder may stand for something else now.
fn is_same(one: &LinkedEntry, other: &LinkedEntry) -> bool {
    let has_placeholders = || has_placeholders(&other.entry.meta) || has_placeholders(&other.entry.data);
    one.entry == other.entry && (!has_placeholders() || one.config == other.config)
}

fn has_placeholders(node: &Node) -> bool {
    match node.value() {
        Value::String(text) => text.contains("${"),
        Value::List(items) => items.iter().any(has_placeholders),
        Value::Map(map) => map.iter().any(|(_, field)| has_placeholders(&field.node)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether an entry is one that is made ready.
pub(super) fn runs(entry: &LinkedEntry) -> bool {
    is_function(entry)
        || matches!(
            entry.config,
            schema::Config::LuaProcess(_) | schema::Config::WasmProcess(_)
        )
}

pub(super) fn is_function(entry: &LinkedEntry) -> bool {
    matches!(
        entry.config,
        schema::Config::LuaFunction(_) | schema::Config::WasmFunction(_)
    )
}
