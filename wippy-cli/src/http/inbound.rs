//! A request on its way to whoever answers it, and what middleware found out about it.

use std::{net::IpAddr, sync::Arc};

use http::{Method, request::Parts};
use wippy_security::Context;

use super::body::RequestBody;

/// A request with all that is known about it. It goes through many hands, and is large: in a box.
pub(super) struct Inbound {
    pub(super) parts: Parts,
    pub(super) body: Option<RequestBody>,
    /// The client, as far as it is known.
    pub(super) client: Client,
    pub(super) call_id: Arc<str>,
    /// Under which the request is answered. Its deadline runs already.
    pub(super) context: Context,
    /// The parameters of the route, decoded, by name.
    pub(super) params: Vec<(Arc<str>, String)>,
}

/// Who sent a request.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) ip: IpAddr,
    /// As scripts see it.
    pub(super) text: Arc<str>,
}

impl Inbound {
    pub(super) fn method(&self) -> &Method {
        &self.parts.method
    }

    /// A header's value, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// A parameter of the query, decoded.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        let mut query = wippy_lua::http::query(&self.parts.uri);
        query.find_map(|(known, value)| (known == name).then(|| value.into_owned()))
    }
}
