//! Patches: changes with their surroundings, which find their place again in a text that has changed elsewhere.
//!
//! A patch is a table of texts and a place, so it can be stored and sent. What it deletes must still be there; what is
//! around it may have changed, if the options allow for that.

use mlua::{IntoLuaMulti, Lua, MultiValue};
use wippy_security::CallError;
use wippy_wit::Value;

use super::diff::{Operation, Options, Piece};
use crate::{arguments::Arguments, raw, values};

/// One change.
#[derive(Default)]
struct Patch {
    /// Where the surroundings begin in the text as it is once all patches before this one are applied.
    start: usize,
    before: Vec<char>,
    deleted: Vec<char>,
    inserted: Vec<char>,
    after: Vec<char>,
}

/// The patches for the changes of a comparison.
pub(super) fn make(pieces: &[Piece], options: &Options) -> Value {
    let mut patches = Vec::new();
    let mut done: Vec<char> = Vec::new();
    let mut rest = pieces;
    while let [piece, tail @ ..] = rest {
        rest = tail;
        if piece.operation == Operation::Equal {
            done.extend(piece.text.chars());
            continue;
        }
        let mut patch = Patch {
            before: done
                .get(done.len().saturating_sub(options.margin)..)
                .unwrap_or_default()
                .to_vec(),
            ..Patch::default()
        };
        patch.start = done.len() - patch.before.len();
        patch.add(piece);
        while let [piece, tail @ ..] = rest
            && piece.operation != Operation::Equal
        {
            patch.add(piece);
            rest = tail;
        }
        let old = rest.iter().filter(|piece| piece.operation != Operation::Insert);
        let old = old.flat_map(|piece| piece.text.chars());
        patch.after = old.take(options.margin).collect();
        done.extend(&patch.inserted);
        patches.push(patch.to_value());
    }
    Value::array(patches)
}

/// `diff:patch_apply(patches, text)`: the patched text, and whether all patches found their place.
pub(super) fn apply(lua: &Lua, arguments: &Arguments, options: &Options) -> mlua::Result<MultiValue> {
    match read(lua, arguments) {
        Err(error) => values::refuse(lua, error.context("diff:patch_apply")),
        Ok((patches, mut text)) => {
            let mut drift = 0;
            let applied: Vec<bool> = patches
                .iter()
                .map(|patch| patch.apply(&mut text, &mut drift, options))
                .collect();
            let text = Value::from(text.into_iter().collect::<String>());
            (raw::write_value(lua, &text)?, !applied.contains(&false)).into_lua_multi(lua)
        }
    }
}

fn read(lua: &Lua, arguments: &Arguments) -> Result<(Vec<Patch>, Vec<char>), CallError> {
    let bad = || CallError::invalid("`patches` must be an array, as `patch_make` gives it");
    let Value::Table(patches) = arguments.value(lua, 1)? else {
        return Err(bad());
    };
    let patches: Option<Vec<Patch>> = patches.array.iter().map(Patch::from_value).collect();
    Ok((
        patches.ok_or_else(bad)?,
        arguments.text(2, "text")?.chars().collect(),
    ))
}

impl Patch {
    fn add(&mut self, piece: &Piece) {
        match piece.operation {
            Operation::Delete => self.deleted.extend(piece.text.chars()),
            Operation::Insert => self.inserted.extend(piece.text.chars()),
            Operation::Equal => {}
        }
    }

    fn to_value(&self) -> Value {
        let text = |text: &[char]| Value::from(text.iter().collect::<String>());
        let start = i64::try_from(self.start).unwrap_or(i64::MAX - 1) + 1;
        Value::record([
            ("start", Value::Integer(start)),
            ("before", text(&self.before)),
            ("delete", text(&self.deleted)),
            ("insert", text(&self.inserted)),
            ("after", text(&self.after)),
        ])
    }

    fn from_value(value: &Value) -> Option<Self> {
        let text = |name| Some(value.get(name)?.as_str()?.chars().collect());
        let Some(Value::Integer(start)) = value.get("start") else {
            return None;
        };
        Some(Self {
            start: usize::try_from(start.checked_sub(1)?).ok()?,
            before: text("before")?,
            deleted: text("delete")?,
            inserted: text("insert")?,
            after: text("after")?,
        })
    }

    /// Applies the patch, `drift` characters from its place or nearby. False if it does not belong into this text.
    fn apply(&self, text: &mut Vec<char>, drift: &mut isize, options: &Options) -> bool {
        let margin = self.before.len().max(self.after.len());
        let least = if options.match_threshold > 0.0 { 0 } else { margin };
        for margin in (least..=margin).rev() {
            let before = self.before.len().min(margin);
            let skipped = self.before.len() - before;
            let pattern: Vec<char> = self
                .before
                .iter()
                .skip(skipped)
                .chain(&self.deleted)
                .chain(self.after.iter().take(margin))
                .copied()
                .collect();
            // Nothing to go by is found everywhere.
            if pattern.is_empty() && !text.is_empty() && margin < self.before.len().max(self.after.len()) {
                return false;
            }
            let place = self.start.saturating_add(skipped);
            let expected = place.saturating_add_signed(*drift);
            if let Some(found) = nearest(text, &pattern, expected, options.match_distance) {
                let start = found + before;
                text.splice(start..start + self.deleted.len(), self.inserted.iter().copied());
                *drift =
                    isize::try_from(found).unwrap_or_default() - isize::try_from(place).unwrap_or_default();
                return true;
            }
        }
        false
    }
}

/// Where `pattern` stands nearest to `expected`, at most `distance` away.
fn nearest(text: &[char], pattern: &[char], expected: usize, distance: usize) -> Option<usize> {
    let last = text.len().checked_sub(pattern.len())?;
    let stands_at = |at: &usize| text.get(*at..*at + pattern.len()) == Some(pattern);
    (0..=distance)
        .flat_map(|away| [expected.checked_sub(away), expected.checked_add(away)])
        .flatten()
        .filter(|at| *at <= last)
        .find(stands_at)
}
