//! [`Places`]: which part of a text a value takes up.

use crate::source::{SourceId, Span};
use crate::yaml::node::{Node, Value};

/// The places of a text.
#[derive(Clone, Copy)]
pub(super) struct Places<'t> {
    pub(super) text: &'t str,
    pub(super) id: SourceId,
}

impl Places<'_> {
    /// The place of a scalar, without the blanks after it.
    pub(super) fn scalar(&self, start: usize, length: usize) -> Span {
        let start = start.min(self.text.len());
        let end = start.saturating_add(length).min(self.text.len());
        let covered = self.text.get(start..end).unwrap_or_default();
        Span::new(self.id, start..start + covered.trim_end().len())
    }

    /// A collection at its place. Parsers place it at its first byte only.
    pub(super) fn collection(&self, value: Value, mut span: Span) -> Node {
        let last = match &value {
            Value::List(items) => items.last().map(Node::span),
            Value::Map(map) => map.last().map(|field| field.node.span()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        };
        span.end = span.end.max(last.map_or(0, |last| last.end));
        span.end = self.after_closing(span);
        Node::new(value, span)
    }

    /// The end of a collection in brackets, given the end of its last value.
    fn after_closing(&self, span: Span) -> usize {
        let closing = match self.text.as_bytes().get(span.start) {
            Some(b'[') => ']',
            Some(b'{') => '}',
            Some(_) | None => return span.end,
        };
        let rest = self.text.get(span.end..).unwrap_or_default();
        let skipped = rest.trim_start_matches([' ', '\t', '\r', '\n', ',']);
        if skipped.starts_with(closing) {
            self.text.len() - skipped.len() + 1
        } else {
            span.end
        }
    }
}
