//! One index file to entries: `version`, `namespace`, `entries`.

use std::path::Path;

use crate::diagnostic::Diagnostic;
use crate::entry::Entry;
use crate::id::{EntryId, Namespace};
use crate::kind::Kind;
use crate::load::{Loader, Parsed};
use crate::source::{SourceId, Span};
use crate::suggest;
use crate::yaml::{Map, Node, Value};

const KEYS: [&str; 4] = ["version", "namespace", "entries", "meta"];

/// The entries of a file; `None` when the file is not an index.
pub(super) fn read(loader: &mut Loader, id: SourceId, file: &Path, node: Parsed) -> Option<Vec<Entry>> {
    let is_named_index = file.file_stem().is_some_and(|stem| stem == "_index");
    let node = match node {
        Ok(node) => node,
        Err(problem) => {
            // A YAML file of something else is not ours to judge, a template for instance.
            if is_named_index || mentions_namespace(loader, id) {
                loader.report(*problem);
            }
            return None;
        }
    };
    let place = node.span();
    let map = node.as_map();
    let is_index = map.is_some_and(|map| map.get("namespace").is_some() && map.get("entries").is_some());
    if !is_index && !is_named_index {
        return None;
    }
    let Some(map) = map else {
        let message = "an index file is a mapping with `namespace` and `entries`";
        loader.report(Diagnostic::error("invalid-index", message).primary(place, ""));
        return None;
    };
    check_keys(map, loader);
    let namespace = namespace(map, &node, loader);
    let items = items(node, loader);
    let namespace = namespace?;
    let entry = |item| entry(item, &namespace, loader);
    Some(items.into_iter().filter_map(entry).collect())
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

/// The items of `entries`, taken out of the file's mapping.
fn items(mut node: Node, loader: &mut Loader) -> Vec<Node> {
    let place = node.span();
    let field = match node.value_mut() {
        Value::Map(map) => map.remove("entries"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::List(_) => None,
    };
    let Some(mut field) = field else {
        loader
            .report(Diagnostic::error("missing-field", "the index file has no `entries`").primary(place, ""));
        return Vec::new();
    };
    match field.node.value_mut() {
        Value::List(items) => std::mem::take(items),
        Value::Null => Vec::new(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Map(_) => {
            let message = format!("`entries`: expected a list, found {}", field.node.describe());
            loader.report(Diagnostic::error("wrong-type", message).primary(field.node.span(), ""));
            Vec::new()
        }
    }
}

fn entry(mut node: Node, namespace: &Namespace, loader: &mut Loader) -> Option<Entry> {
    let place = node.span();
    let Some(map) = node.as_map() else {
        let message = format!(
            "an entry is a mapping with `name` and `kind`, found {}",
            node.describe()
        );
        loader.report(Diagnostic::error("wrong-type", message).primary(place, ""));
        return None;
    };
    let name = text(map, "name", place, loader);
    let kind = text(map, "kind", place, loader);
    check_meta(map, loader);
    let (name, origin) = name?;
    let id = EntryId::new(namespace, name)
        .map_err(|error| {
            loader.report(Diagnostic::error("invalid-name", error.to_string()).primary(origin, ""));
        })
        .ok()?;
    let (kind, kind_span) = kind?;
    let kind = Kind::new(kind);
    // What is left is the data.
    let mut meta = None;
    if let Value::Map(data) = node.value_mut() {
        data.remove("name");
        data.remove("kind");
        meta = data.remove("meta").map(|field| field.node);
    }
    Some(Entry {
        id,
        kind,
        meta: meta.filter(|meta| meta.as_map().is_some()).unwrap_or_default(),
        data: node,
        origin,
        kind_span,
    })
}

/// A text that every entry must have.
fn text<'n>(map: &'n Map, key: &str, entry: Span, loader: &mut Loader) -> Option<(&'n str, Span)> {
    let Some(field) = map.get(key) else {
        let place = ["name", "kind"]
            .iter()
            .find_map(|other| map.get(other))
            .map_or_else(
                || map.iter().next().map_or(entry, |(_, first)| first.key_span),
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
    Some((text, field.node.span()))
}

fn check_meta(map: &Map, loader: &mut Loader) {
    let Some(field) = map.get("meta").filter(|field| !field.node.is_null()) else {
        return;
    };
    if field.node.as_map().is_none() {
        let message = format!("`meta`: expected a mapping, found {}", field.node.describe());
        loader.report(Diagnostic::error("wrong-type", message).primary(field.node.span(), ""));
    }
}
