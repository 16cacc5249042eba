//! Connections of guests' requests: to an address that was checked, with TLS where the URL says so.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};
use url::Host;
use wasmtime_wasi_http::Error;
use wippy_security::{Context, Resolver};

use super::destination::Origin;

/// What a connection reads from and writes to.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to `origin`, at the first of its addresses that `context` may reach and that answers.
pub(super) async fn connect(
    context: &Context,
    origin: &Origin,
    patience: Duration,
    resolver: Option<&dyn Resolver>,
    tls: impl FnOnce() -> Result<Arc<ClientConfig>, Error>,
) -> Result<(Box<dyn Stream>, SocketAddr), Error> {
    let addresses = origin.resolve(resolver).await?;
    // One address that swallows everything must not keep the others from being tried.
    let turns = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut failure = Error::DestinationNotFound;
    for address in addresses {
        if !origin.may_be_at(context, address.ip()) {
            failure = Error::DestinationIpProhibited;
            continue;
        }
        failure = match timeout(patience / turns, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are written in one go: waiting for more to send only delays them.
                let _ = stream.set_nodelay(true);
                let stream = if origin.secure {
                    encrypt(stream, origin, tls()?).await?
                } else {
                    Box::new(stream)
                };
                return Ok((stream, address));
            }
            Ok(Err(error)) => Error::Connect(error),
            Err(_) => Error::ConnectionTimeout,
        };
    }
    Err(failure)
}

async fn encrypt(
    stream: TcpStream,
    origin: &Origin,
    config: Arc<ClientConfig>,
) -> Result<Box<dyn Stream>, Error> {
    let name = match &origin.host {
        Host::Domain(domain) => {
            ServerName::try_from(domain.clone()).map_err(|_| Error::HttpRequestUriInvalid)?
        }
        Host::Ipv4(address) => ServerName::from(std::net::IpAddr::V4(*address)),
        Host::Ipv6(address) => ServerName::from(std::net::IpAddr::V6(*address)),
    };
    let stream = TlsConnector::from(config).connect(name, stream).await;
    Ok(Box::new(stream.map_err(Error::Tls)?))
}

/// What TLS trusts: the authorities that browsers trust, and `extra` ones.
pub(super) fn tls_config(extra: &[Vec<u8>]) -> Result<Arc<ClientConfig>, Error> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.into(),
    };
    for root in extra {
        roots
            .add(root.as_slice().into())
            .map_err(|_| Error::ConfigurationError)?;
    }
    // Named, because a process may hold more than one provider and then there is no default.
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| Error::ConfigurationError)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
