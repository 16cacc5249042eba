//! Time zones: named ones, fixed offsets, and the system's own.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else there is, is refused alike"
)]

use std::sync::Arc;

use jiff::tz::{Offset, TimeZone};
use mlua::{
    FromLua, IntoLuaMulti, Lua, MetaMethod, MultiValue, UserData, UserDataMethods, Value as LuaValue,
};
use wippy_security::{CallError, ErrorKind};

use crate::{
    arguments::{Arguments, unexpected},
    errors, values,
};

/// A time zone and what scripts call it.
#[derive(Clone)]
pub(super) struct Location {
    pub(super) zone: TimeZone,
    pub(super) name: Arc<str>,
}

impl Location {
    pub(super) fn utc() -> Self {
        Self {
            zone: TimeZone::UTC,
            name: "UTC".into(),
        }
    }

    pub(super) fn local() -> Self {
        Self {
            zone: TimeZone::system(),
            name: "Local".into(),
        }
    }

    pub(super) fn fixed(name: &str, offset: Offset) -> Self {
        Self {
            zone: TimeZone::fixed(offset),
            name: name.into(),
        }
    }

    fn named(name: &str) -> Result<Self, CallError> {
        match name {
            "" => Err(CallError::invalid("the name of a location must not be empty")),
            "UTC" => Ok(Self::utc()),
            "Local" => Ok(Self::local()),
            name => match TimeZone::get(name) {
                Ok(zone) => Ok(Self {
                    name: zone.iana_name().unwrap_or(name).into(),
                    zone,
                }),
                Err(_) => Err(CallError::new(
                    ErrorKind::NotFound,
                    format!("there is no location `{name}`"),
                )),
            },
        }
    }
}

impl FromLua for Location {
    /// A location, or the name of one.
    fn from_lua(value: LuaValue, _: &Lua) -> mlua::Result<Self> {
        if let LuaValue::UserData(userdata) = &value
            && let Ok(location) = userdata.borrow::<Self>()
        {
            return Ok(location.clone());
        }
        match &value {
            LuaValue::String(name) => Self::named(&name.to_string_lossy()).map_err(errors::raise),
            other => Err(errors::raise(unexpected(other, "location", "a location"))),
        }
    }
}

impl UserData for Location {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("string", |_, this, ()| Ok(this.name.to_string()));
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| Ok(this.name.to_string()));
    }
}

/// `time.load_location(name)`.
pub(super) fn load(lua: &Lua, arguments: &Arguments) -> mlua::Result<MultiValue> {
    match arguments.text(0, "name").and_then(|name| Location::named(&name)) {
        Ok(location) => location.into_lua_multi(lua),
        Err(error) => values::refuse(lua, error),
    }
}

/// `time.fixed_zone(name, seconds)`.
pub(super) fn fixed(_: &Lua, arguments: &Arguments) -> mlua::Result<Location> {
    let name = arguments.text(0, "name").map_err(errors::raise)?;
    let seconds = arguments
        .integer(1, "offset", -93_599..=93_599)
        .map_err(errors::raise)?;
    let seconds = i32::try_from(seconds).unwrap_or_default();
    let offset = Offset::from_seconds(seconds).map_err(super::moment::out_of_range)?;
    Ok(Location::fixed(&name, offset))
}
