//! Problems as people and programs read them: source lines with carets, or JSON.
//!
//! The text is made with colours; [`output`](crate::output) takes them out where they do not belong.

use std::collections::BTreeSet;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value as Json, json};
use wippy_registry::{Diagnostic, Label, Severity, SourceId, SourceMap, Span, diagnostic};

/// Diagnostics with the texts that their spans point into.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    /// The texts.
    pub sources: SourceMap,
    /// The problems, in the order they are to be shown.
    pub diagnostics: Vec<Diagnostic>,
}

impl Problems {
    /// Sorts the diagnostics by place.
    pub fn new(sources: SourceMap, mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostic::sort(&mut diagnostics);
        Self { sources, diagnostics }
    }

    /// One problem that is in no file.
    pub(crate) fn message(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            diagnostics: vec![Diagnostic::error(code, message)],
            ..Self::default()
        }
    }

    /// Whether anything keeps the application from starting.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// All problems with their source lines, for a terminal.
    pub fn render(&self) -> String {
        let renderer = Renderer::styled();
        let each: Vec<String> = self
            .diagnostics
            .iter()
            .map(|diagnostic| self.render_one(diagnostic, &renderer))
            .collect();
        each.join("\n\n")
    }

    fn render_one(&self, diagnostic: &Diagnostic, renderer: &Renderer) -> String {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(
            level
                .primary_title(diagnostic.message.as_str())
                .id(diagnostic.code),
        );
        for source in self.sources_of(diagnostic) {
            group = group.elements(self.snippet(source, diagnostic));
        }
        let notes = diagnostic
            .notes
            .iter()
            .map(|note| Level::NOTE.message(note.as_str()));
        let helps = diagnostic
            .help
            .iter()
            .map(|help| Level::HELP.message(help.as_str()));
        renderer.render(&[group.elements(notes).elements(helps)])
    }

    /// The sources that a diagnostic points into, the primary one first.
    fn sources_of(&self, diagnostic: &Diagnostic) -> Vec<SourceId> {
        let mut found = Vec::new();
        let (primary, related): (Vec<&Label>, Vec<&Label>) =
            diagnostic.labels.iter().partition(|label| label.primary);
        for label in primary.into_iter().chain(related) {
            if self.sources.get(label.span.source).is_some() && !found.contains(&label.span.source) {
                found.push(label.span.source);
            }
        }
        found
    }

    fn snippet(&self, id: SourceId, diagnostic: &Diagnostic) -> Option<Snippet<'_, Annotation<'_>>> {
        let source = self.sources.get(id)?;
        let labels = diagnostic.labels.iter().filter(|label| label.span.source == id);
        let annotations = labels.map(|label| {
            let kind = if label.primary {
                AnnotationKind::Primary
            } else {
                AnnotationKind::Context
            };
            let text = (!label.text.is_empty()).then(|| label.text.clone());
            kind.span(first_line(label.span, source.text())).label(text)
        });
        Some(
            Snippet::source(source.text().as_ref())
                .path(source.path())
                .annotations(annotations),
        )
    }

    fn json(&self) -> impl Iterator<Item = Json> {
        self.diagnostics.iter().map(|diagnostic| {
            json!({
                "severity": diagnostic.severity.to_string(),
                "code": diagnostic.code,
                "message": diagnostic.message,
                "labels": diagnostic.labels.iter().map(|label| self.label_json(label)).collect::<Vec<_>>(),
                "help": diagnostic.help,
                "notes": diagnostic.notes,
            })
        })
    }

    fn label_json(&self, label: &Label) -> Json {
        let position = self.sources.position(label.span);
        json!({
            "file": self.sources.path(label.span),
            "line": position.map(|position| position.line),
            "column": position.map(|position| position.column),
            "text": label.text,
            "primary": label.primary,
        })
    }
}

/// The part of a span that stands on its first line: a caret under a whole block says less than one at its start.
fn first_line(span: Span, text: &str) -> std::ops::Range<usize> {
    let start = span.start.min(text.len());
    let end = span.end.clamp(start, text.len());
    let line = text.get(start..end).and_then(|covered| covered.find('\n'));
    start..line.map_or(end, |length| start + length)
}

/// The line under all problems: `error: 3 problems in 2 files; nothing was started`.
pub fn summary(problems: &[Problems], consequence: &str) -> String {
    let all = || {
        problems
            .iter()
            .flat_map(|part| part.diagnostics.iter().map(move |diagnostic| (part, diagnostic)))
    };
    let errors = all().filter(|(_, diagnostic)| diagnostic.is_error()).count();
    let warnings = all().count() - errors;
    let files: BTreeSet<&str> = all()
        .filter_map(|(part, diagnostic)| part.sources.path(diagnostic.span()?))
        .collect();
    let place = if files.is_empty() {
        String::new()
    } else {
        format!(" in {}", count(files.len(), "file"))
    };
    match (errors, warnings) {
        (0, warnings) => format!("warning: {}{place}", count(warnings, "warning")),
        (errors, 0) => format!("error: {}{place}{consequence}", count(errors, "problem")),
        (errors, warnings) => {
            format!(
                "error: {} and {}{place}{consequence}",
                count(errors, "problem"),
                count(warnings, "warning")
            )
        }
    }
}

/// All problems as one JSON document.
pub fn to_json(problems: &[Problems]) -> Json {
    let errors: usize = problems
        .iter()
        .flat_map(|part| &part.diagnostics)
        .filter(|one| one.is_error())
        .count();
    json!({
        "errors": errors,
        "diagnostics": problems.iter().flat_map(Problems::json).collect::<Vec<_>>(),
    })
}

/// A number of things in words: `1 file`, `2 files`.
fn count(number: usize, thing: &str) -> String {
    if number == 1 {
        format!("1 {thing}")
    } else {
        format!("{number} {thing}s")
    }
}
