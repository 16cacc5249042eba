//! [`Scanner`]: a file in pieces: lines, words, bytes or characters.

use std::{
    str::{self, FromStr},
    sync::Arc,
};

use wippy_security::{CallError, ErrorKind};

use super::File;

/// How much is read at a time.
const CHUNK: usize = 64 << 10;

/// A longer piece is an error rather than memory.
const PIECE_MAX: usize = 1 << 20;

/// What the pieces are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Split {
    Lines,
    Words,
    Bytes,
    Runes,
}

impl FromStr for Split {
    type Err = CallError;

    fn from_str(text: &str) -> Result<Self, CallError> {
        Ok(match text {
            "lines" => Self::Lines,
            "words" => Self::Words,
            "bytes" => Self::Bytes,
            "runes" => Self::Runes,
            _ => {
                return Err(CallError::invalid(format!(
                    "`{text}` is no way to split a file: there are lines, words, bytes, runes"
                )));
            }
        })
    }
}

/// A file in pieces.
#[derive(Debug)]
pub(crate) struct Scanner {
    file: Arc<File>,
    split: Split,
    buffer: Vec<u8>,
    /// Where the next piece begins.
    at: usize,
    is_at_end: bool,
    piece: Vec<u8>,
    failure: Option<CallError>,
}

/// What the buffer has for the next piece.
enum Found {
    /// A piece, and how many bytes it took with what divides it from the next.
    Piece(Vec<u8>, usize),
    /// Nothing, and how many bytes can be passed over.
    Nothing(usize),
}

impl Scanner {
    pub(crate) fn new(file: Arc<File>, split: Split) -> Self {
        Self {
            file,
            split,
            buffer: Vec::new(),
            at: 0,
            is_at_end: false,
            piece: Vec::new(),
            failure: None,
        }
    }

    /// Goes on to the next piece if that was read already, or if there is none.
    pub(crate) fn advance_buffered(&mut self) -> Option<bool> {
        if self.failure.is_some() {
            return Some(false);
        }
        match self.find() {
            Found::Piece(piece, taken) => {
                self.piece = piece;
                self.at += taken;
                Some(true)
            }
            Found::Nothing(passed) => {
                self.at += passed;
                self.piece.clear();
                self.is_at_end.then_some(false)
            }
        }
    }

    /// Goes on to the next piece, reading as much as it takes; whether there is one.
    pub(crate) fn advance(&mut self) -> bool {
        loop {
            if let Some(advanced) = self.advance_buffered() {
                return advanced;
            }
            if let Err(error) = self.fill() {
                self.failure = Some(error);
            }
        }
    }

    /// The piece.
    pub(crate) fn piece(&self) -> &[u8] {
        &self.piece
    }

    /// Why it ended early, if it did.
    pub(crate) fn failure(&self) -> Option<&CallError> {
        self.failure.as_ref()
    }

    fn fill(&mut self) -> Result<(), CallError> {
        self.buffer.drain(..self.at);
        self.at = 0;
        if self.buffer.len() > PIECE_MAX {
            return Err(CallError::internal("a piece of the file is longer than 1 MiB"));
        }
        let read = self.file.read(CHUNK).map_err(|error| {
            let retryable = error.retryable();
            CallError::new(ErrorKind::Internal, error.message().to_owned()).with_retryable(retryable)
        })?;
        self.is_at_end = read.is_empty();
        self.buffer.extend(read);
        Ok(())
    }

    fn find(&self) -> Found {
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        match self.split {
            Split::Lines => self.line(rest),
            Split::Words => self.word(rest),
            Split::Bytes => match rest.first() {
                Some(byte) => Found::Piece(vec![*byte], 1),
                None => Found::Nothing(0),
            },
            Split::Runes => self.rune(rest),
        }
    }

    fn line(&self, rest: &[u8]) -> Found {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (line, taken) = match end.and_then(|end| Some((rest.get(..end)?, end + 1))) {
            Some(line) => line,
            None if self.is_at_end && !rest.is_empty() => (rest, rest.len()),
            None => return Found::Nothing(0),
        };
        Found::Piece(line.strip_suffix(b"\r").unwrap_or(line).to_vec(), taken)
    }

    fn word(&self, rest: &[u8]) -> Found {
        let Some(start) = rest.iter().position(|byte| !byte.is_ascii_whitespace()) else {
            return Found::Nothing(rest.len());
        };
        let word = rest.get(start..).unwrap_or_default();
        let end = match word.iter().position(u8::is_ascii_whitespace) {
            Some(end) => end,
            None if self.is_at_end => word.len(),
            None => return Found::Nothing(start),
        };
        Found::Piece(word.get(..end).unwrap_or_default().to_vec(), start + end)
    }

    /// A character; bytes that are none are the replacement character, one each.
    fn rune(&self, rest: &[u8]) -> Found {
        let window = rest.get(..rest.len().min(4)).unwrap_or_default();
        let (length, is_cut) = match str::from_utf8(window) {
            Ok(text) => (text.chars().next().map_or(0, char::len_utf8), false),
            Err(error) if error.valid_up_to() > 0 => {
                let valid = window.get(..error.valid_up_to()).unwrap_or_default();
                let first = str::from_utf8(valid).ok().and_then(|text| text.chars().next());
                (first.map_or(0, char::len_utf8), false)
            }
            Err(error) => (0, error.error_len().is_none()),
        };
        match rest.get(..length).filter(|piece| !piece.is_empty()) {
            Some(piece) => Found::Piece(piece.to_vec(), length),
            None if rest.is_empty() || (is_cut && !self.is_at_end) => Found::Nothing(0),
            None => Found::Piece("\u{fffd}".as_bytes().to_vec(), 1),
        }
    }
}
