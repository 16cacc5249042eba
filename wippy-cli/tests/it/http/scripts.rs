//! The module `http`: what scripts read of a request and how they write the response.

use serde_json::json;

use super::site::{Site, index, script};

#[tokio::test]
async fn a_request_shows_what_was_sent() {
    let body = r#"
res:write_json({
  method = req:method(), path = req:path(), q = req:query("q"), none = req:query("none") == nil,
  query = req:query_params(), header = req:header("X-One"), type = req:content_type(),
  length = req:content_length(), host = req:host(), has_body = req:has_body(),
  json = req:is_content_type("application/json"), accepts = { req:accepts("text/html"), req:accepts("image/png") },
  ip = req:remote_addr():match("^127%.0%.0%.1:%d+$") ~= nil, body = req:body_json(), again = req:body(),
  is_post = req:method() == http.METHOD.POST, all = req:headers()["x-one"],
})"#;
    let site = Site::of_script(body).await;
    let head = "POST /?q=a+b&tags=lua&tags=go HTTP/1.1\nX-One: 1\nx-one: 2\nAccept: text/*\n\
                Content-Type: application/json; charset=utf-8";
    let reply = site.send(head, r#"{"a":[1,2]}"#).await;
    assert_eq!(
        reply.json(),
        json!({
            "method": "POST", "path": "/", "q": "a b", "none": true, "query": { "q": "a b", "tags": "lua,go" },
            "header": "1, 2", "type": "application/json; charset=utf-8", "length": 11, "host": "test",
            "has_body": true, "json": true, "accepts": [true, false], "ip": true, "body": { "a": [1, 2] },
            "again": r#"{"a":[1,2]}"#, "is_post": true, "all": "1, 2",
        })
    );
}

#[tokio::test]
async fn a_response_is_what_was_set_and_written() {
    let body = r#"
assert(res:set_status(http.STATUS.CREATED) == nil)
res:set_header("X-Answer", "42")
res:set_header("Set-Cookie", "a=1")
res:set_header("Set-Cookie", "b=2")
res:set_content_type(http.CONTENT.TEXT)
res:write("one, ")
res:write("two")
assert(res:set_header("bad name", "x"):kind() == errors.INVALID)
assert(res:set_header("x", "a\r\nb: c"):kind() == errors.INVALID)
assert(res:set_header("Transfer-Encoding", "chunked"):kind() == errors.INVALID)
assert(res:set_status(99):kind() == errors.INVALID)"#;
    let reply = Site::of_script(body).await.get("/").await;
    assert_eq!((reply.status, reply.text()), (201, "one, two"));
    assert_eq!(reply.header("x-answer"), Some("42"));
    assert_eq!(reply.header("content-type"), Some("text/plain"));
    assert_eq!(reply.header("content-length"), Some("8"));
    assert_eq!(reply.head.matches("set-cookie: ").count(), 2);
}

#[tokio::test]
async fn what_is_returned_answers_when_nothing_was_written() {
    let cases = [
        ("return 'text'", 200, "text/plain; charset=utf-8", "text"),
        ("return { a = 1 }", 200, "application/json", r#"{"a":1}"#),
        ("return true", 200, "", ""),
        ("return nil", 200, "", ""),
        ("res:set_status(204) return { a = 1 }", 204, "", ""),
    ];
    for (body, status, content_type, text) in cases {
        let reply = Site::of_script(body).await.get("/").await;
        assert_eq!((reply.status, reply.text()), (status, text), "{body}");
        assert_eq!(
            reply.header("content-type").unwrap_or_default(),
            content_type,
            "{body}"
        );
    }
}

#[tokio::test]
async fn the_kind_of_an_error_is_the_status() {
    let body =
        r#"return nil, errors.new({ kind = req:query("kind"), message = "because", details = { a = 1 } })"#;
    let site = Site::of_script(body).await;
    for (kind, status) in [
        ("INVALID", 400),
        ("PERMISSION_DENIED", 403),
        ("NOT_FOUND", 404),
        ("CONFLICT", 409),
        ("ALREADY_EXISTS", 409),
        ("RATE_LIMITED", 429),
        ("UNAVAILABLE", 503),
        ("TIMEOUT", 504),
    ] {
        let reply = site.get(&format!("/?kind={kind}")).await;
        assert_eq!(reply.error(), (status, kind.to_owned(), "because".to_owned()));
    }
    // What went wrong inside stays inside.
    for kind in ["INTERNAL", "UNKNOWN", "CANCELED"] {
        let reply = site.get(&format!("/?kind={kind}")).await;
        assert_eq!(
            reply.error(),
            (
                500,
                kind.to_owned(),
                "the request could not be answered".to_owned()
            )
        );
    }
    let raised = Site::of_script("res:write('half') error('secret place')")
        .await
        .get("/")
        .await;
    assert_eq!((raised.status, raised.text().contains("secret")), (500, false));
}

#[tokio::test]
async fn a_response_can_be_sent_while_it_is_written() {
    let body = r#"
res:set_transfer(http.TRANSFER.CHUNKED)
res:set_header("x-early", "yes")
res:write("first") res:flush()
assert(res:set_status(500):kind() == errors.INVALID, "it has been sent")
local body = req:stream()
res:write(body:read(4)) res:flush()
res:write("last")"#;
    let site = Site::of_script(body).await;
    let mut client = site.connect().await;
    // The second part of the answer needs the second part of the request, which is sent after the first of the answer.
    client
        .write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\n\r\n")
        .await;
    let head = client.until("5\r\nfirst\r\n").await;
    assert!(head.contains("x-early: yes"), "{head}");
    client.write("ab").await;
    client.write("cdef").await;
    client.write("gh").await;
    let rest = client.until("0\r\n\r\n").await;
    assert!(rest.contains("last"), "{rest}");
}

#[tokio::test]
async fn events_arrive_one_by_one() {
    let body = r#"
res:write_event({ name = "start", data = { n = 1 }, id = "7", retry = 500 })
req:body()
res:write_event({ data = "two\nlines" })"#;
    let site = Site::of_script(body).await;
    let mut client = site.connect().await;
    client
        .write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n")
        .await;
    let first = client.until("\n\n").await;
    assert!(first.contains("content-type: text/event-stream\r\n"), "{first}");
    assert!(first.contains("cache-control: no-cache\r\n"), "{first}");
    assert!(
        first.ends_with("id: 7\nevent: start\nretry: 500\ndata: {\"n\":1}\n\n"),
        "{first}"
    );
    client.write("x").await;
    let second = client.until("0\r\n\r\n").await;
    assert!(second.contains("data: two\ndata: lines\n\n"), "{second}");
}

#[tokio::test]
async fn an_error_after_the_beginning_breaks_the_response() {
    let site = Site::of_script("res:write('half') res:flush() time.sleep('1ms') error('no')").await;
    let mut client = site.connect().await;
    client.send("GET / HTTP/1.1", "").await;
    let all = client.rest().await;
    assert!(all.contains("half") && !all.ends_with("0\r\n\r\n"), "{all}");
}

#[tokio::test]
async fn a_body_is_read_whole_or_in_pieces() {
    let body = r"
local whole, again = req:body(), req:body()
local stream = req:stream()
local pieces = { stream:read(2), stream:read(0), tostring(stream:read(2)) }
local late, err = req:body()
stream:close()
local closed, why = stream:read()
res:write_json({ whole, again, pieces, err:kind(), why:kind() })";
    let reply = Site::of_script(body)
        .await
        .send("POST / HTTP/1.1", "abcdef")
        .await;
    let expected = json!(["abcdef", "abcdef", ["ab", "cdef", "nil"], "INVALID", "INVALID"]);
    assert_eq!(reply.json(), expected);
}

#[tokio::test]
async fn forms_have_values_and_files() {
    let body = r#"
local form, err = req:parse_multipart(1000)
if err then return nil, err end
local file = form.files.doc[1]
local stream = file:stream()
res:write_json({ title = form.values.title, count = #form.files.doc, name = file:name(), size = file:size(),
  type = file:header("Content-Type"), start = stream:read(3), rest = stream:read(0), last = stream:read() == nil })"#;
    let site = Site::of_script(body).await;
    let form = "--X\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nA title\r\n\
                --X\r\nContent-Disposition: form-data; name=\"doc\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nabcdef\r\n\
                --X\r\nContent-Disposition: form-data; name=\"doc\"; filename=\"b.txt\"\r\n\r\nx\r\n--X--\r\n";
    let head = "POST / HTTP/1.1\ncontent-type: multipart/form-data; boundary=X";
    let reply = site.send(head, form).await;
    let expected = json!({ "title": "A title", "count": 2, "name": "a.txt", "size": 6, "type": "text/plain",
        "start": "abc", "rest": "def", "last": true });
    assert_eq!(reply.json(), expected);

    let broken = site.send(head, "--X\r\nContent-").await;
    assert_eq!(broken.status, 400);
    let other = site.send("POST / HTTP/1.1\ncontent-type: text/plain", "x").await;
    assert_eq!(other.error().2, "the request's body is not `multipart/form-data`");
}

#[tokio::test]
async fn a_callee_answers_the_same_request_and_a_plain_call_has_none() {
    let entries = [
        script("main", "GET /", "res:write('main, ') funcs.call('app:helper')"),
        script("helper", "GET /helper", "res:write('helper at ' .. req:path())"),
        script(
            "task",
            "GET /task",
            "local future = funcs.async('app:helper') future:response():receive() res:write('!')",
        ),
        script("bare", "GET /bare", "return req == nil"),
    ];
    let site = Site::new(&index("", &entries.concat())).await;
    assert_eq!(site.get("/").await.text(), "main, helper at /");
    assert_eq!(site.get("/task").await.text(), "helper at /task!");
    let value = site
        .app
        .call(&"app:bare".parse().unwrap(), Vec::new())
        .await
        .unwrap();
    assert_eq!(value, wippy_wit::Value::Boolean(true));
}
