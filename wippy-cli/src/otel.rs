//! Traces by OTLP, if the program was built with the feature `otel` and the configuration asks for them.

#[cfg(feature = "otel")]
mod export;

use std::sync::Arc;

use wippy_security::Tracer;

use crate::config::Config;

/// Who takes the spans of an application in; nobody unless `otel.enabled` says so.
#[cfg(feature = "otel")]
pub(crate) fn tracer(config: &Config) -> Option<Arc<dyn Tracer>> {
    let otel = config.otel.clone()?;
    Some(Arc::new(export::Exporter::new(otel)))
}

/// Nobody takes spans in: the program was built without.
#[cfg(not(feature = "otel"))]
pub(crate) fn tracer(config: &Config) -> Option<Arc<dyn Tracer>> {
    if config.otel.is_some() {
        tracing::warn!(
            target: "wippy",
            "`otel.enabled` has no effect: this program was built without the feature `otel`"
        );
    }
    None
}
