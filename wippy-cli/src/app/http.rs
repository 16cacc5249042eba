//! The HTTP services of an application: starting them with their routes, and draining them at the end.

use std::sync::Arc;

use wippy_registry::{EntryId, schema};

use super::App;
use crate::{
    Failure,
    boot::policies::identity_of,
    http::{HttpServer, Routes, Running, ServerConfig},
};

impl App {
    /// Starts the HTTP services that start with the application.
    ///
    /// # Errors
    /// When one of them does not start; those before it are stopped again.
    pub async fn listen(&self) -> Result<Vec<Running>, Failure> {
        let mut running = Vec::new();
        for entry in &self.prepared.entries {
            let schema::Config::HttpService(service) = &entry.config else {
                continue;
            };
            if !service.lifecycle.auto_start {
                continue;
            }
            match self.start_http(&entry.entry.id, service).await {
                Ok(server) => running.push(server),
                Err(failure) => {
                    self.stop_listening(running).await;
                    return Err(failure);
                }
            }
        }
        Ok(running)
    }

    /// The routes of an HTTP service as its entries say.
    pub fn routes(&self, service: &EntryId) -> Arc<Routes> {
        self.prepared.live.routes(service)
    }

    async fn start_http(&self, id: &EntryId, service: &schema::http::Service) -> Result<Running, Failure> {
        let routes = self.routes(id);
        let identity = identity_of(Some(&service.lifecycle), &self.dispatcher().policies())?;
        let context = identity.over(&self.context());
        let config = ServerConfig {
            id: id.clone(),
            service: service.clone(),
            context: Box::new(move || context.clone()),
        };
        let endpoints = routes.len();
        let server = HttpServer::start(config, routes)
            .await
            .map_err(|error| Failure::Other(format!("`{id}`: {error}")))?;
        self.prepared.live.route(server.server());
        let scheme = if server.is_secure() { "https" } else { "http" };
        let url = format!("{scheme}://{}", server.address());
        tracing::info!(target: "wippy::http", %id, url, endpoints, "listening");
        Ok(server)
    }

    /// Lets the requests that have begun come to their end, services in parallel and each for as long as it allows.
    pub async fn stop_listening(&self, running: Vec<Running>) {
        let mut stopping = tokio::task::JoinSet::new();
        for server in running {
            let id = server.server().id().clone();
            let grace = server.server().stop_timeout();
            stopping.spawn(async move {
                if !server.stop(grace).await {
                    tracing::warn!(target: "wippy::http", %id, "requests were cut off at the end of `stop_timeout`");
                }
            });
        }
        stopping.join_all().await;
    }
}
