//! Every key of the configuration with the form of its value, and the check of a document against that table.
//!
//! A key may be `*`, which stands for names that users choose.

use wippy_registry::{Diagnostic, Node, suggest};

use super::form::Form;

/// Key by key; a section is whatever a key begins with.
const KEYS: &[(&str, Form)] = &[
    ("version", Form::Scalar),
    ("vars.*", Form::Scalar),
    ("override.*", Form::Any),
    ("disable", Form::Texts),
    ("logger.encoding", Form::OneOf(&["console", "json"])),
    ("logger.mode", Form::OneOf(&["development", "production"])),
    ("logger.level", Form::OneOf(&["debug", "info", "warn", "error"])),
    ("logmanager.propagate_downstream", Form::Flag),
    ("logmanager.stream_to_events", Form::Flag),
    ("logmanager.min_level", Form::Scalar),
    ("security.strict_mode", Form::Flag),
    ("registry.enable_history", Form::Flag),
    ("registry.history_type", Form::OneOf(&["memory", "sqlite"])),
    ("registry.history_path", Form::Text),
    ("supervisor.host.buffer_size", Form::Size),
    ("supervisor.host.worker_count", Form::Size),
    ("scheduler.workers", Form::Size),
    ("scheduler.wasm_isolation.enabled", Form::Flag),
    ("scheduler.wasm_isolation.reserved_cores", Form::Size),
    ("lua.memory_limit", Form::Size),
    ("lua.instruction_budget", Form::Size),
    ("wasm.limits.max_execution_ms", Form::Size),
    ("wasm.limits.max_memory_bytes", Form::Size),
    ("wasm.limits.max_table_elements", Form::Size),
    ("wasm.limits.max_fuel", Form::Size),
    ("wasm.limits.max_call_depth", Form::Size),
    ("wasm.limits.max_stdout_bytes", Form::Size),
    ("wasm.limits.max_resources", Form::Size),
    ("wasm.limits.max_host_bytes", Form::Size),
    ("wasm.limits.max_http_header_bytes", Form::Size),
    ("wasm.limits.max_http_body_bytes", Form::Size),
    ("wasm.cache.enabled", Form::Flag),
    ("wasm.cache.dir", Form::Text),
    ("wasm.cache.max_bytes", Form::Size),
    ("wasm.allocator", Form::OneOf(&["pooling", "on_demand"])),
    ("otel.enabled", Form::Flag),
    ("otel.endpoint", Form::Text),
    ("otel.protocol", Form::OneOf(&["http/protobuf"])),
    ("otel.service_name", Form::Text),
    ("otel.insecure", Form::Flag),
    ("otel.sample_rate", Form::Share),
    ("otel.export_interval", Form::Duration),
    ("prometheus.enabled", Form::Flag),
    ("prometheus.address", Form::Address),
];

/// Reports everything in `root` that the table does not know, or that has another form.
pub(super) fn check(root: &Node, diagnostics: &mut Vec<Diagnostic>) {
    section(root, &[], diagnostics);
}

fn section(node: &Node, path: &[&str], diagnostics: &mut Vec<Diagnostic>) {
    let Some(map) = node.as_map() else {
        if !node.is_null() {
            let name = if path.is_empty() {
                "the configuration".to_owned()
            } else {
                format!("`{}`", path.join("."))
            };
            diagnostics.push(
                Diagnostic::error(
                    "wrong-type",
                    format!("{name} must be a mapping, found {}", node.describe()),
                )
                .primary(node.span(), "expected a mapping"),
            );
        }
        return;
    };
    for (key, field) in map.iter() {
        let path: Vec<&str> = path.iter().copied().chain([key]).collect();
        match find(&path) {
            Found::Key(form) => value(&field.node, &path, form, diagnostics),
            Found::Section => section(&field.node, &path, diagnostics),
            Found::Nothing => diagnostics.push(unknown(&path, field.key_span)),
        }
    }
}

fn value(node: &Node, path: &[&str], form: Form, diagnostics: &mut Vec<Diagnostic>) {
    if node.is_null() || form.accepts(node) {
        return;
    }
    let expected = form.describe();
    let diagnostic = Diagnostic::error(
        "wrong-type",
        format!(
            "`{}` must be {expected}, found {}",
            path.join("."),
            node.describe()
        ),
    )
    .primary(node.span(), format!("expected {expected}"));
    let near = match (form, node.as_str()) {
        (Form::OneOf(words), Some(text)) => suggest::closest(text, words.iter().copied()),
        _ => None,
    };
    diagnostics.push(diagnostic.did_you_mean(near));
}

enum Found {
    Key(Form),
    Section,
    Nothing,
}

fn find(path: &[&str]) -> Found {
    let mut found = Found::Nothing;
    for (key, form) in KEYS {
        let mut parts = key.split('.');
        let fits = path
            .iter()
            .all(|part| parts.next().is_some_and(|known| known == "*" || known == *part));
        match (fits, parts.next()) {
            (true, None) => return Found::Key(*form),
            (true, Some(_)) => found = Found::Section,
            (false, _) => {}
        }
    }
    found
}

fn unknown(path: &[&str], span: wippy_registry::Span) -> Diagnostic {
    let (key, parents) = path
        .split_last()
        .map_or(("", &[][..]), |(key, parents)| (*key, parents));
    let known = siblings(parents);
    let place = match parents {
        [] => "the configuration".to_owned(),
        parents => format!("`{}`", parents.join(".")),
    };
    let diagnostic =
        Diagnostic::error("unknown-key", format!("{place} has no key `{key}`")).primary(span, "unknown key");
    match suggest::closest(key, known.iter().copied()) {
        Some(near) => diagnostic.did_you_mean(Some(near)),
        None => match key_elsewhere(key) {
            Some(path) => diagnostic.did_you_mean(Some(path)),
            None => diagnostic.help(format!("{place} may have: {}", known.join(", "))),
        },
    }
}

/// The full path of a key that exists in some other section.
fn key_elsewhere(key: &str) -> Option<&'static str> {
    let last = |path: &&'static str| path.rsplit('.').next() == Some(key);
    KEYS.iter().map(|(path, _)| *path).find(last)
}

/// The keys that may stand beside each other under `parents`.
fn siblings(parents: &[&str]) -> Vec<&'static str> {
    let mut known: Vec<&'static str> = Vec::new();
    for (key, _) in KEYS {
        let mut parts = key.split('.');
        let below = parents
            .iter()
            .all(|parent| parts.next().is_some_and(|part| part == "*" || part == *parent));
        match parts.next() {
            Some(part) if below && part != "*" && known.last() != Some(&part) => known.push(part),
            Some(_) | None => {}
        }
    }
    if parents.is_empty() {
        known.push("profiles");
    }
    known
}
