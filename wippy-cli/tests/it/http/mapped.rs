//! WebAssembly functions as endpoints: every form that a request and a response can have.

use super::site::{Site, indented, index};

fn wat(name: &str, wit: &str, text: &str) -> String {
    let source = indented(6, text);
    format!(
        "  - name: {name}\n    kind: function.wat\n    method: {name}\n    transport: wasi-http\n    wit: |\n      {wit}\n    \
         source: |\n{source}  - {{ name: {name}.endpoint, kind: http.endpoint, meta: {{ router: all }}, method: POST, path: /{name}, func: {name} }}\n"
    )
}

#[tokio::test]
async fn results_that_are_no_text_are_json() {
    let entries = [
        wat(
            "number",
            "number: func() -> s32;",
            "(module (func (export \"number\") (result i32) i32.const -7))",
        ),
        wat(
            "yes",
            "yes: func() -> bool;",
            "(module (func (export \"yes\") (result i32) i32.const 1))",
        ),
        wat(
            "none",
            "none: func() -> option<u8>;",
            "(module (memory (export \"memory\") 1) (func (export \"none\") (result i32) i32.const 0))",
        ),
        wat(
            "status",
            "record r { status: u16 } status: func() -> r;",
            "(module (func (export \"status\") (result i32) i32.const 418))",
        ),
        wat(
            "fails",
            "enum why { not-found, other } fails: func() -> result<_, why>;",
            "(module (memory (export \"memory\") 1) (data (i32.const 0) \"\\01\\00\") (func (export \"fails\") (result i32) i32.const 0))",
        ),
        wat(
            "refuses",
            "record r { status: u16 } refuses: func() -> result<_, r>;",
            "(module (memory (export \"memory\") 1) (data (i32.const 0) \"\\01\\00\\97\\01\") (func (export \"refuses\") (result i32) i32.const 0))",
        ),
        wat(
            "traps",
            "traps: func();",
            "(module (func (export \"traps\") unreachable))",
        ),
        wat(
            "bad",
            "record r { status: u16 } bad: func() -> r;",
            "(module (func (export \"bad\") (result i32) i32.const 7))",
        ),
    ];
    let site = Site::new(&index("", &entries.concat())).await;
    for (path, status, text) in [
        ("/number", 200, "-7"),
        ("/yes", 200, "true"),
        ("/none", 204, ""),
        ("/status", 418, ""),
        ("/refuses", 407, ""),
    ] {
        let reply = site.send(&format!("POST {path} HTTP/1.1"), "ignored").await;
        assert_eq!((reply.status, reply.text()), (status, text), "{path}");
    }
    assert_eq!(site.send("POST /fails HTTP/1.1", "").await.error().0, 404);
    for path in ["/traps", "/bad"] {
        let (status, kind, message) = site.send(&format!("POST {path} HTTP/1.1"), "").await.error();
        assert_eq!(
            (status, kind.as_str(), message.as_str()),
            (500, "INTERNAL", "the request could not be answered")
        );
    }
}
