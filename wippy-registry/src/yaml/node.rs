//! [`Node`]: a YAML value that knows where every part of it was written.
//!
//! Two nodes are equal when their values are; places and the order of keys do not count, so that moving an entry
//! inside its file is not a change.

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Number;

use crate::source::Span;

/// A value and its place.
#[derive(Clone)]
pub struct Node {
    value: Value,
    span: Span,
    include: Option<Arc<Include>>,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, `~`, `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A finite number.
    Number(Number),
    /// Text.
    String(Arc<str>),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping.
    Map(Map),
}

/// A mapping in the order it was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map {
    fields: IndexMap<Arc<str>, Field>,
}

/// A value of a [`Map`] with the place of its key.
#[derive(Clone, Debug)]
pub struct Field {
    /// Where the key is written.
    pub key_span: Span,
    /// The value.
    pub node: Node,
}

/// How a text came out of another file: the field said `file://…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Include {
    /// The reference as written.
    pub reference: Arc<str>,
    /// Where it is written.
    pub span: Span,
    /// The file inside the project.
    pub path: Arc<str>,
}

impl Node {
    /// A value at a place.
    pub fn new(value: Value, span: Span) -> Self {
        Self {
            value,
            span,
            include: None,
        }
    }

    /// An empty mapping that no file declares.
    pub fn empty_map() -> Self {
        Self::new(Value::Map(Map::default()), Span::NONE)
    }

    /// The text of a file in the place of a reference to it.
    pub fn included(text: Arc<str>, span: Span, include: Include) -> Self {
        Self {
            value: Value::String(text),
            span,
            include: Some(Arc::new(include)),
        }
    }

    /// A value that no file declares, such as one made by a running program.
    pub fn from_json(json: &serde_json::Value) -> Self {
        let value = match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(bool) => Value::Bool(*bool),
            serde_json::Value::Number(number) => Value::Number(number.clone()),
            serde_json::Value::String(text) => Value::String(text.as_str().into()),
            serde_json::Value::Array(items) => Value::List(items.iter().map(Self::from_json).collect()),
            serde_json::Value::Object(fields) => {
                let mut map = Map::default();
                for (key, value) in fields {
                    map.insert(key.as_str(), Span::NONE, Self::from_json(value));
                }
                Value::Map(map)
            }
        };
        Self::new(value, Span::NONE)
    }

    /// The value as JSON; included files stand as their text.
    pub fn to_json(&self) -> serde_json::Value {
        self.render(&|node| node.as_str().unwrap_or_default().to_owned())
    }

    /// The value as JSON as its author wrote it: included files stand as `file://…`.
    pub fn to_authored_json(&self) -> serde_json::Value {
        self.render(&|node| match node.include() {
            Some(include) => include.reference.to_string(),
            None => node.as_str().unwrap_or_default().to_owned(),
        })
    }

    fn render(&self, text: &dyn Fn(&Self) -> String) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(bool) => (*bool).into(),
            Value::Number(number) => number.clone().into(),
            Value::String(_) => text(self).into(),
            Value::List(items) => items.iter().map(|item| item.render(text)).collect(),
            Value::Map(map) => map
                .iter()
                .map(|(key, field)| (key.to_owned(), field.node.render(text)))
                .collect(),
        }
    }

    /// The value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The value, to be changed in place.
    pub fn value_mut(&mut self) -> &mut Value {
        &mut self.value
    }

    /// Where the value stands; inside the file when it was included.
    pub fn span(&self) -> Span {
        self.span
    }

    /// Where the value is written in the YAML: the `file://` reference when it was included.
    pub fn written_span(&self) -> Span {
        self.include.as_ref().map_or(self.span, |include| include.span)
    }

    /// The reference that brought the text in, if one did.
    pub fn include(&self) -> Option<&Include> {
        self.include.as_deref()
    }

    /// The node at a path, `pool.max_size` or `wasi.mounts.0.fs`. A key may itself contain dots.
    pub fn at(&self, path: &str) -> Option<&Self> {
        if let Some(node) = self.child(path) {
            return Some(node);
        }
        path.match_indices('.').find_map(|(dot, _)| {
            let (head, tail) = path.split_at_checked(dot)?;
            self.child(head)?.at(tail.strip_prefix('.')?)
        })
    }

    fn child(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(map) => map.get(key).map(|field| &field.node),
            Value::List(items) => items.get(key.parse::<usize>().ok()?),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The mapping, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::List(_) => None,
        }
    }

    /// The items, if it is a sequence.
    pub fn as_list(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(items) => Some(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Map(_) => None,
        }
    }

    /// Whether nothing was written.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// What the value is, for messages: ``the string `abc` ``, `a list`.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(bool) => format!("`{bool}`"),
            Value::Number(number) => format!("the number `{number}`"),
            Value::String(text) if text.is_empty() => "an empty string".to_owned(),
            Value::String(text) if text.len() <= 40 && !text.contains('\n') => format!("the string `{text}`"),
            Value::String(_) => "a string".to_owned(),
            Value::List(items) if items.is_empty() => "an empty list".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}

impl Map {
    /// The field of a key.
    pub fn get(&self, key: &str) -> Option<&Field> {
        self.fields.get(key)
    }

    /// An empty one with room for so many keys.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self {
            fields: IndexMap::with_capacity(count),
        }
    }

    /// Keys and fields in the order they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Field)> {
        self.fields.iter().map(|(key, field)| (key.as_ref(), field))
    }

    /// The field that was written last.
    pub(crate) fn last(&self) -> Option<&Field> {
        self.fields.last().map(|(_, field)| field)
    }

    /// Fields to be changed in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Field)> {
        self.fields.iter_mut().map(|(key, field)| (key.as_ref(), field))
    }

    /// Sets a key; the field it replaces is returned.
    pub fn insert(&mut self, key: impl Into<Arc<str>>, key_span: Span, node: Node) -> Option<Field> {
        self.fields.insert(key.into(), Field { key_span, node })
    }

    /// Takes a key out, keeping the order of the others.
    pub fn remove(&mut self, key: &str) -> Option<Field> {
        self.fields.shift_remove(key)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(formatter)
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::empty_map()
    }
}
