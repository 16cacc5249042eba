//! Which requests guests may make: by URL, by address, and over connections that others opened.

use crate::{
    http_client::{describe, get, guest, message},
    identity::{Allow, Deny, Log, under},
    server::Server,
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
