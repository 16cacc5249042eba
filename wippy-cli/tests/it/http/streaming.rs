//! What passes through a component of the proxy world: parts of a body as they come, both ways at once, and trailers, over
//! both versions of the protocol.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::mpsc};

use super::{site::Site, toolchains::site_of};

/// A body that comes while it is sent.
struct Parts(mpsc::Receiver<Frame<Bytes>>);

impl http_body::Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

async fn echo() -> Site {
    let component = std::fs::read(fixtures::wasm("http-proxy")).unwrap();
    site_of(&component, "wasi:clocks, wasi:http, wasi:io").await
}

#[tokio::test]
async fn over_http1() {
    let site = echo().await;
    let mut client = site.connect().await;
    client
        .write(
            "POST /echo HTTP/1.1\r\nhost: x\r\nte: trailers\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n",
        )
        .await;
    // Each part comes back before the next one is sent.
    for part in ["first", "again"] {
        client.write(&format!("5\r\n{part}\r\n")).await;
        client.until(part).await;
    }
    client.write("0\r\nx-sum: 12\r\n\r\n").await;
    let end = client.until("x-sum: 12\r\n\r\n").await;
    assert_eq!(end, "\r\n0\r\nx-sum: 12\r\n\r\n");
    client.send("POST /echo HTTP/1.1", "once more").await;
    assert_eq!(client.reply(false).await.text(), "once more");
}

#[tokio::test]
async fn over_http2() {
    let site = echo().await;
    let stream = TcpStream::connect(site.address()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let (parts, body) = mpsc::channel(1);
    let request = Request::post("http://x/echo")
        .header("trailer", "x-sum")
        .body(Parts(body))
        .unwrap();
    let mut response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    for part in ["first", "again"] {
        parts.send(Frame::data(part.into())).await.unwrap();
        let frame = response.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), part);
    }
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("12"))]);
    parts.send(Frame::trailers(trailers.clone())).await.unwrap();
    drop(parts);
    let frame = response.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_trailers().unwrap(), trailers);
    assert!(response.frame().await.is_none());
}
