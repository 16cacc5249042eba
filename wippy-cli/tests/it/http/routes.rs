//! Which endpoint a request comes to.

use serde_json::json;

use super::site::{Site, index, script};
use crate::shell::{assert_transcript, project, transcript};

/// Answers with its name and the parameters that it got.
fn named(name: &str, route: &str) -> String {
    script(
        name,
        route,
        &format!("res:write_json({{ by = \"{name}\", params = req:params() }})"),
    )
}

#[tokio::test]
async fn paths_are_matched_with_parameters() {
    let entries = [
        named("home", "GET /"),
        named("user", "GET /users/{id}"),
        named("me", "GET /users/me"),
        named("posts", "GET /users/{owner}/posts/{post_id}"),
        named("files", "GET /files/{rest...}"),
    ];
    let site = Site::new(&index("", &entries.concat())).await;
    for (path, by, params) in [
        ("/", "home", json!([])),
        ("/users/7", "user", json!({ "id": "7" })),
        ("/users/a%20b%2Fc?x=1", "user", json!({ "id": "a b/c" })),
        ("/users/me", "me", json!([])),
        (
            "/users/7/posts/8",
            "posts",
            json!({ "owner": "7", "post_id": "8" }),
        ),
        ("/files/a/b/c.txt", "files", json!({ "rest": "a/b/c.txt" })),
        ("/files/", "files", json!({ "rest": "" })),
    ] {
        let reply = site.get(path).await;
        assert_eq!(reply.json(), json!({ "by": by, "params": params }), "{path}");
    }
    for path in ["/users", "/users/7/posts", "/user", "/files", "//"] {
        let (status, kind, _) = site.get(path).await.error();
        assert_eq!((status, kind.as_str()), (404, "NOT_FOUND"), "{path}");
    }
}

#[tokio::test]
async fn methods_of_one_path_are_told_apart() {
    let entries = [
        named("read", "GET /thing"),
        named("write", "POST /thing"),
        named("any", "* /any"),
        named("remove", "DELETE /any"),
    ];
    let site = Site::new(&index("", &entries.concat())).await;
    assert_eq!(site.send("POST /thing HTTP/1.1", "").await.json()["by"], "write");
    assert_eq!(site.send("PURGE /any HTTP/1.1", "").await.json()["by"], "any");
    assert_eq!(site.send("DELETE /any HTTP/1.1", "").await.json()["by"], "remove");
    assert_eq!(site.send("OPTIONS /any HTTP/1.1", "").await.json()["by"], "any");

    let refused = site.send("PUT /thing HTTP/1.1", "").await;
    assert_eq!(refused.status, 405);
    assert_eq!(refused.header("allow"), Some("GET, POST, HEAD, OPTIONS"));

    let asked = site.send("OPTIONS /thing HTTP/1.1", "").await;
    assert_eq!(
        (asked.status, asked.header("allow")),
        (204, Some("GET, POST, HEAD, OPTIONS"))
    );

    let (whole, head) = (
        site.get("/thing").await,
        site.send("HEAD /thing HTTP/1.1", "").await,
    );
    assert_eq!(head.status, 200);
    assert_eq!(
        head.header("content-length"),
        Some(whole.body.len().to_string().as_str())
    );
    assert_eq!(head.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn a_prefix_belongs_to_its_router() {
    let entries = r#"  - name: users
    kind: http.router
    meta: { server: gateway }
    prefix: /api/users
  - name: list
    kind: function.lua
    method: main
    source: return { main = function() return "all of them" end }
  - name: list.endpoint
    kind: http.endpoint
    meta: { router: users }
    method: GET
    path: /
    func: list
"#;
    let site = Site::new(&index("", entries)).await;
    for path in ["/api/users", "/api/users/"] {
        assert_eq!(site.get(path).await.text(), "all of them", "{path}");
    }
    assert_eq!(site.get("/api/usersx").await.status, 404);
}

#[tokio::test]
async fn requests_have_ids_in_the_order_of_time() {
    let site = Site::of_script("res:write('x')").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(site.get("/").await.header("x-request-id").unwrap().to_owned());
    }
    let mut sorted = ids.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(ids, sorted);
    assert!(
        ids.iter().all(|id| id.len() == 36 && id.as_bytes()[14] == b'7'),
        "{ids:?}"
    );
}

#[test]
fn what_cannot_work_is_reported_before_anything_starts() {
    let entries = r#"    middleware: [cors, rate_limit, endpoint_firewall, sendfile, token_auth]
    options:
      cors.allow.origns: "*"
      token_auth.store: app:tokens
      ratelimit.requests: "many"
    post_middleware: [resource_firewall]
  - name: two
    kind: function.wat
    source: (module (func (export "add") (param i32 i32) (result i32) i32.const 0))
    wit: "add: func(a: s32, b: s32) -> s32;"
    method: add
    transport: wasi-http
  - { name: a, kind: http.endpoint, meta: { router: all }, method: GET, path: /x, func: two }
  - name: page
    kind: function.lua
    method: main
    source: return { main = function() end }
  - { name: b, kind: http.endpoint, meta: { router: all }, method: GET, path: "/y/{id}", func: page }
  - { name: c, kind: http.endpoint, meta: { router: all }, method: GET, path: "/y/{other}", func: page }
"#;
    let project = project(&index(
        "    tls: { mode: manual, cert: nothing, key: nothing }\n",
        entries,
    ));
    assert_transcript!(transcript(project.path(), &["lint"]));
}
