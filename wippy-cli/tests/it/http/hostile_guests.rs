//! Guests in WebAssembly that do not end, or end badly, behind a service: clients learn of it, and nobody else does.

use std::time::Duration;

use super::site::{Client, Site, indented, index};
use crate::shell::project;

fn wat(name: &str, wit: &str, text: &str) -> String {
    let source = indented(6, text);
    format!(
        "  - name: {name}\n    kind: function.wat\n    method: {name}\n    transport: wasi-http\n    wit: |\n      {wit}\n    \
         source: |\n{source}  - {{ name: {name}.endpoint, kind: http.endpoint, meta: {{ router: all }}, method: GET, path: /{name}, func: {name} }}\n"
    )
}

/// The guest that answers as its path says, and one that only computes.
fn guests() -> String {
    let hash = wippy_wasm::sha256(&std::fs::read(fixtures::wasm("http-proxy")).unwrap());
    let proxy = format!(
        "  - {{ name: components, kind: fs.directory, directory: ./components }}
  - name: proxy
    kind: function.wasm
    fs: components
    path: http-proxy.wasm
    hash: {hash}
    method: wasi:http/incoming-handler#handle
    imports: [wasi:clocks, wasi:http, wasi:io]
    transport: wasi-http
  - {{ name: proxy.endpoint, kind: http.endpoint, meta: {{ router: all }}, method: '*', path: '/{{rest...}}', func: proxy }}
"
    );
    let spin = wat(
        "spin",
        "spin: func();",
        "(module (func (export \"spin\") (loop $again (br $again))))",
    );
    proxy + &spin
}

async fn site_of_guests(service: &str) -> Site {
    let directory = project(&index(service, &guests()));
    std::fs::create_dir(directory.path().join("components")).unwrap();
    std::fs::copy(
        fixtures::wasm("http-proxy"),
        directory.path().join("components/http-proxy.wasm"),
    )
    .unwrap();
    let mut site = Site::open(directory.path()).await;
    site.directory = Some(directory);
    site
}

#[tokio::test]
async fn guests_that_never_answer_are_cut_off() {
    let site = site_of_guests("    timeouts: { write: 600ms }\n").await;
    let mut waiting = Vec::new();
    for path in ["/never", "/busy", "/spin", "/never", "/busy", "/spin"] {
        let mut client = site.connect().await;
        client.send(&format!("GET {path} HTTP/1.1"), "").await;
        waiting.push(client);
    }
    assert_eq!(site.get("/hello").await.text(), "hello\n");
    for mut client in waiting {
        assert_eq!(client.reply(false).await.error().0, 504);
    }
    assert_eq!(site.get("/hello").await.text(), "hello\n");
}

#[tokio::test]
async fn what_guests_break_looks_broken() {
    let site = site_of_guests("    timeouts: { write: 2s }\n").await;
    for path in ["/silent", "/trap", "/error"] {
        let reply = site.get(path).await;
        let (status, kind, message) = reply.error();
        assert_eq!(
            (status, kind.as_str(), message.as_str()),
            (500, "INTERNAL", "the request could not be answered"),
            "{path}"
        );
    }
    for path in ["/trap-late", "/unfinished", "/endless"] {
        let mut client = site.connect().await;
        client.send(&format!("GET {path} HTTP/1.1"), "").await;
        if path == "/endless" {
            // Nobody reads of it for longer than it may take.
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        let rest = client.rest().await;
        assert!(!rest.ends_with("0\r\n\r\n"), "{path}: the response looks whole");
        assert!(rest.len() < 64 << 20, "{path}: {} bytes", rest.len());
    }
    assert_eq!(site.get("/hello").await.text(), "hello\n");
}

#[tokio::test]
async fn clients_that_go_away_leave_no_guest_behind() {
    let site = site_of_guests("").await;
    for _ in 0..40 {
        let mut clients = Vec::new();
        for path in ["/never", "/endless", "/late"] {
            let mut client: Client = site.connect().await;
            client.send(&format!("GET {path} HTTP/1.1"), "").await;
            clients.push(client);
        }
        drop(clients);
    }
    // As many as there are instances would wait for ever if those before them were still there.
    for _ in 0..200 {
        assert_eq!(site.get("/hello").await.text(), "hello\n");
    }
}
