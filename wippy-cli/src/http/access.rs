//! The access log: one record for every request, when its response has been sent or given up.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use wippy_registry::EntryId;

use super::{
    body::{Aborted, Body},
    connection::Activity,
    stream::Pace,
};
use crate::metrics::RequestWatch;

/// What is recorded of a request. Dropping it records it, and tells the connection that the request is over.
pub(super) struct Access {
    pub(super) activity: Arc<Activity>,
    pub(super) pace: Option<Arc<Pace>>,
    pub(super) record: Option<Record>,
    /// Counts the request when it is dropped, if requests are counted.
    pub(super) watch: Option<RequestWatch>,
}

/// A record of the access log.
pub(super) struct Record {
    pub(super) began: Instant,
    pub(super) call_id: Arc<str>,
    pub(super) client: Arc<str>,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) route: Option<Arc<str>>,
    pub(super) entry: Option<EntryId>,
    pub(super) status: Option<StatusCode>,
    pub(super) bytes: u64,
    pub(super) is_complete: bool,
}

impl Access {
    /// Whether anybody wants to have records.
    pub(super) fn is_logged() -> bool {
        tracing::enabled!(target: "wippy::http::access", tracing::Level::INFO)
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.activity.end();
        if let Some(record) = &self.record {
            record.log();
        }
    }
}

impl Record {
    fn log(&self) {
        // A microsecond is exact enough.
        let time_ms = (self.began.elapsed().as_secs_f64() * 1e6).round() / 1000.0;
        let message = match (self.status, self.is_complete) {
            (_, true) => "request",
            (Some(_), false) => "request, its response given up",
            (None, false) => "request, its client gone",
        };
        tracing::info!(
            target: "wippy::http::access",
            call_id = &*self.call_id,
            client = &*self.client,
            method = self.method.as_str(),
            path = self.path.as_str(),
            route = self.route.as_deref(),
            entry = self.entry.as_ref().map(EntryId::as_str),
            status = self.status.map(|status| status.as_u16()),
            bytes = self.bytes,
            time_ms,
            "{message}"
        );
    }
}

/// A response's body, which counts for the log, and keeps its stream informed.
pub(super) struct Counted {
    body: Body,
    access: Access,
}

impl Counted {
    pub(super) fn new(body: Body, mut access: Access) -> Self {
        if let Some(record) = &mut access.record {
            record.is_complete = body.is_end_stream();
        }
        Self { body, access }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let this = &mut *self;
        if let Some(pace) = &this.access.pace {
            pace.ask();
        }
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if let (Some(pace), Poll::Ready(Some(Ok(_)))) = (&this.access.pace, &frame) {
            pace.give();
        }
        if let Some(record) = &mut this.access.record {
            match &frame {
                Poll::Ready(Some(Ok(frame))) => {
                    record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                    record.is_complete = this.body.is_end_stream();
                }
                Poll::Ready(None) => record.is_complete = true,
                Poll::Ready(Some(Err(_))) | Poll::Pending => {}
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
