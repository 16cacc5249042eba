//! Recognises operators of other expression languages in text that is not CEL, and shows the CEL form.

use std::ops::Range;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenKind {
    /// A name or path, a number, or a string.
    Operand,
    Open,
    Close,
    Other,
}

#[derive(Debug, Clone)]
struct Token {
    kind: TokenKind,
    range: Range<usize>,
}

/// The first word that CEL writes otherwise, with what to write instead.
pub(super) fn foreign(text: &str) -> Option<(Range<usize>, String)> {
    let line = Line {
        text,
        tokens: tokens(text),
    };
    (0..line.tokens.len()).find_map(|index| {
        let range = line.tokens.get(index)?.range.clone();
        Some((range, line.instead_of(index)?))
    })
}

struct Line<'a> {
    text: &'a str,
    tokens: Vec<Token>,
}

impl<'a> Line<'a> {
    fn instead_of(&self, index: usize) -> Option<String> {
        let next = self.word(index + 1);
        Some(match self.word(index)? {
            "not" if next == Some("in") => {
                format!(
                    "!({} in {})",
                    self.operand(index.checked_sub(1), "element"),
                    self.operand(Some(index + 2), "list")
                )
            }
            // Told about at that word, together with the negation.
            "not" if next.is_some_and(is_method) => return None,
            "not" if next.is_some() => "!".to_owned(),
            "and" if self.is_infix(index) => "&&".to_owned(),
            "or" if self.is_infix(index) => "||".to_owned(),
            "=" => "==".to_owned(),
            method if is_method(method) && self.is_infix(index) => self.method(index, method),
            _ => return None,
        })
    }

    fn method(&self, index: usize, method: &str) -> String {
        let before = index.checked_sub(1);
        let is_negated = before.and_then(|before| self.word(before)) == Some("not");
        let left = self.operand(if is_negated { index.checked_sub(2) } else { before }, "text");
        let right = self.operand(Some(index + 1), "part");
        let not = if is_negated { "!" } else { "" };
        match method {
            "contains" if is_negated => {
                format!("!{left}.contains({right})`, or for a list `!({right} in {left})")
            }
            "contains" => format!("{left}.contains({right})`, or for a list `{right} in {left}"),
            _ => format!("{not}{left}.{method}({right})"),
        }
    }

    fn word(&self, index: usize) -> Option<&'a str> {
        self.text.get(self.tokens.get(index)?.range.clone())
    }

    /// What stands there, or a word for it if it is more than one token.
    fn operand(&self, index: Option<usize>, other: &'static str) -> &'a str {
        let simple = index.filter(|index| self.kind(*index) == Some(TokenKind::Operand));
        simple.and_then(|index| self.word(index)).unwrap_or(other)
    }

    fn kind(&self, index: usize) -> Option<TokenKind> {
        self.tokens.get(index).map(|token| token.kind)
    }

    fn is_infix(&self, index: usize) -> bool {
        let before = index.checked_sub(1).and_then(|before| self.kind(before));
        matches!(before, Some(TokenKind::Operand | TokenKind::Close))
            && matches!(self.kind(index + 1), Some(TokenKind::Operand | TokenKind::Open))
    }
}

fn is_method(word: &str) -> bool {
    ["contains", "matches", "startsWith", "endsWith"].contains(&word)
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(rest) = text.get(start..).filter(|rest| !rest.is_empty()) {
        let (kind, len) = token(rest);
        if !rest.starts_with(char::is_whitespace) {
            tokens.push(Token {
                kind,
                range: start..start + len,
            });
        }
        start += len;
    }
    tokens
}

/// The kind and the length of the first token, at least one character.
fn token(text: &str) -> (TokenKind, usize) {
    let run = |accepts: fn(char) -> bool| text.find(|character| !accepts(character)).unwrap_or(text.len());
    let first = text.chars().next().unwrap_or_default();
    match first {
        '"' | '\'' => (TokenKind::Operand, string_len(text, first)),
        '(' | '[' | '{' => (TokenKind::Open, 1),
        ')' | ']' | '}' => (TokenKind::Close, 1),
        '=' | '!' | '<' | '>' | '&' | '|' => {
            (TokenKind::Other, run(|character| "=!<>&|".contains(character)))
        }
        _ if is_name(first) => (TokenKind::Operand, run(is_name)),
        _ if first.is_whitespace() => (TokenKind::Other, run(char::is_whitespace)),
        _ => (TokenKind::Other, first.len_utf8()),
    }
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || "_.".contains(character)
}

fn string_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (offset, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return offset + 1,
            _ => {}
        }
    }
    text.len()
}
