//! What the configuration changes about the entries before they are linked: fields that have another value, entries
//! that are left out.

use wippy_registry::{
    Diagnostic, Entry, EntryId, Loaded, Node, Query, Span, suggest,
    yaml::{Map, Value},
};

use crate::config::{Config, FieldOverride};

/// Changes `loaded` as the configuration says. What cannot be done is one more diagnostic.
pub(super) fn apply(loaded: &mut Loaded, config: &Config) {
    for wanted in &config.overrides {
        override_field(loaded, wanted);
    }
    for pattern in &config.disable {
        match query(pattern) {
            Some(query) => loaded.entries.retain(|entry| !query.matches(entry)),
            None => loaded.diagnostics.push(
                Diagnostic::error("invalid-value", format!("`disable`: `{pattern}` names no entry"))
                    .help("expected `namespace:name`, where both may have `*`"),
            ),
        }
    }
}

fn override_field(loaded: &mut Loaded, wanted: &FieldOverride) {
    let (key, value) = wanted.value.place(&mut loaded.sources);
    match loaded.entries.iter_mut().find(|entry| entry.id == wanted.entry) {
        Some(entry) => {
            let (node, path) = field_of(entry, &wanted.field);
            set(node, path, key, value);
        }
        None => loaded
            .diagnostics
            .push(unknown(&loaded.entries, &wanted.entry, key)),
    }
}

fn unknown(entries: &[Entry], id: &EntryId, span: Span) -> Diagnostic {
    let near = suggest::closest(id.as_str(), entries.iter().map(|entry| entry.id.as_str()));
    Diagnostic::error(
        "unknown-reference",
        format!("there is no entry `{id}` to override"),
    )
    .primary(span, "")
    .did_you_mean(near)
}

fn field_of<'e, 'p>(entry: &'e mut Entry, path: &'p str) -> (&'e mut Node, &'p str) {
    match path.strip_prefix("meta.") {
        Some(rest) => (&mut entry.meta, rest),
        None => (&mut entry.data, path),
    }
}

/// Sets the value at a path of keys, making mappings where there are none. New keys are placed at `key_span`.
fn set(node: &mut Node, path: &str, key_span: Span, value: Node) {
    if node.as_map().is_none() {
        *node = Node::new(Value::Map(Map::default()), value.span());
    }
    let Value::Map(map) = node.value_mut() else { return };
    let (key, rest) = path
        .split_once('.')
        .map_or((path, None), |(key, rest)| (key, Some(rest)));
    let Some(rest) = rest else {
        map.insert(key, key_span, value);
        return;
    };
    if map.get(key).is_none() {
        map.insert(key, key_span, Node::empty_map());
    }
    if let Some((_, field)) = map.iter_mut().find(|(known, _)| *known == key) {
        set(&mut field.node, rest, key_span, value);
    }
}

fn query(pattern: &str) -> Option<Query> {
    let (namespace, name) = pattern.split_once(':')?;
    Query::new().namespace(namespace).ok()?.name(name).ok()
}
