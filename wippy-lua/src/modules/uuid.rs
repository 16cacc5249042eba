//! `uuid`: making, reading and showing UUIDs.

use std::sync::OnceLock;

use md5::Md5;
use mlua::{Lua, Table, Value as LuaValue};
use sha1::Sha1;
use sha2::Digest;
use uuid::{Builder, Timestamp, Uuid, Variant};
use wippy_security::CallError;
use wippy_wit::Value;

use super::random;
use crate::arguments::{Arguments, function};

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    function(lua, &module, "uuid.v1", |_, _| Ok(shown(Uuid::now_v1(&node()?))))?;
    function(lua, &module, "uuid.v4", |_, _| random_id())?;
    function(lua, &module, "uuid.v7", |_, _| {
        let bytes = random::array()?;
        let now = jiff::Timestamp::now().as_millisecond();
        let now = u64::try_from(now).unwrap_or_default();
        Ok(shown(
            Builder::from_unix_timestamp_millis(now, &bytes).into_uuid(),
        ))
    })?;
    function(lua, &module, "uuid.v3", |_, arguments| {
        let digest = named::<Md5>(arguments)?;
        Ok(shown(Builder::from_md5_bytes(digest).into_uuid()))
    })?;
    function(lua, &module, "uuid.v5", |_, arguments| {
        let digest = named::<Sha1>(arguments)?;
        Ok(shown(Builder::from_sha1_bytes(digest).into_uuid()))
    })?;
    function(lua, &module, "uuid.validate", |_, arguments| {
        Ok(Value::from(read(arguments.get(0)).is_ok()))
    })?;
    function(lua, &module, "uuid.version", |_, arguments| {
        Ok(version(&read(arguments.get(0))?))
    })?;
    function(lua, &module, "uuid.variant", |_, arguments| {
        Ok(variant(&read(arguments.get(0))?).into())
    })?;
    function(lua, &module, "uuid.parse", |_, arguments| parse(arguments))?;
    function(lua, &module, "uuid.format", |_, arguments| format(arguments))?;
    Ok(module)
}

/// A random id, which `crypto` gives too.
///
/// # Errors
/// When the system has no randomness.
pub(crate) fn random_id() -> Result<Value, CallError> {
    Ok(shown(Builder::from_random_bytes(random::array()?).into_uuid()))
}

fn shown(id: Uuid) -> Value {
    Value::from(id.hyphenated().to_string())
}

fn read(value: &LuaValue) -> Result<Uuid, CallError> {
    let text = crate::arguments::text(value, "uuid")?;
    Uuid::parse_str(&text).map_err(|_| CallError::invalid(format!("`{text}` is no UUID")))
}

/// Stands for the machine in version 1: random and marked as such, so that nothing about the machine is told.
fn node() -> Result<[u8; 6], CallError> {
    static NODE: OnceLock<[u8; 6]> = OnceLock::new();
    if let Some(node) = NODE.get() {
        return Ok(*node);
    }
    let mut node: [u8; 6] = random::array()?;
    node[0] |= 1;
    Ok(*NODE.get_or_init(|| node))
}

/// The first sixteen bytes of the digest of a namespace and a name.
fn named<D: Digest>(arguments: &Arguments) -> Result<[u8; 16], CallError> {
    let namespace = read(arguments.get(0)).map_err(|error| error.context("`namespace`"))?;
    let mut digest = D::new();
    digest.update(namespace.as_bytes());
    digest.update(&*arguments.bytes(1, "name")?);
    let mut bytes = [0; 16];
    for (byte, digest) in bytes.iter_mut().zip(digest.finalize()) {
        *byte = digest;
    }
    Ok(bytes)
}

fn version(id: &Uuid) -> Value {
    Value::Integer(i64::try_from(id.get_version_num()).unwrap_or_default())
}

fn variant(id: &Uuid) -> &'static str {
    match id.get_variant() {
        Variant::NCS => "NCS",
        Variant::RFC4122 => "RFC4122",
        Variant::Microsoft => "Microsoft",
        Variant::Future => "Future",
        _ => "Invalid",
    }
}

fn parse(arguments: &Arguments) -> Result<Value, CallError> {
    let id = read(arguments.get(0))?;
    let mut fields = vec![("version", version(&id)), ("variant", variant(&id).into())];
    if let Some(timestamp) = id.get_timestamp().as_ref().map(Timestamp::to_unix) {
        fields.push(("timestamp", Value::from(timestamp.0)));
    }
    if let Some(node) = id.get_node_id() {
        fields.push(("node", Value::from(super::codes::hex(&node))));
    }
    Ok(Value::record(fields))
}

fn format(arguments: &Arguments) -> Result<Value, CallError> {
    let id = read(arguments.get(0))?;
    Ok(Value::from(
        match arguments.optional_text(1, "format")?.as_deref() {
            None | Some("standard") => id.hyphenated().to_string(),
            Some("simple") => id.simple().to_string(),
            Some("urn") => id.urn().to_string(),
            Some(other) => {
                return Err(CallError::invalid(format!(
                    "`format` must be `standard`, `simple` or `urn`, got `{other}`"
                )));
            }
        },
    ))
}
