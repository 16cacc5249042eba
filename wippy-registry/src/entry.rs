//! [`Entry`]: one thing an application is made of, as stored.
//!
//! An entry keeps placeholders as they were written, so that no secret is ever in the registry; typed settings
//! come out of [`schema::decode`](crate::schema::decode).

use crate::id::EntryId;
use crate::kind::Kind;
use crate::source::Span;
use crate::yaml::Node;

/// One entry of the registry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name in the application.
    pub id: EntryId,
    /// What it is.
    pub kind: Kind,
    /// Free information about it, a mapping.
    pub meta: Node,
    /// The fields of its kind, a mapping.
    pub data: Node,
    /// Where its name is written.
    pub origin: Span,
    /// Where its kind is written.
    pub kind_span: Span,
}

impl Entry {
    /// An entry without fields that no file declares.
    pub fn new(id: EntryId, kind: impl Into<Kind>) -> Self {
        Self {
            id,
            kind: kind.into(),
            meta: Node::empty_map(),
            data: Node::empty_map(),
            origin: Span::NONE,
            kind_span: Span::NONE,
        }
    }

    /// Sets `meta` from JSON.
    #[must_use]
    pub fn with_meta(mut self, meta: &serde_json::Value) -> Self {
        self.meta = Node::from_json(meta);
        self
    }

    /// Sets the fields of the kind from JSON.
    #[must_use]
    pub fn with_data(mut self, data: &serde_json::Value) -> Self {
        self.data = Node::from_json(data);
        self
    }

    /// The value at a path as it stands in the file: `pool.max_size`, or `meta.command.name`.
    pub fn at(&self, path: &str) -> Option<&Node> {
        match path.strip_prefix("meta") {
            Some("") => Some(&self.meta),
            Some(rest) if rest.starts_with('.') => self.meta.at(rest.trim_start_matches('.')),
            Some(_) | None => self.data.at(path),
        }
    }

    /// Where a field's value is written; the entry's own place when it has no such field.
    pub fn span_at(&self, path: &str) -> Span {
        self.at(path).map_or(self.origin, Node::written_span)
    }

    /// The whole entry as an index file would show it: `name`, `kind`, `meta`, then the fields.
    pub fn to_json(&self) -> serde_json::Value {
        self.render(self.meta.to_json(), self.data.to_json())
    }

    /// As [`to_json`](Self::to_json), with included files as `file://…`.
    pub fn to_authored_json(&self) -> serde_json::Value {
        self.render(self.meta.to_authored_json(), self.data.to_authored_json())
    }

    fn render(&self, meta: serde_json::Value, data: serde_json::Value) -> serde_json::Value {
        let mut fields = serde_json::Map::new();
        fields.insert("name".to_owned(), self.id.name().into());
        fields.insert("kind".to_owned(), self.kind.as_str().into());
        if meta.as_object().is_some_and(|meta| !meta.is_empty()) {
            fields.insert("meta".to_owned(), meta);
        }
        if let serde_json::Value::Object(data) = data {
            fields.extend(data);
        }
        fields.into()
    }
}

impl PartialEq for Entry {
    /// Compares what the entry says, not where it is written.
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.kind == other.kind && self.meta == other.meta && self.data == other.data
    }
}
