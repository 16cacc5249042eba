//! Where text came from: [`SourceMap`] keeps every file that was read, [`Span`] points into one of them.
//!
//! Spans are byte offsets; lines and columns are computed when somebody looks. Paths are relative to the project
//! and use `/`, so that messages read the same on every machine.

use std::ops::Range;
use std::sync::Arc;

/// The texts of a project, by [`SourceId`].
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    sources: Vec<Arc<Source>>,
}

/// One file as it was read.
#[derive(Debug)]
pub struct Source {
    path: Arc<str>,
    text: Arc<str>,
    line_starts: Vec<usize>,
}

/// Names a source of a [`SourceMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(u32);

/// A range of bytes in one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The source pointed into.
    pub source: SourceId,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A place for people: both numbers count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// Program text of a field such as `source` or `wit`, with the way back to where a person wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// The text itself.
    pub text: Arc<str>,
    /// The whole text in its source: the file for `file://`, the YAML scalar when it is inline.
    pub span: Span,
    /// The file's path inside the project; `None` when the text is inline.
    pub path: Option<Arc<str>>,
}

impl SourceMap {
    /// Takes a text in and returns its name.
    pub fn add(&mut self, path: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> SourceId {
        let text: Arc<str> = text.into();
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(offset, _)| offset + 1))
            .collect();
        let id = SourceId(u32::try_from(self.sources.len()).unwrap_or(u32::MAX - 1));
        self.sources.push(Arc::new(Source {
            path: path.into(),
            text,
            line_starts,
        }));
        id
    }

    /// The source, unless the id is [`SourceId::NONE`] or of another map.
    pub fn get(&self, id: SourceId) -> Option<&Source> {
        self.sources.get(id.0 as usize).map(AsRef::as_ref)
    }

    /// All sources in the order they were read.
    pub fn iter(&self) -> impl Iterator<Item = (SourceId, &Source)> {
        (0u32..).map(SourceId).zip(self.sources.iter().map(AsRef::as_ref))
    }

    /// The first so many sources.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        Self {
            sources: self.sources.iter().take(count).cloned().collect(),
        }
    }

    /// The path that a span points into.
    pub fn path(&self, span: Span) -> Option<&str> {
        self.get(span.source).map(Source::path)
    }

    /// The text that a span covers.
    pub fn snippet(&self, span: Span) -> Option<&str> {
        self.get(span.source)?.text.get(span.start..span.end)
    }

    /// Line and column of a span's first byte.
    pub fn position(&self, span: Span) -> Option<Position> {
        self.get(span.source).map(|source| source.position(span.start))
    }
}

impl Source {
    /// The path relative to the project, with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The whole text.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Line and column of a byte offset; past the end it is the end.
    pub fn position(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = line
            .checked_sub(1)
            .and_then(|index| self.line_starts.get(index))
            .copied()
            .unwrap_or(0);
        let column = self
            .text
            .get(start..offset)
            .map_or(0, |before| before.chars().count())
            + 1;
        Position { line, column }
    }

    /// The byte offset of a line and column, clamped into the text.
    pub fn offset(&self, position: Position) -> usize {
        let Some(start) = position
            .line
            .checked_sub(1)
            .and_then(|index| self.line_starts.get(index))
        else {
            return self.text.len();
        };
        let rest = self.text.get(*start..).unwrap_or_default();
        let line = rest.lines().next().unwrap_or_default();
        let column = position.column.saturating_sub(1);
        start
            + line
                .char_indices()
                .nth(column)
                .map_or(line.len(), |(offset, _)| offset)
    }
}

impl SourceId {
    /// The source of what no file declares, such as an entry made at run time.
    pub const NONE: Self = Self(u32::MAX);
}

impl Span {
    /// The span of what no file declares.
    pub const NONE: Self = Self {
        source: SourceId::NONE,
        start: 0,
        end: 0,
    };

    /// A span in a source.
    pub fn new(source: SourceId, range: Range<usize>) -> Self {
        Self {
            source,
            start: range.start,
            end: range.end,
        }
    }

    /// Whether it points into a source at all.
    pub fn is_known(self) -> bool {
        self.source != SourceId::NONE
    }
}

impl SourceText {
    /// Text that no file holds.
    pub fn from_text(text: impl Into<Arc<str>>) -> Self {
        Self {
            text: text.into(),
            span: Span::NONE,
            path: None,
        }
    }

    /// Where a range of the text stands in its source, so that a mistake in inline Lua or WIT is shown on its own
    /// YAML line. Where YAML transformed the text (escapes, folding), the whole field is the answer.
    pub fn span_at(&self, range: Range<usize>, sources: &SourceMap) -> Span {
        if self.path.is_some() {
            let start = self.span.start + range.start;
            return Span::new(
                self.span.source,
                start..self.span.start + range.end.max(range.start),
            );
        }
        self.inline_span(range, sources).unwrap_or(self.span)
    }

    fn inline_span(&self, range: Range<usize>, sources: &SourceMap) -> Option<Span> {
        let raw = sources.snippet(self.span)?;
        let before = self.text.get(..range.start)?;
        let line = before.matches('\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1);
        let wanted = self.text.lines().nth(line).unwrap_or_default();
        let raw_line = raw.split('\n').nth(line)?;
        let indent = raw_line.find(wanted)?;
        let line_start: usize = raw.split('\n').take(line).map(|line| line.len() + 1).sum();
        let start = self.span.start + line_start + indent + column;
        let length = (range.end.saturating_sub(range.start)).min(wanted.len().saturating_sub(column));
        Some(Span::new(self.span.source, start..start + length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_and_positions_are_inverse() {
        let mut sources = SourceMap::default();
        let id = sources.add("x.yaml", "aé\nb\n\nc");
        let source = sources.get(id).unwrap();
        for offset in [0, 1, 3, 4, 5, 6, 7] {
            assert_eq!(source.offset(source.position(offset)), offset);
        }
        assert_eq!(source.position(3), Position { line: 1, column: 3 });
        assert_eq!(source.position(99), Position { line: 4, column: 2 });
    }

    #[test]
    fn inline_text_maps_back_to_its_yaml_line() {
        let yaml = "source: |\n  local x\n    oops\n";
        let mut sources = SourceMap::default();
        let id = sources.add("x.yaml", yaml);
        let start = yaml.find("local").unwrap();
        let text = SourceText {
            text: "local x\n  oops\n".into(),
            span: Span::new(id, start..yaml.len()),
            path: None,
        };
        let oops = text.text.find("oops").unwrap();
        let span = text.span_at(oops..oops + 4, &sources);
        assert_eq!(sources.snippet(span), Some("oops"));
    }
}
