//! [`HttpService`]: an `http.service`, a server that the supervisor starts and drains.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;
use wippy_registry::{EntryId, LinkedEntry, schema};
use wippy_security::{CallError, Context, ErrorKind};

use super::App;
use crate::{
    Failure,
    http::{HttpServer, Routes, Running, ServerConfig},
    live::Live,
    supervisor::{Active, Service},
};

/// A server with the routes of its entries, which it follows as they change.
pub(super) struct HttpService {
    id: EntryId,
    /// What its requests begin with.
    context: Context,
    config: schema::http::Service,
    live: Arc<Live>,
}

impl HttpService {
    async fn listen(&self) -> Result<Running, CallError> {
        let context = self.context.clone();
        let config = ServerConfig {
            id: self.id.clone(),
            service: self.config.clone(),
            context: Box::new(move || context.clone()),
            metrics: self
                .live
                .ground()
                .metrics
                .as_ref()
                .map(|metrics| metrics.service(&self.id)),
        };
        let routes = self.live.routes(&self.id);
        let endpoints = routes.len();
        let running = HttpServer::start(config, routes)
            .await
            .map_err(|error| CallError::new(ErrorKind::Unavailable, format!("`{}`: {error}", self.id)))?;
        self.live.route(running.server());
        let scheme = if running.is_secure() { "https" } else { "http" };
        let url = format!("{scheme}://{}", running.address());
        tracing::info!(target: "wippy::http", id = %self.id, url, endpoints, "listening");
        Ok(running)
    }
}

#[async_trait]
impl Service for HttpService {
    async fn start(&self) -> Result<Box<dyn Active>, CallError> {
        Ok(Box::new(Listening(self.listen().await?)))
    }
}

struct Listening(Running);

#[async_trait]
impl Active for Listening {
    async fn ended(&mut self) -> Result<(), CallError> {
        std::future::pending().await
    }

    async fn stop(self: Box<Self>, deadline: Instant) {
        let Self(running) = *self;
        let id = running.server().id().clone();
        let grace = deadline.saturating_duration_since(Instant::now());
        if !running.stop(grace).await {
            tracing::warn!(target: "wippy::http", %id, "requests were cut off at the end of `stop_timeout`");
        }
    }
}

impl App {
    /// Starts the HTTP services that start with the application, and nothing else of it. Who embeds an application and
    /// wants to know its addresses does this instead of [`serve`](Self::serve).
    ///
    /// # Errors
    /// When one of them does not start; those before it end.
    pub async fn listen(&self) -> Result<Vec<Running>, Failure> {
        let mut running = Vec::new();
        for service in self.http_services() {
            running.push(service.listen().await?);
        }
        Ok(running)
    }

    /// The HTTP services that start with the application.
    fn http_services(&self) -> Vec<HttpService> {
        let entries = self.prepared.entries().iter();
        entries
            .filter_map(|entry| self.http_service(entry))
            .filter(|service| service.config.lifecycle.auto_start)
            .collect()
    }

    /// The HTTP service that an entry is, if it is one.
    pub(super) fn http_service(&self, entry: &LinkedEntry) -> Option<HttpService> {
        let schema::Config::HttpService(service) = &entry.config else {
            return None;
        };
        Some(HttpService {
            id: entry.entry.id.clone(),
            context: self.context_of(&service.lifecycle)?,
            config: service.clone(),
            live: Arc::clone(&self.prepared.live),
        })
    }

    /// The routes of an HTTP service as its entries say.
    pub fn routes(&self, service: &EntryId) -> Arc<Routes> {
        self.prepared.live.routes(service)
    }
}
