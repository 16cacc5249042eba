//! Text to [`Node`], bounded: an index file can neither exhaust memory by aliases nor the stack by nesting.
//!
//! The only file that knows the YAML library. `yes` and `no` are strings, `0755` is the string it looks like
//! (a file mode, not the number seven hundred fifty-five), duplicate keys are errors.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::{Location, MessageFormatter, Spanned, UserMessageFormatter};

use crate::diagnostic::Diagnostic;
use crate::source::{Position, SourceId, SourceMap, Span};
use crate::yaml::node::{Map, Node, Value};

const DEPTH_MAX: usize = 48;
const NODES_MAX: usize = 100_000;
const ALIASED_EVENTS_MAX: usize = 50_000;

/// Reads a source of the map as one YAML document.
///
/// # Errors
/// The first place where the text is not YAML, or where a bound was exceeded.
pub fn parse(sources: &SourceMap, id: SourceId) -> Result<Node, Box<Diagnostic>> {
    let text = sources
        .get(id)
        .map(|source| source.text().clone())
        .unwrap_or_default();
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: ALIASED_EVENTS_MAX },
        strict_booleans: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(&text, options) {
        Ok(raw) => Ok(Reader { text: &text, id }.node(raw)),
        Err(error) => Err(Box::new(problem(&error, sources, id))),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library has dozens of errors and may add more"
)]
fn problem(error: &serde_saphyr::Error, sources: &SourceMap, id: SourceId) -> Diagnostic {
    let error = error.without_snippet();
    let span = error
        .location()
        .map_or(Span::new(id, 0..0), |location| span_of(location, sources, id));
    let (code, message) = match innermost(error) {
        serde_saphyr::Error::Budget { .. }
        | serde_saphyr::Error::AliasReplayLimitExceeded { .. }
        | serde_saphyr::Error::AliasExpansionLimitExceeded { .. }
        | serde_saphyr::Error::AliasReplayStackDepthExceeded { .. } => (
            "yaml-too-large",
            format!(
                "the file exceeds a bound on YAML: {DEPTH_MAX} levels, {NODES_MAX} values, \
                 {ALIASED_EVENTS_MAX} values from aliases"
            ),
        ),
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => (
            "duplicate-key",
            match key {
                Some(key) => format!("key `{key}` is written twice in one mapping"),
                None => "a key is written twice in one mapping".to_owned(),
            },
        ),
        serde_saphyr::Error::UnknownAnchor { .. } => (
            "invalid-yaml",
            "the alias names an anchor that does not come before it".to_owned(),
        ),
        serde_saphyr::Error::MultipleDocuments { .. } => (
            "invalid-yaml",
            "a second YAML document starts, and a file holds one".to_owned(),
        ),
        other => (
            "invalid-yaml",
            UserMessageFormatter.format_message(other).into_owned(),
        ),
    };
    Diagnostic::error(code, message).primary(span, "")
}

/// The error without the aliases it was met through.
fn innermost(mut error: &serde_saphyr::Error) -> &serde_saphyr::Error {
    while let serde_saphyr::Error::AliasError { error: inner, .. } = error {
        error = inner;
    }
    error
}

fn span_of(location: Location, sources: &SourceMap, id: SourceId) -> Span {
    let Some(source) = sources.get(id) else {
        return Span::NONE;
    };
    let as_usize = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let start = source.offset(Position {
        line: as_usize(location.line()),
        column: as_usize(location.column()),
    });
    let rest = source.text().get(start..).unwrap_or_default();
    let length: usize = rest
        .chars()
        .take(as_usize(location.span().len()))
        .map(char::len_utf8)
        .sum();
    Span::new(id, start..start + length)
}

/// A YAML value before its spans are completed.
enum Raw {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

struct Reader<'t> {
    text: &'t str,
    id: SourceId,
}

impl Reader<'_> {
    fn node(&self, raw: Spanned<Raw>) -> Node {
        let mut span = self.span(raw.defined);
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Bool(bool) => Value::Bool(bool),
            Raw::Number(number) => self.number(number, span),
            Raw::String(text) => Value::String(text.into()),
            Raw::List(items) => Value::List(items.into_iter().map(|item| self.node(item)).collect()),
            Raw::Map(fields) => Value::Map(self.map(fields)),
        };
        let last = match &value {
            Value::List(items) => items.last().map(Node::span),
            Value::Map(map) => map.iter().last().map(|(_, field)| field.node.span()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        };
        // The library places collections at their first byte only.
        span.end = span.end.max(last.map_or(0, |last| last.end));
        if matches!(value, Value::List(_) | Value::Map(_)) {
            span.end = self.after_closing(span);
        }
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

    fn map(&self, fields: Vec<(Spanned<Raw>, Spanned<Raw>)>) -> Map {
        let mut map = Map::default();
        for (key, value) in fields {
            let key = self.node(key);
            let text = match key.value() {
                Value::String(text) => text.clone(),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Map(_) => {
                    key.to_json().to_string().into()
                }
            };
            map.insert(text, key.span(), self.node(value));
        }
        map
    }

    fn number(&self, number: Number, span: Span) -> Value {
        let raw = self.text.get(span.start..span.end).unwrap_or_default();
        let looks_octal =
            raw.len() > 1 && raw.starts_with('0') && raw.chars().all(|digit| digit.is_ascii_digit());
        if looks_octal {
            Value::String(raw.into())
        } else {
            Value::Number(number)
        }
    }

    fn span(&self, location: Location) -> Span {
        let as_usize = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let start = location
            .span()
            .byte_offset()
            .map_or(0, as_usize)
            .min(self.text.len());
        let length = location.span().byte_len().map_or(0, as_usize);
        let end = start.saturating_add(length).min(self.text.len());
        let covered = self.text.get(start..end).unwrap_or_default();
        Span::new(self.id, start..start + covered.trim_end().len())
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Raw, E> {
        Number::from_f64(value)
            .map(Raw::Number)
            .ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = access.next_entry()? {
            fields.push(field);
        }
        Ok(Raw::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Node, Box<Diagnostic>> {
        let mut sources = SourceMap::default();
        let id = sources.add("x.yaml", text);
        parse(&sources, id)
    }

    #[test]
    fn scalars_mean_what_they_look_like() {
        let node = read("a: 0755\nb: 10\nc: yes\nd: true\ne:\nf: 1.5\n1: x").unwrap();
        assert_eq!(
            node.to_json().to_string(),
            r#"{"a":"0755","b":10,"c":"yes","d":true,"e":null,"f":1.5,"1":"x"}"#
        );
    }

    #[test]
    fn spans_cover_the_text() {
        let text = "é: [ab, {c: d}]\nf: |\n  line\n";
        let node = read(text).unwrap();
        let covered = |path: &str| {
            let span = node.at(path).unwrap().span();
            &text[span.start..span.end]
        };
        assert_eq!(covered("é.0"), "ab");
        assert_eq!(covered("é.1.c"), "d");
        assert_eq!(covered("é"), "[ab, {c: d}]");
        assert_eq!(covered("f"), "line");
    }

    #[test]
    fn bounds_hold() {
        for text in [
            "[".repeat(60) + &"]".repeat(60),
            (0..60)
                .map(|depth| " ".repeat(depth) + "a:\n")
                .collect::<String>(),
            format!("[{}]", "1,".repeat(100_001)),
        ] {
            assert!(read(&text).is_err());
        }
    }
}
