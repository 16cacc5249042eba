//! [`HttpService`]: an `http.service`, a server that the supervisor starts and drains.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;
use wippy_registry::{EntryId, schema};
use wippy_security::{CallError, Context, ErrorKind};

use super::App;
use crate::{
    http::{HttpServer, Routes, Running, ServerConfig},
    live::Live,
    supervisor::{Active, Service},
};

/// A server with the routes of its entries, which it follows as they change.
pub(super) struct HttpService {
    pub(super) id: EntryId,
    /// What its requests begin with.
    pub(super) context: Context,
    pub(super) config: schema::http::Service,
    pub(super) live: Arc<Live>,
}

#[async_trait]
impl Service for HttpService {
    async fn start(&self) -> Result<Box<dyn Active>, CallError> {
        let context = self.context.clone();
        let config = ServerConfig {
            id: self.id.clone(),
            service: self.config.clone(),
            context: Box::new(move || context.clone()),
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
        Ok(Box::new(Listening(running)))
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
    /// The routes of an HTTP service as its entries say.
    pub fn routes(&self, service: &EntryId) -> Arc<Routes> {
        self.prepared.live.routes(service)
    }
}
