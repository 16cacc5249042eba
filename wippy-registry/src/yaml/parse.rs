//! Text to [`Node`], bounded: an index file can neither exhaust memory by aliases nor the stack by nesting.
//!
//! The only file that knows the YAML library, which reads what is not for [`quick`]. `yes` and `no` are strings, `0755` is the
//! string it looks like (a file mode, not the number seven hundred fifty-five), duplicate keys are errors.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::{Location, MessageFormatter, Spanned, UserMessageFormatter};

use crate::diagnostic::Diagnostic;
use crate::source::{Position, SourceId, SourceMap, Span};
use crate::yaml::node::{Map, Node, Value};
use crate::yaml::place::Places;
use crate::yaml::quick;

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
    if let Some(node) = quick::parse(&text, id) {
        return Ok(node);
    }
    thoroughly(&text, sources, id)
}

/// As [`parse`], by the library that knows all of YAML and what is wrong with a text.
fn thoroughly(text: &str, sources: &SourceMap, id: SourceId) -> Result<Node, Box<Diagnostic>> {
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
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Ok(Reader(Places { text, id }).node(raw)),
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

struct Reader<'t>(Places<'t>);

impl Reader<'_> {
    fn node(&self, raw: Spanned<Raw>) -> Node {
        let span = self.span(raw.defined);
        match raw.value {
            Raw::Null => Node::new(Value::Null, span),
            Raw::Bool(bool) => Node::new(Value::Bool(bool), span),
            Raw::Number(number) => Node::new(self.number(number, span), span),
            Raw::String(text) => Node::new(Value::String(text.into()), span),
            Raw::List(items) => {
                let items = items.into_iter().map(|item| self.node(item)).collect();
                self.0.collection(Value::List(items), span)
            }
            Raw::Map(fields) => self.0.collection(Value::Map(self.map(fields)), span),
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
        let raw = self.0.text.get(span.start..span.end).unwrap_or_default();
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
        let start = location.span().byte_offset().map_or(0, as_usize);
        let length = location.span().byte_len().map_or(0, as_usize);
        self.0.scalar(start, length)
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
            format!("[{}]", "a,".repeat(100_001)),
        ] {
            assert!(read(&text).is_err());
        }
    }

    /// Every value and every place in it, keys too.
    fn parts(node: &Node, all: &mut Vec<String>) {
        let span = node.span();
        let what = match node.value() {
            Value::List(_) | Value::Map(_) => node.describe(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => format!("{node:?}"),
        };
        all.push(format!("{}..{} {what}", span.start, span.end));
        match node.value() {
            Value::List(items) => items.iter().for_each(|item| parts(item, all)),
            Value::Map(map) => {
                for (key, field) in map.iter() {
                    all.push(format!("{}..{} {key}:", field.key_span.start, field.key_span.end));
                    parts(&field.node, all);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Whether the quick way takes a text; it has to read it as the library does then.
    fn is_quick(text: &str) -> bool {
        let mut sources = SourceMap::default();
        let id = sources.add("x.yaml", text);
        let Some(quick) = quick::parse(text, id) else {
            return false;
        };
        let library = thoroughly(text, &sources, id);
        let library = library.unwrap_or_else(|error| panic!("{text}\n{}", error.message));
        let [mut read, mut expected] = [Vec::new(), Vec::new()];
        parts(&quick, &mut read);
        parts(&library, &mut expected);
        for (read, expected) in read.iter().zip(&expected) {
            assert_eq!(read, expected, "{text}");
        }
        assert_eq!(read.len(), expected.len(), "{text}");
        true
    }

    #[test]
    fn usual_texts_are_read_the_quick_way() {
        for text in [
            "a",
            "a: b",
            "- a\n- b\n",
            "# first\n\na: b # second\n# third\nc: d\n",
            "a:\n  b:\n    - c\n    - d: e\n      f: g\n  h: i\nj: k\n",
            "a:\n- b\n- c\nd:\n- - e\n  - f\ng:\n- h: i\nj:\n  - # k\n    l\nm:\n- [n]\no:\n- |\n  p\nq:\n- 'r'\n",
            "a:\n- b\n-\n  c\n- - e\n  - f\ng: h\n",
            "a: { b: c, d: [e, f, ], }\ng: []\nh: {}\n",
            "a: [\n  b, # c\n  { d: e }\n  ]\n",
            "\"a b\": 'c d'\ne: \"f: #g, [h]\"\n",
            "a: ./b/c.d\ne: /f\ng: $h\ni: _j\nk: file://l\nm: n:o\np: 10s\n",
            "a: 0\nb: 12\nc: 123456789012345678\nd: true\ne: false\nf: null\ng: ~\n",
            "a: |\n  b: c\n\n    d # e\n\nf: |-\n  g\n\nh: |+\n  i\n\n# j\nk: l\n",
            "- |\n  a\n- b\n",
            "a_é: bü # ö\n\"ß\": |\n  ä\n",
            "a: b\n\n\n",
            "a: no\nb: yes\nc: on\nd: nan\ne: inf\nf: e5\ng: NULLS\n",
        ] {
            assert!(is_quick(text), "{text}");
        }
    }

    #[test]
    fn other_texts_are_left_to_the_library() {
        for text in [
            "",
            "# nothing\n",
            "a: &b c\nd: *b\n",
            "a: !b c",
            "--- a",
            "a\n---\nb",
            "a\n...\n",
            "%YAML 1.2\n---\na",
            "a: b: c",
            "a: b\n c\n",
            "a\nb",
            "a: [b\n]\n",
            "a: {b}",
            "a: {b: }",
            "[a: b]",
            "{a: b}: c",
            "? a\n: b\n",
            "a:\nb: c\n",
            "- \n- a\n",
            "a: b\na: c\n",
            "a: b\n  c: d\n",
            "a:\n    b: c\n  d: e\n",
            "a: \"b\\n\"",
            "a: 'b''c'",
            "a: \"b\n  c\"",
            "a: >\n  b\n",
            "a: |2\n   b\n",
            "a: | # b\n  c\n",
            "a: |\n\n  b\n",
            "a: |\n  b\n   \n  c\n",
            "a: |\n  b",
            "a:\n-\n  b\n",
            "a:\n- # b\n  c\n",
            "|\n  a\n",
            "a: |\n  b\n c\n",
            "a:\tb",
            "a: b\r\n",
            "a: 0755",
            "a: 0x10",
            "a: 1.5",
            "a: 1e5",
            "a: -1",
            "a: +1",
            "a: .inf",
            "a: True",
            "a: NULL",
            "1: a",
            "true: a",
            "<<: a",
            "a: \"b\"#c",
            "a: [b]#c",
            "a: - b",
            "a: @b",
            "a: `b`",
            "a : b",
            "{a:b}",
            "\u{feff}a: b",
        ] {
            assert!(!is_quick(text), "{text}");
        }
    }

    fn yaml_files(folder: &std::path::Path, found: &mut Vec<String>) {
        for child in std::fs::read_dir(folder).unwrap() {
            let path = child.unwrap().path();
            let is_yaml = path
                .extension()
                .is_some_and(|extension| extension == "yaml" || extension == "yml");
            if path.is_dir() && !path.ends_with("target") {
                yaml_files(&path, found);
            } else if is_yaml && let Ok(text) = std::fs::read_to_string(&path) {
                found.push(text);
            }
        }
    }

    fn files_of_fixtures() -> Vec<String> {
        let mut found = Vec::new();
        yaml_files(
            std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures")),
            &mut found,
        );
        found
    }

    #[test]
    fn files_are_read_the_quick_way_as_the_other() {
        let files = files_of_fixtures();
        let quick = files.iter().filter(|text| is_quick(text)).count();
        assert!(quick > files.len() / 2, "{quick} of {}", files.len());
    }

    /// Words of YAML, out of which texts are put together at random.
    const WORDS: [&str; 44] = [
        "a", "b", "c d", "0", "12", "10s", "true", "null", "~", ":", ": ", ":\n", "- ", "-", "\n", "\n",
        "\n  ", "\n  ", "\n    ", " ", "  ", "[", "]", "{", "}", ", ", ",", "\"", "'", " # x", "#", "|\n",
        "|-\n  ", "> ", "&x ", "*x", "!t ", "? ", "---", "<<", "é", "\\", "x: y\n", "- z\n",
    ];

    proptest::proptest! {
        #[test]
        fn texts_of_random_words_are_read_the_same_both_ways(
            words in proptest::collection::vec(proptest::sample::select(&WORDS[..]), 1..24),
        ) {
            is_quick(&words.concat());
        }

        #[test]
        fn files_with_a_mistake_are_read_the_same_both_ways(
            file in proptest::prelude::any::<proptest::sample::Index>(),
            place in proptest::prelude::any::<proptest::sample::Index>(),
            length in 0..6_usize,
            word in proptest::sample::select(&WORDS[..]),
        ) {
            static FILES: std::sync::LazyLock<Vec<String>> = std::sync::LazyLock::new(files_of_fixtures);
            let text = file.get(&FILES);
            let place = place.index(text.len() + 1);
            let rest = (place + length).min(text.len());
            if let (Some(before), Some(after)) = (text.get(..place), text.get(rest..)) {
                is_quick(&format!("{before}{word}{after}"));
            }
        }
    }
}
