//! [`Destination`]: where a request goes, in the one form in which it is checked, sent and looked up.
//!
//! A URL has many spellings (`http://2130706433/a/../b` is `http://127.0.0.1/b`). What the guard is asked about is what
//! is then connected to and sent, so that no spelling passes where another would not.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderValue, Uri, uri::PathAndQuery};
use url::{Host, Url};
use wasmtime_wasi_http::Error;
use wippy_security::{Context, Resolver, authorize_address, authorize_with};
use wippy_wit::Value;

/// Where a request goes.
pub(super) struct Destination {
    url: Url,
    pub(super) origin: Origin,
}

/// What connections are made to, and kept under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) secure: bool,
    pub(super) host: Host,
    pub(super) port: u16,
}

impl Destination {
    /// Where a request for `uri` goes.
    ///
    /// # Errors
    /// When it is no HTTP URL with a host, or carries a password.
    pub(super) fn of(uri: &Uri) -> Result<Self, Error> {
        let mut url = Url::parse(&uri.to_string()).map_err(|_| Error::HttpRequestUriInvalid)?;
        without_root_dot(&mut url)?;
        let host = url.host().ok_or(Error::HttpRequestUriInvalid)?.to_owned();
        let port = url.port_or_known_default().ok_or(Error::HttpRequestUriInvalid)?;
        let secure = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(Error::HttpProtocolError),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::HttpRequestUriInvalid);
        }
        let origin = Origin { secure, host, port };
        Ok(Self { url, origin })
    }

    /// Whether `context` may make a request with `method` here. A refusal is in the audit trail.
    pub(super) fn is_allowed(&self, context: &Context, method: &str) -> bool {
        let meta = Value::record([
            ("method", Value::string(method)),
            ("scheme", Value::string(self.url.scheme())),
            ("host", Value::string(self.origin.host.to_string())),
            ("port", Value::Integer(self.origin.port.into())),
            ("path", Value::string(self.url.path())),
        ]);
        authorize_with(context, "wasi.http.request", self.url.as_str(), &meta).is_ok()
    }

    /// What the request line says.
    pub(super) fn path_and_query(&self) -> Result<PathAndQuery, Error> {
        let text = match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        };
        PathAndQuery::try_from(text).map_err(|_| Error::HttpRequestUriInvalid)
    }

    /// What the `host` header says.
    pub(super) fn authority(&self) -> Result<HeaderValue, Error> {
        let host = &self.origin.host;
        let text = match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        HeaderValue::try_from(text).map_err(|_| Error::HttpRequestUriInvalid)
    }
}

/// A name with and without a dot at its end is the same one.
fn without_root_dot(url: &mut Url) -> Result<(), Error> {
    let shorter = match url.host() {
        Some(Host::Domain(domain)) => domain.strip_suffix('.').map(str::to_owned),
        _ => None,
    };
    match shorter {
        Some(domain) => url
            .set_host(Some(&domain))
            .map_err(|_| Error::HttpRequestUriInvalid),
        None => Ok(()),
    }
}

impl Origin {
    /// The addresses behind it, looked up once: what is checked is what is connected to.
    pub(super) async fn resolve(&self, resolver: Option<&dyn Resolver>) -> Result<Vec<SocketAddr>, Error> {
        let domain = match &self.host {
            Host::Ipv4(address) => return Ok(vec![(*address, self.port).into()]),
            Host::Ipv6(address) => return Ok(vec![(*address, self.port).into()]),
            Host::Domain(domain) => domain,
        };
        let found = match resolver {
            Some(resolver) => resolver.resolve(domain, self.port).await,
            None => tokio::net::lookup_host((domain.as_str(), self.port))
                .await
                .map(Iterator::collect),
        };
        found.map_err(|_| Error::DnsError {
            rcode: None,
            info_code: None,
        })
    }

    /// Whether `context` may reach it at `address`: a private one takes a permission of its own.
    pub(super) fn may_be_at(&self, context: &Context, address: IpAddr) -> bool {
        authorize_address(context, &self.host.to_string(), self.port, address).is_ok()
    }
}
