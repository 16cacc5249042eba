//! A request's way through the layers of its router to whoever answers it, and back.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};
use wippy_registry::EntryId;
use wippy_security::{ErrorKind, Span};

use super::{
    answer,
    body::Body,
    endpoint::not_found,
    inbound::Inbound,
    middleware::Layer,
    routes::{Found, Routes},
};

/// What a request came to, for the log.
#[derive(Default)]
pub(super) struct Trace {
    pub(super) route: Option<Arc<str>>,
    pub(super) entry: Option<EntryId>,
    pub(super) client: Option<Arc<str>>,
    /// The request as a part of a trace, if that is recorded.
    pub(super) span: Option<Span>,
}

/// Finds out who answers a request, and lets them.
pub(super) async fn dispatch(table: &Routes, mut inbound: Box<Inbound>, trace: &mut Trace) -> Response<Body> {
    let (method, path) = (inbound.parts.method.clone(), inbound.parts.uri.clone());
    match table.find(&method, path.path()) {
        Found::Endpoint(endpoint, params) => {
            trace.route = Some(Arc::clone(&endpoint.pattern));
            trace.entry = Some(endpoint.id.clone());
            inbound.params = params;
            let router = &endpoint.router;
            within(&router.before, inbound, trace, async |mut inbound| {
                for layer in &router.after {
                    if let Some(refusal) = layer.before(&mut inbound, Some(&endpoint.id)).await {
                        return refusal;
                    }
                }
                endpoint.answer(inbound).await
            })
            .await
        }
        Found::OtherMethods(router, allowed) => {
            within(&router.before, inbound, trace, async |inbound| {
                other_methods(&inbound, &allowed)
            })
            .await
        }
        Found::Files(files, rest) => {
            trace.route = Some(Arc::clone(&files.path));
            trace.entry = Some(files.id.clone());
            within(&files.layers, inbound, trace, async |inbound| {
                Arc::clone(&files.files).answer(inbound, rest).await
            })
            .await
        }
        Found::Prefix(router) => {
            within(&router.before, inbound, trace, async |inbound| {
                not_found(&inbound.call_id)
            })
            .await
        }
        Found::Nothing if method == Method::OPTIONS && path.path() == "*" => {
            answer::status(StatusCode::NO_CONTENT)
        }
        Found::Nothing => not_found(&inbound.call_id),
    }
}

/// Answers a request within layers.
async fn within(
    layers: &[Layer],
    mut inbound: Box<Inbound>,
    trace: &mut Trace,
    answer: impl AsyncFnOnce(Box<Inbound>) -> Response<Body>,
) -> Response<Body> {
    let mut passed = Vec::with_capacity(layers.len());
    let mut refusal = None;
    for layer in layers {
        refusal = layer.before(&mut inbound, None).await;
        if refusal.is_some() {
            break;
        }
        passed.push((layer, layer.remember(&inbound)));
    }
    trace.client = Some(Arc::clone(&inbound.client.text));
    let mut response = match refusal {
        Some(refusal) => refusal,
        None => answer(inbound).await,
    };
    for (layer, memory) in passed.into_iter().rev() {
        layer.after(memory, &mut response);
    }
    response
}

fn other_methods(inbound: &Inbound, allowed: &str) -> Response<Body> {
    let mut response = if inbound.method() == Method::OPTIONS {
        answer::status(StatusCode::NO_CONTENT)
    } else {
        answer::refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            ErrorKind::Invalid,
            &format!("this path answers {allowed}"),
            &inbound.call_id,
        )
    };
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// What every response has.
pub(super) fn finish(response: &mut Response<Body>, version: Version, is_head: bool, call_id: &str) {
    let length = http_body::Body::size_hint(response.body()).exact();
    let status = response.status();
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(call_id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    if version == Version::HTTP_2 {
        headers.remove(header::CONNECTION);
    }
    let is_bodyless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if is_head || is_bodyless {
        if let Some(length) = length.filter(|_| is_head && !is_bodyless) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        *response.body_mut() = Body::empty();
    }
}
