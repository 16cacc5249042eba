//! The protocol: connections that are kept, HTTP/2, TLS, and stopping.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

use super::site::{Site, indented, index, script};
use crate::shell::{project, write};

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let site = Site::of_script("res:write(req:body())").await;
    let mut client = site.connect().await;
    for body in ["one", "two", "three"] {
        client.send("POST / HTTP/1.1", body).await;
        assert_eq!(client.reply(false).await.text(), body);
    }
    // Several at once, answered in their order.
    let request = |body: &str| format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n{body}");
    client.write(&["a", "b", "c"].map(request).concat()).await;
    for body in ["a", "b", "c"] {
        assert_eq!(client.reply(false).await.text(), body);
    }
    client.send("POST / HTTP/1.1\nconnection: close", "last").await;
    assert!(client.rest().await.ends_with("last"));
}

#[tokio::test]
async fn an_unread_body_does_not_spoil_the_next_request() {
    let site = Site::of_script("res:write('unread')").await;
    let mut client = site.connect().await;
    for _ in 0..3 {
        client
            .send("POST / HTTP/1.1", "a body that nobody asks for")
            .await;
        assert_eq!(client.reply(false).await.text(), "unread");
    }
}

async fn over_http2(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, scheme: &str) {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(io))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender.ready().await.unwrap();
    let requests = (0..20).map(|number| {
        let request = http::Request::post(format!("{scheme}://localhost/{number}"))
            .body(Full::new(Bytes::from(format!("body {number}"))))
            .unwrap();
        sender.send_request(request)
    });
    for (number, response) in requests.collect::<Vec<_>>().into_iter().enumerate() {
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-host"], "localhost");
        assert!(response.headers().contains_key("x-request-id"));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, format!("/{number} body {number}"));
    }
}

fn echo(service: &str) -> String {
    let body =
        "res:set_header('x-host', req:host()) res:write(req:path() .. ' ') res:flush() res:write(req:body())";
    index(service, &script("main", "POST /{id}", body))
}

#[tokio::test]
async fn http2_without_tls() {
    let site = Site::new(&echo("")).await;
    over_http2(TcpStream::connect(site.address()).await.unwrap(), "http").await;
}

async fn tls(site: &Site, protocols: &[&[u8]]) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(fixtures::root().join("tls/localhost.pem")).unwrap();
    roots.add(certificate).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(site.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

#[tokio::test]
async fn tls_offers_both_versions() {
    let read = |name: &str| std::fs::read_to_string(fixtures::root().join("tls").join(name)).unwrap();
    let (cert, key) = (
        indented(8, &read("localhost.pem")),
        indented(8, &read("localhost.key")),
    );
    let site = Site::new(&echo(&format!(
        "    tls:\n      mode: manual\n      cert: |\n{cert}      key: |\n{key}"
    )))
    .await;
    assert!(site.running.is_secure());
    let stream = tls(&site, &[b"h2", b"http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    over_http2(stream, "https").await;

    let stream = tls(&site, &[b"http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("/a")
        .header("host", "h")
        .body(Full::new(Bytes::from("x")))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "/a x");
}

#[tokio::test]
async fn stopping_lets_requests_end_and_takes_no_more() {
    let site = Site::of_script("res:write('begun ') res:flush() res:write(req:body())").await;
    let (mut busy, mut idle) = (site.connect().await, site.connect().await);
    idle.send("POST / HTTP/1.1", "x").await;
    assert_eq!(idle.reply(false).await.text(), "begun x");
    busy.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n")
        .await;
    busy.until("begun ").await;
    let address = site.address();
    let stopping = tokio::spawn(site.running.stop(Duration::from_mins(1)));
    // The idle connection is closed, the busy one is not.
    assert_eq!(idle.rest().await, "");
    assert!(TcpStream::connect(address).await.is_err());
    busy.write("end").await;
    assert!(busy.rest().await.contains("end"));
    assert!(stopping.await.unwrap());
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let site = Site::of_script("res:write('begun') res:flush() time.sleep('1h')").await;
    let mut client = site.connect().await;
    client.send("GET / HTTP/1.1", "").await;
    client.until("begun").await;
    assert!(!site.running.stop(Duration::from_millis(50)).await);
    let rest = client.rest().await;
    assert!(!rest.ends_with("0\r\n\r\n"), "{rest}");
}

#[tokio::test]
async fn tls_comes_from_files_and_from_the_environment() {
    let read = |name: &str| std::fs::read_to_string(fixtures::root().join("tls").join(name)).unwrap();
    let key = indented(6, &read("localhost.key"));
    let service = "    tls: { mode: manual, cert: file://certs/server.pem, key: '${env:app:key}' }\n";
    let variables = format!(
        "  - {{ name: memory, kind: env.storage.memory }}\n  - name: key\n    kind: env.variable\n    variable: KEY\n    \
         storage: memory\n    default: |\n{key}"
    );
    let body = script("main", "POST /{id}", "res:write(req:path() .. ' ' .. req:body())");
    let directory = project(&index(service, &(body + &variables)));
    write(directory.path(), "src/certs/server.pem", &read("localhost.pem"));
    let site = Site::open(directory.path()).await;
    let stream = tls(&site, &[b"http/1.1"]).await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("/a").header("host", "h");
    let request = request.body(Full::new(Bytes::from("x"))).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "/a x");
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let read = |name: &str| std::fs::read_to_string(fixtures::root().join("tls").join(name)).unwrap();
    let (cert, key) = (
        indented(8, &read("localhost.pem")),
        indented(8, &read("localhost.key")),
    );
    let site = Site::new(&echo(&format!(
        "    timeouts: {{ read: 300ms }}\n    tls:\n      mode: manual\n      cert: |\n{cert}      key: |\n{key}"
    )))
    .await;
    let mut silent = site.connect().await;
    assert_eq!(silent.rest().await, "");
    let mut plain = site.connect().await;
    plain.send("GET / HTTP/1.1", "").await;
    assert!(!plain.rest().await.contains("HTTP"), "it spoke without TLS");
}
