//! Requests that guests make: to real servers on loopback, and as far as policies allow.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{TlsAcceptor, rustls};
use wippy_security::{CallError, Context};
use wippy_wasm::{Binary, Content, Engine, EngineConfig, Limits, Spec, WasiConfig};
use wippy_wit::Value;

use crate::{
    server::{Body, Server, Step, steps, text},
    support::{Wants, call, context, id, prepare},
};

pub const IMPORTS: [&str; 2] = ["wasi:http", "wasi:io"];

pub fn guest() -> Context {
    guest_within(Limits::default())
}

fn guest_within(limits: Limits) -> Context {
    let wants = Wants {
        limits,
        ..Wants::imports(&IMPORTS)
    };
    context(prepare("http-client", "client#request", wants).unwrap())
}

async fn request(context: &Context, method: &str, url: &str, body: Option<&str>) -> Result<Value, CallError> {
    let body = body.map_or(Value::Nil, Value::from);
    call(
        context,
        &[Value::from(method), Value::from(url), Value::array([]), body],
    )
    .await
}

pub async fn get(context: &Context, url: &str) -> Result<Value, CallError> {
    request(context, "GET", url, None).await
}

/// A request with timeouts: to connect, to the first byte, between bytes.
async fn get_within(context: &Context, url: &str, timeouts: [Option<i64>; 3]) -> Result<Value, CallError> {
    let [connect, first, between] = timeouts.map(|time| time.map_or(Value::Nil, Value::Integer));
    let timeouts = Value::record([
        ("connect-ms", connect),
        ("first-byte-ms", first),
        ("between-bytes-ms", between),
    ]);
    let arguments = [
        Value::from("GET"),
        Value::from(url),
        Value::array([]),
        Value::Nil,
        timeouts,
    ];
    call(context, &arguments).await
}

fn body(outcome: Result<Value, CallError>) -> String {
    let response = outcome.unwrap();
    response.get("body").and_then(Value::as_str).unwrap().to_owned()
}

pub fn message(outcome: Result<Value, CallError>) -> String {
    outcome.unwrap_err().message().to_owned()
}

pub async fn describe(request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return text("the body broke off");
    };
    let body = body.to_bytes();
    let host = parts.headers.get("host").unwrap().to_str().unwrap();
    let body = String::from_utf8_lossy(&body);
    text(format!("{} {} {host} [{body}]", parts.method, parts.uri))
}

#[tokio::test]
async fn methods_bodies_and_paths() {
    let server = Server::start(describe).await;
    let (guest, host) = (guest(), server.address);
    for (method, path, sent, expected) in [
        ("GET", "/a?b=c", None, "GET /a?b=c"),
        ("GET", "", None, "GET /"),
        ("GET", "/a/../b/./c", None, "GET /b/c"),
        ("POST", "/", Some("text"), "POST /"),
        ("PUT", "/", Some(""), "PUT /"),
        ("DELETE", "/x", None, "DELETE /x"),
        ("BREW", "/coffee", None, "BREW /coffee"),
    ] {
        let answer = body(request(&guest, method, &server.url(path), sent).await);
        assert_eq!(
            answer,
            format!("{expected} {host} [{}]", sent.unwrap_or_default())
        );
    }
}

#[tokio::test]
async fn a_request_says_which_call_it_is_made_for() {
    let server = Server::start(async |request: Request<Incoming>| {
        let place = request.headers().get("traceparent");
        text(place.map_or("none", |place| place.to_str().unwrap()).to_owned())
    })
    .await;
    let context = guest();
    assert_eq!(body(get(&context, &server.url("/")).await), "none");
    let place = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let traced = context.with_trace(place.parse().unwrap());
    assert_eq!(body(get(&traced, &server.url("/")).await), place);
    // A guest that says so itself knows better.
    let header = Value::array([Value::array(["traceparent".into(), Value::from("mine")])]);
    let arguments = ["GET".into(), Value::from(server.url("/")), header, Value::Nil];
    assert_eq!(body(call(&traced, &arguments).await), "mine");
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = Server::start(describe).await;
    let context = guest();
    for _ in 0..20 {
        get(&context, &server.url("/")).await.unwrap();
        // The connection is free again when the response was read to its end, which the guest did; that the host knows
        // it takes one more turn.
        tokio::task::yield_now().await;
    }
    assert!(server.connections() <= 3, "{} connections", server.connections());
}

