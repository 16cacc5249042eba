//! [`TokenStore`]: an actor and a scope behind an opaque text that can be shown, expires and can be revoked.
//!
//! A token is random bytes and their signature. The store is given neither: it keeps a record under a hash of the bytes,
//! and the record is signed together with its place, so that who reads the store cannot make tokens of it, and who
//! writes to it cannot change what a token is good for.

mod record;

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use wippy_registry::{EntryId, schema::security as declared};
use wippy_wit::Value;

use self::record::Record;
use crate::{Actor, CallError, Condition, Context, ErrorKind, Scope, ValueStore, audit, authorize};

/// The bytes of a signature.
const SIGNATURE_LEN: usize = 32;
/// Longer texts are no tokens and are not looked at.
const TOKEN_LEN_MAX: usize = 2048;
/// What a token may stand for, at most, in the form in which it is kept.
const RECORD_LEN_MAX: usize = 64 << 10;
/// No token lasts longer than this: about ten years.
const EXPIRATION_MAX: Duration = Duration::from_hours(24 * 3650);

/// What a token stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// Who shows it acts as this actor.
    pub actor: Arc<Actor>,
    /// Under these policies. Only their ids are kept: a policy that changed since counts as it is now.
    pub scope: Arc<Scope>,
    /// What its maker noted about it.
    pub meta: Value,
}

/// Makes tokens, and tells later what they stand for.
pub struct TokenStore {
    id: EntryId,
    store: Arc<dyn ValueStore>,
    key: Hmac<Sha256>,
    token_length: usize,
    default_expiration: Duration,
}

/// The token stores of an application.
#[derive(Debug, Clone, Default)]
pub struct TokenStores(BTreeMap<EntryId, Arc<TokenStore>>);

impl TokenStores {
    /// The token store `id`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn get(&self, id: &EntryId) -> Result<&Arc<TokenStore>, CallError> {
        let not_found = || CallError::new(ErrorKind::NotFound, format!("there is no token store `{id}`"));
        self.0.get(id).ok_or_else(not_found)
    }
}

impl FromIterator<TokenStore> for TokenStores {
    fn from_iter<T: IntoIterator<Item = TokenStore>>(stores: T) -> Self {
        let stores = stores.into_iter();
        Self(stores.map(|store| (store.id.clone(), Arc::new(store))).collect())
    }
}

#[expect(
    clippy::unused_async,
    reason = "the stores that there are answer at once; one on a disk will not"
)]
impl TokenStore {
    /// The token store `id`, which keeps its records in `store`. Without a `token_key` a key is made up, and its tokens
    /// end with it.
    ///
    /// # Errors
    /// When its tokens would last for no time or for more than ten years, or the system has no randomness to offer.
    pub fn new(
        id: EntryId,
        declared: &declared::TokenStore,
        store: Arc<dyn ValueStore>,
    ) -> Result<Self, CallError> {
        check_expiration(declared.default_expiration)?;
        let key = match &declared.token_key {
            Some(key) => key.as_bytes().to_vec(),
            None => random(SIGNATURE_LEN)?,
        };
        Ok(Self {
            id,
            store,
            key: Hmac::new_from_slice(&key)
                .map_err(|_| CallError::internal("the token key has no length"))?,
            token_length: usize::try_from(declared.token_length).unwrap_or(SIGNATURE_LEN),
            default_expiration: declared.default_expiration,
        })
    }

    /// Its entry.
    pub fn id(&self) -> &EntryId {
        &self.id
    }

    /// Makes a token for `grant` that lasts for `expiration`, or as long as the store's tokens do.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`]; [`ErrorKind::Invalid`] when the grant cannot be kept or the expiration makes no
    /// sense; whatever the store says.
    pub async fn create(
        &self,
        context: &Context,
        grant: &Grant,
        expiration: Option<Duration>,
    ) -> Result<String, CallError> {
        let _permit = authorize(context, "security.token.create", self.id.as_str())?;
        let expiration = expiration.unwrap_or(self.default_expiration);
        check_expiration(expiration)?;
        let secret = random(self.token_length)?;
        let place = self.place(&secret);
        let text = Record::new(grant, SystemTime::now() + expiration).to_text()?;
        if text.len() > RECORD_LEN_MAX {
            return Err(CallError::invalid(format!(
                "what a token stands for takes at most {RECORD_LEN_MAX} bytes"
            )));
        }
        let mut sealed = self
            .sign(&[b"record", place.as_bytes(), text.as_bytes()])
            .to_vec();
        sealed.extend_from_slice(text.as_bytes());
        let sealed = Value::String(sealed.into());
        self.store
            .put(&place, sealed, Some(expiration), Condition::Always)?;
        let signature = self.sign(&[b"token", self.id.as_str().as_bytes(), &secret]);
        Ok(format!("{}.{}", BASE64.encode(&secret), BASE64.encode(signature)))
    }

