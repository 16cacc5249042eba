//! The recursive splitter: paragraphs, lines, words, characters, each only where the one before was too large.

use std::collections::VecDeque;

use wippy_security::CallError;

use super::{Chunks, Size, length};

pub(super) const SEPARATORS: &[&str] = &["\n\n", "\n", " ", ""];

pub(super) struct Recursive {
    pub(super) size: Size,
    pub(super) separators: Vec<String>,
    pub(super) keeps_separator: bool,
}

impl Recursive {
    pub(super) fn split(&self, text: &str, chunks: &mut Chunks) -> Result<(), CallError> {
        self.split_by(text, &self.separators, chunks)
    }

    fn split_by(&self, text: &str, separators: &[String], chunks: &mut Chunks) -> Result<(), CallError> {
        // The first separator that the text has; the last one if it has none.
        let at = separators
            .iter()
            .position(|separator| text.contains(separator.as_str()))
            .unwrap_or(separators.len().saturating_sub(1));
        let separator = separators.get(at).map_or("", String::as_str);
        let finer = separators.get(at + 1..).unwrap_or_default();
        let mut row = Row::new(self.size, if self.keeps_separator { "" } else { separator });
        for piece in self.pieces(text, separator) {
            if length(piece) <= self.size.chunk {
                row.add(piece, chunks)?;
                continue;
            }
            row.finish(chunks)?;
            if finer.is_empty() {
                chunks.push(piece)?;
            } else {
                self.split_by(piece, finer, chunks)?;
            }
        }
        row.finish(chunks)
    }

    fn pieces<'a>(&self, text: &'a str, separator: &str) -> Vec<&'a str> {
        if separator.is_empty() {
            let ends = text
                .char_indices()
                .map(|(at, letter)| (at, at + letter.len_utf8()));
            return ends.filter_map(|(start, end)| text.get(start..end)).collect();
        }
        if self.keeps_separator {
            return text.split_inclusive(separator).collect();
        }
        text.split(separator).filter(|piece| !piece.is_empty()).collect()
    }
}

/// Pieces that become a chunk once no other fits; its last ones begin the next chunk, as far as they may overlap.
struct Row<'a> {
    size: Size,
    joint: &'a str,
    pieces: VecDeque<(&'a str, usize)>,
    /// Characters of all pieces with the joints between them.
    len: usize,
    /// Whether a piece is new since the latest chunk.
    is_new: bool,
}

impl<'a> Row<'a> {
    fn new(size: Size, joint: &'a str) -> Self {
        Self {
            size,
            joint,
            pieces: VecDeque::new(),
            len: 0,
            is_new: false,
        }
    }

    fn joint_len(&self) -> usize {
        if self.pieces.is_empty() {
            0
        } else {
            length(self.joint)
        }
    }

    fn add(&mut self, piece: &'a str, chunks: &mut Chunks) -> Result<(), CallError> {
        let len = length(piece);
        if self.len + self.joint_len() + len > self.size.chunk {
            self.emit(chunks)?;
            while !self.pieces.is_empty()
                && (self.len > self.size.overlap || self.len + self.joint_len() + len > self.size.chunk)
            {
                self.drop_first();
            }
        }
        self.len += self.joint_len() + len;
        self.pieces.push_back((piece, len));
        self.is_new = true;
        Ok(())
    }

    fn drop_first(&mut self) {
        if let Some((_, len)) = self.pieces.pop_front() {
            self.len -= len + self.joint_len();
        }
    }

    fn emit(&mut self, chunks: &mut Chunks) -> Result<(), CallError> {
        if !std::mem::take(&mut self.is_new) {
            return Ok(());
        }
        let pieces: Vec<&str> = self.pieces.iter().map(|(piece, _)| *piece).collect();
        chunks.push(&pieces.join(self.joint))
    }

    fn finish(&mut self, chunks: &mut Chunks) -> Result<(), CallError> {
        self.emit(chunks)?;
        self.pieces.clear();
        self.len = 0;
        Ok(())
    }
}
