//! Readers of field values: each turns a node into a value, or reports why it cannot.
//!
//! Readers that take readers (`list`, `named`, `some`) build the shapes of the file format from these.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::diagnostic::Diagnostic;
use crate::id::EntryId;
use crate::schema::decoder::Decoder;
use crate::schema::reference::Target;
use crate::source::SourceText;
use crate::suggest;
use crate::yaml::{Node, Value};

/// Text with placeholders resolved.
pub(crate) fn text(node: &Node, decoder: &mut Decoder<'_>) -> Option<String> {
    match node.value() {
        Value::String(_) => decoder.expanded(node).map(|expanded| expanded.text),
        Value::Bool(_) | Value::Number(_) => {
            let message = format!("`{}`: expected text, found {}", decoder.path(), node.describe());
            decoder.report(
                Diagnostic::error("wrong-type", message)
                    .primary(node.span(), "")
                    .help(format!("quote it: \"{}\"", node.to_json())),
            );
            None
        }
        Value::Null | Value::List(_) | Value::Map(_) => decoder.wrong_type(node, "text"),
    }
}

/// Text that is not empty.
pub(crate) fn non_empty(node: &Node, decoder: &mut Decoder<'_>) -> Option<String> {
    let text = text(node, decoder)?;
    if text.trim().is_empty() {
        decoder.invalid(node, "text that is not empty")
    } else {
        Some(text)
    }
}

/// Program text; placeholders in it belong to the program.
pub(crate) fn source(node: &Node, decoder: &mut Decoder<'_>) -> Option<SourceText> {
    let Value::String(text) = node.value() else {
        return decoder.wrong_type(node, "text or `file://…`");
    };
    let path = node.include().map(|include| include.path.clone());
    Some(SourceText {
        text: Arc::clone(text),
        span: node.span(),
        path,
    })
}

/// `true` or `false`.
pub(crate) fn boolean(node: &Node, decoder: &mut Decoder<'_>) -> Option<bool> {
    let scalar = decoder.scalar(node)?;
    match scalar.value() {
        Value::Bool(value) => Some(*value),
        Value::Null | Value::Number(_) | Value::String(_) | Value::List(_) | Value::Map(_) => {
            decoder.wrong_type(node, "`true` or `false`")
        }
    }
}

/// A whole number that fits the type and is not negative.
pub(crate) fn count<T: TryFrom<u64>>(node: &Node, decoder: &mut Decoder<'_>) -> Option<T> {
    let scalar = decoder.scalar(node)?;
    match scalar
        .decode::<u64>()
        .ok()
        .and_then(|number| T::try_from(number).ok())
    {
        Some(number) => Some(number),
        None => decoder.not_number(node, "a whole number, zero or more"),
    }
}

/// A whole number that fits the type and is at least one.
pub(crate) fn positive<T: TryFrom<u64>>(node: &Node, decoder: &mut Decoder<'_>) -> Option<T> {
    let scalar = decoder.scalar(node)?;
    let number = scalar.decode::<u64>().ok().filter(|number| *number > 0);
    match number.and_then(|number| T::try_from(number).ok()) {
        Some(number) => Some(number),
        None => decoder.not_number(node, "a whole number, one or more"),
    }
}

/// A number in a range.
pub(crate) fn number(
    range: std::ops::RangeInclusive<f64>,
) -> impl Fn(&Node, &mut Decoder<'_>) -> Option<f64> {
    move |node, decoder| {
        let scalar = decoder.scalar(node)?;
        match scalar
            .decode::<f64>()
            .ok()
            .filter(|number| range.contains(number))
        {
            Some(number) => Some(number),
            None => decoder.not_number(
                node,
                &format!("a number from {} to {}", range.start(), range.end()),
            ),
        }
    }
}

/// The text of a field as it stands in the file, which is what messages may show.
pub(crate) fn written(node: &Node) -> &str {
    node.as_str().unwrap_or_default()
}

/// One of some words.
pub(crate) fn choice<T: Copy>(words: &[(&str, T)]) -> impl Fn(&Node, &mut Decoder<'_>) -> Option<T> {
    move |node, decoder| {
        let text = text(node, decoder)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let message = format!(
            "`{}`: `{}` is not one of {}",
            decoder.path(),
            written(node),
            known.join(", ")
        );
        decoder.report(
            Diagnostic::error("invalid-value", message)
                .primary(node.written_span(), "")
                .did_you_mean(suggest::closest(&text, words.iter().map(|(word, _)| *word))),
        );
        None
    }
}

