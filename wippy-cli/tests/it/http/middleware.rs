//! Middleware: what each of the names does to requests and responses.

use std::io::Read as _;

use flate2::read::GzDecoder;
use wippy_registry::{schema, schema::decode};

use super::site::{Reply, Site, index, script};

/// A site whose router has this middleware; `GET /` says who asks, `GET /long` is worth compressing.
async fn site(middleware: &str) -> Site {
    let entries = [
        middleware.to_owned(),
        script("main", "GET /", "res:write(req:remote_addr())"),
        script(
            "long",
            "GET /long",
            "res:set_content_type('text/plain') res:write(('wippy '):rep(1000))",
        ),
        script(
            "parts",
            "GET /parts",
            "res:set_content_type('text/plain') for n = 1, 3 do res:write(('part ' .. n):rep(300)) res:flush() end",
        ),
    ];
    Site::new(&index("", &entries.concat())).await
}

fn unpacked(reply: &Reply) -> String {
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    GzDecoder::new(&reply.body[..]).read_to_string(&mut text).unwrap();
    text
}

#[tokio::test]
async fn cors_answers_for_origins_that_are_listed() {
    let site = site(
        "    middleware: [cors]\n    options:\n      cors.allow.origins: \"https://a.example, https://*.b.example\"\n      \
         cors.allow.credentials: \"true\"\n      cors.expose.headers: X-One\n      cors.max.age: 60\n",
    )
    .await;
    let preflight =
        |origin: &str| format!("OPTIONS / HTTP/1.1\norigin: {origin}\naccess-control-request-method: POST");
    for (origin, is_allowed) in [
        ("https://a.example", true),
        ("https://x.b.example", true),
        ("https://b.example", false),
        ("https://a.example.evil", false),
        ("https://evil/.b.example", false),
    ] {
        let asked = site.send(&preflight(origin), "").await;
        assert_eq!(asked.status, 204);
        let allowed = is_allowed.then_some(origin);
        assert_eq!(asked.header("access-control-allow-origin"), allowed);
        assert_eq!(asked.header("access-control-max-age"), is_allowed.then_some("60"));
        let plain = site.send(&format!("GET / HTTP/1.1\norigin: {origin}"), "").await;
        assert_eq!(plain.header("access-control-allow-origin"), allowed);
        assert_eq!(
            plain.header("access-control-allow-credentials"),
            is_allowed.then_some("true")
        );
        assert_eq!(
            plain.header("access-control-expose-headers"),
            is_allowed.then_some("X-One")
        );
        assert_eq!(plain.header("vary"), Some("origin"));
    }
    assert_eq!(site.get("/").await.header("access-control-allow-origin"), None);
    // A page may see what went wrong, too.
    let missing = site
        .send("GET /nothing HTTP/1.1\norigin: https://a.example", "")
        .await;
    assert_eq!(
        missing.header("access-control-allow-origin"),
        Some("https://a.example")
    );
}

#[tokio::test]
async fn compress_packs_what_is_long_for_those_who_unpack() {
    let site = site("    middleware: [compress]\n").await;
    let packed = site
        .send("GET /long HTTP/1.1\naccept-encoding: br, gzip", "")
        .await;
    assert_eq!(unpacked(&packed), "wippy ".repeat(1000));
    assert!(packed.body.len() < 200, "{}", packed.body.len());
    assert_eq!(packed.header("vary"), Some("accept-encoding"));
    let stream = site.send("GET /parts HTTP/1.1\naccept-encoding: gzip", "").await;
    assert_eq!(stream.header("transfer-encoding"), Some("chunked"));
    assert_eq!(
        unpacked(&stream),
        "part 1".repeat(300) + &"part 2".repeat(300) + &"part 3".repeat(300)
    );
    for request in [
        "GET /long HTTP/1.1",
        "GET /long HTTP/1.1\naccept-encoding: gzip;q=0",
        "GET / HTTP/1.1\naccept-encoding: gzip",
    ] {
        assert_eq!(
            site.send(request, "").await.header("content-encoding"),
            None,
            "{request}"
        );
    }
}

