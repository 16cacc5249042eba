//! Which requests guests may make: by URL, by address, and over connections that others opened.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use http::header::CONNECTION;
use tokio::net::TcpListener;
use wippy_security::Resolver;
use wippy_wasm::{Engine, EngineConfig};

use crate::{
    http_client::{IMPORTS, describe, get, guest, message},
    identity::{Allow, Deny, Log, under},
    server::{Server, text},
    support::{Wants, context, prepare_on},
};

#[tokio::test]
async fn policies_decide_about_urls_and_private_addresses() {
    let server = Server::start(describe).await;
    let (guest, call_any) = (guest(), (Allow, "funcs.call", "*"));
    let private = (Allow, "http_client.private_ip", "127.0.0.1");
    let below = server.url("/open/*");
    let open = (Allow, "wasi.http.request", below.as_str());

    let nothing = under(&guest, &[call_any]);
    assert_eq!(
        message(get(&nothing, &server.url("/open/a")).await),
        "HttpRequestDenied"
    );
    let only_url = under(&guest, &[call_any, open]);
    assert_eq!(
        message(get(&only_url, &server.url("/open/a")).await),
        "DestinationIpProhibited"
    );
    let both = under(&guest, &[call_any, open, private]);
    assert!(get(&both, &server.url("/open/a")).await.is_ok());
    // What is checked is what is sent.
    let dotted = format!("http://127.0.0.1.:{}/closed", server.address.port());
    assert_eq!(message(get(&both, &dotted).await), "HttpRequestDenied");
    for path in [
        "/closed",
        "/open/../closed",
        "/open/%2e%2e/closed",
        "/open/./../closed",
    ] {
        assert_eq!(
            message(get(&both, &server.url(path)).await),
            "HttpRequestDenied",
            "{path}"
        );
    }
}

/// Names and spellings of this machine's own addresses.
#[tokio::test]
async fn private_addresses_are_found_behind_every_spelling() {
    let server = Server::start(describe).await;
    let port = server.address.port();
    let policies = [(Allow, "funcs.call", "*"), (Allow, "wasi.http.request", "*")];
    let context = under(&guest(), &policies);
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "localhost.",
        "10.0.0.1",
        "192.168.0.1",
        "172.16.0.1",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00::1]",
    ] {
        let outcome = get(&context, &format!("http://{host}:{port}/")).await;
        assert_eq!(message(outcome), "DestinationIpProhibited", "{host}");
    }
    assert_eq!(server.connections(), 0);
}

/// A connection that one actor opened is not a way around what another may not.
#[tokio::test]
async fn kept_connections_are_asked_about_too() {
    let server = Server::start(describe).await;
    let plain = guest();
    let refused = under(
        &plain,
        &[
            (Allow, "funcs.call", "*"),
            (Allow, "wasi.http.request", "*"),
            (Deny, "http_client.private_ip", "*"),
        ],
    );
    for _ in 0..3 {
        assert!(get(&plain, &server.url("/")).await.is_ok());
        tokio::task::yield_now().await;
        assert_eq!(
            message(get(&refused, &server.url("/")).await),
            "DestinationIpProhibited"
        );
    }
}

#[tokio::test]
async fn refusals_are_in_the_audit_trail() {
    let log = Log::default();
    let collecting = log.collect();
    let context = under(
        &guest(),
        &[(Allow, "funcs.call", "*"), (Allow, "wasi.http.request", "*")],
    );
    let _ = get(&context, "http://127.0.0.1:9/").await;
    drop(collecting);
    let lines = log.lines_with("wippy::audit");
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["ada", "http_client.private_ip", "127.0.0.1", "refused"] {
        assert!(lines[0].contains(part), "{lines:?}");
    }
}

/// Who may not reach an address does not by another way to write it, nor by what carries it.
#[tokio::test]
async fn a_refused_address_is_refused_in_every_form() {
    let server = Server::start(describe).await;
    let port = server.address.port();
    let policies = [
        (Allow, "*", "*"),
        (Deny, "http_client.private_ip", "127.0.0.1"),
        (Deny, "http_client.private_ip", "10.*"),
    ];
    let context = under(&guest(), &policies);
    for host in [
        "127.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::a00:1]",
        "[2002:a00:1::]",
    ] {
        let outcome = get(&context, &format!("http://{host}:{port}/")).await;
        assert_eq!(message(outcome), "DestinationIpProhibited", "{host}");
    }
    assert_eq!(server.connections(), 0);
}

/// A name has one spelling for policies, with or without the dot at its end.
#[tokio::test]
async fn a_dot_at_the_end_is_no_way_around_a_policy() {
    let policies = [
        (Allow, "*", "*"),
        (Deny, "wasi.http.request", "http://localhost*"),
    ];
    let context = under(&guest(), &policies);
    for host in ["localhost", "localhost.", "LOCALHOST."] {
        let outcome = get(&context, &format!("http://{host}:9/")).await;
        assert_eq!(message(outcome), "HttpRequestDenied", "{host}");
    }
}

/// Answers with one address first and with another one ever after.
#[derive(Debug)]
struct Rebinding {
    addresses: [&'static str; 2],
    asked: AtomicUsize,
}

#[async_trait]
impl Resolver for Rebinding {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        assert_eq!(host, "rebound.example");
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(vec![SocketAddr::new(
            self.addresses[asked.min(1)].parse().unwrap(),
            port,
        )])
    }
}

/// DNS rebinding: a name that is where its guest may go while that is checked, and elsewhere a moment later.
#[tokio::test]
async fn an_answer_that_changes_after_the_check_changes_nothing() {
    // No connection is used again, so that each request looks the name up.
    let server = Server::start(async |_| {
        let mut response = text("the permitted one");
        response
            .headers_mut()
            .insert(CONNECTION, "close".parse().unwrap());
        response
    })
    .await;
    let port = server.address.port();
    let other = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let resolver = Arc::new(Rebinding {
        addresses: ["127.0.0.1", "127.0.0.2"],
        asked: AtomicUsize::new(0),
    });
    let engine = Engine::new(EngineConfig {
        instances_max: 16,
        resolver: Some(resolver.clone()),
        ..EngineConfig::default()
    })
    .unwrap();
    let module = prepare_on(&engine, "http-client", "client#request", Wants::imports(&IMPORTS)).unwrap();
    let policies = [
        (Allow, "funcs.call", "*"),
        (Allow, "wasi.http.request", "*"),
        (Allow, "http_client.private_ip", "127.0.0.1"),
    ];
    let context = under(&context(module), &policies);
    let url = format!("http://rebound.example:{port}/");
    // What was checked is what is connected to: the name is not looked up again in between.
    assert!(get(&context, &url).await.is_ok());
    assert_eq!(
        (resolver.asked.load(Ordering::SeqCst), server.connections()),
        (1, 1)
    );
    // And the new answer is checked like the old one.
    assert_eq!(message(get(&context, &url).await), "DestinationIpProhibited");
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 2);
    let nobody = tokio::time::timeout(std::time::Duration::from_millis(50), other.accept()).await;
    assert!(nobody.is_err(), "somebody came to where they may not go");
}
