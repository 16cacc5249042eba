//! `crypto`: random values, authentication codes, authenticated encryption, JSON web tokens, key derivation.

mod cipher;
mod jwt;
mod rsa;

use hmac::Hmac;
use mlua::{Lua, Table};
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;
use wippy_security::CallError;
use wippy_wit::Value;

use super::{
    codes::{hex, mac},
    derivation, random, uuid,
};
use crate::arguments::{Arguments, function, size};

/// A code over bytes, with a key.
type Code = fn(&[u8], &[u8]) -> Vec<u8>;

const RANDOM_MAX: i64 = 1 << 20;
const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    module.raw_set("random", random_table(lua)?)?;
    module.raw_set("hmac", hmac_table(lua)?)?;
    let (encrypt, decrypt) = cipher::tables(lua)?;
    module.raw_set("encrypt", encrypt)?;
    module.raw_set("decrypt", decrypt)?;
    module.raw_set("jwt", jwt::table(lua)?)?;
    module.raw_set("pbkdf2", derivation::function(lua, "crypto.pbkdf2")?)?;
    function(lua, &module, "crypto.constant_time_compare", |_, arguments| {
        let (a, b) = (arguments.bytes(0, "a")?, arguments.bytes(1, "b")?);
        Ok(Value::from(bool::from((*a).ct_eq(&*b))))
    })?;
    Ok(module)
}

fn random_table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let length = |arguments: &Arguments| arguments.integer(0, "length", 1..=RANDOM_MAX).map(size);
    function(lua, &table, "crypto.random.bytes", move |_, arguments| {
        let mut bytes = vec![0; length(arguments)?];
        random::fill(&mut bytes)?;
        Ok(Value::String(bytes.into()))
    })?;
    function(lua, &table, "crypto.random.string", move |_, arguments| {
        let length = length(arguments)?;
        if arguments.get(1).is_nil() {
            return Ok(Value::String(random::letters(length, ALPHANUMERIC)?.into()));
        }
        let charset = arguments.bytes(1, "charset")?;
        if !(1..=256).contains(&charset.len()) {
            return Err(CallError::invalid("`charset` must have 1 to 256 bytes"));
        }
        Ok(Value::String(random::letters(length, &charset)?.into()))
    })?;
    function(lua, &table, "crypto.random.uuid", |_, _| uuid::random_id())?;
    Ok(table)
}

fn hmac_table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let codes: [(&str, Code); 2] = [
        ("crypto.hmac.sha256", mac::<Hmac<Sha256>>),
        ("crypto.hmac.sha512", mac::<Hmac<Sha512>>),
    ];
    for (name, code) in codes {
        function(lua, &table, name, move |_, arguments| {
            let key = arguments.bytes(0, "key")?;
            if key.is_empty() {
                return Err(CallError::invalid("`key` must not be empty"));
            }
            Ok(Value::from(hex(&code(&key, &arguments.bytes(1, "data")?))))
        })?;
    }
    Ok(table)
}
