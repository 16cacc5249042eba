//! Handlers and those whom they answer: clients that go away or do not read, contexts, deadlines.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::Request;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use wippy_security::{ErrorKind, authorize};
use wippy_wasm::{Limits, PoolConfig, Reuse, WasmFunction};
use wippy_wit::Value;

use crate::{
    http_handler::{ask, get, handler, handler_of, read, root, serve, site},
    identity::{Allow, under},
    server::{Server, Step, steps, text},
};

/// A pool with room for one: whoever holds a guest keeps the others waiting.
fn alone() -> Arc<WasmFunction> {
    let pool = PoolConfig {
        max_size: 1,
        queue: 8,
        reuse: Reuse::Never,
        ..PoolConfig::default()
    };
    handler_of("http-proxy", Limits::default(), pool)
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_guest_along() {
    let (handler, context) = (alone(), root());
    // Before the head: the future is dropped.
    let waiting = serve(&handler, &context, "/never");
    assert!(
        tokio::time::timeout(Duration::from_millis(50), waiting)
            .await
            .is_err()
    );
    assert!(serve(&handler, &context, "/hello").await.is_ok());
    // After it: the body is dropped, in the middle or before its first piece.
    for pieces in [0, 3] {
        let mut body = serve(&handler, &context, "/endless").await.unwrap().into_body();
        for _ in 0..pieces {
            body.frame().await.unwrap().unwrap();
        }
        let begun = Instant::now();
        drop(body);
        assert!(serve(&handler, &context, "/hello").await.is_ok());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

/// A response that nobody reads holds a bounded amount, and its guest.
#[tokio::test]
async fn a_guest_does_not_run_ahead_of_its_reader() {
    let handler = alone();
    let mut body = serve(&handler, &root(), "/endless").await.unwrap().into_body();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut ready = 0;
    while let Some(Some(Ok(frame))) = futures_now(body.frame()) {
        ready += frame.into_data().unwrap().len();
    }
    assert!(ready > 0 && ready <= 1 << 20, "{ready} bytes were ready");
}

/// The outcome of a future that does not have to wait.
fn futures_now<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut cx) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

/// A guest may finish its work after the response was read.
#[tokio::test]
async fn guests_go_on_after_their_response() {
    let (told, mut hear) = tokio::sync::mpsc::unbounded_channel();
    let other = Server::start(move |request: Request<Incoming>| {
        told.send(request.uri().to_string()).unwrap();
        async { text("heard") }
    })
    .await;
    let (server, _) = site(handler(), root()).await;
    let path = format!("/after?{}", other.url("/told"));
    let response = ask(&server, get(&server, &path)).await.unwrap();
    assert_eq!(read(response).await, "done\n");
    let heard = tokio::time::timeout(Duration::from_secs(10), hear.recv())
        .await
        .unwrap();
    assert_eq!(heard.as_deref(), Some("/told"));
}

#[tokio::test]
async fn requests_act_for_their_context() {
    let other = Server::start(async |_: Request<Incoming>| text("ok")).await;
    let path = format!("/fetch?{}", other.url("/"));
    let (handler, plain) = (handler(), root());
    let refused = under(
        &plain,
        &[(Allow, "funcs.call", "*"), (Allow, "wasi.http.request", "*")],
    );
    for (context, expected) in [
        (&plain, "200"),
        (&refused, "ErrorCode::DestinationIpProhibited"),
        (&plain, "200"),
    ] {
        let body = serve(&handler, context, &path).await.unwrap().into_body();
        let body = body.collect().await.unwrap().to_bytes();
        assert_eq!(body, expected);
    }
}

#[tokio::test]
async fn the_deadline_of_a_request_is_its_own() {
    let handler = handler();
    let context = root().with_timeout(Duration::from_millis(100));
    let error = serve(&handler, &context, "/never").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(
        error.details().get("limit").and_then(Value::as_str),
        Some("deadline")
    );
}

#[tokio::test]
async fn a_request_that_names_no_host_is_invalid() {
    let (handler, context) = (handler(), root());
    let permit = authorize(&context, "funcs.call", "test:handle").unwrap();
    let request = Request::get("/hello").body(steps([])).unwrap();
    let error = handler.serve(permit, &context, request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

/// A client that goes away while it still sends: the guest sees the end of its input as an error, and may end.
#[tokio::test]
async fn a_request_that_breaks_off_is_told_to_the_guest() {
    let (handler, context) = (alone(), root());
    let permit = authorize(&context, "funcs.call", "test:handle").unwrap();
    let body = steps([Step::Data("beginning"), Step::Fail]);
    let request = Request::post("/echo")
        .header("host", "example.org")
        .body(body)
        .unwrap();
    let response = handler.clone().serve(permit, &context, request).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    assert!(serve(&handler, &context, "/hello").await.is_ok());
}
