//! The layers of the configuration, merged into one document whose parts still know where they were written.

use std::{fs, io, path::Path};

use wippy_registry::{
    Diagnostic, Node, SourceMap, suggest,
    yaml::{Map, Value},
};

use super::{FILE_NAME, flag_value, keys};
use crate::args::{Setting, Shared};

/// Reads and merges all layers. What cannot be read is reported and left out.
pub(super) fn merged(
    directory: &Path,
    shared: &Shared,
    sources: &mut SourceMap,
    diagnostics: &mut Vec<Diagnostic>,
) -> Node {
    let mut root = Node::empty_map();
    for node in files(directory, shared, sources, diagnostics) {
        merge(&mut root, node);
    }
    if let Some(profile) = profile(&mut root, shared.profile.as_deref(), diagnostics) {
        merge(&mut root, profile);
    }
    for setting in &shared.set {
        match setting_node(setting, sources) {
            Ok(node) => merge(&mut root, node),
            Err(diagnostic) => diagnostics.push(*diagnostic),
        }
    }
    root
}

fn files(
    directory: &Path,
    shared: &Shared,
    sources: &mut SourceMap,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut take = |name: String, text: String| {
        let id = sources.add(name, text);
        match wippy_registry::yaml::parse(sources, id) {
            Ok(node) => nodes.push(node),
            Err(diagnostic) => diagnostics.push(*diagnostic),
        }
    };
    if shared.config.is_empty() {
        match fs::read_to_string(directory.join(FILE_NAME)) {
            Ok(text) => take(FILE_NAME.to_owned(), text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => diagnostics.push(unreadable(Path::new(FILE_NAME), &error)),
        }
        return nodes;
    }
    let mut unread = Vec::new();
    for file in &shared.config {
        match fs::read_to_string(file) {
            Ok(text) => take(file.display().to_string(), text),
            Err(error) => unread.push(unreadable(file, &error)),
        }
    }
    diagnostics.extend(unread);
    nodes
}

fn unreadable(file: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::error(
        "unreadable-file",
        format!("the configuration `{}` cannot be read: {error}", file.display()),
    )
}

/// Takes `profiles` out of the document, checks all of them, and returns the one that was asked for.
fn profile(root: &mut Node, name: Option<&str>, diagnostics: &mut Vec<Diagnostic>) -> Option<Node> {
    let profiles = match root.value_mut() {
        Value::Map(map) => map.remove("profiles"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::List(_) => None,
    };
    let known = profiles.as_ref().and_then(|field| field.node.as_map());
    for (chosen, field) in known.into_iter().flat_map(Map::iter) {
        // The chosen one is checked with everything else after the merge.
        if Some(chosen) != name {
            keys::check(&field.node, diagnostics);
        }
    }
    let name = name?;
    if let Some(field) = known.and_then(|map| map.get(name)) {
        return Some(field.node.clone());
    }
    let names: Vec<&str> = known
        .into_iter()
        .flat_map(|map| map.iter().map(|(name, _)| name))
        .collect();
    let diagnostic = Diagnostic::error("unknown-profile", format!("there is no profile `{name}`"));
    diagnostics.push(
        match (suggest::closest(name, names.iter().copied()), names.is_empty()) {
            (Some(near), _) => diagnostic.did_you_mean(Some(near)),
            (None, true) => diagnostic.help("the configuration has no section `profiles`"),
            (None, false) => diagnostic.help(format!("the profiles are: {}", names.join(", "))),
        },
    );
    None
}

/// `wasm.cache.enabled=false` as the document that says so.
fn setting_node(setting: &Setting, sources: &mut SourceMap) -> Result<Node, Box<Diagnostic>> {
    let (key_span, mut node) = flag_value("--set", &setting.path, &setting.value, sources)?;
    for key in setting.path.rsplit('.') {
        let mut map = Map::default();
        map.insert(key, key_span, node);
        node = Node::new(Value::Map(map), key_span);
    }
    Ok(node)
}

/// Lays `upper` over `lower`: mappings key by key, everything else as a whole.
fn merge(lower: &mut Node, upper: Node) {
    let Some(fields) = upper.as_map() else {
        if !upper.is_null() {
            *lower = upper;
        }
        return;
    };
    let Value::Map(map) = lower.value_mut() else {
        *lower = upper;
        return;
    };
    for (key, field) in fields.iter() {
        let below = map
            .iter_mut()
            .find(|(known, _)| *known == key)
            .map(|(_, below)| below);
        if let Some(below) = below {
            below.key_span = field.key_span;
            merge(&mut below.node, field.node.clone());
            continue;
        }
        map.insert(key, field.key_span, field.node.clone());
    }
}
