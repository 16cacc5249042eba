//! Bodies with bounds: of size, and of the time between two pieces.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error, WasiBody};

/// `body`, which fails with `error` as soon as it is longer than `max`.
pub(super) fn at_most(body: WasiBody, max: u64, error: fn(Option<u64>) -> Error) -> WasiBody {
    let bounded = AtMost {
        body,
        max,
        left: max,
        error,
    };
    bounded.boxed_unsync()
}

struct AtMost {
    body: WasiBody,
    max: u64,
    left: u64,
    error: fn(Option<u64>) -> Error,
}

impl Body for AtMost {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
            match self.left.checked_sub(length) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err((self.error)(Some(self.max))))),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response's body as it comes from the network, which fails if nothing comes for too long.
pub(super) struct Incoming {
    body: hyper::body::Incoming,
    patience: Duration,
    /// Only made when there is something to wait for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    pub(super) fn new(body: hyper::body::Incoming, patience: Duration) -> Self {
        Self {
            body,
            patience,
            timer: None,
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.timer = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
        }
        let patience = this.patience;
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
