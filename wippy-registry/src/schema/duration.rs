//! Lengths of time as people write them: `100ms`, `1h30m`, `2.5s`, `7d`, `0`.

use std::time::Duration;

use crate::schema::decoder::Decoder;
use crate::yaml::{Node, Value};

const UNITS: &[(&str, f64)] = &[
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3_600.0),
    ("d", 86_400.0),
];

/// What is longer than this is a mistake: some 292 years. It can be added to any moment, and every language has it.
const MAX: Duration = Duration::from_nanos(i64::MAX.cast_unsigned());

/// Reads a duration: numbers with units, joined, largest first by custom only. `0` needs no unit.
///
/// ```
/// use std::time::Duration;
/// use wippy_registry::schema::duration::parse;
///
/// assert_eq!(parse("1h30m"), Some(Duration::from_secs(5400)));
/// assert_eq!(parse("10"), None);
/// ```
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let number = prefix(rest, |letter| letter.is_ascii_digit() || letter == '.');
        rest = rest.get(number.len()..)?;
        let unit = prefix(rest, |letter| !letter.is_ascii_digit() && letter != '.');
        rest = rest.get(unit.len()..)?;
        total = total.checked_add(part(number, unit)?)?;
    }
    (!text.is_empty() && total <= MAX).then_some(total)
}

fn part(number: &str, unit: &str) -> Option<Duration> {
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

fn prefix(text: &str, belongs: impl Fn(char) -> bool) -> &str {
    let end = text.find(|letter| !belongs(letter)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

pub(crate) fn duration(node: &Node, decoder: &mut Decoder<'_>) -> Option<Duration> {
    let text = match node.value() {
        Value::String(_) => decoder.expanded(node)?.text,
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => String::new(),
    };
    match parse(&text) {
        Some(duration) => Some(duration),
        None => decoder.invalid(node, "a duration such as `100ms`, `30s` or `1h30m`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("0", 0),
            ("100ms", 100),
            ("1.5s", 1500),
            ("1m5s", 65_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "1x",
            "-1s",
            "1s2",
            "1..5s",
            "1e3s",
            "99999999999999999999d",
            "200000000000000d",
            "300000d",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
