//! Clients that are hostile over HTTP/2: nobody else notices.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{
    program::Program,
    site::{Site, index, script},
};
use crate::shell::project;

/// The beginning of a connection, with an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// HEADERS of stream 1, one byte of them, without an end.
const BEGINNING: &[u8] = b"\0\0\x01\x01\0\0\0\0\x01\x82";
const IMPATIENT: &str = "    timeouts: { read: 400ms, write: 600ms, idle: 400ms }\n";

fn entries() -> String {
    [
        script("here", "GET /here", "res:write('here')"),
        script(
            "endless",
            "GET /endless",
            "local piece = ('x'):rep(10000) while true do local err = res:write(piece) if err then return nil, err end end",
        ),
    ]
    .concat()
}

/// A connection whose streams have room for one byte each.
async fn narrow(address: std::net::SocketAddr) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn get(path: &str) -> http::Request<Empty<Bytes>> {
    http::Request::get(format!("http://x{path}"))
        .body(Empty::new())
        .unwrap()
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let site = Site::new(&index(IMPATIENT, &entries())).await;
    for parts in [&[PREFACE][..], &[PREFACE, BEGINNING]] {
        let mut client = site.connect().await;
        for part in parts {
            client.stream.write_all(part).await.unwrap();
        }
        // Whatever comes, the end of it does.
        client.rest().await;
    }
    assert_eq!(site.get("/here").await.text(), "here");
}

#[tokio::test]
async fn a_response_that_has_no_room_is_given_up_and_its_connection_goes_on() {
    let project = project(&index("    timeouts: { write: 600ms, idle: 10m }\n", &entries()));
    let program = Program::serve(project.path(), &["--json-logs"]);
    let mut sender = narrow(program.address).await;
    let deaf = sender.send_request(get("/endless")).await.unwrap();
    assert_eq!(deaf.status(), 200);
    // Nobody reads of it, and it ends all the same.
    let record: Value = loop {
        let line = program.log.recv_timeout(Duration::from_mins(1)).unwrap();
        let record: Value = serde_json::from_str(&line).unwrap();
        if record["path"] == "/endless" {
            break record;
        }
    };
    assert_eq!(record["message"], "request, its response given up");
    let rest = deaf.into_body().collect().await;
    assert!(rest.is_err(), "a response that was given up looks whole");
    let other = sender.send_request(get("/here")).await.unwrap();
    assert_eq!(other.into_body().collect().await.unwrap().to_bytes(), "here");
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let site = Site::new(&index(IMPATIENT, &entries())).await;
    let stream = TcpStream::connect(site.address()).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut request = get("/here");
    for number in 0..40 {
        let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
        request
            .headers_mut()
            .insert(name, "y".repeat(4000).parse().unwrap());
    }
    let refused = sender.send_request(request).await;
    assert!(
        refused.as_ref().is_ok_and(|response| response.status() == 431) || refused.is_err(),
        "{refused:?}"
    );
    assert_eq!(site.get("/here").await.text(), "here");
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_keep_nobody_waiting() {
    let site = Site::new(&index("", &entries())).await;
    let stream = TcpStream::connect(site.address()).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let began = Instant::now();
    for _ in 0..5000 {
        if sender.ready().await.is_err() {
            break;
        }
        // Dropping the future resets the stream.
        let request = sender.send_request(get("/endless"));
        tokio::select! { biased; _ = request => {}, () = tokio::task::yield_now() => {} }
    }
    assert_eq!(site.get("/here").await.text(), "here");
    assert!(began.elapsed() < Duration::from_mins(1));
}