#[tokio::test]
async fn a_connection_that_the_server_closed_meanwhile_is_no_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        // One answer for each connection, which promises to stay open and does not.
        for _ in 0..5 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
        }
    });
    let context = guest();
    for _ in 0..5 {
        assert_eq!(body(get(&context, &url).await), "ok");
    }
    server.await.unwrap();
}

#[tokio::test]
async fn headers_and_trailers_come_along() {
    let server = Server::start(async |request: Request<Incoming>| {
        let asked = request.headers()["x-asked"].clone();
        let trailers = HeaderMap::from_iter([("x-last".parse().unwrap(), "word".parse().unwrap())]);
        let body = steps([Step::Data("body"), Step::Trailers(trailers)]);
        let mut response = Response::new(body);
        response.headers_mut().insert("x-answered", asked);
        response
            .headers_mut()
            .insert("trailer", "x-last".parse().unwrap());
        response
    })
    .await;
    let field = |name: &str, value: &str| Value::array([Value::from(name), Value::from(value)]);
    let headers = Value::array([field("x-asked", "for it"), field("te", "trailers")]);
    let arguments = [Value::from("GET"), Value::from(server.url("/")), headers];
    let response = call(&guest(), &arguments).await.unwrap();
    assert_eq!(response.get("status"), Some(&Value::Integer(200)));
    let has = |part: &str, expected: &Value| match response.get(part) {
        Some(Value::Table(fields)) => fields.array.contains(expected),
        _ => false,
    };
    assert!(has("headers", &field("x-answered", "for it")), "{response:?}");
    assert!(has("trailers", &field("x-last", "word")), "{response:?}");
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    // The server sends each piece back when it comes: a guest that did not read while it writes would never end.
    let server = Server::start(async |request: Request<Incoming>| {
        Response::new(request.into_body().map_err(std::io::Error::other).boxed_unsync())
    })
    .await;
    let module = prepare("http-client", "client#round-trip", Wants::imports(&IMPORTS)).unwrap();
    let (chunks, size) = (200, 100_000);
    let arguments = [
        Value::from(server.url("/")),
        Value::Integer(chunks),
        Value::Integer(size),
    ];
    let read = call(&context(module), &arguments).await;
    assert_eq!(read, Ok(Value::Integer(chunks * size)));
}

#[tokio::test]
async fn a_name_is_connected_to_at_any_of_its_addresses() {
    let server = Server::start(describe).await;
    let host = format!("localhost:{}", server.address.port());
    let answer = body(get(&guest(), &format!("http://{host}/")).await);
    assert_eq!(answer, format!("GET / {host} []"));
}

#[tokio::test]
async fn timeouts_are_the_guests_to_set() {
    let never = async |_: Request<Incoming>| -> Response<Body> { std::future::pending().await };
    let server = Server::start(never).await;
    let begun = Instant::now();
    let outcome = get_within(&guest(), &server.url("/"), [None, Some(50), None]).await;
    assert_eq!(message(outcome), "ConnectionReadTimeout");

    let stops = async |_: Request<Incoming>| {
        Response::new(steps([
            Step::Data("beginning"),
            Step::Wait(Duration::from_mins(10)),
        ]))
    };
    let server = Server::start(stops).await;
    let outcome = get_within(&guest(), &server.url("/"), [None, None, Some(50)]).await;
    assert_eq!(message(outcome), "ConnectionReadTimeout");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn failures_have_the_codes_of_the_interface() {
    let context = guest();
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let broken = Server::start(async |_: Request<Incoming>| {
        let mut response = Response::new(steps([Step::Data("beginning"), Step::Fail]));
        response
            .headers_mut()
            .insert("content-length", "100".parse().unwrap());
        response
    })
    .await;
    let garbage = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nonsense = garbage.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = garbage.accept().await.unwrap();
        stream.write_all(b"this is no HTTP\r\n\r\n").await.unwrap();
    });
    for (url, expected) in [
        (format!("http://{closed}/"), "ConnectionRefused"),
        (broken.url("/"), "ConnectionTerminated"),
        (format!("http://{nonsense}/"), "HttpProtocolError"),
        ("http://no-such-host.invalid/".to_owned(), "DnsError"),
        (
            "http://user:password@127.0.0.1/".to_owned(),
            "HttpRequestUriInvalid",
        ),
        ("gopher://127.0.0.1/".to_owned(), "HttpProtocolError"),
    ] {
        let message = message(get(&context, &url).await);
        assert!(message.starts_with(expected), "{url}: {message}");
    }
    let tunnel = request(&context, "CONNECT", &broken.url("/"), None).await;
    assert_eq!(message(tunnel), "HttpRequestMethodInvalid");
    serving.await.unwrap();
}

