//! Versions of the registry, and its history.

use mlua::{Lua, Table, UserData, UserDataMethods, Value as LuaValue};
use wippy_registry::Version;
use wippy_security::{CallError, ErrorKind};

use super::{Source, Taken};
use crate::values;

/// Adds what the module says about versions.
pub(super) fn install(lua: &Lua, module: &Table, source: &Source) -> mlua::Result<()> {
    let world = source.clone();
    module.raw_set(
        "current_version",
        lua.create_function(move |lua, ()| {
            let version = world.live().map(|live| live.registry().version());
            values::reply(lua, version.map(|version| VersionNumber::new(&world, version)))
        })?,
    )?;
    let world = source.clone();
    module.raw_set(
        "versions",
        lua.create_function(move |lua, ()| values::reply(lua, versions(&world)))?,
    )?;
    let world = source.clone();
    module.raw_set(
        "snapshot_at",
        lua.create_function(move |lua, version: LuaValue| values::reply(lua, snapshot_at(&world, &version)))?,
    )?;
    let world = source.clone();
    module.raw_set(
        "history",
        lua.create_function(move |lua, ()| values::reply(lua, world.live().map(|_| History(world.clone()))))?,
    )
}

fn versions(source: &Source) -> Result<Vec<VersionNumber>, CallError> {
    let versions = source.live()?.registry().versions()?;
    let number = |version| VersionNumber::new(source, version);
    Ok(versions.into_iter().map(number).collect())
}

fn snapshot_at(source: &Source, version: &LuaValue) -> Result<Taken, CallError> {
    let snapshot = source.live()?.registry().snapshot_at(number(version)?)?;
    Ok(Taken::new(source, snapshot))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "mlua's enums grow")]
/// A version as scripts name one: by its number, or as an object.
pub(super) fn number(value: &LuaValue) -> Result<Version, CallError> {
    let whole = match value {
        LuaValue::Integer(number) => u64::try_from(*number).ok(),
        LuaValue::UserData(data) => data
            .borrow::<VersionNumber>()
            .ok()
            .map(|version| version.version.0),
        _ => None,
    };
    whole
        .map(Version)
        .ok_or_else(|| CallError::invalid("a version is a number, or what `registry.versions` answers"))
}

/// A version of the registry.
pub(super) struct VersionNumber {
    source: Source,
    version: Version,
}

impl VersionNumber {
    pub(super) fn new(source: &Source, version: Version) -> Self {
        Self {
            source: source.clone(),
            version,
        }
    }

    /// Of the versions that can still be read, the one that comes right before or after.
    fn neighbour(
        &self,
        nearest: impl Fn(Vec<Version>) -> Option<Version>,
    ) -> Result<Option<Self>, CallError> {
        let versions = self.source.live()?.registry().versions()?;
        Ok(nearest(versions).map(|version| Self::new(&self.source, version)))
    }
}

impl UserData for VersionNumber {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("id", |_, this, ()| Ok(this.version.0));
        methods.add_method("string", |_, this, ()| Ok(format!("v{}", this.version)));
        methods.add_method("previous", |lua, this, ()| {
            let before = this.neighbour(|all| all.into_iter().rfind(|version| *version < this.version));
            values::reply(lua, before)
        });
        methods.add_method("next", |lua, this, ()| {
            let after = this.neighbour(|all| all.into_iter().find(|version| *version > this.version));
            values::reply(lua, after)
        });
        methods.add_meta_method("__tostring", |_, this, ()| Ok(format!("v{}", this.version)));
    }
}

/// What `registry.history` answers.
pub(super) struct History(Source);

impl UserData for History {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("versions", |lua, this, ()| values::reply(lua, versions(&this.0)));
        methods.add_method("get_version", |lua, this, version: LuaValue| {
            values::reply(lua, get_version(&this.0, &version))
        });
        methods.add_method("snapshot_at", |lua, this, version: LuaValue| {
            values::reply(lua, snapshot_at(&this.0, &version))
        });
    }
}

fn get_version(source: &Source, version: &LuaValue) -> Result<VersionNumber, CallError> {
    let version = number(version)?;
    if source.live()?.registry().versions()?.contains(&version) {
        return Ok(VersionNumber::new(source, version));
    }
    Err(CallError::new(
        ErrorKind::NotFound,
        format!("version {version} is not in the history"),
    ))
}
