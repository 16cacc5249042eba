//! Components of the proxy world behind a real HTTP server: streaming, misbehaving, cancelled.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, client::conn::http1};
use tokio::net::TcpStream;
use wasmtime_wasi_http::io::TokioIo;
use wippy_security::{CallError, Context, Dispatcher, DispatcherConfig, ErrorKind, authorize};
use wippy_wasm::{Error, Limits, PoolConfig, ResponseBody, WasmFunction};

use crate::{
    identity::Log,
    server::{Body, Server, Step, steps, text},
    support::{Wants, prepare},
};

const IMPORTS: [&str; 5] = ["wasi:http", "wasi:io", "wasi:cli", "wasi:clocks", "wasi:random"];

pub fn handler_of(guest: &str, limits: Limits, pool: PoolConfig) -> Arc<WasmFunction> {
    let wants = Wants {
        limits,
        ..Wants::imports(&IMPORTS)
    };
    let module = prepare(guest, "wasi:http/incoming-handler#handle", wants).unwrap();
    assert_eq!(module.require_http_handler(), Ok(()));
    Arc::new(WasmFunction::new(module, pool))
}

pub fn handler() -> Arc<WasmFunction> {
    handler_of("http-proxy", Limits::default(), PoolConfig::default())
}

pub fn root() -> Context {
    Context::root(Dispatcher::new(DispatcherConfig::default()))
}

/// Puts a handler behind a server; what fails before the head is a 500 with the error, which is kept too.
pub async fn site(handler: Arc<WasmFunction>, context: Context) -> (Server, Arc<Mutex<Vec<CallError>>>) {
    let failures = Arc::new(Mutex::new(Vec::new()));
    let seen = failures.clone();
    let answer = move |request: Request<Incoming>| {
        let (handler, context, failures) = (handler.clone(), context.clone(), failures.clone());
        async move {
            let permit = authorize(&context, "funcs.call", "test:handle").unwrap();
            match handler.serve(permit, &context, request).await {
                Ok(response) => response.map(|body| body.map_err(std::io::Error::other).boxed_unsync()),
                Err(error) => {
                    let mut response = text(error.to_string());
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    failures.lock().unwrap().push(error);
                    response
                }
            }
        }
    };
    (Server::start(answer).await, seen)
}

/// One request over a connection of its own.
pub async fn ask(server: &Server, request: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    sender.send_request(request).await
}

pub fn get(server: &Server, path: &str) -> Request<Body> {
    with_body("GET", server, path, steps([]))
}

fn with_body(method: &str, server: &Server, path: &str, body: Body) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    request
        .header("host", server.address.to_string())
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

