//! `crypto.jwt`: JSON web tokens, signed with a secret or an RSA key.
//!
//! The algorithm is the caller's choice, never the token's: a header that names another one is refused.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else there is, is refused alike"
)]

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::Hmac;
use mlua::{Lua, Table};
use serde_json::{Map, Value as Json};
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;
use wippy_security::CallError;
use wippy_wit::{Value, json};

use super::{mac, rsa};
use crate::arguments::{Arguments, function, unexpected};

/// The field of the claims that holds fields for the header.
const HEADER: &str = "_header";

/// Makes the table.
///
/// # Errors
/// When memory does not suffice.
pub(super) fn table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    function(lua, &table, "crypto.jwt.encode", encode)?;
    function(lua, &table, "crypto.jwt.verify", |_, arguments| verify(arguments))?;
    Ok(table)
}

#[derive(Clone, Copy)]
enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
}

impl Algorithm {
    fn read(arguments: &Arguments) -> Result<Self, CallError> {
        Ok(match arguments.optional_text(2, "alg")?.as_deref() {
            None | Some("HS256") => Self::Hs256,
            Some("HS384") => Self::Hs384,
            Some("HS512") => Self::Hs512,
            Some("RS256") => Self::Rs256,
            Some(other) => {
                return Err(CallError::invalid(format!(
                    "`alg` must be `HS256`, `HS384`, `HS512` or `RS256`, got `{other}`"
                )));
            }
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
        }
    }

    fn sign(self, key: &[u8], signed: &[u8]) -> Result<Vec<u8>, CallError> {
        Ok(match self {
            Self::Hs256 => mac::<Hmac<Sha256>>(key, signed),
            Self::Hs384 => mac::<Hmac<Sha384>>(key, signed),
            Self::Hs512 => mac::<Hmac<Sha512>>(key, signed),
            Self::Rs256 => rsa::sign(key, signed)?,
        })
    }

    fn accepts(self, key: &[u8], signed: &[u8], signature: &[u8]) -> Result<bool, CallError> {
        match self {
            Self::Rs256 => rsa::accepts(key, signed, signature),
            Self::Hs256 | Self::Hs384 | Self::Hs512 => {
                Ok(bool::from(self.sign(key, signed)?.as_slice().ct_eq(signature)))
            }
        }
    }
}

fn key(arguments: &Arguments) -> Result<Vec<u8>, CallError> {
    let key = arguments.bytes(1, "key")?.to_vec();
    if key.is_empty() {
        return Err(CallError::invalid("`key` must not be empty"));
    }
    Ok(key)
}

fn encode(lua: &Lua, arguments: &Arguments) -> Result<Value, CallError> {
    let payload = arguments.value(lua, 0).and_then(|value| json::from_value(&value));
    let mut claims = match payload? {
        Json::Object(claims) => claims,
        // An empty table has no claims.
        Json::Array(elements) if elements.is_empty() => Map::new(),
        _ => return Err(unexpected(arguments.get(0), "payload", "a table of claims")),
    };
    let (key, algorithm) = (key(arguments)?, Algorithm::read(arguments)?);
    let mut header = match claims.shift_remove(HEADER) {
        None => Map::new(),
        Some(Json::Object(header)) => header,
        Some(_) => return Err(CallError::invalid("`_header` must be a table of fields")),
    };
    header.entry("typ").or_insert_with(|| Json::from("JWT"));
    header.insert("alg".to_owned(), Json::from(algorithm.name()));
    let part = |part: Map<String, Json>| URL_SAFE_NO_PAD.encode(Json::Object(part).to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(algorithm.sign(&key, signed.as_bytes())?);
    Ok(Value::from(format!("{signed}.{signature}")))
}

fn refused(reason: &str) -> CallError {
    CallError::internal(format!("the token is refused: {reason}"))
}

fn verify(arguments: &Arguments) -> Result<Value, CallError> {
    let token = arguments.text(0, "token")?;
    let (key, algorithm) = (key(arguments)?, Algorithm::read(arguments)?);
    let malformed = || refused("it is not of the form `header.payload.signature`");
    let (signed, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
    let (header, payload) = signed.split_once('.').ok_or_else(malformed)?;
    let part =
        |part: &str| -> Option<Json> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok() };
    let header = part(header).ok_or_else(malformed)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed())?;
    if header.get("alg").and_then(Json::as_str) != Some(algorithm.name()) {
        return Err(refused(&format!("it is not signed with {}", algorithm.name())));
    }
    if !algorithm.accepts(&key, signed.as_bytes(), &signature)? {
        return Err(refused("its signature does not match"));
    }
    let claims = part(payload).ok_or_else(malformed)?;
    let needs_expiry = !matches!(arguments.get(3), mlua::Value::Boolean(false));
    check_times(&claims, needs_expiry)?;
    json::to_value(&claims).map_err(CallError::from)
}

/// `exp` and `nbf`, whenever they are there.
fn check_times(claims: &Json, needs_expiry: bool) -> Result<(), CallError> {
    #[expect(clippy::cast_precision_loss, reason = "seconds of this era are exact")]
    let now = jiff::Timestamp::now().as_second() as f64;
    let claim = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(time) => match time.as_f64() {
            Some(time) => Ok(Some(time)),
            None => Err(refused(&format!("its `{name}` is no number"))),
        },
    };
    match claim("exp")? {
        Some(expiry) if expiry <= now => return Err(refused("it has expired")),
        None if needs_expiry => return Err(refused("it has no `exp`")),
        _ => {}
    }
    match claim("nbf")? {
        Some(start) if start > now => Err(refused("it is not valid yet")),
        _ => Ok(()),
    }
}
