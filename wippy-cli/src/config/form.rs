//! The forms that values of the configuration have: what each accepts, and how it is called in messages.

use std::time::Duration;

use wippy_registry::{Node, yaml::Value};

/// The form of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `true` or `false`.
    Flag,
    /// Any text.
    Text,
    /// A text, a number or a flag.
    Scalar,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A number that is not negative, or a size such as `64MB`.
    Size,
    /// A time such as `10s`.
    Duration,
    /// A number from 0 to 1.
    Share,
    /// A host and a port.
    Address,
    /// A list of texts.
    Texts,
    /// Anything.
    Any,
}

impl Form {
    /// Whether `node` has this form.
    pub(super) fn accepts(self, node: &Node) -> bool {
        match self {
            Self::Flag => flag(node).is_some(),
            Self::Text => node.as_str().is_some(),
            Self::Scalar => matches!(node.value(), Value::String(_) | Value::Number(_) | Value::Bool(_)),
            Self::OneOf(words) => node.as_str().is_some_and(|text| words.contains(&text)),
            Self::Size => size(node).is_some(),
            Self::Duration => node.as_str().and_then(duration).is_some(),
            Self::Share => share(node).is_some(),
            Self::Address => node.as_str().is_some_and(is_address),
            Self::Texts => node
                .as_list()
                .is_some_and(|items| items.iter().all(|item| item.as_str().is_some())),
            Self::Any => true,
        }
    }

    /// What is expected, for messages.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Text => "a text".to_owned(),
            Self::Scalar => "a text, a number, `true` or `false`".to_owned(),
            Self::OneOf(words) => words
                .iter()
                .map(|word| format!("`{word}`"))
                .collect::<Vec<_>>()
                .join(" or "),
            Self::Size => "a number, or a size such as `64MB`".to_owned(),
            Self::Duration => "a time such as `10s`".to_owned(),
            Self::Share => "a number from 0 to 1".to_owned(),
            Self::Address => "an address such as `localhost:9090`".to_owned(),
            Self::Texts => "a list of texts".to_owned(),
            Self::Any => "anything".to_owned(),
        }
    }
}

/// A flag.
pub(super) fn flag(node: &Node) -> Option<bool> {
    match node.value() {
        Value::Bool(value) => Some(*value),
        Value::Null | Value::Number(_) | Value::String(_) | Value::List(_) | Value::Map(_) => None,
    }
}

/// A number of things or bytes: `65536`, `64KB`, `64KiB`, `1GB`. Units are powers of 1024, as everywhere in Wippy.
pub(super) fn size(node: &Node) -> Option<u64> {
    let text = match node.value() {
        Value::Number(number) => return number.as_u64(),
        Value::String(text) => text.trim(),
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => return None,
    };
    let digits = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let shift = match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// `localhost:9090`, `0.0.0.0:9090`, `[::1]:9090`.
fn is_address(text: &str) -> bool {
    let host_and_port = text.rsplit_once(':');
    host_and_port.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// A part of all, from nothing to everything.
pub(super) fn share(node: &Node) -> Option<f64> {
    let Value::Number(number) = node.value() else {
        return None;
    };
    number.as_f64().filter(|share| (0.0..=1.0).contains(share))
}

/// Numbers with units, `1h30m`, `1.5s`, `250ms`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let number = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let (value, unit) = rest.split_at(number);
        let (unit, seconds) = UNITS.into_iter().find(|(known, _)| unit.starts_with(known))?;
        let part = Duration::try_from_secs_f64(value.parse::<f64>().ok()? * seconds).ok()?;
        sum = sum.checked_add(part)?;
        rest = rest.get(number + unit.len()..)?;
    }
    (!text.is_empty()).then_some(sum)
}

/// The units of times, in seconds.
const UNITS: [(&str, f64); 6] = [
    ("ms", 1e-3),
    ("us", 1e-6),
    ("ns", 1e-9),
    ("h", 3600.0),
    ("m", 60.0),
    ("s", 1.0),
];
