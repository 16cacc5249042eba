//! Values that outlive the source map they were read with, and can still be quoted in another one.

use std::{ops::Range, sync::Arc};

use wippy_registry::{
    Node, SourceId, SourceMap, Span,
    yaml::{Map, Value},
};

/// A field of an entry that has another value than its author wrote.
#[derive(Debug, Clone)]
pub struct FieldOverride {
    /// The entry.
    pub entry: wippy_registry::EntryId,
    /// The field, with dots for parts.
    pub field: String,
    /// The value, with the text it stands in.
    pub value: Quote,
}

/// A key and its value in the text that they were written in.
#[derive(Debug, Clone)]
pub struct Quote {
    key: Range<usize>,
    node: Node,
    path: Arc<str>,
    text: Arc<str>,
}

impl Quote {
    /// What stands at `key` and `node` of `sources`.
    pub(super) fn new(key: Span, node: &Node, sources: &SourceMap) -> Self {
        let source = sources.get(key.source);
        Self {
            key: key.start..key.end,
            node: node.clone(),
            path: source.map_or("", |source| source.path()).into(),
            text: source.map_or_else(|| "".into(), |source| Arc::clone(source.text())),
        }
    }

    /// Takes the text into `sources`; returns the place of the key, and the value with its places.
    pub(crate) fn place(&self, sources: &mut SourceMap) -> (Span, Node) {
        let id = sources.add(Arc::clone(&self.path), Arc::clone(&self.text));
        (Span::new(id, self.key.clone()), moved(&self.node, id, 0))
    }
}

/// The same value at another place: in source `id`, `shift` bytes further on.
pub(super) fn moved(node: &Node, id: SourceId, shift: usize) -> Node {
    let at = |span: Span| Span::new(id, span.start + shift..span.end + shift);
    let value = match node.value() {
        Value::List(items) => Value::List(items.iter().map(|item| moved(item, id, shift)).collect()),
        Value::Map(fields) => {
            let mut map = Map::default();
            for (key, field) in fields.iter() {
                map.insert(key, at(field.key_span), moved(&field.node, id, shift));
            }
            Value::Map(map)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => node.value().clone(),
    };
    Node::new(value, at(node.span()))
}
