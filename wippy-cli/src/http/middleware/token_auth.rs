//! `token_auth`: whom a token stands for. It refuses nobody; firewalls do.

use std::sync::Arc;

use async_trait::async_trait;
use wippy_registry::EntryId;
use wippy_security::{Actor, CallError, ErrorKind, Scope};

use super::{super::inbound::Inbound, Making, options::Options};

/// Tokens and whom they stand for.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// The actor and the scope behind a token.
    ///
    /// # Errors
    /// When the token is not valid (any kind but `UNAVAILABLE`), or it cannot be told.
    async fn validate(&self, token: &str) -> Result<(Arc<Actor>, Arc<Scope>), CallError>;
}

/// The token stores of an application.
pub trait TokenStores: Send + Sync {
    /// The store that an entry is.
    fn find(&self, id: &EntryId) -> Option<Arc<dyn TokenStore>>;
}

/// Where tokens are and what they are valid in.
pub(crate) struct TokenAuth {
    store: Option<Arc<dyn TokenStore>>,
    header: String,
    prefix: String,
    query: String,
    cookie: String,
}

impl TokenAuth {
    pub(super) fn new(options: &mut Options<'_>, making: Making<'_>) -> Self {
        let mut text = |name, default: &str| options.text(name).unwrap_or(default).to_owned();
        Self {
            header: text("token_auth.header.name", "authorization"),
            prefix: text("token_auth.header.prefix", "Bearer "),
            query: text("token_auth.query.param", "x-auth-token"),
            cookie: text("token_auth.cookie.name", "x-auth-token"),
            store: store(options, making),
        }
    }

    /// Gives the request the identity of its token. Without a valid one it keeps the service's own.
    pub(super) async fn authenticate(&self, inbound: &mut Inbound) {
        let (Some(store), Some(token)) = (&self.store, self.token(inbound)) else {
            return;
        };
        match store.validate(&token).await {
            Ok((actor, scope)) => {
                inbound.context = inbound.context.with_identity(Some(actor), Some(scope));
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::warn!(target: "wippy::http", call_id = &*inbound.call_id, "a token could not be checked: {error}");
            }
            Err(error) => {
                tracing::debug!(target: "wippy::http", call_id = &*inbound.call_id, "a token is not valid: {error}");
            }
        }
    }

    fn token(&self, inbound: &Inbound) -> Option<String> {
        let in_header = inbound
            .header(&self.header)
            .and_then(|value| value.strip_prefix(self.prefix.as_str()))
            .map(|token| token.trim().to_owned());
        in_header
            .or_else(|| inbound.query(&self.query))
            .or_else(|| cookie(inbound, &self.cookie))
            .filter(|token| !token.is_empty())
    }
}

fn store(options: &mut Options<'_>, making: Making<'_>) -> Option<Arc<dyn TokenStore>> {
    const NAME: &str = "token_auth.store";
    let Some(reference) = options.text(NAME) else {
        options.report(
            NAME,
            format!("`token_auth` needs `{NAME}`, the id of a token store"),
        );
        return None;
    };
    let found = EntryId::resolve(reference, making.namespace)
        .ok()
        .and_then(|id| making.stores.find(&id));
    if found.is_none() {
        options.report(NAME, format!("`{NAME}`: there is no token store `{reference}`"));
    }
    found
}

fn cookie(inbound: &Inbound, name: &str) -> Option<String> {
    let values = inbound.parts.headers.get_all(http::header::COOKIE);
    let mut cookies = values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='));
    let (_, value) = cookies.find(|(known, _)| *known == name)?;
    Some(value.trim_matches('"').to_owned())
}
