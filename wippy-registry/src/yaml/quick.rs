//! The quick way to read YAML: mappings, sequences and scalars that mean what they look like, which is what index files are
//! made of.
//!
//! It knows a part of YAML and no errors. A text that is wrong, comes near a bound or has anything else in it (anchors,
//! tags, several documents, escapes, values that are left out, scalars over several lines but for literal blocks, numbers in
//! unusual forms) is left to the library, which takes many times as long. What is read here is exactly what the library
//! would read, places included; tests hold them against each other.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Number;

use crate::source::{SourceId, Span};
use crate::yaml::node::{Map, Node, Value};
use crate::yaml::place::Places;

/// Deeper nesting is left to the library, which has the bound.
const DEPTH_MAX: usize = 24;
/// More values are too.
const NODES_MAX: usize = 50_000;
/// So are longer keys, in bytes.
const KEY_MAX: usize = 500;

/// Longer texts are for the library, which has limits of its own.
const BYTES_MAX: usize = 32 << 20;

/// The value of a text, if it is one of the usual ones.
pub(super) fn parse(text: &str, id: SourceId) -> Option<Node> {
    if text.len() > BYTES_MAX || !is_printable(text) {
        return None;
    }
    let mut reader = Reader {
        places: Places { text, id },
        at: 0,
        line: 0,
        depth: 0,
        nodes: 0,
        keys: HashMap::new(),
        fields: Vec::new(),
    };
    reader.blanks()?;
    let node = reader.block(None)?;
    reader.blanks()?;
    reader.peek().is_none().then_some(node)
}

/// Whether every character is one that YAML takes as it is. Tabs and carriage returns have rules of their own.
fn is_printable(text: &str) -> bool {
    let is_plain = |byte: u8| byte == b'\n' || (b' '..=b'~').contains(&byte);
    text.bytes().all(is_plain)
        || text.chars().all(|char| match u8::try_from(char) {
            Ok(byte) => is_plain(byte) || byte >= 0xa0,
            Err(_) => !matches!(
                char,
                '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
            ),
        })
}

/// Where a scalar stands: in brackets some characters end it that do not elsewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Block,
    Brackets,
}

/// A scalar before it is known what it means.
struct Scalar<'t> {
    text: &'t str,
    is_quoted: bool,
    span: Span,
}

impl Scalar<'_> {
    fn value(&self) -> Option<Value> {
        if self.is_quoted {
            Some(Value::String(self.text.into()))
        } else {
            plain(self.text)
        }
    }
}

/// The column of what a value belongs to, which the value's lines are to the right of; none for the whole document.
type Parent = Option<usize>;

