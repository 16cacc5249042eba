//! Bodies: those of requests with a time limit, those of responses in the forms that we make.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use wippy_lua::http::BodyError;

/// The body of a request: what is received, until it is too late.
pub type RequestBody = UnsyncBoxBody<Bytes, BodyError>;

/// A response that cannot be completed. Nobody is told but the client, whose connection ends.
#[derive(Debug, Clone, Copy)]
pub struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response was aborted")
    }
}

impl std::error::Error for Aborted {}

/// The body of a response.
pub enum Body {
    /// All of it.
    Full(Bytes),
    /// Piece by piece.
    Stream(Pin<Box<dyn HttpBody<Data = Bytes, Error = Aborted> + Send>>),
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self::Full(Bytes::new())
    }

    /// A body that is made while it is sent.
    pub fn stream(body: impl HttpBody<Data = Bytes, Error = Aborted> + Send + 'static) -> Self {
        Self::Stream(Box::pin(body))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(bytes) => f.debug_tuple("Full").field(&bytes.len()).finish(),
            Self::Stream(_) => f.debug_tuple("Stream").finish(),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        match &mut *self {
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_empty(),
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}

/// How long a body may take.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patience {
    /// All of it until then.
    Until(Instant),
    /// Each part as long as this.
    Each(Duration),
    /// For ever.
    Endless,
}

/// The body of a request as those who answer it get it; nothing when there is none.
pub(super) fn received(body: Incoming, patience: Patience) -> Option<RequestBody> {
    if body.is_end_stream() {
        return None;
    }
    let timed = Timed {
        body,
        patience,
        sleep: None,
    };
    Some(timed.boxed_unsync())
}

/// A body that fails when its next part does not come in time.
struct Timed {
    body: Incoming,
    patience: Patience,
    /// Set while something is waited for.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            if let Patience::Each(_) = this.patience {
                this.sleep = None;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(|_| BodyError::Broken)));
        }
        let deadline = match this.patience {
            Patience::Until(deadline) => deadline,
            Patience::Each(duration) => Instant::now() + duration,
            Patience::Endless => return Poll::Pending,
        };
        let sleep = this
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        match sleep.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(BodyError::TimedOut))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Gathers a body of at most `max` bytes.
///
/// # Errors
/// As [`BodyError`] says.
pub(super) async fn gathered(body: Option<RequestBody>, max: usize) -> Result<Bytes, BodyError> {
    let Some(mut body) = body else {
        return Ok(Bytes::new());
    };
    if body.size_hint().lower() > max as u64 {
        return Err(BodyError::TooLarge);
    }
    let mut gathered = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if gathered.len() + data.len() > max {
                return Err(BodyError::TooLarge);
            }
            gathered.extend_from_slice(&data);
        }
    }
    Ok(gathered.into())
}
