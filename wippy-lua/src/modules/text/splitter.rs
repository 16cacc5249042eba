//! `text.splitter`: documents in chunks of a size, cut where they may be cut.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else there is, is refused alike"
)]

mod markdown;
mod recursive;

use mlua::{IntoLua, IntoLuaMulti, Lua, Table, UserData, UserDataMethods, Value as LuaValue};
use wippy_security::CallError;
use wippy_wit::Value;

use self::{markdown::Markdown, recursive::Recursive};
use crate::{
    arguments::{self, Arguments, unexpected},
    raw, values,
};

const CHUNK_SIZE: i64 = 512;
const CHUNK_OVERLAP: i64 = 100;
const CHUNK_SIZE_MAX: i64 = 1 << 20;
/// Each separator may be one level of recursion.
const SEPARATORS_MAX: usize = 32;
/// How many times its size a document may grow by overlaps.
const GROWTH_MAX: usize = 16;
/// Documents may grow to this size in any case.
const OUTPUT_MIN: usize = 1 << 20;

/// Makes the table.
///
/// # Errors
/// When memory does not suffice.
pub(super) fn table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    add(lua, &table, "recursive", |options| {
        let mut separators = options.texts("separators")?;
        if separators.len() > SEPARATORS_MAX {
            return Err(CallError::invalid(format!(
                "more than {SEPARATORS_MAX} `separators`"
            )));
        }
        if separators.is_empty() {
            separators = recursive::SEPARATORS
                .iter()
                .map(|text| (*text).to_owned())
                .collect();
        }
        Ok(Splitter::Recursive(Recursive {
            size: Size::read(options)?,
            separators,
            keeps_separator: options.flag("keep_separator")?,
        }))
    })?;
    add(lua, &table, "markdown", |options| {
        Ok(Splitter::Markdown(Markdown {
            size: Size::read(options)?,
            keeps_code: options.flag("code_blocks")?,
            resolves_links: options.flag("reference_links")?,
            repeats_headings: options.flag("heading_hierarchy")?,
            joins_rows: options.flag("join_table_rows")?,
        }))
    })?;
    Ok(table)
}

fn add(
    lua: &Lua,
    table: &Table,
    name: &'static str,
    make: fn(&Options<'_>) -> Result<Splitter, CallError>,
) -> mlua::Result<()> {
    let function = lua.create_function(move |lua, arguments: Arguments| {
        let options = arguments.options(0, "options").map(Options);
        match options.and_then(|options| make(&options)) {
            Ok(splitter) => splitter.into_lua_multi(lua),
            Err(error) => values::refuse(lua, error.context(format_args!("text.splitter.{name}"))),
        }
    })?;
    table.raw_set(name, function)
}

/// The options of a splitter, all of which may be left out.
struct Options<'a>(Option<&'a Table>);

impl Options<'_> {
    fn get(&self, name: &str) -> LuaValue {
        let value = self.0.map(|options| options.raw_get::<LuaValue>(name));
        value.and_then(Result::ok).unwrap_or(LuaValue::Nil)
    }

    fn flag(&self, name: &str) -> Result<bool, CallError> {
        match self.get(name) {
            LuaValue::Nil => Ok(false),
            LuaValue::Boolean(flag) => Ok(flag),
            other => Err(unexpected(&other, name, "a boolean")),
        }
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, CallError> {
        match self.get(name) {
            LuaValue::Nil => Ok(Vec::new()),
            LuaValue::Table(table) => table
                .sequence_values::<LuaValue>()
                .map(|text| arguments::text(&text.unwrap_or(LuaValue::Nil), name))
                .collect(),
            other => Err(unexpected(&other, name, "an array of strings")),
        }
    }
}

/// How large chunks are, in characters.
#[derive(Clone, Copy)]
struct Size {
    chunk: usize,
    overlap: usize,
}

impl Size {
    fn read(options: &Options<'_>) -> Result<Self, CallError> {
        let number = |name: &str, default: i64, least: i64, most: i64| match options.get(name) {
            LuaValue::Nil => Ok(default),
            value => arguments::integer(&value, name, least..=most),
        };
        let chunk = number("chunk_size", CHUNK_SIZE, 1, CHUNK_SIZE_MAX)?;
        // The default gives way to small chunks; what was asked for does not.
        let overlap = number("chunk_overlap", CHUNK_OVERLAP.min(chunk / 4), 0, chunk - 1)?;
        Ok(Self {
            chunk: arguments::size(chunk),
            overlap: arguments::size(overlap),
        })
    }
}

enum Splitter {
    Recursive(Recursive),
    Markdown(Markdown),
}

impl Splitter {
    fn split(&self, text: &str) -> Result<Vec<String>, CallError> {
        let mut chunks = Chunks {
            chunks: Vec::new(),
            room: OUTPUT_MIN.max(text.len().saturating_mul(GROWTH_MAX)),
        };
        match self {
            Self::Recursive(splitter) => splitter.split(text, &mut chunks)?,
            Self::Markdown(splitter) => splitter.split(text, &mut chunks)?,
        }
        Ok(chunks.chunks)
    }

    /// Splits pages of `{content, metadata}`; every chunk has its page's metadata.
    fn split_batch(&self, lua: &Lua, arguments: &Arguments) -> Result<Table, CallError> {
        let bad = || CallError::invalid("`pages` must be an array of {content, metadata}");
        let memory = |_| CallError::internal("not enough memory");
        let LuaValue::Table(pages) = arguments.get(0) else {
            return Err(bad());
        };
        let all = lua.create_table().map_err(memory)?;
        for page in pages.sequence_values::<Table>() {
            let page = page.map_err(|_| bad())?;
            let field = |name: &str| page.raw_get::<LuaValue>(name).map_err(|_| bad());
            let metadata = field("metadata")?;
            for chunk in self.split(&arguments::text(&field("content")?, "content")?)? {
                let part = lua.create_table().map_err(memory)?;
                part.raw_set("content", chunk).map_err(memory)?;
                part.raw_set("metadata", &metadata).map_err(memory)?;
                all.raw_push(part).map_err(memory)?;
            }
        }
        Ok(all)
    }
}

impl UserData for Splitter {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("split_text", |lua, this, arguments: Arguments| {
            let chunks = arguments.text(0, "text").and_then(|text| this.split(&text));
            match chunks {
                Ok(chunks) => {
                    let chunks = Value::array(chunks.into_iter().map(Value::from));
                    raw::write_value(lua, &chunks)?.into_lua_multi(lua)
                }
                Err(error) => values::refuse(lua, error.context("splitter:split_text")),
            }
        });
        methods.add_method("split_batch", |lua, this, arguments: Arguments| {
            match this.split_batch(lua, &arguments) {
                Ok(chunks) => chunks.into_lua(lua)?.into_lua_multi(lua),
                Err(error) => values::refuse(lua, error.context("splitter:split_batch")),
            }
        });
    }
}

/// The chunks so far, and how many more bytes they may have together.
struct Chunks {
    chunks: Vec<String>,
    room: usize,
}

impl Chunks {
    fn push(&mut self, chunk: &str) -> Result<(), CallError> {
        let chunk = chunk.trim();
        if chunk.is_empty() {
            return Ok(());
        }
        self.room = self.room.checked_sub(chunk.len()).ok_or_else(|| {
            CallError::invalid(
                "the chunks together are far larger than the text: use a smaller `chunk_overlap`",
            )
        })?;
        self.chunks.push(chunk.to_owned());
        Ok(())
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}
