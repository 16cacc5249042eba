//! `crypto.encrypt` and `crypto.decrypt`: a fresh random nonce stands before what it was used for.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else there is, is refused alike"
)]

use aes_gcm::{
    Aes128Gcm, Aes256Gcm, AesGcm,
    aead::{Aead, AeadCore, KeyInit, Nonce, Payload, consts::U12},
    aes::Aes192,
};
use chacha20poly1305::ChaCha20Poly1305;
use mlua::{Lua, Table};
use wippy_security::CallError;
use wippy_wit::Value;

use super::random;
use crate::arguments::{Arguments, function};

const NONCE_LEN: usize = 12;

/// A cipher that takes a key, something to work on, and what is authenticated beside it.
type Cipher = fn(&[u8], &[u8], &[u8]) -> Result<Vec<u8>, CallError>;

/// Makes the two tables.
///
/// # Errors
/// When memory does not suffice.
pub(super) fn tables(lua: &Lua) -> mlua::Result<(Table, Table)> {
    let (encrypt, decrypt) = (lua.create_table()?, lua.create_table()?);
    cipher(lua, &encrypt, "crypto.encrypt.aes", |key, data, aad| {
        match key.len() {
            16 => seal::<Aes128Gcm>(key, data, aad),
            24 => seal::<Aes192Gcm>(key, data, aad),
            32 => seal::<Aes256Gcm>(key, data, aad),
            len => Err(key_size("16, 24 or 32", len)),
        }
    })?;
    cipher(lua, &decrypt, "crypto.decrypt.aes", |key, data, aad| {
        match key.len() {
            16 => open::<Aes128Gcm>(key, data, aad),
            24 => open::<Aes192Gcm>(key, data, aad),
            32 => open::<Aes256Gcm>(key, data, aad),
            len => Err(key_size("16, 24 or 32", len)),
        }
    })?;
    cipher(
        lua,
        &encrypt,
        "crypto.encrypt.chacha20",
        |key, data, aad| match key.len() {
            32 => seal::<ChaCha20Poly1305>(key, data, aad),
            len => Err(key_size("32", len)),
        },
    )?;
    cipher(
        lua,
        &decrypt,
        "crypto.decrypt.chacha20",
        |key, data, aad| match key.len() {
            32 => open::<ChaCha20Poly1305>(key, data, aad),
            len => Err(key_size("32", len)),
        },
    )?;
    Ok((encrypt, decrypt))
}

type Aes192Gcm = AesGcm<Aes192, U12>;

fn cipher(lua: &Lua, table: &Table, name: &'static str, work: Cipher) -> mlua::Result<()> {
    function(lua, table, name, move |_, arguments: &Arguments| {
        let (data, key) = (arguments.bytes(0, "data")?, arguments.bytes(1, "key")?);
        let aad = match arguments.get(2) {
            mlua::Value::Nil => Vec::new(),
            _ => arguments.bytes(2, "aad")?.to_vec(),
        };
        Ok(Value::String(work(&key, &data, &aad)?.into()))
    })
}

fn key_size(expected: &str, len: usize) -> CallError {
    CallError::invalid(format!("`key` must have {expected} bytes, got {len}"))
}

fn seal<C>(key: &[u8], data: &[u8], aad: &[u8]) -> Result<Vec<u8>, CallError>
where
    C: Aead + KeyInit + AeadCore<NonceSize = U12>,
{
    let cipher = C::new_from_slice(key).map_err(|_| CallError::invalid("`key` has the wrong size"))?;
    let nonce: [u8; NONCE_LEN] = random::array()?;
    let sealed = cipher.encrypt(&Nonce::<C>::from(nonce), Payload { msg: data, aad });
    let sealed = sealed.map_err(|_| CallError::internal("the data cannot be encrypted: it is too long"))?;
    Ok([&nonce[..], &sealed].concat())
}

fn open<C>(key: &[u8], data: &[u8], aad: &[u8]) -> Result<Vec<u8>, CallError>
where
    C: Aead + KeyInit + AeadCore<NonceSize = U12>,
{
    // One message for all reasons: which of them it is would help only those who try keys.
    let failed = || CallError::internal("decryption failed: wrong key, wrong `aad`, or damaged data");
    let cipher = C::new_from_slice(key).map_err(|_| CallError::invalid("`key` has the wrong size"))?;
    let (nonce, sealed) = data.split_first_chunk::<NONCE_LEN>().ok_or_else(failed)?;
    cipher
        .decrypt(&Nonce::<C>::from(*nonce), Payload { msg: sealed, aad })
        .map_err(|_| failed())
}
