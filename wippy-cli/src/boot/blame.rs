//! From what a runtime says is wrong with an entry to the place where its author can put it right.

use std::io;

use wippy_registry::{
    Diagnostic, Entry, EntryId, SourceMap, Span,
    schema::wasm::{Code, Guest},
    suggest,
};
use wippy_wasm::Error;

/// What is wrong with a WebAssembly entry, at the field that is to blame.
pub(super) fn wasm(entry: &Entry, guest: &Guest, error: &Error, sources: &SourceMap) -> Diagnostic {
    let (code, span) = place(entry, guest, error, sources);
    let mut diagnostic = Diagnostic::error(code, format!("`{}`: {}", entry.id, message(error)))
        .primary(span, label(error).unwrap_or_default());
    if let Error::UnknownMethod { method, exports } = error {
        let names = exports.iter().map(String::as_str);
        diagnostic = diagnostic.did_you_mean(suggest::closest(&wippy_wit::names::kebab(method), names));
    }
    match error.help() {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}

/// A file that cannot be read.
pub(super) fn unreadable(entry: &Entry, fs: &EntryId, path: &str, error: &io::Error) -> Diagnostic {
    let diagnostic = Diagnostic::error(
        "unreadable-file",
        format!("`{}`: `{path}` cannot be read", entry.id),
    );
    let reasons = [
        (io::ErrorKind::NotFound, format!("no such file in `{fs}`")),
        (
            io::ErrorKind::PermissionDenied,
            format!("outside of `{fs}`, or not permitted"),
        ),
        (io::ErrorKind::IsADirectory, "it is a folder".to_owned()),
    ];
    let known = reasons.into_iter().find(|(kind, _)| *kind == error.kind());
    diagnostic.primary(
        entry.span_at("path"),
        known.map_or_else(|| error.to_string(), |(_, reason)| reason),
    )
}

fn message(error: &Error) -> String {
    // The hashes are long, and both stand below: one in the source line, one in its label.
    let is_hash = matches!(error, Error::HashMismatch { .. });
    if is_hash {
        "the file does not have the hash that the entry gives".to_owned()
    } else {
        error.to_string()
    }
}

fn label(error: &Error) -> Option<String> {
    match error {
        Error::HashMismatch { actual, .. } => Some(format!("the file has {actual}")),
        Error::UnknownMethod { .. } => Some("no such export".to_owned()),
        Error::AmbiguousMethod { candidates, .. } => Some(format!("one of {} functions", candidates.len())),
        Error::NotHttpHandler { .. } => Some("answers no HTTP requests".to_owned()),
        Error::UndeclaredImport { interface, .. } => Some(format!("`{interface}` is not granted")),
        Error::UnknownImport { .. } => Some("no such import".to_owned()),
        Error::Engine { .. }
        | Error::Wat { .. }
        | Error::Invalid { .. }
        | Error::Wit(_)
        | Error::WitMissing { .. }
        | Error::WitMismatch { .. }
        | Error::UnknownInterface { .. }
        | Error::Link { .. }
        | Error::Unsupported { .. } => None,
    }
}

/// The code of the problem, and the field that is to blame.
fn place(entry: &Entry, guest: &Guest, error: &Error, sources: &SourceMap) -> (&'static str, Span) {
    let field = |path: &str| entry.span_at(path);
    match error {
        Error::Engine { .. } => ("engine", entry.origin),
        Error::Wat { offset, .. } => ("invalid-wat", text_span(entry, guest, *offset, sources)),
        Error::Invalid { .. } => ("invalid-module", code_span(entry, guest)),
        Error::HashMismatch { .. } => ("hash-mismatch", field("hash")),
        Error::Wit(error) => ("invalid-wit", wit_span(entry, guest, error.offset, sources)),
        Error::WitMissing { .. } => ("missing-wit", entry.origin),
        Error::WitMismatch { .. } => ("wit-mismatch", wit_span(entry, guest, None, sources)),
        Error::UnknownMethod { .. } => ("unknown-method", field("method")),
        Error::AmbiguousMethod { .. } => ("ambiguous-method", field("method")),
        Error::NotHttpHandler { .. } => ("not-http-handler", field("method")),
        Error::UndeclaredImport { .. } => ("undeclared-import", field("imports")),
        Error::UnknownInterface { .. } => ("unknown-interface", code_span(entry, guest)),
        Error::UnknownImport { import, .. } => ("unknown-import", import_span(entry, import)),
        Error::Link { .. } => ("link", code_span(entry, guest)),
        Error::Unsupported { .. } => ("unsupported", code_span(entry, guest)),
    }
}

fn code_span(entry: &Entry, guest: &Guest) -> Span {
    match &guest.code {
        Code::Text(_) => entry.span_at("source"),
        Code::Binary { .. } => entry.span_at("path"),
    }
}

fn text_span(entry: &Entry, guest: &Guest, offset: Option<usize>, sources: &SourceMap) -> Span {
    match (&guest.code, offset) {
        (Code::Text(text), Some(offset)) => text.span_at(token(&text.text, offset), sources),
        (Code::Text(_) | Code::Binary { .. }, _) => code_span(entry, guest),
    }
}

fn wit_span(entry: &Entry, guest: &Guest, offset: Option<usize>, sources: &SourceMap) -> Span {
    match (&guest.wit, offset) {
        (Some(wit), Some(offset)) => wit.span_at(token(&wit.text, offset), sources),
        (Some(_) | None, _) => entry.span_at("wit"),
    }
}

/// The word that begins at `offset`.
fn token(text: &str, offset: usize) -> std::ops::Range<usize> {
    let rest = text.get(offset..).unwrap_or_default();
    let is_word = |character: char| character.is_alphanumeric() || "-_.$".contains(character);
    let length = rest
        .find(|character: char| !is_word(character))
        .unwrap_or(rest.len());
    offset..offset + length.max(1)
}

/// The item of `imports` that names `import`.
fn import_span(entry: &Entry, import: &str) -> Span {
    let items = entry
        .at("imports")
        .and_then(wippy_registry::Node::as_list)
        .unwrap_or_default();
    let named = items.iter().find(|item| item.as_str() == Some(import));
    named.map_or_else(|| entry.span_at("imports"), wippy_registry::Node::span)
}