struct Reader<'t> {
    places: Places<'t>,
    at: usize,
    /// Where the line begins.
    line: usize,
    depth: usize,
    nodes: usize,
    /// Every key once: entries have the same ones.
    keys: HashMap<&'t str, Arc<str>>,
    /// The fields of the mappings that have begun, those of inner ones behind those of outer ones.
    fields: Vec<(Arc<str>, Span, Node)>,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<u8> {
        self.byte(self.at)
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.places.text.as_bytes().get(at).copied()
    }

    fn column(&self) -> usize {
        self.at - self.line
    }

    /// Whether what comes next is to the right of `parent`.
    fn is_inside(&self, parent: Parent) -> bool {
        parent.is_none_or(|parent| self.column() > parent)
    }

    fn spaces(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    /// Skips what means nothing, up to the next value or the end.
    fn blanks(&mut self) -> Option<()> {
        loop {
            self.rest_of_line()?;
            if self.peek() != Some(b'\n') {
                break;
            }
            self.at += 1;
            self.line = self.at;
        }
        // Another document, the end of this one, or a directive.
        let rest = self.places.text.get(self.at..)?;
        let is_marker = ["---", "...", "%"].iter().any(|marker| rest.starts_with(marker));
        (self.column() > 0 || !is_marker).then_some(())
    }

    /// Skips spaces and a comment.
    fn rest_of_line(&mut self) -> Option<()> {
        self.spaces();
        if self.peek() == Some(b'#') {
            // Right behind a value it is none.
            let is_comment = self.at == self.line || self.byte(self.at - 1) == Some(b' ');
            if !is_comment {
                return None;
            }
            let rest = self.places.text.get(self.at..)?;
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
        Some(())
    }

    /// Ends a value of `parent`. Whatever else stands on its line or goes on below it is left to the library.
    fn end_of_value(&mut self, parent: Parent) -> Option<()> {
        self.rest_of_line()?;
        if !matches!(self.peek(), None | Some(b'\n')) {
            return None;
        }
        self.blanks()?;
        (self.peek().is_none() || !self.is_inside(parent)).then_some(())
    }

    fn count(&mut self) -> Option<()> {
        self.nodes += 1;
        (self.nodes <= NODES_MAX).then_some(())
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.count()?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let value = read(self)?;
        self.depth -= 1;
        Some(value)
    }

    /// A value that begins here, outside of brackets.
    fn block(&mut self, parent: Parent) -> Option<Node> {
        match self.peek()? {
            b'-' if self.is_indicator() => self.sequence(self.column(), false),
            b'[' | b'{' => {
                let node = self.brackets(parent)?;
                self.end_of_value(parent)?;
                Some(node)
            }
            b'|' => self.literal(parent),
            _ => {
                let column = self.column();
                let scalar = self.scalar(Within::Block)?;
                if self.peek() == Some(b':') && self.is_indicator() {
                    return self.mapping(column, scalar);
                }
                self.count()?;
                let node = Node::new(scalar.value()?, scalar.span);
                self.end_of_value(parent)?;
                Some(node)
            }
        }
    }

    /// Whether the character here is one of YAML's own, rather than of a text.
    fn is_indicator(&self) -> bool {
        matches!(self.byte(self.at + 1), None | Some(b' ' | b'\n'))
    }

    /// A sequence of which the first dash is here, in `column`. One right under its key begins behind that.
    fn sequence(&mut self, column: usize, is_under_key: bool) -> Option<Node> {
        let start = self.at;
        self.at += 1;
        self.spaces();
        if is_under_key && matches!(self.peek(), None | Some(b'\n' | b'#')) {
            return None;
        }
        let span = self.places.scalar(if is_under_key { self.at } else { start }, 0);
        self.deeper(|reader| {
            let mut items = Vec::new();
            loop {
                reader.rest_of_line()?;
                if matches!(reader.peek(), None | Some(b'\n')) {
                    reader.blanks()?;
                    if !reader.is_inside(Some(column)) {
                        return None;
                    }
                }
                items.push(reader.block(Some(column))?);
                reader.blanks()?;
                let is_next =
                    reader.column() == column && reader.peek() == Some(b'-') && reader.is_indicator();
                if !is_next {
                    break;
                }
                reader.at += 1;
            }
            Some(reader.places.collection(Value::List(items), span))
        })
    }

    /// A mapping in `column`, after its first key.
    fn mapping(&mut self, column: usize, mut key: Scalar<'t>) -> Option<Node> {
        let span = Span::new(self.places.id, key.span.start..key.span.start);
        self.deeper(|reader| {
            let outer = reader.fields.len();
            loop {
                let name = reader.key(&key)?;
                reader.at += 1;
                let value = reader.value(column)?;
                reader.fields.push((name, key.span, value));
                reader.blanks()?;
                if reader.peek().is_none() || reader.column() < column {
                    break;
                }
                if reader.column() > column {
                    return None;
                }
                key = reader.scalar(Within::Block)?;
                if reader.peek() != Some(b':') || !reader.is_indicator() {
                    return None;
                }
            }
            reader.map(outer, span)
        })
    }

    /// The value after a colon, of a mapping in `column`.
    fn value(&mut self, column: usize) -> Option<Node> {
        self.rest_of_line()?;
        if matches!(self.peek(), None | Some(b'\n')) {
            self.blanks()?;
            // A sequence may stand right under its key.
            let is_sequence = self.column() == column && self.peek() == Some(b'-') && self.is_indicator();
            return if is_sequence {
                self.sequence(column, true)
            } else if self.is_inside(Some(column)) {
                self.block(Some(column))
            } else {
                None
            };
        }
        match self.peek()? {
            b'[' | b'{' => {
                let node = self.brackets(Some(column))?;
                self.end_of_value(Some(column))?;
                Some(node)
            }
            b'|' => self.literal(Some(column)),
            _ => {
                self.count()?;
                let scalar = self.scalar(Within::Block)?;
                let node = Node::new(scalar.value()?, scalar.span);
                self.end_of_value(Some(column))?;
                Some(node)
            }
        }
    }

    /// What is in brackets, which begin here.
    fn brackets(&mut self, parent: Parent) -> Option<Node> {
        let span = self.places.scalar(self.at, 1);
        let is_list = self.peek() == Some(b'[');
        self.at += 1;
        self.deeper(|reader| {
            if is_list {
                let mut items = Vec::new();
                while !reader.is_closed(b']', parent)? {
                    items.push(reader.item(parent)?);
                    reader.separator(b']', parent)?;
                }
                return Some(reader.places.collection(Value::List(items), span));
            }
            let outer = reader.fields.len();
            while !reader.is_closed(b'}', parent)? {
                let key = reader.scalar(Within::Brackets)?;
                let name = reader.key(&key)?;
                if reader.peek() != Some(b':') || !reader.is_indicator() {
                    return None;
                }
                reader.at += 1;
                reader.blanks_in_brackets(parent)?;
                let value = reader.item(parent)?;
                reader.fields.push((name, key.span, value));
                reader.separator(b'}', parent)?;
            }
            reader.map(outer, span)
        })
    }

    /// A value in brackets.
    fn item(&mut self, parent: Parent) -> Option<Node> {
        if matches!(self.peek()?, b'[' | b'{') {
            return self.brackets(parent);
        }
        self.count()?;
        let scalar = self.scalar(Within::Brackets)?;
        Some(Node::new(scalar.value()?, scalar.span))
    }

    /// Whether brackets end here; goes behind them if so.
    fn is_closed(&mut self, closing: u8, parent: Parent) -> Option<bool> {
        self.blanks_in_brackets(parent)?;
        let is_closed = self.peek()? == closing;
        self.at += usize::from(is_closed);
        Some(is_closed)
    }

    /// Goes behind a comma, or up to the end of the brackets.
    fn separator(&mut self, closing: u8, parent: Parent) -> Option<()> {
        self.blanks_in_brackets(parent)?;
        match self.peek()? {
            b',' => self.at += 1,
            byte if byte == closing => {}
            _ => return None,
        }
        Some(())
    }

    fn blanks_in_brackets(&mut self, parent: Parent) -> Option<()> {
        self.blanks()?;
        // Lines that are not to the right of what they belong to are not everybody's taste.
        self.is_inside(parent).then_some(())
    }

    /// The fields from `outer` on, as a mapping.
    fn map(&mut self, outer: usize, span: Span) -> Option<Node> {
        let mut map = Map::with_capacity(self.fields.len() - outer);
        for (name, key_span, value) in self.fields.drain(outer..) {
            // A key that is written twice is an error.
            if map.insert(name, key_span, value).is_some() {
                return None;
            }
        }
        Some(self.places.collection(Value::Map(map), span))
    }

    /// The text of a key.
    fn key(&mut self, key: &Scalar<'t>) -> Option<Arc<str>> {
        self.count()?;
        let text = key.text;
        if let Some(known) = self.keys.get(text) {
            return Some(Arc::clone(known));
        }
        // Two left angles merge another mapping.
        let is_text = key.is_quoted || matches!(plain(text), Some(Value::String(_)));
        if !is_text || text.len() > KEY_MAX || text == "<<" {
            return None;
        }
        let name: Arc<str> = text.into();
        // Without its quotes it may be another kind of key.
        if !key.is_quoted {
            self.keys.insert(text, Arc::clone(&name));
        }
        Some(name)
    }

    /// A scalar that begins here and ends on the same line.
    fn scalar(&mut self, within: Within) -> Option<Scalar<'t>> {
        let start = self.at;
        let first = self.peek()?;
        let is_quoted = matches!(first, b'"' | b'\'');
        let text = if is_quoted {
            self.quoted(char::from(first))?
        } else {
            self.unquoted(within)?
        };
        Some(Scalar {
            text,
            is_quoted,
            span: self.places.scalar(start, self.at - start),
        })
    }

    /// What is in quotes, if it is what it looks like.
    fn quoted(&mut self, quote: char) -> Option<&'t str> {
        let rest = self.places.text.get(self.at + 1..)?;
        let end = rest.find([quote, '\\', '\n'])?;
        if !rest.get(end..)?.starts_with(quote) {
            // A backslash means nothing in single quotes.
            return None;
        }
        self.at += 1 + end + 1;
        // Two single quotes are one.
        (self.peek() != Some(b'\'')).then_some(())?;
        rest.get(..end)
    }

    fn unquoted(&mut self, within: Within) -> Option<&'t str> {
        let start = self.at;
        let mut end = start;
        while let Some(byte) = self.byte(end) {
            let is_end = match byte {
                b'\n' => true,
                b':' => match self.byte(end + 1) {
                    None | Some(b' ' | b'\n') => true,
                    Some(b',' | b'[' | b']' | b'{' | b'}') if within == Within::Brackets => return None,
                    Some(_) => false,
                },
                b'#' => end > start && self.byte(end - 1) == Some(b' '),
                b',' | b'[' | b']' | b'{' | b'}' => within == Within::Brackets,
                _ => false,
            };
            if is_end {
                break;
            }
            end += 1;
        }
        let text = self.places.text.get(start..end)?.trim_end_matches(' ');
        self.at = start + text.len();
        (!text.is_empty()).then_some(text)
    }

    /// A literal block, of which the bar is here: lines as they are, without their indentation.
    fn literal(&mut self, parent: Parent) -> Option<Node> {
        self.count()?;
        // One that is the whole document may have markers of documents in it.
        parent?;
        self.at += 1;
        let chomping = match self.peek()? {
            sign @ (b'-' | b'+') => {
                self.at += 1;
                Some(sign)
            }
            _ => None,
        };
        if self.peek()? != b'\n' {
            return None;
        }
        self.at += 1;
        self.line = self.at;
        self.spaces();
        let (start, indentation) = (self.at, self.column());
        if matches!(self.peek(), None | Some(b'\n')) || !self.is_inside(parent) {
            return None;
        }
        let (mut text, mut end) = (String::new(), start);
        self.at = self.line;
        let rest = self.places.text.get(self.at..)?;
        for line in rest.split_inclusive('\n') {
            let (content, has_end) = line.strip_suffix('\n').map_or((line, false), |line| (line, true));
            let spaces = content.len() - content.trim_start_matches(' ').len();
            // Lines of nothing but spaces, and a last one without an end, have rules of their own.
            if !has_end || (spaces == content.len() && spaces > 0) {
                return None;
            }
            if content.is_empty() {
                text.push('\n');
            } else if spaces >= indentation {
                text.push_str(line.get(indentation..)?);
                end = self.at + content.len();
            } else {
                break;
            }
            self.at += line.len();
        }
        self.line = self.at;
        if chomping != Some(b'+') {
            text.truncate(text.trim_end_matches('\n').len());
            if chomping.is_none() {
                text.push('\n');
            }
        }
        self.blanks()?;
        let is_over = self.peek().is_none() || !self.is_inside(parent);
        let span = self.places.scalar(start, end - start);
        is_over.then(|| Node::new(Value::String(text.into()), span))
    }
}

