//! What the configuration changes about the entries before they are linked: fields that have another value, entries
//! that are left out.

use wippy_registry::{
    Diagnostic, Entry, EntryId, Loaded, Node, Query, Span, suggest,
    yaml::{Map, Value},
};

use crate::config::{self, Config, FieldOverride};

/// Changes `loaded` as the configuration says. What cannot be done is one more diagnostic.
pub(super) fn apply(loaded: &mut Loaded, config: &Config) {
    for wanted in &config.overrides {
        if let Err(diagnostic) = override_field(loaded, wanted) {
            loaded.diagnostics.push(*diagnostic);
        }
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

fn override_field(loaded: &mut Loaded, wanted: &FieldOverride) -> Result<(), Box<Diagnostic>> {
    let target = &wanted.target;
    let value = config::parse_value(&target.value, &wanted.origin, &mut loaded.sources)?;
    let Some(entry) = loaded.entries.iter_mut().find(|entry| entry.id == target.entry) else {
        return Err(Box::new(unknown(&loaded.entries, &target.entry, &wanted.origin)));
    };
    let (node, path) = field_of(entry, &target.field);
    set(node, path, value);
    Ok(())
}

fn unknown(entries: &[Entry], id: &EntryId, origin: &str) -> Diagnostic {
    let near = suggest::closest(id.as_str(), entries.iter().map(|entry| entry.id.as_str()));
    Diagnostic::error("unknown-reference", format!("{origin}: there is no entry `{id}`")).did_you_mean(near)
}

fn field_of<'e, 'p>(entry: &'e mut Entry, path: &'p str) -> (&'e mut Node, &'p str) {
    match path.strip_prefix("meta.") {
        Some(rest) => (&mut entry.meta, rest),
        None => (&mut entry.data, path),
    }
}

/// Sets the value at a path of keys, making mappings where there are none.
fn set(node: &mut Node, path: &str, value: Node) {
    if node.as_map().is_none() {
        *node = Node::new(Value::Map(Map::default()), value.span());
    }
    let Value::Map(map) = node.value_mut() else { return };
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    let (key_span, mut field) =
        map.remove(key).map_or((Span::NONE, Node::empty_map()), |field| (field.key_span, field.node));
    let key_span = if key_span.is_known() { key_span } else { value.span() };
    match rest {
        Some(rest) => set(&mut field, rest, value),
        None => field = value,
    }
    map.insert(key, key_span, field);
}

fn query(pattern: &str) -> Option<Query> {
    let (namespace, name) = pattern.split_once(':')?;
    Query::new().namespace(namespace).ok()?.name(name).ok()
}
