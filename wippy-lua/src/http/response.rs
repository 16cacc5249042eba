//! The response: in the exchange until something of it is sent, a stream from then on.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::sync::Notify;
use wippy_security::{CallError, ErrorKind};

use super::{Exchange, failure};

/// What a script may write without sending it.
const BUFFER_MAX: usize = 64 << 10;

/// Status and headers of a response, and its body or what there is of it.
#[derive(Debug)]
pub struct Answer {
    /// The status; nothing when the script set none.
    pub status: Option<StatusCode>,
    /// The headers that the script set.
    pub headers: HeaderMap,
    /// The body, or for a stream its first chunk.
    pub body: Bytes,
}

/// How a response that is being sent goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The next part of the body.
    Chunk(Bytes),
    /// Nothing is there yet.
    Waiting,
}

/// The state of a response.
#[derive(Debug, Default)]
pub(crate) struct Output {
    state: Mutex<State>,
    /// A chunk was taken, or nothing more will be.
    taken: Notify,
}

#[derive(Debug, Default)]
struct State {
    stage: Stage,
    status: Option<StatusCode>,
    headers: HeaderMap,
    /// What was written and not sent.
    buffer: Vec<u8>,
    /// What was sent and not taken by the server.
    chunk: Option<Bytes>,
    is_event_stream: bool,
    /// The server, while it waits for a chunk.
    server: Option<Waker>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Everything can be changed.
    #[default]
    Open,
    /// Status and headers belong to the server.
    Sent,
    /// The response is over.
    Over,
}

/// What the server does with a response.
impl Exchange {
    /// The response, once the script has sent a part of it. Otherwise the task is woken when it does.
    pub fn poll_sent(&self, waking: &Context<'_>) -> Poll<Answer> {
        let mut state = self.output.state();
        if state.stage == Stage::Open {
            state.wait(waking);
            return Poll::Pending;
        }
        let body = state.chunk.take().unwrap_or_default();
        let answer = Answer {
            status: state.status,
            headers: std::mem::take(&mut state.headers),
            body,
        };
        drop(state);
        self.output.taken.notify_waiters();
        Poll::Ready(answer)
    }

    /// The next chunk of a response that is being sent. Otherwise the task is woken when there is one.
    pub fn next_chunk(&self, waking: &Context<'_>) -> Progress {
        let mut state = self.output.state();
        let Some(chunk) = state.chunk.take() else {
            state.wait(waking);
            return Progress::Waiting;
        };
        drop(state);
        self.output.taken.notify_waiters();
        Progress::Chunk(chunk)
    }

    /// Ends the exchange: later uses of the response fail, and the rest of the request's body is let go. Gives what was written and not sent, with status and headers if they
    /// were not sent either; nothing if the script did not touch the response.
    pub fn finish(&self) -> Option<Answer> {
        self.input.close();
        let mut state = self.output.state();
        let was_open = state.stage == Stage::Open;
        state.stage = Stage::Over;
        state.server = None;
        let mut body: Vec<u8> = state.chunk.take().map(Vec::from).unwrap_or_default();
        body.append(&mut state.buffer);
        let answer = Answer {
            status: state.status,
            headers: std::mem::take(&mut state.headers),
            body: body.into(),
        };
        drop(state);
        self.output.taken.notify_waiters();
        let is_touched =
            !was_open || answer.status.is_some() || !answer.headers.is_empty() || !answer.body.is_empty();
        is_touched.then_some(answer)
    }
}

impl State {
    fn wait(&mut self, waking: &Context<'_>) {
        if self
            .server
            .as_ref()
            .is_none_or(|known| !known.will_wake(waking.waker()))
        {
            self.server = Some(waking.waker().clone());
        }
    }

    fn open(&mut self) -> Result<&mut Self, CallError> {
        match self.stage {
            Stage::Open => Ok(self),
            Stage::Sent => Err(failure(
                ErrorKind::Invalid,
                "INVALID_STATE",
                "status and headers have been sent already",
            )),
            Stage::Over => Err(over()),
        }
    }

