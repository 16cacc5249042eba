//! Scripts behind endpoints: the response they write, whole or while they run.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body as HttpBody, Frame};
use wippy_lua::http::{Answer, Exchange, Progress, Request};
use wippy_security::{CallError, Held};
use wippy_wit::{Value, json};

use super::{
    answer,
    body::{Aborted, Body},
    endpoint::call,
    inbound::Inbound,
};

/// A call that is running; dropping it ends it.
type Running = Pin<Box<dyn Future<Output = Result<Value, CallError>> + Send>>;

/// Calls a script and answers with what it writes.
pub(super) async fn answer(function: Held, inbound: Box<Inbound>) -> Response<Body> {
    let Inbound {
        parts,
        body,
        client,
        call_id,
        context,
        params,
    } = *inbound;
    let request = Request {
        parts,
        params,
        remote_address: client.text,
    };
    let exchange = Exchange::new(request, body);
    let context = context.with_attachment(exchange.clone());
    let mut running: Running = Box::pin(async move { call(&context, &function, &[]).await });
    let begun = poll_fn(|waking| match running.as_mut().poll(waking) {
        Poll::Ready(outcome) => Poll::Ready(Begun::Ended(outcome)),
        Poll::Pending => exchange.poll_sent(waking).map(Begun::Sent),
    });
    match begun.await {
        Begun::Ended(outcome) => whole(&exchange, outcome, &call_id),
        Begun::Sent(answer) => {
            let stream = Stream {
                first: answer.body.clone(),
                running: Some(running),
                exchange,
                call_id,
                is_failed: false,
            };
            response(answer, Body::stream(stream))
        }
    }
}

/// How the script began.
enum Begun {
    /// It is done.
    Ended(Result<Value, CallError>),
    /// It sent a part of the response and goes on.
    Sent(Answer),
}

/// The response of a script that is done.
fn whole(exchange: &Exchange, outcome: Result<Value, CallError>, call_id: &str) -> Response<Body> {
    let written = exchange.finish();
    match (outcome, written) {
        (Err(error), _) => match exchange.body_error() {
            // The script may have made of it whatever it liked.
            Some(error) => answer::body_error(error, call_id),
            None => answer::error(&error, call_id),
        },
        (Ok(_), Some(answer)) => {
            let body = Body::Full(answer.body.clone());
            response(answer, body)
        }
        (Ok(value), None) => returned(&value).unwrap_or_else(|error| answer::error(&error, call_id)),
    }
}

fn response(answer: Answer, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = answer.status.unwrap_or(StatusCode::OK);
    *response.headers_mut() = answer.headers;
    response
}

/// The response of a script that wrote none: what it returned, in the form that a WebAssembly function's result has.
fn returned(value: &Value) -> Result<Response<Body>, CallError> {
    let ok = StatusCode::OK;
    if matches!(value, Value::Nil | Value::Boolean(_)) {
        return Ok(answer::status(ok));
    }
    if let Value::String(text) = value {
        return Ok(match std::str::from_utf8(text) {
            Ok(text) => answer::with_body(ok, "text/plain; charset=utf-8", text.to_owned()),
            Err(_) => answer::with_body(ok, "application/octet-stream", text.to_vec()),
        });
    }
    let document = json::from_value(value).map_err(|error| {
        CallError::internal(format!("what the function returned cannot be sent: {error}"))
    })?;
    Ok(answer::json(ok, &document))
}

/// The body of a response that is written while it is sent: it drives the script.
struct Stream {
    first: Bytes,
    /// Nothing once the script is done.
    running: Option<Running>,
    exchange: Arc<Exchange>,
    call_id: Arc<str>,
    is_failed: bool,
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        waking: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let this = &mut *self;
        if !this.first.is_empty() {
            return data(std::mem::take(&mut this.first));
        }
        let Some(running) = &mut this.running else {
            // The end of the response would say that all is well.
            return Poll::Ready(std::mem::take(&mut this.is_failed).then_some(Err(Aborted)));
        };
        // What is there already goes first, so that a script cannot get ahead of its client.
        if let Progress::Chunk(chunk) = this.exchange.next_chunk(waking) {
            return data(chunk);
        }
        let Poll::Ready(outcome) = running.as_mut().poll(waking) else {
            return match this.exchange.next_chunk(waking) {
                Progress::Chunk(chunk) => data(chunk),
                Progress::Waiting => Poll::Pending,
            };
        };
        this.running = None;
        if let Err(error) = outcome {
            let kind = error.kind().as_str();
            tracing::error!(target: "wippy::http", call_id = &*this.call_id, kind, "a response was aborted: {error}");
            this.is_failed = true;
        }
        let rest = this
            .exchange
            .finish()
            .map(|answer| answer.body)
            .unwrap_or_default();
        if rest.is_empty() {
            return Poll::Ready(std::mem::take(&mut this.is_failed).then_some(Err(Aborted)));
        }
        data(rest)
    }
}

fn data(bytes: Bytes) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
    Poll::Ready(Some(Ok(Frame::data(bytes))))
}
