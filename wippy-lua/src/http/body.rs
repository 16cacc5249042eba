//! The request's body: read once, whole or in pieces, within a size and a time.

use std::{
    fmt,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use tokio::sync::Mutex;
use wippy_security::{CallError, ErrorKind};

use super::failure;

/// The body as the server hands it over.
pub type RequestBody = UnsyncBoxBody<Bytes, BodyError>;

/// Why a body cannot be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// It is larger than it may be.
    TooLarge,
    /// It did not arrive in time.
    TimedOut,
    /// The client went away, or sent something that is not HTTP.
    Broken,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the request's body is larger than it may be",
            Self::TimedOut => "the request's body did not arrive in time",
            Self::Broken => "the request's body ended before its end",
        })
    }
}

impl std::error::Error for BodyError {}

impl From<BodyError> for CallError {
    fn from(error: BodyError) -> Self {
        let kind = match error {
            BodyError::TooLarge => ErrorKind::Invalid,
            BodyError::TimedOut => ErrorKind::Timeout,
            BodyError::Broken => ErrorKind::Canceled,
        };
        failure(kind, "STREAM_ERROR", error.to_string())
    }
}

/// How much of a body is taken, and how long its next part may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) size: usize,
    pub(crate) timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            size: 120 << 20,
            timeout: Duration::from_mins(5),
        }
    }
}

/// A body and how far it was read.
pub(crate) struct Input {
    state: Mutex<State>,
    is_present: bool,
    fault: AtomicU8,
}

struct State {
    body: Option<RequestBody>,
    /// What was received and not asked for yet.
    pending: BytesMut,
    /// The body, once it was read whole.
    whole: Option<Bytes>,
    received: usize,
    read: Reading,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Untouched,
    /// In pieces, which are gone.
    Pieces,
    /// Whole, so that it can be asked for again.
    Whole,
}

impl Input {
    pub(super) fn new(body: Option<RequestBody>) -> Self {
        Self {
            is_present: body.is_some(),
            fault: AtomicU8::new(0),
            state: Mutex::new(State {
                body,
                pending: BytesMut::new(),
                whole: None,
                received: 0,
                read: Reading::Untouched,
            }),
        }
    }

    /// Whether there is one, be it empty.
    pub(crate) fn is_present(&self) -> bool {
        self.is_present
    }

    pub(super) fn fault(&self) -> Option<BodyError> {
        match self.fault.load(Ordering::Relaxed) {
            1 => Some(BodyError::TooLarge),
            2 => Some(BodyError::TimedOut),
            3 => Some(BodyError::Broken),
            _ => None,
        }
    }

    fn note(&self, error: BodyError) -> CallError {
        let code = match error {
            BodyError::TooLarge => 1,
            BodyError::TimedOut => 2,
            BodyError::Broken => 3,
        };
        self.fault.store(code, Ordering::Relaxed);
        error.into()
    }

    /// The whole body; the same again when asked again.
    ///
    /// # Errors
    /// As [`BodyError`] says, or when it was read in pieces before.
    pub(crate) async fn whole(&self, limits: Limits) -> Result<Bytes, CallError> {
        let mut state = self.state.lock().await;
        if state.read == Reading::Pieces {
            return Err(failure(
                ErrorKind::Invalid,
                "STREAM_ERROR",
                "the request's body was read as a stream already",
            ));
        }
        state.read = Reading::Whole;
        while self.receive(&mut state, limits).await? {}
        let State { whole, pending, .. } = &mut *state;
        Ok(whole.get_or_insert_with(|| pending.split().freeze()).clone())
    }

    /// Lets go of what was not read: the server waits for nothing more of it. A script may hold on to its request for
    /// longer than it lasts.
    pub(super) fn close(&self) {
        // Whoever reads just now is a call that ends together with this one.
        if let Ok(mut state) = self.state.try_lock() {
            state.body = None;
            state.whole = None;
            state.pending = BytesMut::new();
        }
    }

    /// The next piece, at most `max` bytes; nothing at the end.
    ///
    /// # Errors
    /// As [`BodyError`] says.
    pub(crate) async fn piece(&self, max: usize, limits: Limits) -> Result<Option<Bytes>, CallError> {
        let mut state = self.state.lock().await;
        state.in_pieces();
        while state.pending.is_empty() {
            if !self.receive(&mut state, limits).await? {
                return Ok(None);
            }
        }
        let length = state.pending.len().min(max.max(1));
        Ok(Some(state.pending.split_to(length).freeze()))
    }

    /// Everything that was not read yet.
    ///
    /// # Errors
    /// As [`BodyError`] says.
    pub(crate) async fn rest(&self, limits: Limits) -> Result<Option<Bytes>, CallError> {
        let mut state = self.state.lock().await;
        state.in_pieces();
        while self.receive(&mut state, limits).await? {}
        let rest = state.pending.split().freeze();
        Ok((!rest.is_empty()).then_some(rest))
    }

    /// Takes in one more part; false at the end.
    async fn receive(&self, state: &mut State, limits: Limits) -> Result<bool, CallError> {
        let Some(body) = &mut state.body else {
            return self.fault().map_or(Ok(false), |fault| Err(fault.into()));
        };
        let announced = http_body::Body::size_hint(body).lower();
        if announced.saturating_add(state.received as u64) > limits.size as u64 {
            return Err(self.end(state, BodyError::TooLarge));
        }
        let Some(body) = &mut state.body else {
            return Ok(false);
        };
        let frame = match tokio::time::timeout(limits.timeout, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => {
                state.body = None;
                return Ok(false);
            }
            Ok(Some(Err(error))) => return Err(self.end(state, error)),
            Err(_) => return Err(self.end(state, BodyError::TimedOut)),
        };
        if let Ok(data) = frame.into_data() {
            state.received += data.len();
            if state.received > limits.size {
                return Err(self.end(state, BodyError::TooLarge));
            }
            state.pending.extend_from_slice(&data);
        }
        Ok(true)
    }

    fn end(&self, state: &mut State, error: BodyError) -> CallError {
        state.body = None;
        state.pending = BytesMut::new();
        self.note(error)
    }
}

impl State {
    /// Reads on in pieces. A body that was read whole is there to be taken apart once.
    fn in_pieces(&mut self) {
        if let (Reading::Whole, Some(whole)) = (self.read, self.whole.take()) {
            self.pending.extend_from_slice(&whole);
        }
        self.read = Reading::Pieces;
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("is_present", &self.is_present)
            .finish_non_exhaustive()
    }
}
