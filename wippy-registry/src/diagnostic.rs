//! [`Diagnostic`]: a problem in a project, as plain data.
//!
//! The text starts lower-case and quotes literals in backticks; drawing source lines and carets is the terminal's
//! business, not this crate's.

use std::fmt;

use crate::source::{SourceMap, Span};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The project does not start.
    Error,
    /// The project starts, and probably does something else than was meant.
    Warning,
}

/// One problem, where it is, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name for the sort of problem, `unknown-field`.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// Places that belong to it, the primary one first.
    pub labels: Vec<Label>,
    /// Next steps, "did you mean `lazy`?".
    pub help: Vec<String>,
    /// Background.
    pub notes: Vec<String>,
}

/// A place that belongs to a [`Diagnostic`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is to be said there; may be empty.
    pub text: String,
    /// Whether this is where the problem is, and not merely related.
    pub primary: bool,
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl Diagnostic {
    /// A problem that keeps the project from starting.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message.into())
    }

    /// A problem that does not.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message.into())
    }

    fn new(severity: Severity, code: &'static str, message: String) -> Self {
        Self {
            severity,
            code,
            message,
            labels: Vec::new(),
            help: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds the place where the problem is.
    #[must_use]
    pub fn primary(self, span: Span, text: impl Into<String>) -> Self {
        self.label(span, text.into(), true)
    }

    /// Adds a place that explains it.
    #[must_use]
    pub fn secondary(self, span: Span, text: impl Into<String>) -> Self {
        self.label(span, text.into(), false)
    }

    fn label(mut self, span: Span, text: String, primary: bool) -> Self {
        self.labels.push(Label { span, text, primary });
        self
    }

    /// Adds a next step.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// Adds "did you mean …?" when there is a near candidate.
    #[must_use]
    pub fn did_you_mean(self, candidate: Option<&str>) -> Self {
        match candidate {
            Some(candidate) => self.help(format!("did you mean `{candidate}`?")),
            None => self,
        }
    }

    /// Adds background.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Whether it keeps the project from starting.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The primary place, if it is in a file.
    pub fn span(&self) -> Option<Span> {
        self.labels
            .iter()
            .find(|label| label.primary && label.span.is_known())
            .map(|label| label.span)
    }

    /// Everything in a few plain lines: `file:line:column severity[code]: message`, then labels, help and notes.
    pub fn to_text(&self, sources: &SourceMap) -> String {
        let place = |span: Span| {
            let position = sources.position(span)?;
            Some(format!(
                "{}:{}:{}",
                sources.path(span)?,
                position.line,
                position.column
            ))
        };
        let problem = format!("{}[{}]: {}", self.severity, self.code, self.message);
        let mut lines = vec![match self.span().and_then(place) {
            Some(place) => format!("{place} {problem}"),
            None => problem,
        }];
        for label in self
            .labels
            .iter()
            .filter(|label| !(label.primary && label.text.is_empty()))
        {
            let place = place(label.span).unwrap_or_else(|| "(no file)".to_owned());
            lines.push(format!(
                "  {} {place}: {}",
                if label.primary { "here" } else { "see" },
                label.text
            ));
        }
        lines.extend(self.help.iter().map(|help| format!("  help: {help}")));
        lines.extend(self.notes.iter().map(|note| format!("  note: {note}")));
        lines.join("\n")
    }
}

/// Sorts by file, then place, so that output follows the files; problems without a place come first.
pub fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by_key(|diagnostic| diagnostic.span().map(|span| (span.source, span.start, span.end)));
}
