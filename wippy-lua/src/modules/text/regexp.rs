//! `text.regexp`: regular expressions in linear time, on bytes that need not be text.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use mlua::{IntoLua, IntoLuaMulti, Lua, LuaString, Table, UserData, UserDataMethods};
use regex::bytes::{Regex, RegexBuilder};
use wippy_security::{CallError, ErrorKind};
use wippy_wit::Value;

use crate::{arguments::Arguments, values};

/// How large a compiled expression may be, and its cache of states.
const SIZE_MAX: usize = 1 << 19;
/// How many different expressions a state may hold. They are not Lua's memory, so its limit does not count them.
const EXPRESSIONS_MAX: usize = 128;

/// Makes the table.
///
/// # Errors
/// When memory does not suffice.
pub(super) fn table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let compile = lua.create_function(|lua, arguments: Arguments| {
        match arguments
            .text(0, "pattern")
            .and_then(|pattern| compile(lua, &pattern))
        {
            Ok(expression) => Regexp(expression).into_lua_multi(lua),
            Err(error) => values::refuse(lua, error.context("text.regexp.compile")),
        }
    })?;
    table.raw_set("compile", compile)?;
    Ok(table)
}

/// The expressions that the state holds, so that compiling one again costs nothing.
#[derive(Default)]
struct Held(HashMap<String, Weak<Regex>>);

impl Held {
    fn find(&self, pattern: &str) -> Option<Arc<Regex>> {
        self.0.get(pattern)?.upgrade()
    }

    /// Whether there is room for another one, once those are forgotten that nothing refers to.
    fn has_room(&mut self) -> bool {
        if self.0.len() >= EXPRESSIONS_MAX {
            self.0.retain(|_, held| held.strong_count() > 0);
        }
        self.0.len() < EXPRESSIONS_MAX
    }
}

/// Forgets the expressions that the state holds; whether it held any.
pub(super) fn forget(lua: &Lua) -> bool {
    lua.remove_app_data::<Held>().is_some()
}

fn compile(lua: &Lua, pattern: &str) -> Result<Arc<Regex>, CallError> {
    let mut held = lua.remove_app_data::<Held>().unwrap_or_default();
    let outcome = match held.find(pattern) {
        Some(expression) => Ok(expression),
        None => compile_anew(lua, pattern, &mut held),
    };
    lua.set_app_data(held);
    outcome
}

fn compile_anew(lua: &Lua, pattern: &str, held: &mut Held) -> Result<Arc<Regex>, CallError> {
    if !held.has_room() {
        lua.gc_collect()
            .map_err(|_| CallError::internal("out of memory"))?;
        if !held.has_room() {
            return Err(CallError::new(
                ErrorKind::RateLimited,
                format!("more than {EXPRESSIONS_MAX} expressions are in use: keep fewer of them"),
            ));
        }
    }
    let expression = RegexBuilder::new(pattern)
        .size_limit(SIZE_MAX)
        .dfa_size_limit(SIZE_MAX)
        .build()
        .map_err(|error| CallError::invalid(error.to_string()))?;
    let expression = Arc::new(expression);
    held.0.insert(pattern.to_owned(), Arc::downgrade(&expression));
    Ok(expression)
}

struct Regexp(Arc<Regex>);

