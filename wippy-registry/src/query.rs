//! [`Query`]: finds entries by kind, namespace, name and `meta`.
//!
//! A filter on kind, namespace or name is one text. Its first character may be an operator, otherwise it is a glob
//! (`*` any text, `?` one character, `[ab]`, `{a,b}`; dots are not special):
//!
//! | filter | matches |
//! |---|---|
//! | `function.*` | by glob; a leading `*` is a glob too |
//! | `=text` | the text itself |
//! | `~regex` | where the expression finds something |
//! | `^text` | what starts with it |
//! | `$text` | what ends with it |
//!
//! A filter on `meta` is a path, an operator and a text; the first operator character ends the path:
//! `command.name=greet`, `title~^[A-Z]`, `tags*admin` (contains), `title^Ad`, `file$.lua`; a path alone asks that
//! the value exists. `=` takes a glob when the text has one. A value that is a list matches when one item does;
//! numbers and booleans compare as text.
//!
//! All filters must match; each may be given several times.

use globset::{GlobBuilder, GlobMatcher};
use regex::Regex;

use crate::entry::Entry;
use crate::error::Error;
use crate::store::Snapshot;
use crate::yaml::{Node, Value};

/// Conditions on entries; the empty query matches all.
#[derive(Clone, Debug, Default)]
pub struct Query {
    filters: Vec<Filter>,
}

#[derive(Clone, Debug)]
struct Filter {
    subject: Subject,
    test: Test,
}

#[derive(Clone, Debug)]
enum Subject {
    Kind,
    Namespace,
    Name,
    Meta(String),
}

#[derive(Clone, Debug)]
enum Test {
    Exists,
    Equals(String),
    Glob(GlobMatcher),
    Regex(Regex),
    Contains(String),
    Prefix(String),
    Suffix(String),
}

impl Query {
    /// Matches every entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a filter on the kind.
    ///
    /// # Errors
    /// When the pattern cannot be read.
    pub fn kind(self, pattern: &str) -> Result<Self, Error> {
        self.with(Subject::Kind, pattern)
    }

    /// Adds a filter on the namespace.
    ///
    /// # Errors
    /// When the pattern cannot be read.
    pub fn namespace(self, pattern: &str) -> Result<Self, Error> {
        self.with(Subject::Namespace, pattern)
    }

    /// Adds a filter on the name.
    ///
    /// # Errors
    /// When the pattern cannot be read.
    pub fn name(self, pattern: &str) -> Result<Self, Error> {
        self.with(Subject::Name, pattern)
    }

    /// Adds a filter on `meta`: `command.name=greet`.
    ///
    /// # Errors
    /// When the filter cannot be read.
    pub fn meta(mut self, filter: &str) -> Result<Self, Error> {
        let operator = filter.find(['=', '~', '*', '^', '$']).unwrap_or(filter.len());
        let (path, test) = filter.split_at_checked(operator).unwrap_or((filter, ""));
        if path.trim().is_empty() {
            let reason = "it does not start with a path in `meta`".to_owned();
            return Err(Error::InvalidFilter {
                text: filter.to_owned(),
                reason,
            });
        }
        let test = if test.is_empty() {
            Test::Exists
        } else {
            Test::parse(test, filter)?
        };
        self.filters.push(Filter {
            subject: Subject::Meta(path.trim().to_owned()),
            test,
        });
        Ok(self)
    }

    /// Adds a filter on `meta`: the value at a path is this text, whatever characters it has.
    #[must_use]
    pub fn meta_equals(mut self, path: &str, text: &str) -> Self {
        self.filters.push(Filter {
            subject: Subject::Meta(path.to_owned()),
            test: Test::Equals(text.to_owned()),
        });
        self
    }

    fn with(mut self, subject: Subject, pattern: &str) -> Result<Self, Error> {
        let test = match pattern.chars().next() {
            Some('=' | '~' | '^' | '$') => Test::parse(pattern, pattern)?,
            Some(_) | None => Test::glob(pattern, pattern)?,
        };
        self.filters.push(Filter { subject, test });
        Ok(self)
    }

    /// Whether an entry fits all filters.
    pub fn matches(&self, entry: &Entry) -> bool {
        self.filters.iter().all(|filter| filter.matches(entry))
    }

    /// The entries of a snapshot that fit, in the order of their ids.
    pub fn find<'s>(&'s self, snapshot: &'s Snapshot) -> impl Iterator<Item = &'s std::sync::Arc<Entry>> {
        snapshot.iter().filter(|entry| self.matches(entry))
    }
}

impl Filter {
    fn matches(&self, entry: &Entry) -> bool {
        match &self.subject {
            Subject::Kind => self.test.accepts(entry.kind.as_str()),
            Subject::Namespace => self.test.accepts(entry.id.namespace()),
            Subject::Name => self.test.accepts(entry.id.name()),
            Subject::Meta(path) => entry
                .meta
                .at(path)
                .is_some_and(|node| self.test.accepts_node(node)),
        }
    }
}

impl Test {
    /// An operator and its text.
    fn parse(filter: &str, whole: &str) -> Result<Self, Error> {
        let mut letters = filter.chars();
        let operator = letters.next();
        let text = letters.as_str();
        Ok(match operator {
            Some('=') if text.contains(['*', '?', '[', '{']) => Self::glob(text, whole)?,
            Some('=') => Self::Equals(text.to_owned()),
            Some('~') => Self::Regex(Regex::new(text).map_err(|error| invalid(whole, &error))?),
            Some('*') => Self::Contains(text.to_owned()),
            Some('^') => Self::Prefix(text.to_owned()),
            Some('$') => Self::Suffix(text.to_owned()),
            Some(_) | None => Self::Exists,
        })
    }

    fn glob(pattern: &str, whole: &str) -> Result<Self, Error> {
        let glob = GlobBuilder::new(pattern)
            .build()
            .map_err(|error| invalid(whole, error.kind()))?;
        Ok(Self::Glob(glob.compile_matcher()))
    }

    fn accepts(&self, text: &str) -> bool {
        match self {
            Self::Exists => true,
            Self::Equals(wanted) => text == wanted,
            Self::Glob(glob) => glob.is_match(text),
            Self::Regex(regex) => regex.is_match(text),
            Self::Contains(part) => text.contains(part.as_str()),
            Self::Prefix(start) => text.starts_with(start.as_str()),
            Self::Suffix(end) => text.ends_with(end.as_str()),
        }
    }

    fn accepts_node(&self, node: &Node) -> bool {
        match (self, node.value()) {
            (Self::Exists, value) => *value != Value::Null,
            (_, Value::List(items)) => items.iter().any(|item| self.accepts_node(item)),
            (_, Value::String(text)) => self.accepts(text),
            (_, Value::Bool(_) | Value::Number(_)) => self.accepts(&node.to_json().to_string()),
            (_, Value::Null | Value::Map(_)) => false,
        }
    }
}

fn invalid(text: &str, error: &dyn std::fmt::Display) -> Error {
    let reason = error.to_string();
    let last_line = reason
        .lines()
        .last()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned();
    Error::InvalidFilter {
        text: text.to_owned(),
        reason: last_line,
    }
}
