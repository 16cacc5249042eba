//! A fresh state with nothing in it but what is harmless.

use std::sync::Arc;

use mlua::{Function, Lua, LuaOptions, LuaString, StdLib, Table, Value as LuaValue, Variadic};

use crate::{
    errors, handles,
    modules::{self, Console, Environment},
    numbers,
    patterns::{Search, is_quick},
    raw::{self, Metatables, Vm},
    require, traces,
    worker::Program,
};

/// The globals of the base library that a script gets. What is not here does not exist: `dofile`, `load`, `loadfile`,
/// `collectgarbage`, `warn`, and of course `io`, `package` and most of `os` and `debug`.
const BASE: &[&str] = &[
    "_VERSION",
    "assert",
    "error",
    "getmetatable",
    "ipairs",
    "next",
    "pairs",
    "pcall",
    "rawequal",
    "rawget",
    "rawlen",
    "rawset",
    "select",
    "setmetatable",
    "tonumber",
    "tostring",
    "type",
    "xpcall",
];

/// Tables of functions that are given whole, after [`PRELUDE`] has seen to them.
const LIBRARIES: &[&str] = &["coroutine", "math", "string", "table", "utf8"];

/// Functions of the standard library that a script could block a thread with, or hide code in, made safe.
const PRELUDE: &str = include_str!("prelude.lua");

/// Makes the state for a program: globals, `require`, limits.
///
/// # Errors
/// When the memory limit does not suffice.
pub(crate) fn new(program: &Arc<Program>, console: Option<Console>) -> mlua::Result<Vm> {
    let libraries =
        StdLib::COROUTINE | StdLib::TABLE | StdLib::STRING | StdLib::UTF8 | StdLib::MATH | StdLib::OS;
    let lua = Lua::new_with(libraries, LuaOptions::default())?;
    lua.set_memory_limit(program.config.memory_limit)?;
    let vm = Vm::new(lua, program.config.instruction_budget)?;
    let lua = vm.lua();
    vm.set_metatables(&Metatables {
        error: errors::metatable(lua)?,
        foreign: handles::metatable(lua)?,
        unsigned: numbers::metatable(lua)?,
    })?;
    patch_failures(lua)?;
    lua.set_app_data(modules::Tasks::default());
    lua.set_app_data(traces::Origins::new(&program.source));
    lua.set_app_data(modules::Ledger::new(program.config.memory_limit));

    let globals = safe_globals(lua)?;
    let environment = Environment {
        id: program.source.id.clone(),
        console,
        world: program.services.world.clone(),
    };
    for (name, value) in modules::globals(lua, &environment)? {
        globals.raw_set(name, value)?;
    }
    let everything = lua.globals();
    for name in names(&everything)? {
        everything.raw_set(name, LuaValue::Nil)?;
    }
    for pair in globals.pairs::<LuaValue, LuaValue>() {
        let (name, value) = pair?;
        everything.raw_set(name, value)?;
    }
    everything.raw_set("_G", &everything)?;
    lua.set_named_registry_value(PRISTINE, globals)?;
    require::install(lua, program, environment, &everything)?;
    Ok(vm)
}

fn names(table: &Table) -> mlua::Result<Vec<LuaValue>> {
    table
        .pairs::<LuaValue, LuaValue>()
        .map(|pair| pair.map(|(name, _)| name))
        .collect()
}

/// Where the globals are kept as they were before any script ran.
const PRISTINE: &str = "wippy.globals";

/// Globals for a library: the same values in a table of its own.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn copy_globals(lua: &Lua) -> mlua::Result<Table> {
    let pristine: Table = lua.named_registry_value(PRISTINE)?;
    let globals = lua.create_table()?;
    for pair in pristine.pairs::<LuaValue, LuaValue>() {
        let (name, value) = pair?;
        globals.raw_set(name, value)?;
    }
    globals.raw_set("_G", &globals)?;
    Ok(globals)
}