/// What a scalar without quotes means, if there is no doubt about it.
fn plain(text: &str) -> Option<Value> {
    match text {
        "~" | "null" => return Some(Value::Null),
        "true" => return Some(Value::Bool(true)),
        "false" => return Some(Value::Bool(false)),
        _ => {}
    }
    let first = *text.as_bytes().first()?;
    if first.is_ascii_digit() {
        return number(text);
    }
    let is_word = |word: &str| text.eq_ignore_ascii_case(word);
    let begins_text =
        first.is_ascii_alphabetic() || matches!(first, b'_' | b'/' | b'$') || text.starts_with("./");
    let is_text = begins_text && !is_word("null") && !is_word("true") && !is_word("false");
    is_text.then(|| Value::String(text.into()))
}

/// What begins with a digit.
fn number(text: &str) -> Option<Value> {
    // Longer ones may not fit, and those with a zero before them are not what they look like.
    let is_decimal = text.len() < 19 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_decimal && (text == "0" || !text.starts_with('0')) {
        let number: u64 = text.parse().ok()?;
        return Some(Value::Number(Number::from(number)));
    }
    // No number has any of these in it, in no base.
    let is_text = text
        .bytes()
        .any(|byte| b"ghjklmpqrstuvwyz".contains(&byte.to_ascii_lowercase()));
    is_text.then(|| Value::String(text.into()))
}
