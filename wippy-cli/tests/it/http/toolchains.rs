//! Components of the proxy world as three toolchains make them, none of them made for Wippy: rustc, clang, and `ComponentizeJS`.

use std::io::Read as _;

use flate2::read::GzDecoder;

use super::site::{Site, index};
use crate::shell::project;

const REQUESTS: usize = 20;

/// Serves a component at every path.
pub(super) async fn site_of(component: &[u8], imports: &str) -> Site {
    let hash = wippy_wasm::sha256(component);
    let directory = project(&index(
        "",
        &format!(
            "  - {{ name: components, kind: fs.directory, directory: ./components }}
  - name: handler
    kind: function.wasm
    fs: components
    path: handler.wasm
    hash: {hash}
    method: wasi:http/incoming-handler#handle
    imports: [{imports}]
    transport: wasi-http
  - {{ name: endpoint, kind: http.endpoint, meta: {{ router: all }}, method: '*', path: '/{{rest...}}', func: handler }}
"
        ),
    ));
    let components = directory.path().join("components");
    std::fs::create_dir(&components).unwrap();
    std::fs::write(components.join("handler.wasm"), component).unwrap();
    let mut site = Site::open(directory.path()).await;
    site.directory = Some(directory);
    site
}

/// Every request has an instance of its own, and bodies of any length come back.
async fn serves(site: &Site, path: &str, expected: &str) {
    let mut client = site.connect().await;
    for _ in 0..REQUESTS {
        client.send(&format!("GET {path} HTTP/1.1"), "").await;
        let reply = client.reply(false).await;
        assert_eq!((reply.status, reply.text()), (200, expected));
    }
    for length in [0, 1, 5000, 300_000] {
        let body = "0123456789".repeat(length / 10 + 1);
        client.send("POST /echo HTTP/1.1", &body[..length]).await;
        let reply = client.reply(false).await;
        assert_eq!(reply.status, 200);
        assert!(reply.text() == &body[..length], "{length} bytes");
    }
}

#[tokio::test]
async fn rust() {
    let component = std::fs::read(fixtures::wasm("http-proxy")).unwrap();
    let site = site_of(&component, "wasi:clocks, wasi:http, wasi:io").await;
    serves(&site, "/hello", "hello\n").await;
}

#[tokio::test]
async fn c() {
    let component = std::fs::read(fixtures::wasm("http-page")).unwrap();
    let site = site_of(&component, "wasi:http, wasi:io").await;
    serves(&site, "/a/page?x=1", "a page in C: /a/page?x=1").await;
}

/// Compiling a whole JavaScript engine takes a debug build a minute, so it is for those who ask for it.
#[tokio::test]
async fn javascript() {
    if std::env::var_os("WIPPY_LARGE_GUESTS").is_none() {
        println!("not tried: WIPPY_LARGE_GUESTS is not set");
        return;
    }
    let packed = std::fs::read(fixtures::root().join("wasm/http-script.wasm.gz")).unwrap();
    let mut component = Vec::new();
    GzDecoder::new(&packed[..]).read_to_end(&mut component).unwrap();
    let imports = "wasi:cli, wasi:clocks, wasi:filesystem, wasi:http, wasi:io, wasi:random";
    let site = site_of(&component, imports).await;
    serves(&site, "/a/page?x=1", "a page in JavaScript: GET /a/page?x=1\n").await;
    let later = site.get("/later").await;
    assert_eq!(later.text(), "a page in JavaScript: GET /later\n");
}
