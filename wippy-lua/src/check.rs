//! Looking at a script without running it.

use mlua::{Function, Lua, StdLib, Table, chunk::ChunkMode};
use wippy_registry::EntryId;

use crate::Error;

/// Compiles `text` without running it. `name` is what errors call the file.
///
/// # Errors
/// [`Error::Syntax`].
pub fn check(id: Option<&EntryId>, name: &str, text: &str) -> Result<(), Error> {
    let state = Lua::new_with(StdLib::NONE, mlua::LuaOptions::default());
    let lua = state.map_err(|error| syntax(id, name, &error))?;
    compile(&lua, id, name, text, None).map(drop)
}

/// Compiles `text` for `lua`.
///
/// # Errors
/// [`Error::Syntax`].
pub(crate) fn compile(
    lua: &Lua,
    id: Option<&EntryId>,
    name: &str,
    text: &str,
    globals: Option<Table>,
) -> Result<Function, Error> {
    // A short chunk name, so that the places in messages are whole: Lua cuts names at 60 bytes, from the left.
    let chunk = lua.load(text).set_name(format!("@{name}")).set_mode(ChunkMode::Text);
    let chunk = match globals {
        Some(globals) => chunk.set_environment(globals),
        None => chunk,
    };
    chunk.into_function().map_err(|error| syntax(id, name, &error))
}

/// Takes the parser's message `file:line: problem near token` apart.
fn syntax(id: Option<&EntryId>, name: &str, error: &mlua::Error) -> Error {
    let text = match error {
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        other => other.to_string(),
    };
    let (line, message) = split_place(&text).unwrap_or((1, &text));
    let near = message.rsplit_once(" near ").map(|(_, token)| token.trim_matches(['\'', '<', '>']).to_owned());
    Error::Syntax { id: id.cloned(), name: name.into(), line, message: message.to_owned(), near }
}

fn split_place(text: &str) -> Option<(usize, &str)> {
    text.match_indices(':').find_map(|(at, _)| {
        let rest = text.get(at + 1..)?;
        let (line, message) = rest.split_once(": ")?;
        Some((line.parse().ok()?, message))
    })
}

/// One `require("name")` of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Required {
    /// What is required.
    pub name: String,
    /// The line, from 1.
    pub line: usize,
    /// The column of the name's first letter, in bytes from 1.
    pub column: usize,
}

/// The modules and libraries that a script requires by a literal name, in the order of their places.
///
/// Comments and other strings are not looked into.
pub fn required(text: &str) -> Vec<Required> {
    Scanner { text, at: 0, line: 1, line_start: 0 }.collect()
}

/// Walks the text token by token, as far as telling code from comments and strings needs.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    line_start: usize,
}

impl Iterator for Scanner<'_> {
    type Item = Required;

    fn next(&mut self) -> Option<Required> {
        while let Some(byte) = self.peek() {
            match byte {
                b'-' if self.rest().starts_with("--") => self.skip_comment(),
                b'[' if self.long_bracket().is_some() => self.skip_long_bracket(),
                b'"' | b'\'' => drop(self.string()),
                byte if byte.is_ascii_alphabetic() || byte == b'_' => {
                    if self.word() == "require"
                        && let Some(required) = self.argument()
                    {
                        return Some(required);
                    }
                }
                _ => self.step(),
            }
        }
        None
    }
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn step(&mut self) {
        if self.peek() == Some(b'\n') {
            self.line += 1;
            self.line_start = self.at + 1;
        }
        self.at += 1;
    }

    fn step_over(&mut self, bytes: usize) {
        for _ in 0..bytes {
            self.step();
        }
    }

    fn word(&mut self) -> &'a str {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let len = self.rest().bytes().take_while(|byte| is_part(byte)).count();
        let word = self.rest().get(..len).unwrap_or_default();
        self.at += len;
        word
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.step();
        }
    }

    fn skip_comment(&mut self) {
        self.step_over(2);
        if self.long_bracket().is_some() {
            return self.skip_long_bracket();
        }
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.step();
        }
    }

    /// The number of `=` in the long bracket that begins here.
    fn long_bracket(&self) -> Option<usize> {
        let rest = self.text.as_bytes().get(self.at..)?.strip_prefix(b"[")?;
        let level = rest.iter().take_while(|byte| **byte == b'=').count();
        (rest.get(level) == Some(&b'[')).then_some(level)
    }

    fn skip_long_bracket(&mut self) {
        let close = format!("]{}]", "=".repeat(self.long_bracket().unwrap_or_default()));
        let len = self.rest().find(&close).map_or(self.rest().len(), |at| at + close.len());
        self.step_over(len);
    }

    /// The contents of the short string that begins here, if it is a plain one.
    fn string(&mut self) -> Option<&'a str> {
        let quote = self.peek()?;
        self.step();
        let start = self.at;
        let mut plain = true;
        while let Some(byte) = self.peek() {
            match byte {
                b'\\' => {
                    plain = false;
                    self.step();
                    self.step();
                }
                b'\n' => return None,
                byte if byte == quote => {
                    let contents = self.text.get(start..self.at);
                    self.step();
                    return contents.filter(|_| plain);
                }
                _ => self.step(),
            }
        }
        None
    }

    /// The literal behind the word `require`, with or without parentheses.
    fn argument(&mut self) -> Option<Required> {
        self.skip_space();
        if self.peek() == Some(b'(') {
            self.step();
            self.skip_space();
        }
        if !matches!(self.peek(), Some(b'"' | b'\'')) {
            return None;
        }
        let (line, column) = (self.line, self.at - self.line_start + 2);
        let name = self.string()?.to_owned();
        Some(Required { name, line, column })
    }
}