/// A list of values of one sort. Items with problems are left out, after being reported.
pub(crate) fn list<T>(
    read: impl Fn(&Node, &mut Decoder<'_>) -> Option<T>,
) -> impl Fn(&Node, &mut Decoder<'_>) -> Option<Vec<T>> {
    move |node, decoder| {
        let Some(items) = node.as_list() else {
            return decoder.wrong_type(node, "a list");
        };
        let each = items.iter().enumerate();
        Some(
            each.filter_map(|(index, item)| decoder.within(index.to_string(), |decoder| read(item, decoder)))
                .collect(),
        )
    }
}

/// A list, or one value in place of a list of one.
pub(crate) fn one_or_list<T>(
    read: impl Fn(&Node, &mut Decoder<'_>) -> Option<T>,
) -> impl Fn(&Node, &mut Decoder<'_>) -> Option<Vec<T>> {
    move |node, decoder| match node.value() {
        Value::List(_) => list(&read)(node, decoder),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Map(_) => {
            read(node, decoder).map(|value| vec![value])
        }
    }
}

/// What another reader reads, unless it is an empty list.
pub(crate) fn some<T>(
    read: impl Fn(&Node, &mut Decoder<'_>) -> Option<T>,
) -> impl Fn(&Node, &mut Decoder<'_>) -> Option<T> {
    move |node, decoder| {
        if node.as_list().is_some_and(<[Node]>::is_empty) {
            return decoder.invalid(node, "at least one item");
        }
        read(node, decoder)
    }
}

/// A mapping from free names to values of one sort.
pub(crate) fn named<T>(
    read: impl Fn(&Node, &mut Decoder<'_>) -> Option<T>,
) -> impl Fn(&Node, &mut Decoder<'_>) -> Option<IndexMap<String, T>> {
    move |node, decoder| {
        // A running program may not tell an empty mapping from an empty list.
        if node.as_list().is_some_and(<[Node]>::is_empty) {
            return Some(IndexMap::new());
        }
        let Some(map) = node.as_map() else {
            return decoder.wrong_type(node, "a mapping");
        };
        let mut values = IndexMap::new();
        for (key, field) in map.iter() {
            if let Some(value) = decoder.within(key.to_owned(), |decoder| read(&field.node, decoder)) {
                values.insert(key.to_owned(), value);
            }
        }
        Some(values)
    }
}

/// Text, or a number or boolean as its text.
pub(crate) fn plain(node: &Node, decoder: &mut Decoder<'_>) -> Option<String> {
    match node.value() {
        Value::Bool(_) | Value::Number(_) => Some(node.to_json().to_string()),
        Value::Null | Value::String(_) | Value::List(_) | Value::Map(_) => text(node, decoder),
    }
}

/// Any value, with placeholders resolved in every text.
pub(crate) fn json(node: &Node, decoder: &mut Decoder<'_>) -> Option<serde_json::Value> {
    match node.value() {
        Value::String(_) => decoder.scalar(node).map(|scalar| scalar.to_json()),
        Value::List(_) => list(json)(node, decoder).map(serde_json::Value::Array),
        Value::Map(_) => {
            named(json)(node, decoder).map(|fields| serde_json::Value::Object(fields.into_iter().collect()))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(node.to_json()),
    }
}

/// The id of another entry, or its name in the same namespace.
pub(crate) fn reference(target: Target) -> impl Fn(&Node, &mut Decoder<'_>) -> Option<EntryId> {
    move |node, decoder| {
        let id = declared_id(node, decoder)?;
        decoder.refer(id.clone(), node.written_span(), target);
        Some(id)
    }
}

/// An id that refers to nothing, such as a policy group that this entry declares.
pub(crate) fn declared_id(node: &Node, decoder: &mut Decoder<'_>) -> Option<EntryId> {
    let text = text(node, decoder)?;
    match EntryId::resolve(&text, decoder.namespace()) {
        Ok(id) => Some(id),
        Err(error) => {
            let message = format!("`{}`: {error}", decoder.path());
            let problem = Diagnostic::error("invalid-reference", message).primary(node.written_span(), "");
            decoder.report(problem);
            None
        }
    }
}
