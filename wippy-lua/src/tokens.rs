//! The tokens of a script, as far as looking at it needs them: places and kinds, not values.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name or a keyword.
    Word,
    Number,
    String,
    /// An operator or a bracket.
    Symbol,
}

/// A piece of the text; comments and white space are none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    /// Where it begins, in bytes.
    pub(crate) start: usize,
}

impl Token<'_> {
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// The contents of a short string without escapes.
    pub(crate) fn plain_string(&self) -> Option<&str> {
        let quoted = self
            .text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        let quoted = quoted.or_else(|| self.text.strip_prefix('\'')?.strip_suffix('\''));
        quoted.filter(|text| self.kind == Kind::String && !text.contains('\\'))
    }
}

/// Symbols of more than one character, longest first.
const SYMBOLS: &[&str] = &["...", "..", "==", "~=", "<=", ">=", "//", "::", "<<", ">>", "->"];

/// The tokens of `text`. Never fails: what is no Lua becomes symbols, for the parser to complain about.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let (kind, len) = next(rest);
        if let (Some(kind), Some(text)) = (kind, rest.get(..len)) {
            tokens.push(Token {
                kind,
                text,
                start: at,
            });
        }
        at += len.max(1);
    }
    tokens
}

/// The kind and length of what `rest` begins with; no kind for what is skipped.
fn next(rest: &str) -> (Option<Kind>, usize) {
    let Some(first) = rest.chars().next() else {
        return (None, 0);
    };
    if let Some(comment) = rest.strip_prefix("--") {
        let len = long_bracket(comment).unwrap_or_else(|| comment.find('\n').unwrap_or(comment.len()));
        return (None, 2 + len);
    }
    if first.is_whitespace() {
        return (None, first.len_utf8());
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let len = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
            .count();
        return (Some(Kind::Word), len);
    }
    if first.is_ascii_digit() {
        return (Some(Kind::Number), number(rest));
    }
    if first == '"' || first == '\'' {
        return (Some(Kind::String), short_string(rest));
    }
    if let Some(len) = long_bracket(rest) {
        return (Some(Kind::String), len);
    }
    let len = SYMBOLS
        .iter()
        .find(|symbol| rest.starts_with(**symbol))
        .map_or(first.len_utf8(), |symbol| symbol.len());
    (Some(Kind::Symbol), len)
}

/// The length of the long bracket that `rest` begins with.
fn long_bracket(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('[')?;
    let level = inner.bytes().take_while(|byte| *byte == b'=').count();
    let contents = inner.get(level..)?.strip_prefix('[')?;
    let close = format!("]{}]", "=".repeat(level));
    let opened = level + 2;
    Some(
        contents
            .find(&close)
            .map_or(rest.len(), |at| opened + at + close.len()),
    )
}

/// The length of the quoted string that `rest` begins with; an open one ends with its line.
fn short_string(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let quote = bytes.first();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'\n' => return at,
            _ if Some(byte) == quote => return at + 1,
            _ => {}
        }
        at += 1;
    }
    rest.len()
}

/// The length of the number that `rest` begins with.
fn number(rest: &str) -> usize {
    let mut before = ' ';
    let mut len = 0;
    for letter in rest.chars() {
        let signed_exponent = matches!(letter, '+' | '-') && matches!(before, 'e' | 'E' | 'p' | 'P');
        let range = letter == '.' && before == '.';
        if !(letter.is_ascii_alphanumeric() || letter == '.' || signed_exponent) || range {
            break;
        }
        before = letter;
        len += letter.len_utf8();
    }
    len
}
