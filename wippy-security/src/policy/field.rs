//! [`Field`]: what a policy may ask about a [`Request`], and the answers.

use std::cmp::Ordering;

use wippy_wit::{Table, Value};

use crate::Actor;

/// What is to be decided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) actor: &'a Actor,
    pub(crate) action: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) meta: &'a Value,
}

/// A part of a request, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    ActorId,
    ActorMeta(Path),
    Action,
    Resource,
    Meta(Path),
}

/// Keys to follow through tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(Box<[Box<str>]>);

/// What a field holds in one request, or what it is compared with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Term<'a> {
    Missing,
    Text(&'a str),
    Value(&'a Value),
}

impl Field {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "actor.id" => Some(Self::ActorId),
            "action" => Some(Self::Action),
            "resource" => Some(Self::Resource),
            _ => match text.strip_prefix("actor.meta.") {
                Some(path) => Path::parse(path).map(Self::ActorMeta),
                None => text.strip_prefix("meta.").and_then(Path::parse).map(Self::Meta),
            },
        }
    }

    pub(crate) fn of<'a>(&self, request: &Request<'a>) -> Term<'a> {
        match self {
            Self::ActorId => Term::Text(&request.actor.id),
            Self::ActorMeta(path) => path.of(&request.actor.meta),
            Self::Action => Term::Text(request.action),
            Self::Resource => Term::Text(request.resource),
            Self::Meta(path) => path.of(request.meta),
        }
    }
}

impl Path {
    fn parse(text: &str) -> Option<Self> {
        let keys: Box<[Box<str>]> = text.split('.').map(Box::from).collect();
        keys.iter().all(|key| !key.is_empty()).then_some(Self(keys))
    }

    fn of<'a>(&self, value: &'a Value) -> Term<'a> {
        let found = self.0.iter().try_fold(value, |value, key| value.get(key));
        found.map_or(Term::Missing, Term::from)
    }
}

impl<'a> From<&'a Value> for Term<'a> {
    /// Nil is the same as nothing, as it is in Lua.
    fn from(value: &'a Value) -> Self {
        if value.is_nil() {
            Self::Missing
        } else {
            Self::Value(value)
        }
    }
}

impl<'a> Term<'a> {
    pub(crate) fn is_missing(self) -> bool {
        matches!(self, Self::Missing)
    }

    /// The text, if it is one and is UTF-8.
    pub(crate) fn as_str(self) -> Option<&'a str> {
        match self {
            Self::Missing => None,
            Self::Text(text) => Some(text),
            Self::Value(value) => value.as_str(),
        }
    }

    /// The bytes, if it is a text.
    pub(crate) fn as_bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Text(text) => Some(text.as_bytes()),
            Self::Value(Value::String(bytes)) => Some(bytes),
            Self::Missing | Self::Value(_) => None,
        }
    }

    /// The elements, if it is a list.
    pub(crate) fn as_list(self) -> Option<&'a [Value]> {
        match self {
            Self::Value(Value::Table(table)) if table.pairs.is_empty() => Some(&table.array),
            Self::Missing | Self::Text(_) | Self::Value(_) => None,
        }
    }

    /// For messages.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Missing | Self::Value(Value::Nil) => "nothing",
            Self::Value(Value::String(_)) if self.as_str().is_none() => "bytes that are no text",
            Self::Text(_) | Self::Value(Value::String(_)) => "a text",
            Self::Value(Value::Boolean(_)) => "a boolean",
            Self::Value(Value::Integer(_) | Value::Unsigned(_) | Value::Float(_)) => "a number",
            Self::Value(Value::Table(table)) if table.pairs.is_empty() => "a list",
            Self::Value(Value::Table(_)) => "a table",
            Self::Value(Value::Foreign(_)) => "an opaque value",
        }
    }

    /// Whether both are there and the same. Nothing equals nothing: two requests that both lack a tenant are not of
    /// the same tenant.
    ///
    /// # Errors
    /// When both are tables with keys: comparing those takes time that whoever fills them decides.
    pub(crate) fn equals(self, other: Self) -> Result<bool, String> {
        if let (Some(one), Some(two)) = (self.as_bytes(), other.as_bytes()) {
            return Ok(one == two);
        }
        match (self, other) {
            (Self::Value(one), Self::Value(two)) => same(one, two),
            _ => Ok(false),
        }
    }

    /// Which is greater, if the two can be ordered: texts by their bytes, numbers by their size.
    pub(crate) fn compare(self, other: Self) -> Option<Ordering> {
        if let (Some(one), Some(two)) = (self.as_bytes(), other.as_bytes()) {
            return Some(one.cmp(two));
        }
        match (self, other) {
            (Self::Value(one), Self::Value(two)) => compare_numbers(one, two),
            _ => None,
        }
    }
}

/// Like `==` of values, but a number is a number whether it has a fraction or not: 1 is 1.0.
fn same(one: &Value, two: &Value) -> Result<bool, String> {
    match (one, two) {
        (Value::Table(one), Value::Table(two)) => same_lists(one, two),
        _ => Ok(compare_numbers(one, two).map_or_else(|| !is_nan(one) && one == two, Ordering::is_eq)),
    }
}

fn same_lists(one: &Table, two: &Table) -> Result<bool, String> {
    if !one.pairs.is_empty() && !two.pairs.is_empty() {
        return Err("tables cannot be compared".to_owned());
    }
    if one.pairs.len() != two.pairs.len() || one.array.len() != two.array.len() {
        return Ok(false);
    }
    for (one, two) in one.array.iter().zip(&two.array) {
        if !same(one, two)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_nan(value: &Value) -> bool {
    matches!(value, Value::Float(number) if number.is_nan())
}

fn compare_numbers(one: &Value, two: &Value) -> Option<Ordering> {
    match (one, two) {
        (Value::Float(one), Value::Float(two)) => one.partial_cmp(two),
        (Value::Float(one), two) => compare_mixed(integer(two)?, *one).map(Ordering::reverse),
        (one, Value::Float(two)) => compare_mixed(integer(one)?, *two),
        (one, two) => Some(integer(one)?.cmp(&integer(two)?)),
    }
}

fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Integer(value) => Some((*value).into()),
        Value::Unsigned(value) => Some((*value).into()),
        Value::Nil
        | Value::Boolean(_)
        | Value::Float(_)
        | Value::String(_)
        | Value::Table(_)
        | Value::Foreign(_) => None,
    }
}

/// Exact, which a conversion of 64-bit integers to floats would not be.
fn compare_mixed(integer: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the fraction is looked at below; the rest saturates"
    )]
    let whole = float.trunc() as i128;
    Some(
        integer
            .cmp(&whole)
            .then_with(|| 0.0.partial_cmp(&float.fract()).unwrap_or(Ordering::Equal)),
    )
}
