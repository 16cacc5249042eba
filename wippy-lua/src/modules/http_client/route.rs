//! The way to a host: which of its addresses may be connected to, and the client that connects to those and no others.

use std::{
    error::Error as _,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Client, Url, redirect::Policy};
use tokio::net::lookup_host;
use wippy_security::{CallError, Context, ErrorKind, Resolver, authorize_address};

use super::tls::Tls;

/// How many hosts' connections are kept.
const CLIENTS_MAX: usize = 64;

/// How long connecting takes at most.
const CONNECTING: Duration = Duration::from_secs(20);

/// How long an idle connection is kept, and how many to one host.
const IDLE: Duration = Duration::from_secs(30);
const IDLE_MAX: usize = 8;

/// A host, the addresses that were permitted, and how both ends prove who they are.
#[derive(PartialEq, Eq)]
struct Route {
    host: String,
    addresses: Vec<IpAddr>,
    tls: Option<Tls>,
}

/// The connections that requests of scripts are made by, kept over calls. Its clones are the same.
///
/// They are kept by what they connect to: whoever uses one was permitted every address that it knows.
#[derive(Clone, Default)]
pub struct HttpClients {
    known: Arc<Mutex<Vec<(Route, Client)>>>,
    /// Finds the addresses of names; the system does where there is none.
    resolver: Option<Arc<dyn Resolver>>,
}

impl HttpClients {
    /// Clients that look names up in this way, and not by the system.
    pub fn with_resolver(resolver: Arc<dyn Resolver>) -> Self {
        Self {
            resolver: Some(resolver),
            ..Self::default()
        }
    }

    /// A client for a URL's host, that connects only to what `context` may connect to.
    pub(super) async fn find(
        &self,
        context: &Context,
        url: &Url,
        tls: Option<&Tls>,
    ) -> Result<Client, CallError> {
        let route = Route::find(context, url, tls, self.resolver.as_deref()).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = known.iter().find(|(other, _)| *other == route) {
            return Ok(client.clone());
        }
        let client = route.client()?;
        if known.len() >= CLIENTS_MAX {
            known.remove(0);
        }
        known.push((route, client.clone()));
        Ok(client)
    }
}

impl Route {
    async fn find(
        context: &Context,
        url: &Url,
        tls: Option<&Tls>,
        resolver: Option<&dyn Resolver>,
    ) -> Result<Self, CallError> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let port = url.port_or_known_default().unwrap_or(80);
        let mut addresses = Vec::new();
        let mut refusal = None;
        for address in resolve(&host, port, resolver).await? {
            match authorize_address(context, &host, port, address) {
                Ok(()) => addresses.push(address),
                Err(error) => refusal = Some(error),
            }
        }
        if addresses.is_empty() {
            return Err(refusal.unwrap_or_else(|| unreachable_host(&host)));
        }
        addresses.sort();
        addresses.dedup();
        Ok(Self {
            host,
            addresses,
            tls: tls.cloned(),
        })
    }

    fn client(&self) -> Result<Client, CallError> {
        // Only the first of this process has an effect, and all are the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // The port comes from the URL.
        let addresses: Vec<SocketAddr> = self.addresses.iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
        let builder = match &self.tls {
            Some(tls) => tls.apply(Client::builder())?,
            None => Client::builder(),
        };
        builder
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(CONNECTING)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_MAX)
            .resolve_to_addrs(&self.host, &addresses)
            .build()
            .map_err(|error| {
                tracing::warn!(target: "wippy::http", %error, "a client could not be made");
                CallError::new(ErrorKind::Unavailable, "requests cannot be made in this program")
            })
    }
}

/// The addresses of a host, looked up once: those that pass the guard are those that are connected to.
async fn resolve(host: &str, port: u16, resolver: Option<&dyn Resolver>) -> Result<Vec<IpAddr>, CallError> {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = literal.parse() {
        return Ok(vec![address]);
    }
    let found = match resolver {
        Some(resolver) => resolver.resolve(host, port).await,
        None => lookup_host((host, port)).await.map(Iterator::collect),
    };
    let found = found.map_err(|error| {
        tracing::debug!(target: "wippy::http", host, %error, "a name could not be resolved");
        unreachable_host(host)
    })?;
    Ok(found
        .into_iter()
        .map(|address: SocketAddr| address.ip())
        .collect())
}

fn unreachable_host(host: &str) -> CallError {
    CallError::internal(format!("the host `{host}` has no address")).with_retryable(true)
}

/// What went wrong on the way, as it is documented: a network's failure may go away.
pub(super) fn failed(url: &Url, error: &reqwest::Error) -> CallError {
    // The error's own words have the whole URL in them, and what is in it may be a secret.
    let reason = error.source().map(ToString::to_string);
    tracing::debug!(target: "wippy::http", host = url.host_str(), reason, "a request failed");
    let host = url.host_str().unwrap_or_default();
    let reason = if error.is_timeout() {
        "did not answer in time"
    } else if error.is_connect() {
        "cannot be connected to"
    } else if error.is_builder() {
        return CallError::invalid("the request cannot be made as it is");
    } else {
        "did not answer as it should"
    };
    CallError::internal(format!("the host `{host}` {reason}")).with_retryable(true)
}

pub(super) fn late(timeout: Duration) -> CallError {
    CallError::internal(format!("the request took longer than {timeout:?}")).with_retryable(true)
}
