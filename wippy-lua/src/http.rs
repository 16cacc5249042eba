//! One HTTP request and the response to it, as a script and the server around it share them.
//!
//! The server makes an [`Exchange`], attaches it to the context of the call
//! ([`Context::with_attachment`](wippy_security::Context::with_attachment)), and polls the call. The module `http`
//! finds it there. Until a script sends something, the response stays in the exchange and can be changed; from then on
//! it is a stream of chunks with room for one, so a script that writes faster than its client reads has to wait.
//!
//! Nothing here knows a server: bodies are those of the `http-body` crate.

mod body;
mod multipart;
mod request;
mod response;

use std::sync::Arc;

use wippy_security::{CallError, ErrorKind};
use wippy_wit::Value;

pub use self::{
    body::{BodyError, RequestBody},
    request::{Request, query},
    response::{Answer, Progress},
};
pub(crate) use self::{
    body::{Input, Limits},
    multipart::{File, Form},
};

/// A request that is being answered.
#[derive(Debug)]
pub struct Exchange {
    pub(crate) request: Request,
    pub(crate) input: Input,
    pub(crate) output: response::Output,
}

impl Exchange {
    /// The exchange that `request` begins; `body` is nothing when it has none.
    pub fn new(request: Request, body: Option<RequestBody>) -> Arc<Self> {
        Arc::new(Self {
            request,
            input: Input::new(body),
            output: response::Output::default(),
        })
    }

    /// The request; its body is read by scripts only.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// What went wrong with the request's body, if the script met it: the client's fault, whatever the script makes
    /// of it.
    pub fn body_error(&self) -> Option<BodyError> {
        self.input.fault()
    }
}

/// What scripts know errors of this module by, beside their kind: `http.ERROR`, and `type` in the error's details.
pub(crate) const ERRORS: [&str; 4] = ["PARSE_FAILED", "INVALID_STATE", "WRITE_FAILED", "STREAM_ERROR"];

/// An error of one of the types of [`ERRORS`].
#[cold]
fn failure(
    kind: ErrorKind,
    class: &'static str,
    message: impl Into<std::borrow::Cow<'static, str>>,
) -> CallError {
    CallError::new(kind, message).with_details(Value::record([("type", Value::from(class))]))
}