impl UserData for Regexp {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("match_string", |_, this, text: LuaString| {
            Ok(this.0.is_match(&text.as_bytes()))
        });
        methods.add_method("find_string", |lua, this, text: LuaString| {
            let text = text.as_bytes();
            let found = this
                .0
                .find(&text)
                .map(|found| lua.create_string(found.as_bytes()));
            found.transpose()
        });
        methods.add_method("find_all_string", |lua, this, text: LuaString| {
            let text = text.as_bytes();
            let all = this.0.find_iter(&text).map(|found| found.as_bytes());
            sequence(lua, all, Lua::create_string)
        });
        methods.add_method("find_string_submatch", |lua, this, text: LuaString| {
            let text = text.as_bytes();
            let groups = this.0.captures(&text).map(|found| groups(lua, &found));
            groups.transpose()
        });
        methods.add_method("find_all_string_submatch", |lua, this, text: LuaString| {
            let text = text.as_bytes();
            sequence(lua, this.0.captures_iter(&text), |lua, found| groups(lua, &found))
        });
        methods.add_method("find_string_index", |lua, this, text: LuaString| {
            let text = text.as_bytes();
            let bounds = this.0.find(&text).map(|found| bounds(lua, found.range()));
            bounds.transpose()
        });
        methods.add_method("find_all_string_index", |lua, this, text: LuaString| {
            let text = text.as_bytes();
            if !this.0.is_match(&text) {
                return Ok(None);
            }
            sequence(lua, this.0.find_iter(&text), |lua, found| {
                bounds(lua, found.range())
            })
            .map(Some)
        });
        methods.add_method(
            "replace_all_string",
            |lua, this, (text, replacement): (LuaString, LuaString)| {
                let (text, replacement) = (text.as_bytes(), replacement.as_bytes());
                lua.create_string(this.0.replace_all(&text, &*replacement))
            },
        );
        methods.add_method("split", |lua, this, (text, most): (LuaString, Option<i64>)| {
            let text = text.as_bytes();
            let parts = split(&this.0, &text, most.unwrap_or(-1));
            sequence(lua, parts.into_iter(), Lua::create_string)
        });
        methods.add_method("num_subexp", |_, this, ()| Ok(this.0.captures_len() - 1));
        methods.add_method("subexp_names", |lua, this, ()| {
            let names = this.0.capture_names().skip(1).map(Option::unwrap_or_default);
            sequence(lua, names, Lua::create_string)
        });
        methods.add_method("string", |_, this, ()| Ok(this.0.as_str().to_owned()));
        methods.add_meta_method(mlua::MetaMethod::ToString, |_, this, ()| {
            Ok(this.0.as_str().to_owned())
        });
    }
}

/// A table of what `make` makes of each item.
fn sequence<T, V: IntoLua>(
    lua: &Lua,
    items: impl Iterator<Item = T>,
    make: impl Fn(&Lua, T) -> mlua::Result<V>,
) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (index, item) in (1..).zip(items) {
        table.raw_set(index, make(lua, item)?)?;
    }
    Ok(table)
}

/// The whole match and its groups; a group that took no part is empty.
fn groups(lua: &Lua, found: &regex::bytes::Captures<'_>) -> mlua::Result<Table> {
    let groups = found
        .iter()
        .map(|group| group.map_or(&[][..], |group| group.as_bytes()));
    sequence(lua, groups, Lua::create_string)
}

/// First and last byte, as `string.sub` takes them.
fn bounds(lua: &Lua, range: std::ops::Range<usize>) -> mlua::Result<mlua::Value> {
    let index = |at: usize| Value::Integer(i64::try_from(at).unwrap_or(i64::MAX));
    crate::raw::write_value(lua, &Value::array([index(range.start + 1), index(range.end)]))
}

/// What stands between the matches, in at most `most` parts; all of them if that is negative.
fn split<'a>(expression: &Regex, text: &'a [u8], most: i64) -> Vec<&'a [u8]> {
    let most = match usize::try_from(most) {
        Ok(0) => return Vec::new(),
        Ok(most) => most,
        Err(_) => usize::MAX,
    };
    let mut parts = Vec::new();
    let mut start = 0;
    for found in expression.find_iter(text) {
        if parts.len() + 1 >= most {
            break;
        }
        // A match of nothing at either end separates nothing.
        let is_edge = found.is_empty() && (found.start() == 0 || found.start() == text.len());
        if !is_edge {
            parts.push(text.get(start..found.start()).unwrap_or_default());
            start = found.end();
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}
