//! The error of this crate: what did not fit, and where in the value.

use std::fmt;

use crate::WriteError;

/// One step of the path into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// `argument 1 (users)`: position from 1 and the parameter's name.
    Argument(usize, Box<str>),
    /// `[2]`: position in an array, from 1.
    Index(usize),
    /// `.name`.
    Field(Box<str>),
}

/// A value does not have the form that its type asks for.
///
/// The text begins with the path into the value: `argument 1 (users)[2].tags[1]: expected string, got integer`.
/// Making one costs nothing on the way down: each level adds its own step while the error travels up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    /// Innermost step first.
    path: Vec<Segment>,
    problem: String,
}

impl Error {
    /// An error at the place where it is made.
    pub fn new(problem: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            path: Vec::new(),
            problem: problem.into(),
        }))
    }

    /// The usual problem: one thing was wanted, another stood there.
    #[cold]
    pub fn expected(wanted: impl fmt::Display, found: impl fmt::Display) -> Self {
        Self::new(format!("expected {wanted}, got {found}"))
    }

    /// Seen from the array around it; `index` counts from 0.
    #[must_use]
    pub fn at_index(self, index: usize) -> Self {
        self.at(Segment::Index(index + 1))
    }

    /// Seen from the table around it.
    #[must_use]
    pub fn at_field(self, name: &str) -> Self {
        self.at(Segment::Field(name.into()))
    }

    /// Seen from the call; `index` counts from 0.
    #[must_use]
    pub fn at_argument(self, index: usize, name: &str) -> Self {
        self.at(Segment::Argument(index + 1, name.into()))
    }

    fn at(mut self, segment: Segment) -> Self {
        self.0.path.push(segment);
        self
    }

    /// What is wrong, without the place.
    pub fn problem(&self) -> &str {
        &self.0.problem
    }

    /// The place, outermost step first.
    pub fn path(&self) -> impl Iterator<Item = &Segment> {
        self.0.path.iter().rev()
    }
}

/// Longer paths, which only values made by a loop have, are shown by as many steps from either end.
const SHOWN: usize = 12;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skipped = self.0.path.len().saturating_sub(2 * SHOWN);
        for (step, segment) in self.path().enumerate() {
            if skipped > 0 && (SHOWN..SHOWN + skipped).contains(&step) {
                if step == SHOWN {
                    f.write_str("…")?;
                }
                continue;
            }
            match segment {
                Segment::Argument(position, name) => write!(f, "argument {position} ({name})")?,
                Segment::Index(position) => write!(f, "[{position}]")?,
                Segment::Field(name) if is_identifier(name) => write!(f, ".{name}")?,
                Segment::Field(name) => write!(f, "[{name:?}]")?,
            }
        }
        if !self.0.path.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.0.problem)
    }
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl std::error::Error for Error {}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        Self::new(error.to_string())
    }
}
