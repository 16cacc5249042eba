//! Placeholders in strings: `${env:NAME}`, `${env:NAME|default}`, `${NAME|default}`; `$${` is a literal `${`.
//!
//! They are resolved while an entry is decoded, never in the stored entry. `NAME` of the last form is upper-case
//! and its default is required; any other `${…}` stays as it is, since it belongs to some other language.

use std::ops::Range;

/// Where values of placeholders come from: the public name of a variable, or an entry id of one.
pub trait EnvLookup {
    /// The value, if there is one.
    fn lookup(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> EnvLookup for F {
    fn lookup(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// A text with its placeholders resolved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expanded {
    pub(crate) text: String,
    /// Names of the placeholders that were in it.
    pub(crate) names: Vec<String>,
    /// Whether the text was one placeholder and nothing else, so that its value may be read as a number or a
    /// boolean where one is expected.
    pub(crate) whole: bool,
}

/// A placeholder that could not be resolved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unresolved {
    /// Its place in the text.
    pub(crate) range: Range<usize>,
    pub(crate) reason: Reason,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Nothing has a value under this name and there is no default.
    Unset(String),
    /// `${env:` without `}`.
    Unclosed,
    /// `${env:…}` with this between.
    BadName(String),
}

pub(crate) fn expand(text: &str, env: &dyn EnvLookup) -> Result<Expanded, Vec<Unresolved>> {
    let mut expanded = Expanded {
        text: String::with_capacity(text.len()),
        names: Vec::new(),
        whole: false,
    };
    let mut problems = Vec::new();
    let mut rest = text;
    while let Some(found) = rest.find("${") {
        let (before, from) = rest.split_at(found);
        let start = text.len() - from.len();
        if let Some(escaped) = before.strip_suffix('$') {
            expanded.text.push_str(escaped);
            expanded.text.push_str("${");
            rest = from.get(2..).unwrap_or_default();
            continue;
        }
        expanded.text.push_str(before);
        let placeholder = Placeholder::parse(from);
        let length = placeholder.length();
        match placeholder {
            Placeholder::Foreign => expanded.text.push_str("${"),
            Placeholder::Broken { reason, .. } => {
                problems.push(Unresolved {
                    range: start..start + length,
                    reason,
                });
            }
            Placeholder::Reference { name, default, .. } => {
                match env.lookup(name).or_else(|| default.map(unquoted)) {
                    Some(value) => expanded.text.push_str(&value),
                    None => problems.push(Unresolved {
                        range: start..start + length,
                        reason: Reason::Unset(name.to_owned()),
                    }),
                }
                expanded.names.push(name.to_owned());
                expanded.whole = length == text.len() && !default.is_some_and(is_quoted);
            }
        }
        rest = from.get(length..).unwrap_or_default();
    }
    expanded.text.push_str(rest);
    if problems.is_empty() {
        Ok(expanded)
    } else {
        Err(problems)
    }
}

enum Placeholder<'t> {
    Reference {
        name: &'t str,
        default: Option<&'t str>,
        length: usize,
    },
    Broken {
        reason: Reason,
        length: usize,
    },
    /// Not ours.
    Foreign,
}

impl<'t> Placeholder<'t> {
    /// Reads the placeholder that the text starts with.
    fn parse(text: &'t str) -> Self {
        let inside = text.strip_prefix("${").unwrap_or_default();
        let is_env = inside.starts_with("env:");
        let Some(end) = inside.find('}') else {
            return if is_env {
                Self::Broken {
                    reason: Reason::Unclosed,
                    length: text.len(),
                }
            } else {
                Self::Foreign
            };
        };
        let length = end + 3;
        let inside = inside.get(..end).unwrap_or_default();
        let (name, default) = match inside.split_once('|') {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        match name.strip_prefix("env:") {
            Some(name)
                if is_name(name, |letter| {
                    letter.is_ascii_alphanumeric() || "_.:-".contains(letter)
                }) =>
            {
                Self::Reference {
                    name,
                    default,
                    length,
                }
            }
            Some(name) => Self::Broken {
                reason: Reason::BadName(name.to_owned()),
                length,
            },
            None if default.is_some()
                && is_name(name, |letter| {
                    letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_'
                }) =>
            {
                Self::Reference {
                    name,
                    default,
                    length,
                }
            }
            None => Self::Foreign,
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::Reference { length, .. } | Self::Broken { length, .. } => *length,
            Self::Foreign => 2,
        }
    }
}

fn is_name(text: &str, allowed: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(allowed)
}

fn is_quoted(text: &str) -> bool {
    text.len() >= 2 && text.starts_with('"') && text.ends_with('"')
}

fn unquoted(text: &str) -> String {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("9000".to_owned()),
            "app:key" => Some("secret".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn placeholders_resolve() {
        for (text, expected) in [
            ("plain", "plain"),
            ("${env:PORT}", "9000"),
            (":${env:PORT|80}", ":9000"),
            (":${env:NONE|80}", ":80"),
            ("${NONE|}", ""),
            ("${PORT|1}", "9000"),
            ("${env:NONE|\"80\"}", "80"),
            ("${env:app:key}!", "secret!"),
            ("$${env:PORT}", "${env:PORT}"),
            ("${lower|x} ${SHELL} ${", "${lower|x} ${SHELL} ${"),
        ] {
            assert_eq!(expand(text, &env).unwrap().text, expected, "{text}");
        }
    }

    #[test]
    fn every_unresolvable_placeholder_is_reported() {
        let problems = expand("a ${env:X} ${env:} ${env:Y", &env).unwrap_err();
        assert_eq!(problems.len(), 3);
        assert_eq!(
            problems[0],
            Unresolved {
                range: 2..10,
                reason: Reason::Unset("X".to_owned())
            }
        );
        assert_eq!(
            problems[1],
            Unresolved {
                range: 11..18,
                reason: Reason::BadName(String::new())
            }
        );
        assert_eq!(
            problems[2],
            Unresolved {
                range: 19..26,
                reason: Reason::Unclosed
            }
        );
    }

    #[test]
    fn only_a_lone_unquoted_placeholder_may_become_a_number() {
        assert!(expand("${env:PORT|80}", &env).unwrap().whole);
        assert!(!expand(":${env:PORT|80}", &env).unwrap().whole);
        assert!(!expand("${env:PORT|\"80\"}", &env).unwrap().whole);
    }
}
