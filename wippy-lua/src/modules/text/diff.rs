//! `text.diff`: what was deleted and inserted between two texts, in pieces that mean something to people.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else there is, is refused alike"
)]

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use mlua::{Function, IntoLuaMulti, Lua, Table, Value as LuaValue};
use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};
use wippy_security::CallError;
use wippy_wit::Value;

use super::patch;
use crate::{
    arguments::{self, Arguments, function, unexpected},
    suspend::suspending,
    values,
};

/// No comparison takes longer, whatever its options say.
const TIMEOUT_MAX: f64 = 10.0;
const LENGTH_MAX: i64 = 100_000;

/// Makes the table.
///
/// # Errors
/// When memory does not suffice.
pub(super) fn table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let new = lua.create_function(|lua, arguments: Arguments| match Options::read(&arguments) {
        Ok(options) => differ(lua, options)?.into_lua_multi(lua),
        Err(error) => values::refuse(lua, error.context("text.diff.new")),
    })?;
    table.raw_set("new", new)?;
    Ok(table)
}

/// How texts are compared and patched.
#[derive(Clone, Copy)]
pub(super) struct Options {
    timeout: Duration,
    /// Above nothing, a patch may be applied where its surroundings have changed.
    pub(super) match_threshold: f64,
    /// How many characters from its place a patch is looked for.
    pub(super) match_distance: usize,
    /// How many characters around a change belong to its patch.
    pub(super) margin: usize,
}

impl Options {
    fn read(arguments: &Arguments) -> Result<Self, CallError> {
        let options = arguments.options(0, "options")?;
        let field = |name: &str| {
            let value = options.map(|options| options.raw_get::<LuaValue>(name));
            value.and_then(Result::ok).unwrap_or(LuaValue::Nil)
        };
        let number = |name: &str, default: f64, most: f64| match field(name) {
            LuaValue::Nil => Ok(default),
            value => match value.as_f64().or_else(|| value.as_i32().map(f64::from)) {
                Some(number) if (0.0..=most).contains(&number) => Ok(number),
                Some(_) => Err(CallError::invalid(format!(
                    "`{name}` must be between 0 and {most}"
                ))),
                None => Err(unexpected(&value, name, "a number")),
            },
        };
        let count = |name: &str, default: i64| match field(name) {
            LuaValue::Nil => Ok(default),
            value => arguments::integer(&value, name, 0..=LENGTH_MAX),
        };
        number("patch_delete_threshold", 0.5, 1.0)?;
        count("diff_edit_cost", 4)?;
        Ok(Self {
            timeout: Duration::from_secs_f64(number("diff_timeout", 1.0, TIMEOUT_MAX)?),
            match_threshold: number("match_threshold", 0.5, 1.0)?,
            match_distance: arguments::size(count("match_distance", 1000)?),
            margin: arguments::size(count("patch_margin", 4)?),
        })
    }
}

fn differ(lua: &Lua, options: Options) -> mlua::Result<Table> {
    let differ = lua.create_table()?;
    let compare = waiting(lua, "diff:compare", move |old, new| {
        Value::array(pieces_between(&old, &new, &options).iter().map(Piece::to_value))
    })?;
    differ.raw_set("compare", compare)?;
    let make = waiting(lua, "diff:patch_make", move |old, new| {
        patch::make(&pieces_between(&old, &new, &options), &options)
    })?;
    differ.raw_set("patch_make", make)?;
    differ.raw_set(
        "patch_apply",
        lua.create_function(move |lua, arguments: Arguments| patch::apply(lua, &arguments, &options))?,
    )?;
    function(lua, &differ, "diff:summarize", |lua, arguments| {
        Ok(summary(&pieces(lua, arguments)?))
    })?;
    function(lua, &differ, "diff:pretty_text", |lua, arguments| {
        Ok(Value::from(coloured(&pieces(lua, arguments)?)))
    })?;
    function(lua, &differ, "diff:pretty_html", |lua, arguments| {
        Ok(Value::from(html(&pieces(lua, arguments)?)))
    })?;
    Ok(differ)
}

