//! What a request leaves in a script or a guest, and who finds it.

use super::site::{Site, index};

/// A script and a guest that say how often they were called in their state, each in a pool.
fn counters(pool: &str) -> String {
    let endpoint = |name: &str| {
        format!(
            "  - {{ name: {name}.endpoint, kind: http.endpoint, meta: {{ router: all }}, method: GET, path: /{name}, \
             func: {name} }}\n"
        )
    };
    format!(
        r#"  - name: script
    kind: function.lua
    method: main
    modules: [http]
    pool: {{ {pool} }}
    source: |
      local http = require("http")
      local count = 0
      return {{ main = function()
        count, all = count + 1, (all or 0) + 1
        http.response():write(tostring(math.max(count, all)))
      end }}
{}  - name: guest
    kind: function.wat
    method: count
    transport: wasi-http
    pool: {{ {pool} }}
    wit: "count: func() -> s32;"
    source: |
      (module (global $count (mut i32) (i32.const 0))
        (func (export "count") (result i32)
          (global.set $count (i32.add (global.get $count) (i32.const 1))) (global.get $count)))
{}"#,
        endpoint("script"),
        endpoint("guest")
    )
}

/// What three requests are answered, the last two of them on the same connection.
async fn answers(site: &Site, path: &str) -> [String; 3] {
    let first = site.get(path).await.text().to_owned();
    let mut client = site.connect().await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        client.send(&format!("GET {path} HTTP/1.1"), "").await;
        kept.push(client.reply(false).await.text().to_owned());
    }
    [first, kept.remove(0), kept.remove(0)]
}

#[tokio::test]
async fn a_request_finds_nothing_of_another() {
    for pool in [
        "type: inline",
        "type: lazy",
        "type: static, size: 1",
        "type: adaptive",
        "type: lazy, reuse: never",
    ] {
        let site = Site::new(&index("", &counters(pool))).await;
        for path in ["/script", "/guest"] {
            assert_eq!(answers(&site, path).await, ["1", "1", "1"], "{path}, {pool}");
        }
    }
}

#[tokio::test]
async fn the_opt_in_shows_it_to_all() {
    let site = Site::new(&index("", &counters("type: static, size: 1, reuse: always"))).await;
    for path in ["/script", "/guest"] {
        assert_eq!(answers(&site, path).await, ["1", "2", "3"], "{path}");
    }
}
