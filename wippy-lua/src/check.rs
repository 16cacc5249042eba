//! Looking at a script without running it.

use std::borrow::Cow;

use mlua::{Function, Lua, StdLib, Table, chunk::ChunkMode};
use wippy_registry::EntryId;

use crate::{Error, annotations, tokens::tokens};

/// Compiles `text` without running it. `name` is what errors call the file.
///
/// # Errors
/// [`Error::Syntax`].
pub fn check(id: Option<&EntryId>, name: &str, text: &str) -> Result<(), Error> {
    compile(id, name, text).map(drop)
}

/// A script as Lua's own code, with everything that messages and tracebacks need.
///
/// It is made of text by ourselves and never leaves this program: code that comes from elsewhere is loaded nowhere, because
/// Lua does not check it.
pub(crate) struct Compiled(Vec<u8>);

impl Compiled {
    /// The script as a function of `lua`, with globals of its own if there are some.
    ///
    /// # Errors
    /// When memory does not suffice.
    pub(crate) fn load(&self, lua: &Lua, globals: Option<&Table>) -> mlua::Result<Function> {
        let chunk = lua.load(&*self.0).set_mode(ChunkMode::Binary);
        match globals {
            Some(globals) => chunk.set_environment(globals.clone()),
            None => chunk,
        }
        .into_function()
    }
}

/// Compiles `text`.
///
/// # Errors
/// [`Error::Syntax`].
pub(crate) fn compile(id: Option<&EntryId>, name: &str, text: &str) -> Result<Compiled, Error> {
    let state = Lua::new_with(StdLib::NONE, mlua::LuaOptions::default());
    let lua = state.map_err(|error| syntax(id, name, &error))?;
    let load = |text: &str| {
        let chunk = lua
            .load(text)
            .set_name(format!("@{name}"))
            .set_mode(ChunkMode::Text);
        chunk.into_function().map(|chunk| Compiled(chunk.dump(false)))
    };
    // What is plain Lua is run as it stands.
    if let Ok(chunk) = load(text) {
        return Ok(chunk);
    }
    let erased = annotations::erase(text);
    let chunk = load(&erased.text).map_err(|error| syntax(id, name, &error))?;
    match erased.misuse {
        None => Ok(chunk),
        Some(misuse) => Err(Error::Syntax {
            id: id.cloned(),
            name: name.into(),
            line: misuse.line,
            message: format!(
                "`{0}` is a type, and types are not values here: check the value itself, as with `type(x)`, instead of using `{0}`",
                misuse.name
            ),
            near: Some(misuse.name),
        }),
    }
}

/// The script as plain Lua: without its type annotations, and with everything else in its line and column.
///
/// What is plain Lua already stays as it is. What is no Lua either way is given as far as it goes.
pub fn plain(text: &str) -> Cow<'_, str> {
    let state = Lua::new_with(StdLib::NONE, mlua::LuaOptions::default());
    let is_plain = state.is_ok_and(|lua| lua.load(text).set_mode(ChunkMode::Text).into_function().is_ok());
    if is_plain {
        Cow::Borrowed(text)
    } else {
        annotations::erase(text).text
    }
}

/// Takes the parser's message `file:line: problem near token` apart.
#[expect(clippy::wildcard_enum_match_arm, reason = "mlua's enums grow")]
fn syntax(id: Option<&EntryId>, name: &str, error: &mlua::Error) -> Error {
    let text = match error {
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        other => other.to_string(),
    };
    let (line, message) = split_place(&text).unwrap_or((1, &text));
    let near = message
        .rsplit_once(" near ")
        .map(|(_, token)| token.trim_matches(['\'', '<', '>']).to_owned());
    Error::Syntax {
        id: id.cloned(),
        name: name.into(),
        line,
        message: message.to_owned(),
        near,
    }
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
    let tokens = tokens(text);
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let mut rest = tokens.iter().skip(index + 1);
        let argument = rest
            .next()
            .and_then(|next| if next.text == "(" { rest.next() } else { Some(next) });
        if token.text == "require"
            && let Some(argument) = argument
            && let Some(name) = argument.plain_string()
        {
            let before = text.get(..argument.start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = argument.start - before.rfind('\n').map_or(0, |at| at + 1) + 2;
            found.push(Required {
                name: name.to_owned(),
                line,
                column,
            });
        }
    }
    found
}
