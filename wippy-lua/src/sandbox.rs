//! A fresh state with nothing in it but what is harmless.
//!
//! All of that is there, but made only when a script looks at it: an idle process is as small as what it uses.

use std::{ffi::CStr, sync::Arc};

use mlua::{Function, Lua, LuaOptions, StdLib, Table, Value as LuaValue, Variadic};

use crate::{
    base, errors, handles,
    local::Local,
    modules::{self, Console, random},
    numbers,
    raw::{self, BASE, Field, Kept, Maker, Metatables, Recipe, Vm, lazy_table},
    require,
    worker::Program,
};

/// The globals. What is not here does not exist: `dofile`, `load`, `loadfile`, `collectgarbage`, `warn`, and of course
/// `io`, `package` and most of `os` and `debug`.
static GLOBALS: Recipe = Recipe::new(&[
    ("_G", Field::This),
    ("_VERSION", Field::Text("Lua 5.4")),
    ("assert", Field::Stock(BASE)),
    ("channel", Field::Made(|lua| shared(lua, "channel"))),
    (
        "coroutine",
        Field::Made(|lua| library(lua, "coroutine", &COROUTINE)),
    ),
    ("debug", Field::Made(|lua| library(lua, "debug", &DEBUG))),
    ("error", Field::Stock(BASE)),
    ("errors", Field::Made(|lua| shared(lua, "errors"))),
    ("getmetatable", Field::Function(raw::get_metatable)),
    ("ipairs", Field::Stock(BASE)),
    ("math", Field::Made(|lua| library(lua, "math", &MATH))),
    ("next", Field::Function(raw::next)),
    ("os", Field::Made(|lua| library(lua, "os", &OS))),
    ("pairs", Field::Stock(BASE)),
    ("payload", Field::Made(|lua| shared(lua, "payload"))),
    ("pcall", Field::Stock(BASE)),
    ("print", Field::Kept(|lua| shared(lua, "print"))),
    ("process", Field::Made(|lua| shared(lua, "process"))),
    ("rawequal", Field::Stock(BASE)),
    ("rawget", Field::Function(raw::raw_get)),
    ("rawlen", Field::Stock(BASE)),
    ("rawset", Field::Function(raw::raw_set)),
    ("require", Field::Kept(require::of_entry)),
    ("select", Field::Stock(BASE)),
    ("setmetatable", Field::Function(raw::set_metatable)),
    ("string", Field::Made(|lua| library(lua, "string", &STRING))),
    ("table", Field::Made(|lua| library(lua, "table", &TABLE))),
    ("tonumber", Field::Stock(BASE)),
    ("tostring", Field::Stock(BASE)),
    ("type", Field::Stock(BASE)),
    ("unpack", raw::guarded::UNPACK),
    ("utf8", Field::Made(|lua| library(lua, "utf8", &UTF8))),
    ("xpcall", Field::Stock(BASE)),
]);

static COROUTINE: Recipe = Recipe::new(&[
    ("close", Field::Function(raw::coroutine::close)),
    ("create", Field::Stock("coroutine")),
    ("isyieldable", Field::Function(raw::coroutine::isyieldable)),
    ("resume", Field::Function(raw::coroutine::resume)),
    ("running", Field::Function(raw::coroutine::running)),
    ("spawn", Field::Function(raw::coroutine::spawn)),
    ("status", Field::Stock("coroutine")),
    ("wrap", Field::Function(raw::coroutine::wrap)),
    ("yield", Field::Function(raw::coroutine::yielding)),
]);

static DEBUG: Recipe = Recipe::new(&[(
    "traceback",
    Field::Kept(|lua| {
        let function =
            lua.create_function(|lua, arguments: Variadic<LuaValue>| traceback(lua, &arguments))?;
        Ok(LuaValue::Function(function))
    }),
)]);