/// A table of the harmless globals.
fn safe_globals(lua: &Lua) -> mlua::Result<Table> {
    let all = lua.globals();
    let globals = lua.create_table()?;
    for name in BASE {
        globals.raw_set(*name, all.raw_get::<LuaValue>(*name)?)?;
    }
    for name in LIBRARIES {
        globals.raw_set(*name, all.raw_get::<LuaValue>(*name)?)?;
    }
    let os: Table = all.raw_get("os")?;
    let safe_os = lua.create_table()?;
    for name in ["clock", "date", "difftime", "time"] {
        safe_os.raw_set(name, os.raw_get::<LuaValue>(name)?)?;
    }
    globals.raw_set("os", safe_os)?;
    let debug = lua.create_table()?;
    debug.raw_set(
        "traceback",
        lua.create_function(|lua, arguments: Variadic<LuaValue>| traceback(lua, &arguments))?,
    )?;
    globals.raw_set("debug", debug)?;
    globals.raw_set("errors", errors::open(lua)?)?;
    replace_coroutines(lua, &globals.raw_get("coroutine")?)?;
    globals.raw_set("setmetatable", raw::set_metatable_function(lua)?)?;
    let table: Table = globals.raw_get("table")?;
    for name in ["concat", "insert", "remove", "sort", "unpack"] {
        table.raw_set(name, raw::guard_length(lua, &table.raw_get(name)?)?)?;
    }
    lua.load(PRELUDE)
        .set_name("=prelude")
        .call::<()>((&globals, pattern_check(lua)?))?;
    Ok(globals)
}

/// Whether a function of the library `string` would be done soon with what it is called with.
fn pattern_check(lua: &Lua) -> mlua::Result<Function> {
    type Called = (LuaString, LuaString, LuaString, LuaValue, LuaValue);
    lua.create_function(|lua, (name, text, pattern, third, plain): Called| {
        let search = match &*name.as_bytes() {
            b"find" => Search::Find {
                plain: !matches!(plain, LuaValue::Nil | LuaValue::Boolean(false)),
            },
            b"match" => Search::Match,
            b"gmatch" => Search::All,
            _ => Search::Replace,
        };
        let text = text.as_bytes();
        // As everywhere in Lua: from one, and from the end if it is negative. What is no number is found by Lua.
        let begins = match search {
            Search::Replace => None,
            Search::Find { .. } | Search::Match | Search::All => lua.coerce_integer(third)?,
        };
        let begins = begins.unwrap_or(1);
        let from = match usize::try_from(begins) {
            Ok(begins) => begins.saturating_sub(1),
            Err(_) => text
                .len()
                .saturating_sub(usize::try_from(begins.unsigned_abs()).unwrap_or(usize::MAX)),
        };
        Ok(is_quick(&text, &pattern.as_bytes(), from, search))
    })
}

fn replace_coroutines(lua: &Lua, table: &Table) -> mlua::Result<()> {
    let functions = raw::coroutine_functions(lua)?;
    table.raw_set("resume", functions.resume)?;
    table.raw_set("wrap", functions.wrap)?;
    table.raw_set("yield", functions.yielding)?;
    table.raw_set("close", functions.close)?;
    table.raw_set("running", functions.running)?;
    table.raw_set("isyieldable", functions.isyieldable)?;
    table.raw_set("spawn", functions.spawn)
}

/// `debug.traceback([message [, level]])`; a message that is no string is returned as it is.
fn traceback(lua: &Lua, arguments: &[LuaValue]) -> mlua::Result<LuaValue> {
    let message = match arguments.first() {
        None | Some(LuaValue::Nil) => None,
        Some(LuaValue::String(text)) => Some(text.to_string_lossy()),
        Some(other) => return Ok(other.clone()),
    };
    let level = arguments.get(1).and_then(LuaValue::as_usize).unwrap_or(1);
    Ok(LuaValue::String(lua.traceback(message.as_deref(), level)?))
}

/// Errors that mlua raises from callbacks get the methods of error objects, so that scripts need not tell them apart.
fn patch_failures(lua: &Lua) -> mlua::Result<()> {
    let ours = errors::metatable(lua)?;
    let theirs = raw::failure_metatable(lua)?;
    for name in ["__index", "__tostring", "__concat", "__name", "__metatable"] {
        theirs.raw_set(name, ours.raw_get::<LuaValue>(name)?)?;
    }
    Ok(())
}