#[tokio::test]
async fn heads_and_bodies_have_limits() {
    let server = Server::start(async |request: Request<Incoming>| match request.uri().path() {
        path @ ("/head" | "/flood") => {
            let mut response = text("ok");
            let flood = "x".repeat(if path == "/head" { 6_000 } else { 60_000 });
            for index in 0..10 {
                let name = http::HeaderName::try_from(format!("x-{index}")).unwrap();
                response.headers_mut().insert(name, flood.parse().unwrap());
            }
            response
        }
        "/body" => Response::new(steps([Step::Repeat(Bytes::from(vec![b'x'; 10_000]))])),
        _ => describe(request).await,
    })
    .await;
    let limited = guest_within(Limits {
        http_header_bytes: 16 << 10,
        http_body_bytes: 100_000,
        ..Limits::default()
    });
    let outcome = message(get(&limited, &server.url("/head")).await);
    assert!(
        outcome.starts_with("HttpResponseHeaderSectionSize(Some(60"),
        "{outcome}"
    );
    let outcome = get(&limited, &server.url("/flood")).await;
    assert_eq!(message(outcome), "HttpResponseHeaderSectionSize(None)");
    let flood: Vec<_> = (0..10)
        .map(|index| Value::array([Value::from(format!("x-{index}")), Value::from("x".repeat(6_000))]))
        .collect();
    let arguments = [
        Value::from("GET"),
        Value::from(server.url("/")),
        Value::array(flood),
        Value::Nil,
    ];
    let outcome = message(call(&limited, &arguments).await);
    assert!(outcome.contains("size"), "{outcome}");
    let outcome = get(&limited, &server.url("/body")).await;
    assert_eq!(message(outcome), "HttpResponseBodySize(Some(100000))");
    let outcome = request(&limited, "POST", &server.url("/"), Some(&"x".repeat(100_001))).await;
    assert_eq!(message(outcome), "HttpRequestBodySize(Some(100000))");
    assert!(
        request(&limited, "POST", &server.url("/"), Some(&"x".repeat(90_000)))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn https_trusts_whom_it_should() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let accept = move |stream| {
        let accepting = acceptor.accept(stream);
        async move { accepting.await.ok() }
    };
    let server = Server::start_on(describe, accept).await;
    let host = format!("localhost:{}", server.address.port());
    let url = format!("https://{host}/");

    assert_eq!(message(get(&guest(), &url).await), "TlsCertificateError");
    let engine = Engine::new(EngineConfig {
        instances_max: 16,
        extra_roots: vec![cert.der().to_vec()],
        ..EngineConfig::default()
    })
    .unwrap();
    let content = Content::new(std::fs::read(fixtures::wasm("http-client")).unwrap());
    let module = engine.prepare(Spec {
        id: id("f"),
        binary: Binary::Wasm {
            content: &content,
            hash: &content.hash(),
        },
        wit: None,
        method: "client#request",
        imports: &IMPORTS.map(str::to_owned),
        wasi: WasiConfig::default(),
        limits: Limits::default(),
    });
    let trusting = context(module.unwrap());
    assert_eq!(body(get(&trusting, &url).await), format!("GET / {host} []"));
    // The certificate is for the name, not for the address.
    let by_address = format!("https://{}/", server.address);
    assert_eq!(message(get(&trusting, &by_address).await), "TlsCertificateError");
}