static MATH: Recipe = Recipe::new(&[
    ("abs", Field::Stock("math")),
    ("acos", Field::Stock("math")),
    ("asin", Field::Stock("math")),
    ("atan", Field::Stock("math")),
    ("atan2", Field::Kept(base::atan2)),
    ("ceil", Field::Stock("math")),
    ("cos", Field::Stock("math")),
    ("cosh", Field::Stock("math")),
    ("deg", Field::Stock("math")),
    ("exp", Field::Stock("math")),
    ("floor", Field::Stock("math")),
    ("fmod", Field::Stock("math")),
    ("frexp", Field::Stock("math")),
    ("huge", Field::Made(|_| Ok(LuaValue::Number(f64::INFINITY)))),
    ("ldexp", Field::Stock("math")),
    ("log", Field::Stock("math")),
    ("log10", Field::Stock("math")),
    ("max", Field::Stock("math")),
    ("maxinteger", Field::Made(|_| Ok(LuaValue::Integer(i64::MAX)))),
    ("min", Field::Stock("math")),
    ("mininteger", Field::Made(|_| Ok(LuaValue::Integer(i64::MIN)))),
    ("modf", Field::Stock("math")),
    ("pi", Field::Made(|_| Ok(LuaValue::Number(std::f64::consts::PI)))),
    ("pow", Field::Stock("math")),
    ("rad", Field::Stock("math")),
    ("random", Field::Made(|lua| of_chance(lua, "random"))),
    ("randomseed", Field::Made(|lua| of_chance(lua, "randomseed"))),
    ("sin", Field::Stock("math")),
    ("sinh", Field::Stock("math")),
    ("sqrt", Field::Stock("math")),
    ("tan", Field::Stock("math")),
    ("tanh", Field::Stock("math")),
    ("tointeger", Field::Stock("math")),
    ("type", Field::Stock("math")),
    ("ult", Field::Stock("math")),
]);

static OS: Recipe = Recipe::new(&[
    ("clock", Field::Made(base::clock)),
    ("date", Field::Stock("os")),
    ("difftime", Field::Stock("os")),
    ("platform", Field::Text("wippy")),
    ("time", Field::Kept(base::time)),
]);

/// Without `dump`.
static STRING: Recipe = Recipe::new(&[
    ("byte", Field::Stock("string")),
    ("char", Field::Stock("string")),
    ("find", raw::guarded::FIND),
    ("format", Field::Stock("string")),
    ("gmatch", raw::guarded::GMATCH),
    ("gsub", raw::guarded::GSUB),
    ("len", Field::Stock("string")),
    ("lower", Field::Stock("string")),
    ("match", raw::guarded::MATCH),
    ("pack", Field::Stock("string")),
    ("packsize", Field::Stock("string")),
    ("rep", raw::guarded::REP),
    ("reverse", Field::Stock("string")),
    ("sub", Field::Stock("string")),
    ("unpack", Field::Stock("string")),
    ("upper", Field::Stock("string")),
]);

static TABLE: Recipe = Recipe::new(&[
    ("concat", raw::guarded::CONCAT),
    ("create", Field::Kept(base::create_table)),
    ("insert", raw::guarded::INSERT),
    ("move", raw::guarded::MOVE),
    ("pack", Field::Stock("table")),
    ("remove", raw::guarded::REMOVE),
    ("sort", raw::guarded::SORT),
    ("unpack", raw::guarded::UNPACK),
]);

static UTF8: Recipe = Recipe::new(&[
    ("char", Field::Stock("utf8")),
    (
        "charpattern",
        Field::Made(|lua| {
            Ok(LuaValue::String(
                lua.create_string(b"[\0-\x7F\xC2-\xFD][\x80-\xBF]*")?,
            ))
        }),
    ),
    ("codepoint", Field::Stock("utf8")),
    ("codes", Field::Stock("utf8")),
    ("len", Field::Stock("utf8")),
    ("offset", Field::Stock("utf8")),
]);

static METATABLES: Metatables = Metatables {
    error: |lua| errors::metatable(lua).map(LuaValue::Table),
    foreign: |lua| handles::metatable(lua).map(LuaValue::Table),
    unsigned: |lua| numbers::metatable(lua).map(LuaValue::Table),
};