    fn set_header(&mut self, name: HeaderName, value: HeaderValue) {
        // A response may set several cookies; every other header has one value.
        if name == header::SET_COOKIE {
            self.headers.append(name, value);
        } else {
            self.headers.insert(name, value);
        }
    }

    fn set_default(&mut self, name: HeaderName, value: &'static str) {
        self.headers
            .entry(name)
            .or_insert_with(|| HeaderValue::from_static(value));
    }
}

fn over() -> CallError {
    failure(ErrorKind::Invalid, "INVALID_STATE", "the response is over")
}

/// What scripts do with a response.
impl Output {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_status(&self, status: u16) -> Result<(), CallError> {
        let known = StatusCode::from_u16(status).ok();
        // 1xx are steps on the way to a response, which servers send by themselves.
        let status = known.filter(|status| !status.is_informational()).ok_or_else(|| {
            CallError::invalid(format!("{status} is not a status: one of 200 to 999 is expected"))
        })?;
        self.state().open()?.status = Some(status);
        Ok(())
    }

    pub(crate) fn set_header(&self, name: &[u8], value: &[u8]) -> Result<(), CallError> {
        let name = HeaderName::from_bytes(name).map_err(|_| {
            CallError::invalid(format!(
                "`{}` is not a header name",
                String::from_utf8_lossy(name)
            ))
        })?;
        // The server counts what is written; a script could only get it wrong.
        if name == header::CONTENT_LENGTH {
            return self.state().open().map(drop);
        }
        if is_of_connection(&name) {
            return Err(CallError::invalid(format!(
                "`{name}` belongs to the connection: the server sets it"
            )));
        }
        self.set_known_header(name, value)
    }

    pub(crate) fn set_content_type(&self, value: &[u8]) -> Result<(), CallError> {
        self.set_known_header(header::CONTENT_TYPE, value)
    }

    fn set_known_header(&self, name: HeaderName, value: &[u8]) -> Result<(), CallError> {
        let value = HeaderValue::from_bytes(value).map_err(|_| {
            CallError::invalid(format!("the value of header `{name}` has a control character"))
        })?;
        self.state().open()?.set_header(name, value);
        Ok(())
    }

    /// Makes it a stream of events.
    pub(crate) fn set_events(&self) -> Result<(), CallError> {
        let mut state = self.state();
        let state = state.open()?;
        state.is_event_stream = true;
        state.set_header(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        );
        state.set_default(header::CACHE_CONTROL, "no-cache");
        Ok(())
    }

    pub(crate) fn is_event_stream(&self) -> bool {
        self.state().is_event_stream
    }

    /// Gives a response that has none a content type.
    pub(crate) fn default_content_type(&self, content_type: &'static str) {
        let mut state = self.state();
        if let Ok(state) = state.open() {
            state.set_default(header::CONTENT_TYPE, content_type);
        }
    }

    /// Adds to the body; true when it is time to [`flush`](Self::flush).
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<bool, CallError> {
        let mut state = self.state();
        if state.stage == Stage::Over {
            return Err(over());
        }
        state.buffer.extend_from_slice(bytes);
        Ok(state.buffer.len() >= BUFFER_MAX)
    }

    /// Sends what was written, and status and headers before it. Waits until the server has taken what was sent last.
    pub(crate) async fn flush(&self) -> Result<(), CallError> {
        loop {
            let taken = self.taken.notified();
            if self.try_flush()? {
                return Ok(());
            }
            taken.await;
        }
    }

    fn try_flush(&self) -> Result<bool, CallError> {
        let mut state = self.state();
        if state.stage == Stage::Over {
            return Err(over());
        }
        if state.chunk.is_some() && !state.buffer.is_empty() {
            return Ok(false);
        }
        if !state.buffer.is_empty() {
            state.chunk = Some(std::mem::take(&mut state.buffer).into());
        }
        state.stage = Stage::Sent;
        if let Some(server) = state.server.take() {
            server.wake();
        }
        Ok(true)
    }
}

/// Headers about a connection or the framing of a body, which no script can get right.
fn is_of_connection(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TRAILER,
        HeaderName::from_static("keep-alive"),
    ]
    .contains(name)
}