/// A method that compares two texts on a thread where it may take its time.
fn waiting(
    lua: &Lua,
    name: &'static str,
    work: impl Fn(Vec<char>, Vec<char>) -> Value + Clone + Send + 'static,
) -> mlua::Result<Function> {
    suspending(lua, move |_, arguments: Arguments| {
        let text = |index, name| Ok(arguments.text(index, name)?.chars().collect());
        let texts = text(1, "text1").and_then(|old| Ok((old, text(2, "text2")?)));
        let work = work.clone();
        Ok(async move {
            let outcome: Result<Value, CallError> = match texts {
                Ok((old, new)) => tokio::task::spawn_blocking(move || work(old, new))
                    .await
                    .map_err(|_| CallError::internal("the comparison was interrupted")),
                Err(error) => Err(error),
            };
            move |lua: &Lua| values::answer(lua, outcome.map_err(|error| error.context(name)))
        })
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Equal,
    Delete,
    Insert,
}

/// A piece of the one text, of the other, or of both.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) operation: Operation,
    pub(super) text: String,
}

impl Piece {
    fn to_value(&self) -> Value {
        let operation = match self.operation {
            Operation::Equal => "equal",
            Operation::Delete => "delete",
            Operation::Insert => "insert",
        };
        let text = Value::string(&self.text);
        Value::record([("operation", operation.into()), ("text", text)])
    }
}

/// The pieces that a script hands back.
fn pieces(lua: &Lua, arguments: &Arguments) -> Result<Vec<Piece>, CallError> {
    let bad = || CallError::invalid("`diffs` must be an array of {operation, text}, as `compare` gives it");
    let Value::Table(diffs) = arguments.value(lua, 1)? else {
        return Err(bad());
    };
    let piece = |piece: &Value| {
        let operation = match piece.get("operation").and_then(Value::as_str) {
            Some("equal") => Operation::Equal,
            Some("delete") => Operation::Delete,
            Some("insert") => Operation::Insert,
            _ => return Err(bad()),
        };
        let text = piece.get("text").and_then(Value::as_str).ok_or_else(bad)?;
        Ok(Piece {
            operation,
            text: text.to_owned(),
        })
    };
    diffs.array.iter().map(piece).collect()
}

/// What changed between two stretches that are equal.
#[derive(Default)]
struct Change {
    equal_before: Vec<char>,
    deleted: Vec<char>,
    inserted: Vec<char>,
}

impl Change {
    fn size(&self) -> usize {
        self.deleted.len().max(self.inserted.len())
    }

    /// Takes `next` in, and what was equal between them.
    fn absorb(&mut self, next: Self) {
        for (all, changed) in [
            (&mut self.deleted, next.deleted),
            (&mut self.inserted, next.inserted),
        ] {
            all.extend(&next.equal_before);
            all.extend(changed);
        }
    }
}

fn pieces_between(old: &[char], new: &[char], options: &Options) -> Vec<Piece> {
    let deadline = Instant::now() + options.timeout;
    let operations = capture_diff_slices_deadline(Algorithm::Myers, old, new, Some(deadline));
    let part =
        |text: &[char], start: usize, len: usize| text.get(start..start + len).unwrap_or_default().to_vec();
    let mut changes: Vec<Change> = Vec::new();
    let mut equal = Vec::new();
    for operation in operations {
        let change = match operation {
            DiffOp::Equal { old_index, len, .. } => {
                equal.extend(part(old, old_index, len));
                continue;
            }
            DiffOp::Delete {
                old_index, old_len, ..
            } => (part(old, old_index, old_len), Vec::new()),
            DiffOp::Insert {
                new_index, new_len, ..
            } => (Vec::new(), part(new, new_index, new_len)),
            DiffOp::Replace {
                old_index,
                old_len,
                new_index,
                new_len,
            } => (part(old, old_index, old_len), part(new, new_index, new_len)),
        };
        let change = Change {
            equal_before: std::mem::take(&mut equal),
            deleted: change.0,
            inserted: change.1,
        };
        add(&mut changes, change);
    }
    pieces_of(changes, &equal)
}

/// Adds a change, and joins it with those before it that only a coincidence separates: a stretch of equal characters
/// that is no longer than what changed on both of its sides.
fn add(changes: &mut Vec<Change>, change: Change) {
    changes.push(change);
    while let [.., before, last] = changes.as_mut_slice() {
        let gap = last.equal_before.len();
        if gap > before.size() || gap > last.size() {
            return;
        }
        let last = std::mem::take(last);
        before.absorb(last);
        changes.pop();
    }
}

fn pieces_of(changes: Vec<Change>, equal_after: &[char]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut add = |operation, text: &[char]| {
        if !text.is_empty() {
            let text = text.iter().collect();
            pieces.push(Piece { operation, text });
        }
    };
    for change in changes {
        add(Operation::Equal, &change.equal_before);
        add(Operation::Delete, &change.deleted);
        add(Operation::Insert, &change.inserted);
    }
    add(Operation::Equal, equal_after);
    pieces
}

fn summary(pieces: &[Piece]) -> Value {
    let count = |operation| {
        let texts = pieces.iter().filter(|piece| piece.operation == operation);
        let count: usize = texts.map(|piece| piece.text.chars().count()).sum();
        Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    };
    Value::record([
        ("equals", count(Operation::Equal)),
        ("deletions", count(Operation::Delete)),
        ("insertions", count(Operation::Insert)),
    ])
}

fn coloured(pieces: &[Piece]) -> String {
    pieces
        .iter()
        .fold(String::new(), |mut all, Piece { operation, text }| {
            let written = match operation {
                Operation::Equal => write!(all, "{text}"),
                Operation::Delete => write!(all, "\x1b[31m{text}\x1b[0m"),
                Operation::Insert => write!(all, "\x1b[32m{text}\x1b[0m"),
            };
            written.expect("writing to a string does not fail");
            all
        })
}

fn html(pieces: &[Piece]) -> String {
    pieces
        .iter()
        .fold(String::new(), |mut all, Piece { operation, text }| {
            let text = text
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;");
            let written = match operation {
                Operation::Equal => write!(all, "{text}"),
                Operation::Delete => write!(all, "<del>{text}</del>"),
                Operation::Insert => write!(all, "<ins>{text}</ins>"),
            };
            written.expect("writing to a string does not fail");
            all
        })
}