/// Makes the state for a program: globals, `require`, limits.
///
/// # Errors
/// When the memory limit does not suffice.
pub(crate) fn new(program: &Arc<Program>, console: Option<Console>) -> mlua::Result<Vm> {
    let lua = Lua::new_with(StdLib::NONE, LuaOptions::default())?;
    // There is little to collect in what is made here, and it is collected when the script first waits.
    lua.gc_stop();
    let local = Local::new(program.clone(), console);
    let vm = Vm::new(lua, program.config.instruction_budget, &METATABLES, local)?;
    let lua = vm.lua();
    furnish(lua)?;
    lua.set_memory_limit(program.config.memory_limit)?;
    lua.gc_restart();
    Ok(vm)
}

/// Gives a state its globals and libraries, none of which anybody has seen before.
fn furnish(lua: &Lua) -> mlua::Result<()> {
    let globals = globals(lua)?;
    raw::set_globals(lua, &globals)?;
    raw::set_string_metatable(lua, &STRING_METHODS)
}

/// Where strings find their methods.
static STRING_METHODS: Maker = |lua| library(lua, "string", &STRING);

/// Gives a state in which a script has run new globals and libraries, so that nothing reaches any more what only the
/// script could reach. `chunk` is the script's, which is to run again with those.
///
/// Whatever a script can change hangs on its globals, on what `require` gave it, or on the methods of strings, and no
/// finalizer of its own brings anything back, since `__gc` is refused. What stays is what scripts can use but not change:
/// functions, metatables of userdata with their methods, the metatable of strings, and the names of what was called.
///
/// What is out of reach is collected by and by, as any garbage is; at once if it may hold something outside of the state:
/// then the answer is true, and the caller sees to it.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn wipe(lua: &Lua, chunk: Option<Kept>) -> mlua::Result<bool> {
    let local = Local::of(lua);
    let holds = [
        local.loader.get().is_some_and(|loader| loader.clear()),
        local.tasks.forget(),
        local.ledger.used() > OUTSIDE_BYTES_MAX,
        modules::forget(lua),
        raw::has_foreign(lua),
    ]
    .contains(&true);
    raw::renew(lua, &GLOBALS, &[CHANCE], chunk)?;
    Ok(holds)
}

/// So much of what userdata keep alive is left to the collector when a state is wiped.
const OUTSIDE_BYTES_MAX: usize = 48 << 10;

/// Globals for an entry's script or for a library: the same values in a table of its own.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn globals(lua: &Lua) -> mlua::Result<Table> {
    lazy_table(lua, &GLOBALS)
}

/// What `require` gives and globals are, whatever a script has made of those.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn shared(lua: &Lua, name: &'static str) -> mlua::Result<LuaValue> {
    raw::once(lua, name, |lua| {
        modules::global(lua, name, &Local::of(lua).environment())
    })
}

/// A part of the standard library.
fn library(lua: &Lua, name: &'static str, recipe: &'static Recipe) -> mlua::Result<LuaValue> {
    raw::once(lua, name, |lua| lazy_table(lua, recipe).map(LuaValue::Table))
}

/// One of the two functions of `math` that share a state.
fn of_chance(lua: &Lua, name: &str) -> mlua::Result<LuaValue> {
    let place = CHANCE.to_string_lossy();
    if let Some(mathematics) = lua.named_registry_value::<Option<Table>>(&place)? {
        return mathematics.raw_get(name);
    }
    let mathematics = raw::mathematics(lua)?;
    // Lua seeds by the second and an address, which is the same for all executions that a state serves.
    let seed = random::array::<16>().map_err(mlua::Error::external)?;
    let (parts, _) = seed.as_chunks::<8>();
    let parts = parts.iter().map(|part| i64::from_ne_bytes(*part));
    let seeding: Function = mathematics.raw_get("randomseed")?;
    seeding.call::<()>(parts.collect::<Variadic<_>>())?;
    lua.set_named_registry_value(&place, &mathematics)?;
    mathematics.raw_get(name)
}

/// Where the library that they come from is kept.
const CHANCE: &CStr = c"wippy.math";

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
