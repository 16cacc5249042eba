//! `logger`: records with fields, written by the program around the script.

use mlua::{IntoLuaMulti, Lua, MultiValue, Table, UserData, UserDataMethods, Value as LuaValue};
use wippy_security::CallError;
use wippy_wit::json;

use super::{Environment, process};
use crate::{arguments, raw, values};

/// A logger with a name and the fields that all its records have.
#[derive(Clone)]
struct Logger {
    entry: String,
    name: Option<String>,
    fields: serde_json::Map<String, serde_json::Value>,
}

/// Opens the module: a table whose methods are called with `:`.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua, environment: &Environment) -> mlua::Result<Table> {
    let root = Logger {
        entry: environment.id.as_str().to_owned(),
        name: None,
        fields: serde_json::Map::new(),
    };
    let module = lua.create_table()?;
    for level in LEVELS {
        let logger = root.clone();
        let log = lua.create_function(
            move |lua, (_, message, fields): (LuaValue, String, Option<Table>)| {
                logger.log(lua, level, &message, fields.as_ref())
            },
        )?;
        module.raw_set(level.name(), log)?;
    }
    let logger = root.clone();
    module.raw_set(
        "with",
        lua.create_function(move |lua, (_, fields): (LuaValue, Table)| logger.with(lua, &fields))?,
    )?;
    module.raw_set(
        "named",
        lua.create_function(move |lua, (_, name): (LuaValue, LuaValue)| named(lua, &root, &name))?,
    )?;
    Ok(module)
}

#[derive(Clone, Copy)]
enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

const LEVELS: [Level; 4] = [Level::Debug, Level::Info, Level::Warn, Level::Error];

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl Logger {
    fn with(&self, lua: &Lua, fields: &Table) -> mlua::Result<Self> {
        let mut logger = self.clone();
        logger.fields.extend(to_fields(lua, fields)?);
        Ok(logger)
    }

    fn named(&self, name: &str) -> Self {
        let name = match &self.name {
            Some(outer) => format!("{outer}.{name}"),
            None => name.to_owned(),
        };
        Self {
            name: Some(name),
            ..self.clone()
        }
    }

    fn log(&self, lua: &Lua, level: Level, message: &str, fields: Option<&Table>) -> mlua::Result<()> {
        let mut all = self.fields.clone();
        if let Some(fields) = fields {
            all.extend(to_fields(lua, fields)?);
        }
        all.sort_keys();
        let entry = self.entry.as_str();
        let context = raw::context(lua);
        let pid = process::pid_of(context.as_ref());
        let logger = self.name.as_deref();
        let fields = (!all.is_empty()).then(|| serde_json::Value::Object(all).to_string());
        let fields = fields.as_deref();
        match level {
            Level::Debug => tracing::debug!(target: "wippy::script", entry, pid, logger, fields, "{message}"),
            Level::Info => tracing::info!(target: "wippy::script", entry, pid, logger, fields, "{message}"),
            Level::Warn => tracing::warn!(target: "wippy::script", entry, pid, logger, fields, "{message}"),
            Level::Error => tracing::error!(target: "wippy::script", entry, pid, logger, fields, "{message}"),
        }
        Ok(())
    }
}

/// Fields as JSON; what has no JSON form is shown by its type's name.
fn to_fields(lua: &Lua, fields: &Table) -> mlua::Result<serde_json::Map<String, serde_json::Value>> {
    let mut map = serde_json::Map::new();
    for pair in fields.pairs::<LuaValue, LuaValue>() {
        let (key, value) = pair?;
        let shown = match raw::read_value(lua, &value).and_then(|value| json::from_value(&value)) {
            Ok(shown) => shown,
            Err(_) => serde_json::Value::String(value.to_string()?),
        };
        map.insert(key.to_string()?, shown);
    }
    Ok(map)
}

/// `logger:named(name)`.
fn named(lua: &Lua, logger: &Logger, name: &LuaValue) -> mlua::Result<MultiValue> {
    match arguments::text(name, "name") {
        Ok(name) if name.is_empty() => {
            values::refuse(lua, CallError::invalid("the name of a logger must not be empty"))
        }
        Ok(name) => logger.named(&name).into_lua_multi(lua),
        Err(error) => values::refuse(lua, error),
    }
}

impl UserData for Logger {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        for level in LEVELS {
            methods.add_method(
                level.name(),
                move |lua, this, (message, fields): (String, Option<Table>)| {
                    this.log(lua, level, &message, fields.as_ref())
                },
            );
        }
        methods.add_method("with", |lua, this, fields: Table| this.with(lua, &fields));
        methods.add_method("named", |lua, this, name: LuaValue| named(lua, this, &name));
    }
}
