//! One index file to entries: `version`, `namespace`, `entries`.

use std::path::Path;

use crate::diagnostic::Diagnostic;
use crate::entry::Entry;
use crate::id::{EntryId, Namespace};
use crate::kind::Kind;
use crate::load::Loader;
use crate::source::SourceId;
use crate::suggest;
use crate::yaml::{self, Map, Node, Value};

const KEYS: [&str; 4] = ["version", "namespace", "entries", "meta"];

/// The entries of a file; `None` when the file is not an index.
pub(super) fn read(loader: &mut Loader, id: SourceId, file: &Path) -> Option<Vec<Entry>> {
    let is_named_index = file.file_stem().is_some_and(|stem| stem == "_index");
    let node = match yaml::parse(&loader.sources, id) {
        Ok(node) => node,
        Err(problem) => {
            // A YAML file of something else is not ours to judge, a template for instance.
            if is_named_index || mentions_namespace(loader, id) {
                loader.report(*problem);
            }
            return None;
        }
    };
    let map = node.as_map();
    let is_index = map.is_some_and(|map| map.get("namespace").is_some() && map.get("entries").is_some());
    if !is_index && !is_named_index {
        return None;
    }
    let Some(map) = map else {
        let message = "an index file is a mapping with `namespace` and `entries`";
        loader.report(Diagnostic::error("invalid-index", message).primary(node.span(), ""));
        return None;
    };
    check_keys(map, loader);
    let namespace = namespace(map, &node, loader);
    let items = items(map, &node, loader);
    let namespace = namespace?;
    Some(
        items
            .iter()
            .filter_map(|item| entry(item, &namespace, loader))
            .collect(),
    )
}

fn mentions_namespace(loader: &Loader, id: SourceId) -> bool {
    let text = loader
        .sources
        .get(id)
        .map(|source| source.text().clone())
        .unwrap_or_default();
    text.lines().any(|line| line.starts_with("namespace:"))
}

fn check_keys(map: &Map, loader: &mut Loader) {
    for (key, field) in map.iter() {
        if !KEYS.contains(&key) {
            loader.report(
                Diagnostic::error("unknown-field", format!("an index file has no field `{key}`"))
                    .primary(field.key_span, "")
                    .did_you_mean(suggest::closest(key, KEYS)),
            );
        }
    }
    if let Some(version) = map.get("version") {
        let text = match version.node.value() {
            Value::String(text) => text.to_string(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Map(_) => {
                version.node.to_json().to_string()
            }
        };
        if text != "1.0" {
            loader.report(
                Diagnostic::warning(
                    "unknown-version",
                    format!("`{text}` is not a version of index files"),
                )
                .primary(version.node.span(), "")
                .help("write `version: \"1.0\"`"),
            );
        }
    }
}

fn namespace(map: &Map, node: &Node, loader: &mut Loader) -> Option<Namespace> {
    let Some(field) = map.get("namespace") else {
        loader.report(
            Diagnostic::error("missing-field", "the index file has no `namespace`").primary(node.span(), ""),
        );
        return None;
    };
    let Some(text) = field.node.as_str() else {
        let message = format!("`namespace`: expected text, found {}", field.node.describe());
        loader.report(Diagnostic::error("wrong-type", message).primary(field.node.span(), ""));
        return None;
    };
    match Namespace::parse(text) {
        Ok(namespace) => Some(namespace),
        Err(error) => {
            loader.report(
                Diagnostic::error("invalid-namespace", error.to_string()).primary(field.node.span(), ""),
            );
            None
        }
    }
}

fn items<'n>(map: &'n Map, node: &Node, loader: &mut Loader) -> &'n [Node] {
    let Some(field) = map.get("entries") else {
        loader.report(
            Diagnostic::error("missing-field", "the index file has no `entries`").primary(node.span(), ""),
        );
        return &[];
    };
    match field.node.value() {
        Value::List(items) => items,
        Value::Null => &[],
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Map(_) => {
            let message = format!("`entries`: expected a list, found {}", field.node.describe());
            loader.report(Diagnostic::error("wrong-type", message).primary(field.node.span(), ""));
            &[]
        }
    }
}

fn entry(node: &Node, namespace: &Namespace, loader: &mut Loader) -> Option<Entry> {
    let Some(map) = node.as_map() else {
        let message = format!(
            "an entry is a mapping with `name` and `kind`, found {}",
            node.describe()
        );
        loader.report(Diagnostic::error("wrong-type", message).primary(node.span(), ""));
        return None;
    };
    let name = text(map, "name", node, loader);
    let kind = text(map, "kind", node, loader);
    let meta = meta(map, loader);
    let (name, origin) = name?;
    let id = EntryId::new(namespace, name)
        .map_err(|error| {
            loader.report(Diagnostic::error("invalid-name", error.to_string()).primary(origin.span(), ""));
        })
        .ok()?;
    let (kind, kind_node) = kind?;
    let mut data = map.clone();
    for key in ["name", "kind", "meta"] {
        data.remove(key);
    }
    Some(Entry {
        id,
        kind: Kind::new(kind),
        meta,
        data: Node::new(Value::Map(data), node.span()),
        origin: origin.span(),
        kind_span: kind_node.span(),
    })
}

/// A text that every entry must have.
fn text<'n>(map: &'n Map, key: &str, entry: &Node, loader: &mut Loader) -> Option<(&'n str, &'n Node)> {
    let Some(field) = map.get(key) else {
        let place = ["name", "kind"]
            .iter()
            .find_map(|other| map.get(other))
            .map_or_else(
                || {
                    map.iter()
                        .next()
                        .map_or(entry.span(), |(_, first)| first.key_span)
                },
                |field| field.node.span(),
            );
        let near = suggest::closest(key, map.iter().map(|(key, _)| key));
        let mut diagnostic =
            Diagnostic::error("missing-field", format!("an entry has no `{key}`")).primary(place, "");
        if let Some((near, field)) = near.and_then(|near| Some((near, map.get(near)?))) {
            diagnostic = diagnostic.secondary(field.key_span, format!("is `{near}` meant to be `{key}`?"));
        }
        loader.report(diagnostic);
        return None;
    };
    let Some(text) = field.node.as_str() else {
        let message = format!("`{key}`: expected text, found {}", field.node.describe());
        loader.report(Diagnostic::error("wrong-type", message).primary(field.node.span(), ""));
        return None;
    };
    Some((text, &field.node))
}

fn meta(map: &Map, loader: &mut Loader) -> Node {
    let Some(field) = map.get("meta").filter(|field| !field.node.is_null()) else {
        return Node::empty_map();
    };
    if field.node.as_map().is_some() {
        return field.node.clone();
    }
    let message = format!("`meta`: expected a mapping, found {}", field.node.describe());
    loader.report(Diagnostic::error("wrong-type", message).primary(field.node.span(), ""));
    Node::empty_map()
}
