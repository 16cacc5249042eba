//! PBKDF2, for `hash` and `crypto`: bounded, and giving its thread up every few thousand rounds.
//!
//! The loop is ours because the usual ones cannot be left: ten million rounds take seconds, in which the caller's
//! deadline has to hold and other scripts have to run. What it loops over is the HMAC of the `hmac` crate.

use hmac::{Hmac, KeyInit, Mac};
use mlua::{Function, Lua};
use sha2::{Sha256, Sha512};
use wippy_security::CallError;
use wippy_wit::Value;

use super::codes::keyed;
use crate::{arguments::Arguments, arguments::size, suspend::suspending, values};

const ITERATIONS_MAX: i64 = 10_000_000;
const KEY_LENGTH_MAX: i64 = 1024;
/// Rounds between two chances for others: about a millisecond.
const ROUNDS_AT_ONCE: u32 = 2_000;

/// Makes the function `(password, salt, iterations, key_length [, hash])`.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn function(lua: &Lua, name: &'static str) -> mlua::Result<Function> {
    suspending(lua, move |_, arguments: Arguments| {
        let request = Request::read(&arguments);
        Ok(async move {
            let outcome = match request {
                Ok(request) => Ok(Value::String(request.derive().await.into())),
                Err(error) => Err(error.context(name)),
            };
            move |lua: &Lua| values::answer(lua, outcome)
        })
    })
}

struct Request {
    password: Vec<u8>,
    salt: Vec<u8>,
    iterations: u32,
    key_length: usize,
    hash: Hash,
}

#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha512,
}

impl Request {
    fn read(arguments: &Arguments) -> Result<Self, CallError> {
        let filled = |index, name| {
            let bytes = arguments.bytes(index, name)?.to_vec();
            if bytes.is_empty() {
                return Err(CallError::invalid(format!("`{name}` must not be empty")));
            }
            Ok(bytes)
        };
        let hash = match arguments.optional_text(4, "hash")?.as_deref() {
            None | Some("sha256") => Hash::Sha256,
            Some("sha512") => Hash::Sha512,
            Some(other) => {
                return Err(CallError::invalid(format!(
                    "`hash` must be `sha256` or `sha512`, got `{other}`"
                )));
            }
        };
        let iterations = arguments.integer(2, "iterations", 1..=ITERATIONS_MAX)?;
        Ok(Self {
            password: filled(0, "password")?,
            salt: filled(1, "salt")?,
            iterations: u32::try_from(iterations).unwrap_or(u32::MAX),
            key_length: size(arguments.integer(3, "key_length", 1..=KEY_LENGTH_MAX)?),
            hash,
        })
    }

    async fn derive(&self) -> Vec<u8> {
        match self.hash {
            Hash::Sha256 => self.derive_with::<Hmac<Sha256>>().await,
            Hash::Sha512 => self.derive_with::<Hmac<Sha512>>().await,
        }
    }

    /// RFC 8018, section 5.2.
    async fn derive_with<M: Mac + KeyInit + Clone + Send>(&self) -> Vec<u8> {
        let keyed = keyed::<M>(&self.password);
        let mut key = Vec::with_capacity(self.key_length);
        for number in 1_u32.. {
            if key.len() >= self.key_length {
                break;
            }
            key.extend(self.block(&keyed, number).await);
        }
        key.truncate(self.key_length);
        key
    }

    async fn block<M: Mac + Clone + Send>(&self, keyed: &M, number: u32) -> Vec<u8> {
        let code = |parts: [&[u8]; 2]| {
            let mut mac = keyed.clone();
            for part in parts {
                mac.update(part);
            }
            mac.finalize().into_bytes()
        };
        let mut round = code([&self.salt, &number.to_be_bytes()]);
        let mut block = round.to_vec();
        for done in 1..self.iterations {
            if done % ROUNDS_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
            round = code([&round, &[]]);
            for (byte, other) in block.iter_mut().zip(&round) {
                *byte ^= other;
            }
        }
        block
    }
}
