//! [`Fields`]: the field table that every schema is written with.
//!
//! A schema asks for each field once, by name, with a function that reads the value; whatever was not asked for is
//! unknown.

use std::fmt;

use crate::diagnostic::Diagnostic;
use crate::schema::decoder::Decoder;
use crate::source::Span;
use crate::suggest;
use crate::yaml::{Map, Node};

/// Whom a field belongs to, for messages.
#[derive(Clone)]
pub(crate) enum Owner {
    /// The kind of an entry.
    Kind(String),
    /// A field that holds fields.
    Field(String),
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(name) | Self::Field(name) => write!(formatter, "`{name}`"),
        }
    }
}

/// A mapping whose fields a schema asks for one by one.
pub(crate) struct Fields<'n> {
    map: Option<&'n Map>,
    owner: Owner,
    /// Where to say that a field is missing.
    place: Span,
    asked: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    pub(crate) fn new(map: Option<&'n Map>, owner: Owner, place: Span) -> Self {
        Self {
            map,
            owner,
            place,
            asked: Vec::new(),
        }
    }

    /// The value of a field, unless it is absent or null; remembers that the field exists.
    fn take(&mut self, name: &'static str) -> Option<&'n Node> {
        self.asked.push(name);
        self.map?
            .get(name)
            .map(|field| &field.node)
            .filter(|node| !node.is_null())
    }

    /// Whether a field is written.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.map
            .and_then(|map| map.get(name))
            .is_some_and(|field| !field.node.is_null())
    }

    /// A field that may be absent; `None` also when it has a problem.
    pub(crate) fn optional<T>(
        &mut self,
        decoder: &mut Decoder<'_>,
        name: &'static str,
        read: impl FnOnce(&Node, &mut Decoder<'_>) -> Option<T>,
    ) -> Option<T> {
        let node = self.take(name)?;
        decoder.within(name, |decoder| read(node, decoder))
    }

    /// A field that must be there.
    pub(crate) fn required<T>(
        &mut self,
        decoder: &mut Decoder<'_>,
        name: &'static str,
        read: impl FnOnce(&Node, &mut Decoder<'_>) -> Option<T>,
    ) -> Option<T> {
        let Some(node) = self.take(name) else {
            self.missing(decoder, name);
            return None;
        };
        decoder.within(name, |decoder| read(node, decoder))
    }

    fn has_asked(&self, name: &str) -> bool {
        self.asked.contains(&name)
    }

    fn missing(&self, decoder: &mut Decoder<'_>, name: &'static str) {
        let path = decoder.within(name, |decoder| decoder.path());
        let message = match &self.owner {
            Owner::Kind(kind) => {
                format!(
                    "entry `{}` has no `{path}`, which `{kind}` requires",
                    decoder.entry().id
                )
            }
            Owner::Field(field) => format!("`{field}` of entry `{}` has no `{name}`", decoder.entry().id),
        };
        let near = self.map.and_then(|map| {
            let unasked = map.iter().map(|(key, _)| key).filter(|key| !self.has_asked(key));
            suggest::closest(name, unasked).and_then(|key| map.get(key).map(|field| (key, field.key_span)))
        });
        let mut diagnostic = Diagnostic::error("missing-field", message).primary(self.place, "");
        if let Some((key, span)) = near {
            diagnostic = diagnostic.secondary(span, format!("is `{key}` meant to be `{name}`?"));
        }
        decoder.report(diagnostic);
    }

    /// Reports the fields that nobody asked for.
    pub(crate) fn finish(mut self, decoder: &mut Decoder<'_>) {
        self.asked.sort_unstable();
        self.asked.dedup();
        for (key, field) in self.map.into_iter().flat_map(Map::iter) {
            if self.has_asked(key) {
                continue;
            }
            let path = decoder.within(key.to_owned(), |decoder| decoder.path());
            let known: Vec<String> = self.asked.iter().map(|name| format!("`{name}`")).collect();
            let near = suggest::closest(key, self.asked.iter().copied());
            let mut diagnostic =
                Diagnostic::error("unknown-field", format!("{} has no field `{path}`", self.owner))
                    .primary(field.key_span, "")
                    .did_you_mean(near);
            if near.is_none() {
                diagnostic = diagnostic.note(format!("its fields are {}", known.join(", ")));
            }
            decoder.report(diagnostic);
        }
    }
}

/// Reads a mapping with known fields; what is not asked for is unknown.
pub(crate) fn fields<T>(
    read: impl FnOnce(&mut Fields<'_>, &mut Decoder<'_>) -> Option<T>,
) -> impl FnOnce(&Node, &mut Decoder<'_>) -> Option<T> {
    move |node, decoder| {
        let Some(map) = node.as_map() else {
            return decoder.wrong_type(node, "a mapping");
        };
        let mut fields = Fields::new(Some(map), Owner::Field(decoder.path()), node.span());
        let value = read(&mut fields, decoder);
        fields.finish(decoder);
        value
    }
}