pub async fn read(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn requests_are_answered() {
    let (server, failures) = site(handler(), root()).await;
    let response = ask(&server, get(&server, "/hello")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/plain");
    assert_eq!(read(response).await, "hello\n");
    let response = ask(&server, get(&server, "/nowhere")).await.unwrap();
    assert_eq!(response.status(), 404);
    let head = with_body("HEAD", &server, "/hello", steps([]));
    assert_eq!(read(ask(&server, head).await.unwrap()).await, "");
    assert!(failures.lock().unwrap().is_empty());
}

#[tokio::test]
async fn guests_see_the_request_as_it_came() {
    let (server, _) = site(handler(), root()).await;
    let mut request = with_body("PATCH", &server, "/describe?a=b", steps([]));
    request.headers_mut().insert("x-custom", "value".parse().unwrap());
    let described = read(ask(&server, request).await.unwrap()).await;
    let expected = [
        "method Method::Patch".to_owned(),
        "scheme Some(Scheme::Http)".to_owned(),
        format!("authority Some(\"{}\")", server.address),
        "path Some(\"/describe?a=b\")".to_owned(),
        "x-custom: value".to_owned(),
    ];
    for line in expected {
        assert!(
            described.lines().any(|found| found == line),
            "{line} in {described}"
        );
    }
}

/// The guest sends back each piece before the next comes: it reads and writes at once, and the trailers last.
#[tokio::test]
async fn bodies_stream_both_ways_with_trailers() {
    let (server, _) = site(handler(), root()).await;
    let trailers = HeaderMap::from_iter([("x-last".parse().unwrap(), "word".parse().unwrap())]);
    let body = steps([
        Step::Data("one "),
        Step::Wait(Duration::from_millis(20)),
        Step::Data("two "),
        Step::Wait(Duration::from_millis(20)),
        Step::Data("three"),
        Step::Trailers(trailers.clone()),
    ]);
    let mut request = with_body("POST", &server, "/echo", body);
    request.headers_mut().insert("trailer", "x-last".parse().unwrap());
    let response = ask(&server, request).await.unwrap();
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "one ");
    let rest = body.collect().await.unwrap();
    assert_eq!(rest.trailers(), Some(&trailers));
    assert_eq!(rest.to_bytes(), "two three");
}

#[tokio::test]
async fn large_bodies_come_through_whole() {
    let (server, _) = site(handler(), root()).await;
    let piece: &'static str = Box::leak("0123456789abcdef".repeat(4096).into_boxed_str());
    let body = steps((0..100).map(|_| Step::Data(piece)));
    let response = ask(&server, with_body("POST", &server, "/echo", body))
        .await
        .unwrap();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(bytes.len(), 100 * piece.len());
    assert!(bytes.chunks(16).all(|chunk| chunk == b"0123456789abcdef"));
}

#[tokio::test]
async fn the_head_does_not_wait_for_the_body() {
    let (server, _) = site(handler(), root()).await;
    let response = ask(&server, get(&server, "/late")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(read(response).await, "one two");
}

/// What a guest does wrong before it answers is the caller's to see.
#[tokio::test]
async fn failures_before_the_head_are_errors() {
    let limits = Limits {
        execution: Some(Duration::from_millis(200)),
        ..Limits::default()
    };
    let handler = handler_of("http-proxy", limits, PoolConfig::default());
    let (server, failures) = site(handler, root()).await;
    for (path, kind, said) in [
        ("/silent", ErrorKind::Internal, "ended without a response"),
        ("/forgets", ErrorKind::Internal, "ended without a response"),
        ("/error", ErrorKind::Internal, "the error `LoopDetected`"),
        ("/trap", ErrorKind::Internal, "the guest trapped"),
        ("/never", ErrorKind::Timeout, "max_execution_ms"),
        ("/busy", ErrorKind::Timeout, "max_execution_ms"),
    ] {
        let begun = Instant::now();
        let response = ask(&server, get(&server, path)).await.unwrap();
        assert_eq!(response.status(), 500, "{path}");
        let error = failures.lock().unwrap().pop().unwrap();
        assert_eq!(error.kind(), kind, "{path}: {error}");
        assert!(error.message().contains(said), "{path}: {error}");
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{path}: {:?}",
            begun.elapsed()
        );
        // The next request is not touched by it.
        assert_eq!(
            read(ask(&server, get(&server, "/hello")).await.unwrap()).await,
            "hello\n"
        );
    }
}

/// A guest that fails at once after its head: whether the head was sent is a matter of microseconds, but nobody ever
/// takes what came for a response.
#[tokio::test]
async fn a_failure_just_after_the_head_is_never_a_response() {
    let (handler, context) = (handler(), root());
    for _ in 0..20 {
        if let Ok(response) = serve(&handler, &context, "/trap-soon").await {
            assert!(response.into_body().collect().await.is_err());
        }
    }
}

/// What it does wrong after that breaks the response off: a client must not take it for complete.
#[tokio::test]
async fn failures_after_the_head_break_the_response_off() {
    let limits = Limits {
        execution: Some(Duration::from_millis(300)),
        ..Limits::default()
    };
    let handler = handler_of("http-proxy", limits, PoolConfig::default());
    let (server, failures) = site(handler, root()).await;
    let log = Log::default();
    let collecting = log.collect();
    for path in ["/trap-late", "/endless", "/unfinished"] {
        let begun = Instant::now();
        match ask(&server, get(&server, path)).await {
            Ok(response) => {
                assert_eq!(response.status(), 200, "{path}");
                assert!(response.into_body().collect().await.is_err(), "{path}");
            }
            // The server may close the connection before it wrote the head.
            Err(error) => assert!(error.is_incomplete_message(), "{path}: {error}"),
        }
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{path}: {:?}",
            begun.elapsed()
        );
    }
    drop(collecting);
    assert!(failures.lock().unwrap().is_empty());
    let lines = log.lines_with("failed after its response began");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains("INTERNAL") && lines[1].contains("TIMEOUT"),
        "{lines:?}"
    );
}

/// Serves without a server between: the test is the client.
pub async fn serve(
    handler: &Arc<WasmFunction>,
    context: &Context,
    path: &str,
) -> Result<Response<ResponseBody>, CallError> {
    let permit = authorize(context, "funcs.call", "test:handle").unwrap();
    let request = Request::get(path)
        .header("host", "example.org")
        .body(steps([]))
        .unwrap();
    handler.clone().serve(permit, context, request).await
}

#[test]
fn other_exports_are_no_handlers() {
    let module = prepare("compute", "compute", Wants::default()).unwrap();
    assert!(!module.is_http_handler());
    let error = module.require_http_handler().unwrap_err();
    assert!(matches!(error, Error::NotHttpHandler { .. }));
    assert_eq!(
        error.to_string(),
        "`compute` does not answer HTTP requests: it is no `wasi:http/incoming-handler#handle`"
    );
    assert_eq!(error.help().as_deref(), Some("it exports `compute`, `divide`"));
}

/// A handler of another toolchain, made for the first version of WASI 0.2.
#[tokio::test]
async fn a_handler_in_c() {
    let handler = handler_of("http-page", Limits::default(), PoolConfig::default());
    let (server, failures) = site(handler, root()).await;
    let response = ask(&server, get(&server, "/some?page")).await.unwrap();
    assert_eq!(read(response).await, "a page in C: /some?page");
    let piece: &'static str = Box::leak("0123456789".repeat(10_000).into_boxed_str());
    let body = steps((0..20).map(|_| Step::Data(piece)));
    let echoed = read(
        ask(&server, with_body("POST", &server, "/echo", body))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(echoed, piece.repeat(20));
    assert!(failures.lock().unwrap().is_empty());
}

/// Many at once: each has an instance of its own, and all are answered.
#[tokio::test]
async fn many_requests_at_once() {
    let (server, failures) = site(handler(), root()).await;
    let server = Arc::new(server);
    let mut asking = tokio::task::JoinSet::new();
    for index in 0..100_u32 {
        let server = server.clone();
        asking.spawn(async move {
            let text: &'static str = Box::leak(format!("body {index}").into_boxed_str());
            let request = with_body("POST", &server, "/echo", steps([Step::Data(text)]));
            (read(ask(&server, request).await.unwrap()).await, text)
        });
    }
    while let Some(outcome) = asking.join_next().await {
        let (found, expected) = outcome.unwrap();
        assert_eq!(found, expected);
    }
    assert!(failures.lock().unwrap().is_empty());
}