    /// What `token` stands for.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`]; [`ErrorKind::Invalid`] for everything that is no valid token, whatever is wrong
    /// with it; whatever the store says.
    pub async fn validate(&self, context: &Context, token: &str) -> Result<Grant, CallError> {
        let _permit = authorize(context, "security.token.validate", self.id.as_str())?;
        self.redeem(context, token)
    }

    /// What `token` stands for, for an edge that lets its holder in: it is the edge's to decide who that is, so nobody's
    /// permission is asked.
    ///
    /// # Errors
    /// As for [`validate`](Self::validate), without the permission.
    pub fn redeem(&self, context: &Context, token: &str) -> Result<Grant, CallError> {
        let record = match self.place_of(token) {
            Some(place) => self.find(&place)?,
            None => None,
        };
        let policies = context.dispatcher().policies();
        record
            .filter(|record| record.expires() > SystemTime::now())
            .and_then(|record| record.grant(&policies))
            .ok_or_else(|| {
                audit::invalid_token(context, &self.id);
                CallError::invalid("the token is not valid: it is unknown, revoked or expired")
            })
    }

    /// Makes `token` invalid, and says whether it was valid before.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`], or whatever the store says.
    pub async fn revoke(&self, context: &Context, token: &str) -> Result<bool, CallError> {
        let _permit = authorize(context, "security.token.revoke", self.id.as_str())?;
        match self.place_of(token) {
            Some(place) => self.store.delete(&place),
            None => Ok(false),
        }
    }

    /// Where the record of a token is, if this store signed the token.
    fn place_of(&self, token: &str) -> Option<String> {
        if token.len() > TOKEN_LEN_MAX {
            return None;
        }
        let (secret, signature) = token.split_once('.')?;
        let secret = BASE64.decode(secret).ok()?;
        let signature = BASE64.decode(signature).ok()?;
        self.verifies(&[b"token", self.id.as_str().as_bytes(), &secret], &signature)
            .then(|| self.place(&secret))
    }

    /// The record at a place, if this store put it there.
    fn find(&self, place: &str) -> Result<Option<Record>, CallError> {
        let stored = match self.store.get(place) {
            Ok(stored) => stored,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Value::String(sealed) = &stored.value else {
            return Ok(None);
        };
        let Some((signature, text)) = sealed.split_at_checked(SIGNATURE_LEN) else {
            return Ok(None);
        };
        let is_ours = self.verifies(&[b"record", place.as_bytes(), text], signature);
        Ok(is_ours.then(|| Record::from_text(text)).flatten())
    }

    /// The key of a record: a hash of its token, from which the token cannot be told.
    fn place(&self, secret: &[u8]) -> String {
        let hash = Sha256::new()
            .chain_update(self.id.as_str())
            .chain_update([0])
            .chain_update(secret)
            .finalize();
        format!("token:{}:{}", self.id, BASE64.encode(hash))
    }

    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.key.clone();
        for part in parts {
            // With their lengths, so that no two lists of parts look alike.
            mac.update(&part.len().to_le_bytes());
            mac.update(part);
        }
        mac
    }

    fn sign(&self, parts: &[&[u8]]) -> [u8; SIGNATURE_LEN] {
        self.mac(parts).finalize().into_bytes().into()
    }

    /// Compares in constant time.
    fn verifies(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        self.mac(parts).verify_slice(signature).is_ok()
    }
}

fn check_expiration(expiration: Duration) -> Result<(), CallError> {
    if expiration.is_zero() || expiration > EXPIRATION_MAX {
        let message = "a token lasts longer than nothing and at most ten years";
        return Err(CallError::invalid(message));
    }
    Ok(())
}

fn random(length: usize) -> Result<Vec<u8>, CallError> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes)
        .map_err(|_| CallError::new(ErrorKind::Unavailable, "the system has no randomness to offer"))?;
    Ok(bytes)
}

impl fmt::Debug for TokenStore {
    /// Leaves the key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenStore")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
