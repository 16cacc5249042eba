//! Patterns of names with dots: `registry`, `orders.*`, `app.**`, `order.(created|paid)`.

use wippy_security::CallError;

/// Patterns with more parts are refused: nobody means them, and matching takes time by their number.
const PARTS_MAX: usize = 32;

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `*`
    Any,
    /// `**`
    Rest,
    /// One of these texts.
    OneOf(Vec<String>),
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, CallError> {
        let invalid = |reason: &str| CallError::invalid(format!("`{text}` is not a pattern: {reason}"));
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        let parts: Vec<Part> = text
            .split('.')
            .map(|part| Part::parse(part).map_err(invalid))
            .collect::<Result<_, _>>()?;
        if parts.len() > PARTS_MAX {
            return Err(invalid("it has more than 32 parts"));
        }
        Ok(Self { parts })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        // Where a match of the parts so far may end, as a number of the text's segments.
        let segments: Vec<&str> = text.split('.').collect();
        let mut ends = vec![false; segments.len() + 1];
        if let Some(start) = ends.first_mut() {
            *start = true;
        }
        for part in &self.parts {
            ends = part.step(&ends, &segments);
        }
        ends.last().copied().unwrap_or_default()
    }
}

impl Part {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "" => return Err("a part between dots is empty"),
            "*" => return Ok(Self::Any),
            "**" => return Ok(Self::Rest),
            _ => {}
        }
        let Some((before, rest)) = text.split_once('(') else {
            return if text.contains(['*', ')', '|']) {
                Err("`*` and `(a|b)` stand for whole parts or texts")
            } else {
                Ok(Self::OneOf(vec![text.to_owned()]))
            };
        };
        let Some((choices, after)) = rest.split_once(')') else {
            return Err("`(` has no `)`");
        };
        if [before, choices, after]
            .iter()
            .any(|text| text.contains(['(', ')', '*']))
        {
            return Err("a part has one `(a|b)` at most");
        }
        let choice = |choice: &str| format!("{before}{choice}{after}");
        Ok(Self::OneOf(choices.split('|').map(choice).collect()))
    }

    /// Where a match may end after this part, when it may end at `ends` before it.
    fn step(&self, ends: &[bool], segments: &[&str]) -> Vec<bool> {
        let fits = |segment: &&str| match self {
            Self::Any | Self::Rest => true,
            Self::OneOf(texts) => texts.iter().any(|text| text == segment),
        };
        let mut reached = false;
        let mut next = Vec::with_capacity(ends.len());
        for (at, can_end) in ends.iter().enumerate() {
            let consumed = at.checked_sub(1).and_then(|before| {
                let before_ended = ends.get(before).copied().unwrap_or_default();
                Some(before_ended && fits(segments.get(before)?))
            });
            reached |= *can_end;
            next.push(match self {
                Self::Rest => reached,
                Self::Any | Self::OneOf(_) => consumed.unwrap_or_default(),
            });
        }
        next
    }
}
