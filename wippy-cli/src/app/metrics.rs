//! The endpoint at which an application's metrics are read.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::App;
use crate::{
    Failure,
    metrics::{ADDRESS, MetricsEndpoint, Sources},
};

impl App {
    /// Begins to answer who reads the metrics, for as long as what is returned is held; nothing if `prometheus.enabled`
    /// is not set. It is to be called on the runtime that runs the application.
    ///
    /// # Errors
    /// When the address is not to be had.
    pub async fn serve_metrics(&self) -> Result<Option<MetricsEndpoint>, Failure> {
        let ground = self.prepared.live.ground();
        let (Some(metrics), Some(config)) = (&ground.metrics, &ground.settings.prometheus) else {
            return Ok(None);
        };
        let sources = Sources {
            metrics: Arc::clone(metrics),
            live: Arc::clone(&self.prepared.live),
            scheduler: Handle::current().metrics(),
        };
        let address = config.address.as_deref().unwrap_or(ADDRESS);
        let endpoint = MetricsEndpoint::start(address, sources).await.map_err(|error| {
            let place = format!("`{address}` (`prometheus.address`)");
            Failure::Other(format!("metrics cannot be served on {place}: {error}"))
        })?;
        tracing::info!(target: "wippy", url = format!("http://{}/metrics", endpoint.address()), "metrics");
        Ok(Some(endpoint))
    }
}
