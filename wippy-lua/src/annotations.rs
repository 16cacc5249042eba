//! Type annotations: accepted and erased, so that a script with them is plain Lua.
//!
//! Erased are `type X = ...`, the types of locals, loop variables, parameters and results, casts (`x :: T`, `x as T`),
//! the mark `x!`, and what types are annotated with (`@min(0)`). They give way to spaces, so every other character keeps
//! its line and column. What does not read as a type is left for Lua's own parser to complain about.
//!
//! This is only for scripts that are not plain Lua: `as` may be the name of a function, and `::` may begin a label.
//! Types have no values here; a script that uses one as such is told so.

use std::{borrow::Cow, collections::HashSet};

use crate::tokens::{Kind, Token, tokens};

/// A script without its annotations.
pub(crate) struct Erased<'a> {
    pub(crate) text: Cow<'a, str>,
    /// The first place where a type is used as a value.
    pub(crate) misuse: Option<Misuse>,
}

/// A type that is used as a value.
pub(crate) struct Misuse {
    /// The line, from 1.
    pub(crate) line: usize,
    pub(crate) name: String,
}

/// The script without its annotations.
pub(crate) fn erase(text: &str) -> Erased<'_> {
    let tokens = tokens(text);
    let mut eraser = Eraser {
        source: text,
        tokens: &tokens,
        at: 0,
        erased: Vec::new(),
        types: HashSet::new(),
        values: HashSet::new(),
    };
    eraser.walk();
    let misuse = eraser.misuse();
    if eraser.erased.is_empty() {
        return Erased {
            text: Cow::Borrowed(text),
            misuse,
        };
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
    let text = Cow::Owned(String::from_utf8_lossy(&bytes).into_owned());
    Erased { text, misuse }
}

/// Types that every script has, as far as they are callable: no value of Lua's own can be mistaken for them.
const CALLABLE: &[&str] = &["boolean", "integer", "number", "string", "typeof"];

struct Eraser<'a> {
    source: &'a str,
    tokens: &'a [Token<'a>],
    at: usize,
    /// From where to where, in bytes; in order.
    erased: Vec<(usize, usize)>,
    /// The names of types.
    types: HashSet<&'a str>,
    /// The names of variables that the script makes.
    values: HashSet<&'a str>,
}

impl<'a> Eraser<'a> {
    fn text(&self, at: usize) -> &'a str {
        self.tokens.get(at).map_or("", |token| token.text)
    }

    /// Whether an expression may end with the token.
    fn ends_expression(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| match token.kind {
            Kind::Word => !is_keyword(token.text) || token.text == "end",
            Kind::Number | Kind::String => true,
            Kind::Symbol => matches!(token.text, ")" | "]" | "}" | "..." | "!"),
        })
    }

    /// Whether the token is on the same line as the one before it.
    fn continues_line(&self, at: usize) -> bool {
        let before = at.checked_sub(1).and_then(|before| self.tokens.get(before));
        let between = before
            .zip(self.tokens.get(at))
            .and_then(|(before, token)| self.source.get(before.end()..token.start));
        between.is_some_and(|between| !between.contains('\n'))
    }

    /// The first place where a type is used as a value: called, asked for a method or a field, or handed on. Without this,
    /// it would be a global that nobody has set, and so nil.
    fn misuse(&self) -> Option<Misuse> {
        let mut erased = self.erased.iter().peekable();
        for (at, token) in self.tokens.iter().enumerate() {
            while erased.next_if(|(_, end)| *end <= token.start).is_some() {}
            let is_erased = erased.peek().is_some_and(|(start, _)| *start <= token.start);
            let before = at.checked_sub(1).map_or("", |before| self.text(before));
            let is_type = token.kind == Kind::Word && self.types.contains(token.text)
                || CALLABLE.contains(&token.text) && self.text(at + 1) == "(" && !self.types.is_empty();
            if is_type
                && !is_erased
                && !self.values.contains(token.text)
                && !matches!(before, "." | ":" | "::" | "function" | "goto")
            {
                let before = self.source.get(..token.start).unwrap_or_default();
                return Some(Misuse {
                    line: before.matches('\n').count() + 1,
                    name: token.text.to_owned(),
                });
            }
        }
        None
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
                "as" if self.is_cast(at) => self.cast(at),
                "!" if self.is_mark(at) => self.erase(at, at + 1),
                "=" => self.assignment(at),
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

    /// `x as T`.
    fn is_cast(&self, at: usize) -> bool {
        at.checked_sub(1)
            .is_some_and(|before| self.ends_expression(before))
            && self.continues_line(at)
    }

    /// `x!`, unless it begins an operator that Lua does not have.
    fn is_mark(&self, at: usize) -> bool {
        let is_operator = self.text(at + 1) == "=" && self.is_adjacent(at + 1)
            || self.text(at + 1) == "==" && self.is_adjacent(at + 1);
        at.checked_sub(1)
            .is_some_and(|before| self.ends_expression(before))
            && !is_operator
    }

    /// Whether nothing is between the token and the one before it.
    fn is_adjacent(&self, at: usize) -> bool {
        let before = at.checked_sub(1).and_then(|before| self.tokens.get(before));
        before
            .zip(self.tokens.get(at))
            .is_some_and(|(before, token)| before.end() == token.start)
    }

    /// `name = ...` makes a variable, as far as can be seen.
    fn assignment(&mut self, at: usize) {
        if let Some(before) = at.checked_sub(1).filter(|before| self.is_word(*before)) {
            self.values.insert(self.text(before));
        }
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
            self.types.insert(self.text(at + 1));
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
            self.values.insert(self.text(self.at));
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
            self.values.insert(self.text(self.at));
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
            self.values.insert(self.text(self.at));
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
            match self.text(end) {
                "|" | "&" => end += 1,
                "->" => return self.type_at(end + 1),
                _ => return Some(end),
            }
        }
    }

    /// One member of a union, with everything that belongs to it.
    fn part_of_type(&self, at: usize) -> Option<usize> {
        let token = self.tokens.get(at)?;
        let mut end = match (token.kind, token.text) {
            (_, "..." | "-") => self.part_of_type(at + 1).unwrap_or(at + 1),
            (_, "{" | "(") => self.balanced(at)?,
            // What a function type is generic over.
            (_, "<") => self.type_at(self.balanced(at)?)?,
            (Kind::Word, "readonly") if self.begins_type(at + 1) => self.part_of_type(at + 1)?,
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

    fn begins_type(&self, at: usize) -> bool {
        self.is_word(at) && !is_keyword(self.text(at)) && self.continues_line(at) || self.text(at) == "{"
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
