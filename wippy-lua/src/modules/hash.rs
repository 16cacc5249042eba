//! `hash`: digests, message authentication codes, key derivation, and FNV for tables.

use md5::Md5;
use mlua::{Lua, Table};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use wippy_security::CallError;
use wippy_wit::Value;

use super::derivation;
use crate::{
    arguments::{Arguments, function},
    modules::codes::{digest, hex, mac},
};

/// A digest of bytes.
type Digest = fn(&[u8]) -> Vec<u8>;
/// A code over bytes, with a key.
type Code = fn(&[u8], &[u8]) -> Vec<u8>;

const DIGESTS: [(&str, Digest); 4] = [
    ("hash.md5", digest::<Md5>),
    ("hash.sha1", digest::<Sha1>),
    ("hash.sha256", digest::<Sha256>),
    ("hash.sha512", digest::<Sha512>),
];

const CODES: [(&str, Code); 4] = [
    ("hash.hmac_md5", mac::<hmac::Hmac<Md5>>),
    ("hash.hmac_sha1", mac::<hmac::Hmac<Sha1>>),
    ("hash.hmac_sha256", mac::<hmac::Hmac<Sha256>>),
    ("hash.hmac_sha512", mac::<hmac::Hmac<Sha512>>),
];

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    for (name, digest) in DIGESTS {
        function(lua, &module, name, move |_, arguments| {
            let digest = digest(&arguments.bytes(0, "data")?);
            Ok(shown(&digest, arguments.flag(1)))
        })?;
    }
    for (name, code) in CODES {
        function(lua, &module, name, move |_, arguments| {
            let code = code(&arguments.bytes(1, "secret")?, &arguments.bytes(0, "data")?);
            Ok(shown(&code, arguments.flag(2)))
        })?;
    }
    function(lua, &module, "hash.fnv32", |_, arguments| {
        Ok(Value::from(u64::from(fnv32(&arguments.bytes(0, "data")?))))
    })?;
    function(lua, &module, "hash.fnv64", fnv64)?;
    module.raw_set("pbkdf2", derivation::function(lua, "hash.pbkdf2")?)?;
    Ok(module)
}

/// Hexadecimal, unless the bytes themselves are asked for.
fn shown(bytes: &[u8], raw: bool) -> Value {
    if raw {
        Value::string(bytes)
    } else {
        Value::from(hex(bytes))
    }
}

/// FNV-1, not FNV-1a: multiplies first.
fn fnv32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash: u32, byte| {
        hash.wrapping_mul(0x0100_0193) ^ u32::from(*byte)
    })
}

/// FNV-1 with 64 bits; a number beyond Lua's integers is one of the unsigned ones.
fn fnv64(_: &Lua, arguments: &Arguments) -> Result<Value, CallError> {
    let bytes = arguments.bytes(0, "data")?;
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte)
    });
    Ok(Value::from(hash))
}
