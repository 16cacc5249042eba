//! The example application, as somebody would use it.

use serde_json::json;
use wippy_cli::{App, Config};

use super::site::Site;

/// The example on a free port.
async fn example() -> Site {
    let config = Config {
        vars: [("ADDR".to_owned(), "127.0.0.1:0".to_owned())].into(),
        ..Config::default()
    };
    let app =
        App::load(&fixtures::app("http"), &config).unwrap_or_else(|problems| panic!("{}", problems.render()));
    assert!(
        app.warnings().diagnostics.is_empty(),
        "{}",
        app.warnings().render()
    );
    let running = app.listen().await.unwrap().remove(0);
    Site {
        app,
        running,
        directory: None,
    }
}

#[tokio::test]
async fn the_api_calls_webassembly() {
    let site = example().await;
    assert_eq!(site.get("/api/hello/Ada").await.json(), json!({ "hello": "Ada" }));
    let product = site
        .send("POST /api/multiply HTTP/1.1", r#"{"a": 6, "b": 7}"#)
        .await;
    assert_eq!(product.json(), json!({ "product": 42 }));
    let wrong = site
        .send("POST /api/multiply HTTP/1.1", r#"{"a": 6, "b": "seven"}"#)
        .await;
    let (status, kind, message) = wrong.error();
    assert_eq!((status, kind.as_str()), (400, "INVALID"));
    assert!(
        message.contains("argument 2 (b): expected s32, got string"),
        "{message}"
    );
    let broken = site.send("POST /api/multiply HTTP/1.1", "{").await;
    assert_eq!(broken.status, 400);
    let events = site.get("/api/countdown/2").await;
    assert_eq!(
        events.text(),
        "event: tick\ndata: {\"left\":2}\n\nevent: tick\ndata: {\"left\":1}\n\nevent: done\ndata: []\n\n"
    );
    let measured = site.send("PUT /api/measure HTTP/1.1", &"x".repeat(200_000)).await;
    assert_eq!(measured.json(), json!({ "bytes": 200_000, "pieces": true }));
}

#[tokio::test]
async fn webassembly_functions_are_endpoints() {
    let site = example().await;
    let shouted = site.send("POST /api/wasm/shout HTTP/1.1", "hello, world").await;
    assert_eq!(shouted.text(), "HELLO, WORLD");
    assert_eq!(shouted.header("content-type"), Some("text/plain; charset=utf-8"));
    let reversed = site.send("POST /api/wasm/reverse HTTP/1.1", "abc").await;
    assert_eq!(reversed.text(), "cba");
    assert_eq!(reversed.header("content-type"), Some("application/octet-stream"));
    let inspected = site
        .send("PUT /api/wasm/inspect/ships/a/b?x=1 HTTP/1.1", "cargo")
        .await;
    assert_eq!((inspected.status, inspected.text()), (201, "cargo"));
    assert_eq!(inspected.header("topic"), Some("ships"));
    assert_eq!(inspected.header("rest"), Some("a/b"));
    assert_eq!(site.get("/api/wasm/answer").await.json(), json!(42));
    assert_eq!(
        site.send("DELETE /api/wasm/nothing HTTP/1.1", "").await.status,
        204
    );
}

#[tokio::test]
async fn the_page_and_its_files() {
    let site = example().await;
    let page = site.get("/").await;
    assert!(page.text().contains("<title>Wippy over HTTP</title>"));
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("cache-control"), Some("public, max-age=60"));
    let style = site.get("/assets/style.css").await;
    assert_eq!(style.header("content-type"), Some("text/css; charset=utf-8"));
    let tag = style.header("etag").unwrap();
    let again = site
        .send(
            &format!("GET /assets/style.css HTTP/1.1\nif-none-match: {tag}"),
            "",
        )
        .await;
    assert_eq!(again.status, 304);
    let part = site
        .send("GET /assets/style.css HTTP/1.1\nrange: bytes=0-3", "")
        .await;
    assert_eq!((part.status, part.text()), (206, "body"));
    assert!(part.header("content-range").unwrap().starts_with("bytes 0-3/"));
    let last = site
        .send("GET /assets/style.css HTTP/1.1\nrange: bytes=-2", "")
        .await;
    assert_eq!(last.text(), "}\n");
    let beyond = site
        .send("GET /assets/style.css HTTP/1.1\nrange: bytes=9999-", "")
        .await;
    assert_eq!(beyond.status, 416);
    let folder = site.get("/assets").await;
    assert_eq!(
        (folder.status, folder.header("location")),
        (308, Some("./assets/"))
    );
    for path in [
        "/nothing",
        "/assets/",
        "/../src/api.lua",
        "/%2e%2e/src/api.lua",
        "/..%2fsrc%2fapi.lua",
        "//etc/passwd",
        "/.hidden",
        "/a%00b",
    ] {
        assert_eq!(site.get(path).await.status, 404, "{path}");
    }
    assert_eq!(site.send("POST / HTTP/1.1", "").await.status, 405);
}
