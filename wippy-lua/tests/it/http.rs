//! What a request says: queries, content types and content negotiation.

use wippy_lua::http::Request;

fn request(target: &str, headers: &[(&'static str, &str)]) -> Request {
    let mut request = http::Request::get(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    Request {
        parts,
        params: vec![("id".into(), "7".into())],
        remote_address: "10.0.0.1:5".into(),
    }
}

#[test]
fn queries_are_decoded_in_order() {
    let request = request("/a?x=1&y=a+b%26c&x=2&flag&=&%zz=%ff", &[]);
    let query: Vec<(String, String)> = request
        .query()
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    let expected = [
        ("x", "1"),
        ("y", "a b&c"),
        ("x", "2"),
        ("flag", ""),
        ("", ""),
        ("%zz", "\u{fffd}"),
    ];
    let expected: Vec<(String, String)> = expected
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    assert_eq!(query, expected);
}

#[test]
fn content_types_are_compared_without_parameters() {
    let request = request("/", &[("content-type", "Application/JSON; charset=utf-8")]);
    assert!(request.is_content_type("application/json"));
    assert!(!request.is_content_type("text/plain"));
}

#[test]
fn the_most_exact_range_decides() {
    for (accept, wanted, accepted) in [
        ("*/*", "text/html", true),
        ("text/*", "text/html", true),
        ("text/*", "application/json", false),
        ("application/json, text/html;q=0.5", "text/html", true),
        ("text/html;q=0, */*", "text/html", false),
        ("text/html;q=0, */*", "text/plain", true),
        ("text/*;q=0.0, text/html", "text/html", true),
        ("", "text/html", false),
    ] {
        let request = request("/", &[("accept", accept)]);
        assert_eq!(request.accepts(wanted), accepted, "{accept}: {wanted}");
    }
    assert!(request("/", &[]).accepts("text/html"));
}

#[test]
fn values_of_a_header_are_joined() {
    let request = request(
        "/",
        &[("x", "1"), ("X", "2"), ("cookie", "a=1"), ("cookie", "b=2")],
    );
    assert_eq!(request.header("x").as_deref(), Some("1, 2"));
    assert_eq!(request.header("Cookie").as_deref(), Some("a=1; b=2"));
    assert_eq!(request.header("not a name"), None);
}

#[test]
fn the_host_is_in_a_header_or_in_the_target() {
    assert_eq!(request("/", &[("host", "a:1")]).host().as_deref(), Some("a:1"));
    assert_eq!(request("http://b:2/", &[]).host().as_deref(), Some("b:2"));
    assert_eq!(request("/", &[]).host(), None);
}