#[tokio::test]
async fn ratelimit_has_a_bucket_for_each_key() {
    let site = site(
        "    middleware: [ratelimit]\n    options:\n      ratelimit.key: \"header:X-Key\"\n      ratelimit.burst: 3\n      \
         ratelimit.requests: 1\n      ratelimit.window: 1h\n",
    )
    .await;
    for key in ["a", "b"] {
        let request = format!("GET / HTTP/1.1\nx-key: {key}");
        for _ in 0..3 {
            assert_eq!(site.send(&request, "").await.status, 200);
        }
        let refused = site.send(&request, "").await;
        assert_eq!(refused.error().0, 429);
        assert_eq!(refused.header("x-ratelimit-limit"), Some("1"));
        assert_eq!(refused.header("x-ratelimit-window"), Some("3600s"));
        assert_eq!(refused.header("retry-after"), Some("3600"));
    }
    // Other routes do not fill the buckets again.
    site.server().set_routes(site.app.routes(site.server().id()));
    assert_eq!(site.send("GET / HTTP/1.1\nx-key: a", "").await.status, 429);
}

#[tokio::test]
async fn real_ip_believes_trusted_proxies_only() {
    let believing = site("    middleware: [real_ip]\n").await;
    for (headers, expected) in [
        ("x-forwarded-for: 6.6.6.6, 1.2.3.4, 10.0.0.1", "1.2.3.4"),
        ("x-real-ip: 1.2.3.4\nx-forwarded-for: 5.6.7.8", "1.2.3.4"),
        ("true-client-ip: 2001:db8::1\nx-real-ip: 1.2.3.4", "2001:db8::1"),
    ] {
        let reply = believing.send(&format!("GET / HTTP/1.1\n{headers}"), "").await;
        assert_eq!(reply.text(), expected, "{headers}");
    }
    let other =
        site("    middleware: [real_ip]\n    options: { real_ip.trusted.subnets: 10.0.0.0/8 }\n").await;
    let reply = other.send("GET / HTTP/1.1\nx-real-ip: 1.2.3.4", "").await;
    assert!(reply.text().starts_with("127.0.0.1:"), "{}", reply.text());
}

#[tokio::test]
async fn a_firewall_lets_nobody_pass_who_is_not_known() {
    let firewall =
        "    post_middleware: [endpoint_firewall]\n    post_options: { endpoint_firewall.action: visit }\n";
    let policy = r"  - name: visitors
    kind: security.policy
    policy: { actions: visit, resources: app:main.endpoint, effect: allow }
  - name: callers
    kind: security.policy
    policy: { actions: funcs.call, resources: '*', effect: allow }
";
    let entries = [
        firewall.to_owned(),
        script("main", "GET /", "res:write('in')"),
        script("other", "GET /other", "res:write('in')"),
        policy.to_owned(),
    ]
    .concat();
    let site = Site::new(&index("", &entries)).await;
    let unknown = site.get("/").await;
    assert_eq!(unknown.error().0, 401);
    assert_eq!(unknown.header("www-authenticate"), Some("Bearer"));
    // What is behind no route is not the firewall's business.
    assert_eq!(site.get("/nothing").await.status, 404);

    let known = index("", &entries).replace(
        "lifecycle: { auto_start: true }",
        "lifecycle: { auto_start: true, security: { actor: { id: door }, policies: [visitors, callers] } }",
    );
    let directory = crate::shell::project(&known);
    let app = wippy_cli::App::load(directory.path(), &wippy_cli::Config::default())
        .unwrap_or_else(|problems| panic!("{}", problems.render()));
    let policies = policies(&app);
    app.dispatcher().set_policies(policies);
    let running = app.listen().await.unwrap().remove(0);
    let site = Site {
        app,
        running,
        directory: Some(directory),
    };
    assert_eq!(site.get("/").await.text(), "in");
    let (status, kind, message) = site.get("/other").await.error();
    assert_eq!(
        (status, kind.as_str(), message.as_str()),
        (403, "PERMISSION_DENIED", "this is not permitted")
    );
}

/// The policies of an application, compiled.
fn policies(app: &wippy_cli::App) -> wippy_security::Policies {
    let snapshot = app.registry().snapshot();
    let declared: Vec<_> = snapshot
        .iter()
        .filter_map(|entry| {
            let config = decode(entry, &|_: &str| None).ok()?;
            if let schema::Config::Policy(policy) = config {
                Some((entry.id.clone(), policy))
            } else {
                None
            }
        })
        .collect();
    wippy_security::Policies::compile(declared.iter().map(|(id, policy)| (id, policy))).unwrap()
}
