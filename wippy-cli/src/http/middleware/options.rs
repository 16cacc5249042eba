//! Reading options: by dotted name or with underscores, each of them once; what nobody asks for is a mistake.

use std::{collections::BTreeSet, str::FromStr, time::Duration};

use indexmap::IndexMap;
use wippy_registry::{schema::duration, suggest};

use super::{Field, Problem};

/// The options of an entry while layers are made of them.
pub(super) struct Options<'a> {
    declared: &'a IndexMap<String, String>,
    known: BTreeSet<&'static str>,
    problems: Vec<Problem>,
}

impl<'a> Options<'a> {
    pub(super) fn new(declared: &'a IndexMap<String, String>) -> Self {
        Self {
            declared,
            known: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    /// The text of an option.
    pub(super) fn text(&mut self, name: &'static str) -> Option<&'a str> {
        self.known.insert(name);
        let (_, value) = self.declared.iter().find(|(written, _)| is_same(written, name))?;
        Some(value.as_str())
    }

    /// An option that is read by `parse`; `expected` says what it may be.
    pub(super) fn parsed<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.text(name)?;
        let parsed = parse(value.trim());
        if parsed.is_none() {
            self.report(name, format!("`{name}`: expected {expected}, found `{value}`"));
        }
        parsed
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, name: &'static str) -> bool {
        self.parsed(name, "`true` or `false`", |value| value.parse().ok())
            .unwrap_or(false)
    }

    /// A positive number.
    pub(super) fn number<T: FromStr + PartialOrd + Default>(&mut self, name: &'static str) -> Option<T> {
        self.parsed(name, "a positive number", |value| {
            value.parse().ok().filter(|value| *value > T::default())
        })
    }

    /// A length of time.
    pub(super) fn duration(&mut self, name: &'static str) -> Option<Duration> {
        self.parsed(name, "a duration such as `1m`", |value| {
            duration::parse(value).filter(|duration| !duration.is_zero())
        })
    }

    /// The parts between commas.
    pub(super) fn list(&mut self, name: &'static str) -> Option<Vec<String>> {
        let parts = self.text(name)?.split(',').map(str::trim);
        Some(parts.filter(|part| !part.is_empty()).map(str::to_owned).collect())
    }

    pub(super) fn report(&mut self, name: &'static str, message: String) {
        self.problems.push(Problem {
            field: Field::Option(self.written(name)),
            message,
            suggestion: None,
            is_warning: false,
        });
    }

    pub(super) fn warn(&mut self, name: &'static str, message: String) {
        self.problems.push(Problem {
            field: Field::Option(self.written(name)),
            message,
            suggestion: None,
            is_warning: true,
        });
    }

    fn written(&self, name: &str) -> String {
        let written = self.declared.keys().find(|written| is_same(written, name));
        written.map_or_else(|| name.to_owned(), Clone::clone)
    }

    /// Everything that is wrong, options without a reader included.
    pub(super) fn finish(mut self, names: &[String]) -> Vec<Problem> {
        let unread = self
            .declared
            .keys()
            .filter(|written| !self.known.iter().any(|known| is_same(written, known)));
        for written in unread {
            // An option of middleware that is not listed is as likely a forgotten name as a wrong option.
            let listed = |name: &String| written.starts_with(name.as_str());
            let message = if names.iter().any(listed) {
                format!("there is no option `{written}`")
            } else {
                format!("`{written}` is an option of no middleware that is listed")
            };
            self.problems.push(Problem {
                field: Field::Option(written.clone()),
                message,
                suggestion: suggest::closest(written, self.known.iter().copied()).map(ToOwned::to_owned),
                is_warning: true,
            });
        }
        self.problems
    }
}

/// Options were written with underscores once: `cors_allow_origins`.
fn is_same(written: &str, name: &str) -> bool {
    let dotted = |letter: u8| if letter == b'_' { b'.' } else { letter };
    written.len() == name.len() && written.bytes().map(dotted).eq(name.bytes().map(dotted))
}
