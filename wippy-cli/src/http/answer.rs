//! Responses that the server makes itself, errors above all.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::json;
use wippy_lua::http::BodyError;
use wippy_security::{CallError, ErrorKind};

use super::body::Body;

/// A response without a body.
pub(super) fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A response with one body and its type.
pub(super) fn with_body(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Body::Full(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A document.
pub(super) fn json(status: StatusCode, document: &serde_json::Value) -> Response<Body> {
    with_body(status, "application/json", document.to_string())
}

/// A refusal by the server itself.
pub(super) fn refusal(status: StatusCode, kind: ErrorKind, message: &str, call_id: &str) -> Response<Body> {
    let document = json!({
        "error": { "kind": kind.as_str(), "message": message, "call_id": call_id },
    });
    self::json(status, &document)
}

/// What a failed call comes to. What is nobody's business outside stays in the log, where the call id leads to it.
pub(super) fn error(error: &CallError, call_id: &str) -> Response<Body> {
    let status = status_of(error.kind());
    let message = if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(
            target: "wippy::http",
            call_id,
            kind = error.kind().as_str(),
            stack = error.stack(),
            "{error}"
        );
        "the request could not be answered"
    } else {
        error.message()
    };
    let mut response = refusal(status, error.kind(), message, call_id);
    if error.retryable() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// What a body that could not be read comes to, whatever was made of that.
pub(super) fn body_error(error: BodyError, call_id: &str) -> Response<Body> {
    let (status, kind) = match error {
        BodyError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::Invalid),
        BodyError::TimedOut => (StatusCode::REQUEST_TIMEOUT, ErrorKind::Timeout),
        BodyError::Broken => (StatusCode::BAD_REQUEST, ErrorKind::Invalid),
    };
    let mut response = refusal(status, kind, &error.to_string(), call_id);
    // What is left of the body is not waited for.
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::AlreadyExists | ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Internal | ErrorKind::Canceled | ErrorKind::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Adds `name` to what a response varies with.
pub(super) fn vary(headers: &mut HeaderMap, name: &HeaderName) {
    let is_named = headers
        .get_all(header::VARY)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| known.trim().eq_ignore_ascii_case(name.as_str()));
    if !is_named && let Ok(value) = HeaderValue::from_str(name.as_str()) {
        headers.append(header::VARY, value);
    }
}
