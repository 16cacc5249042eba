//! [`Exporter`]: hands spans to batches, which a thread of their own sends by OTLP over HTTP.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::OnceLock,
    time::Duration,
};

use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _},
};
use tokio_rustls::rustls;
use wippy_security::{self as security, SpanRecord, Tracer};

use crate::config::OtelConfig;

/// Where a collector listens when nobody says.
const ENDPOINT: &str = "http://localhost:4318";
/// Where it takes traces, below its address.
const PATH: &str = "/v1/traces";

/// How long spans wait to be sent together when nobody says.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long one request to the collector may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// How long the end of the program waits until everything is sent.
const FINISH_MAX: Duration = Duration::from_secs(5);
/// Spans that may wait to be sent; what comes beyond is dropped.
const QUEUE: usize = 16 * 1024;

/// Sends spans to a collector.
pub(super) struct Exporter {
    config: OtelConfig,
    scope: InstrumentationScope,
    /// With the first span; nothing if it cannot be made.
    batches: OnceLock<Option<BatchSpanProcessor>>,
}

impl Exporter {
    pub(super) fn new(config: OtelConfig) -> Self {
        Self {
            config,
            scope: InstrumentationScope::builder("wippy")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
            batches: OnceLock::new(),
        }
    }

    fn batches(&self) -> Option<&BatchSpanProcessor> {
        let batches = self.batches.get_or_init(|| {
            self.start()
                .map_err(|error| tracing::error!(target: "wippy", "traces are not sent: {error}"))
                .ok()
        });
        batches.as_ref()
    }

    fn start(&self) -> Result<BatchSpanProcessor, ExporterBuildError> {
        // The client panics where nobody chose one. If somebody did already, that is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(address(self.config.endpoint.as_deref().unwrap_or(ENDPOINT)))
            .with_timeout(REQUEST_MAX)
            .build()?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_scheduled_delay(self.config.export_interval.unwrap_or(INTERVAL))
            .build();
        let mut processor = BatchSpanProcessor::builder(exporter)
            .with_batch_config(batches)
            .build();
        let name = self.config.service_name.as_deref().unwrap_or("wippy");
        let resource = Resource::builder().with_service_name(name.to_owned()).build();
        processor.set_resource(&resource);
        Ok(processor)
    }

    fn data(&self, record: SpanRecord) -> SpanData {
        let SpanRecord {
            name,
            kind,
            place,
            parent,
            begun,
            duration,
            failure,
            attributes,
        } = record;
        let attributes = attributes
            .into_iter()
            .map(|(name, value)| KeyValue::new(name, value));
        let kind_of_error = failure.map(|kind| KeyValue::new("error.type", kind.as_str()));
        SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(place.trace().to_be_bytes()),
                SpanId::from_bytes(place.span().to_be_bytes()),
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            ),
            parent_span_id: parent.map_or(SpanId::INVALID, |span| SpanId::from_bytes(span.to_be_bytes())),
            parent_span_is_remote: parent.is_some() && kind == security::SpanKind::Server,
            span_kind: match kind {
                security::SpanKind::Internal => SpanKind::Internal,
                security::SpanKind::Server => SpanKind::Server,
            },
            name: name.into(),
            start_time: begun,
            end_time: begun + duration,
            attributes: attributes.chain(kind_of_error).collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: failure.map_or(Status::Unset, |kind| Status::error(kind.as_str())),
            instrumentation_scope: self.scope.clone(),
        }
    }
}

impl Tracer for Exporter {
    fn samples(&self) -> bool {
        let rate = self.config.sample_rate.unwrap_or(1.0);
        // The standard library keys its hashers randomly, each differently.
        let drawn = RandomState::new().build_hasher().finish() >> 11;
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let drawn = drawn as f64 / (1_u64 << 53) as f64;
        drawn < rate
    }

    fn record(&self, span: SpanRecord) {
        if let Some(batches) = self.batches() {
            batches.on_end(self.data(span));
        }
    }

    fn finish(&self) {
        if let Some(Some(batches)) = self.batches.get()
            && let Err(error) = batches.shutdown_with_timeout(FINISH_MAX)
        {
            tracing::warn!(target: "wippy", "not all traces were sent: {error}");
        }
    }
}

/// The URL for traces below the collector's own, unless it has a path already.
fn address(endpoint: &str) -> String {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let has_path = host.split_once('/').is_some_and(|(_, path)| !path.is_empty());
    if has_path {
        return endpoint.to_owned();
    }
    format!("{}{PATH}", endpoint.trim_end_matches('/'))
}
