//! Type annotations: accepted and erased, so that a script with them is plain Lua.
//!
//! Erased are `type X = ...`, the types of locals, loop variables, parameters and results, casts (`x :: T`), the mark
//! `x!`, and what types are annotated with (`@min(0)`). They give way to spaces, so every other character keeps its
//! line and column. What does not read as a type is left for Lua's own parser to complain about.

use std::borrow::Cow;

use crate::tokens::{Kind, Token, tokens};

/// The script without its annotations.
pub(crate) fn erase(text: &str) -> Cow<'_, str> {
    let tokens = tokens(text);
    let mut eraser = Eraser {
        tokens: &tokens,
        at: 0,
        erased: Vec::new(),
    };
    eraser.walk();
    if eraser.erased.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut bytes = text.as_bytes().to_vec();
    for (start, end) in eraser.erased {
        for byte in bytes.get_mut(start..end).unwrap_or_default() {
            if !matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
    // Whole tokens were replaced, so what is left is whole characters.
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

struct Eraser<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    erased: Vec<(usize, usize)>,
}

impl Eraser<'_> {
    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text)
    }

    fn is_word(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == Kind::Word)
    }

    /// Erases the tokens from `from` up to `to`.
    fn erase(&mut self, from: usize, to: usize) {
        let last = to.checked_sub(1).and_then(|last| self.tokens.get(last));
        if let (Some(first), Some(last), true) = (self.tokens.get(from), last, from < to) {
            self.erased.push((first.start, last.end()));
        }
    }

    fn walk(&mut self) {
        while self.at < self.tokens.len() {
            let at = self.at;
            self.at += 1;
            match self.text(at) {
                "function" => self.function(),
                "local" if self.text(at + 1) != "function" => self.names(),
                "for" => self.names(),
                "type" if self.is_alias(at) => self.alias(at),
                "::" => self.cast(at),
                "!" if self.text(at + 1) != "=" => self.erase(at, at + 1),
                _ => {}
            }
        }
    }

    /// Whether `type` begins an alias: `type X =` or `type X<T> =`, as a statement.
    fn is_alias(&self, at: usize) -> bool {
        let before = at.checked_sub(1).map_or("", |before| self.text(before));
        self.is_word(at + 1)
            && matches!(self.text(at + 2), "=" | "<")
            && !matches!(before, "." | ":" | "local")
    }

    fn alias(&mut self, at: usize) {
        let exported = at.checked_sub(1).filter(|before| self.text(*before) == "export");
        let mut end = at + 2;
        if self.text(end) == "<" {
            end = self.balanced(end).unwrap_or(end);
        }
        if self.text(end) == "="
            && let Some(end) = self.type_at(end + 1)
        {
            self.erase(exported.unwrap_or(at), end);
            self.at = end;
        }
    }

    /// `x :: T`; a label `::name::` stays.
    fn cast(&mut self, at: usize) {
        if self.is_word(at + 1) && self.text(at + 2) == "::" {
            self.at = at + 3;
            return;
        }
        if let Some(end) = self.type_at(at + 1) {
            self.erase(at, end);
            self.at = end;
        }
    }

    /// `name: T, name <attrib>: T, ...` behind `local` or `for`.
    fn names(&mut self) {
        while self.is_word(self.at) {
            self.at += 1;
            if self.text(self.at) == "<" {
                self.at = self.balanced(self.at).unwrap_or(self.at);
            }
            self.annotation();
            if self.text(self.at) != "," {
                return;
            }
            self.at += 1;
        }
    }

    /// Name, parameters and results behind `function`; the body is walked as everything else.
    fn function(&mut self) {
        while self.is_word(self.at) || matches!(self.text(self.at), "." | ":") {
            self.at += 1;
        }
        if self.text(self.at) == "<"
            && let Some(end) = self.balanced(self.at)
        {
            self.erase(self.at, end);
            self.at = end;
        }
        if self.text(self.at) != "(" {
            return;
        }
        self.at += 1;
        while self.is_word(self.at) || self.text(self.at) == "..." {
            self.at += 1;
            if self.text(self.at) == "?" {
                self.erase(self.at, self.at + 1);
                self.at += 1;
            }
            self.annotation();
            if self.text(self.at) == "," {
                self.at += 1;
            }
        }
        if self.text(self.at) == ")" {
            self.at += 1;
            self.results();
        }
    }

    /// `: T` or `: T, U`.
    fn results(&mut self) {
        let start = self.at;
        self.annotation();
        while self.at > start && self.text(self.at) == "," {
            let Some(end) = self.type_at(self.at + 1) else {
                return;
            };
            self.erase(self.at, end);
            self.at = end;
        }
    }

    /// `: T`, if it is there.
    fn annotation(&mut self) {
        if self.text(self.at) == ":"
            && let Some(end) = self.type_at(self.at + 1)
        {
            self.erase(self.at, end);
            self.at = end;
        }
    }

    /// Where the type that begins at `at` ends.
    fn type_at(&self, at: usize) -> Option<usize> {
        let mut end = if self.text(at) == "|" { at + 1 } else { at };
        loop {
            end = self.part_of_type(end)?;
            if !matches!(self.text(end), "|" | "&") {
                return Some(end);
            }
            end += 1;
        }
    }

    /// One member of a union, with everything that belongs to it.
    fn part_of_type(&self, at: usize) -> Option<usize> {
        let token = self.tokens.get(at)?;
        let mut end = match (token.kind, token.text) {
            (_, "..." | "-") => self.part_of_type(at + 1).unwrap_or(at + 1),
            (_, "{") => self.balanced(at)?,
            (_, "(") => {
                let end = self.balanced(at)?;
                if self.text(end) == "->" {
                    self.type_at(end + 1)?
                } else {
                    end
                }
            }
            (Kind::Word, "fun" | "typeof") if self.text(at + 1) == "(" => {
                let end = self.balanced(at + 1)?;
                if self.text(end) == ":" {
                    self.type_at(end + 1)?
                } else {
                    end
                }
            }
            (Kind::Word, word) if is_keyword(word) => return None,
            (Kind::Word, _) => self.named_type(at),
            (Kind::String | Kind::Number, _) => at + 1,
            (Kind::Symbol, _) => return None,
        };
        loop {
            end = match self.text(end) {
                "?" | "!" => end + 1,
                "[" if self.text(end + 1) == "]" => end + 2,
                "@" if self.is_word(end + 1) && self.text(end + 2) == "(" => self.balanced(end + 2)?,
                "@" if self.is_word(end + 1) => end + 2,
                _ => return Some(end),
            };
        }
    }

    /// `name`, `module.name` or `name<...>`.
    fn named_type(&self, at: usize) -> usize {
        let mut end = at + 1;
        while self.text(end) == "." && self.is_word(end + 1) {
            end += 2;
        }
        // Behind a cast, `<` may be a comparison; arguments of a type follow its name without a space.
        let adjacent = |end: usize| {
            let name = self.tokens.get(end.checked_sub(1)?)?;
            Some(name.end() == self.tokens.get(end)?.start)
        };
        if self.text(end) == "<" && adjacent(end) == Some(true) {
            return self.balanced(end).unwrap_or(end);
        }
        end
    }

    /// Where the bracket that opens at `at` has been closed.
    fn balanced(&self, at: usize) -> Option<usize> {
        let is_angle = self.text(at) == "<";
        let mut depth = 0_usize;
        let mut end = at;
        loop {
            let token = self.tokens.get(end)?;
            match token.text {
                "(" | "{" | "[" => depth += 1,
                ")" | "}" | "]" => depth = depth.checked_sub(1)?,
                "<" if is_angle => depth += 1,
                ">" if is_angle => depth = depth.checked_sub(1)?,
                ">>" if is_angle => depth = depth.checked_sub(2)?,
                _ => {}
            }
            end += 1;
            if depth == 0 {
                return Some(end);
            }
        }
    }
}

/// Words that are no names of types; `nil`, `true`, `false` and `function` are.
fn is_keyword(word: &str) -> bool {
    matches!(
        word,
        "and"
            | "break"
            | "do"
            | "else"
            | "elseif"
            | "end"
            | "for"
            | "goto"
            | "if"
            | "in"
            | "local"
            | "not"
            | "or"
            | "repeat"
            | "return"
            | "then"
            | "until"
            | "while"
    )
}
