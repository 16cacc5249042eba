//! `Range`: which part of a file is wanted.

use http::{HeaderMap, header};

/// The part of a file that is sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Range {
    Whole,
    Part { start: u64, length: u64 },
    Unsatisfiable,
}

/// What a request asks for. Several ranges at once, and what cannot be read, are answered with the whole, as HTTP allows.
pub(super) fn asked(headers: &HeaderMap, length: u64, tag: Option<&str>, modified: Option<&str>) -> Range {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(range) = text(header::RANGE).and_then(|range| range.strip_prefix("bytes=")) else {
        return Range::Whole;
    };
    // Whoever has a part of another state needs the whole.
    if let Some(known) = text(header::IF_RANGE)
        && tag != Some(known)
        && modified != Some(known)
    {
        return Range::Whole;
    }
    part(range.trim(), length).unwrap_or(Range::Whole)
}

fn part(range: &str, length: u64) -> Option<Range> {
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| text.parse::<u64>().ok();
    let (start, end) = match (first, last) {
        ("", last) => {
            let count = number(last)?;
            if count == 0 {
                return Some(Range::Unsatisfiable);
            }
            (length.saturating_sub(count), length)
        }
        (first, "") => (number(first)?, length),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            (first, last.saturating_add(1).min(length))
        }
    };
    Some(if start < end {
        Range::Part {
            start,
            length: end - start,
        }
    } else {
        Range::Unsatisfiable
    })
}
