//! JSON with a type in hand, and without.

use std::{any::Any, sync::Arc};

use wippy_wit::{Foreign, Node, Value, json};

use crate::{dynamic, ty, ty_with};

const DEFINITIONS: &str = "
    record user { name: string, tag-count: u64, note: option<string> }
    record optional { a: option<u8>, b: option<u8> }
    variant shape { circle(f64), empty, maybe(option<u8>) }
    flags rights { read, write-all }
";

fn typed(text: &str, value: &Value) -> String {
    match json::from_typed(&Node::new(&ty_with(DEFINITIONS, text)), value) {
        Ok(json) => json.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

/// An error.
#[derive(Debug)]
struct Broken;

impl Foreign for Broken {
    fn type_name(&self) -> &'static str {
        "error"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn message(&self) -> Option<&str> {
        Some("it broke")
    }
}

#[test]
fn the_type_decides_the_form() {
    let empty = dynamic("{}");
    assert_eq!(typed("list<u32>", &empty), "[]");
    assert_eq!(typed("optional", &empty), "{}");
    assert_eq!(typed("rights", &empty), "{}");
    assert_eq!(typed("option<option<u8>>", &empty), r#"{"some":null}"#);
    assert_eq!(typed("result<option<u8>>", &empty), r#"{"ok":null}"#);
    assert_eq!(typed("result<u8, option<u8>>", &empty), r#"{"err":null}"#);
    assert_eq!(typed("list<u8>", &Value::string("abc")), r#""abc""#);
    assert_eq!(typed("list<u8>", &Value::string(b"a\xff")), "[97,255]");
    assert_eq!(typed("list<u8>", &dynamic("[97, 255]")), "[97,255]");
    assert_eq!(
        typed("list<option<u8>>", &dynamic("[null, 1, null]")),
        "[null,1,null]"
    );
    assert_eq!(typed("tuple<u8, option<u8>>", &dynamic("[1]")), "[1,null]");
    assert_eq!(
        typed("rights", &dynamic("[\"write_all\"]")),
        r#"{"write-all":true}"#
    );
    assert_eq!(typed("shape", &dynamic("\"empty\"")), r#"{"tag":"empty"}"#);
    assert_eq!(
        typed("shape", &dynamic("{\"circle\": 1}")),
        r#"{"tag":"circle","value":1.0}"#
    );
    assert_eq!(
        typed("shape", &dynamic("{\"tag\": \"maybe\"}")),
        r#"{"tag":"maybe"}"#
    );
    assert_eq!(
        typed("result<_, string>", &dynamic("{\"ok\": true}")),
        r#"{"ok":true}"#
    );
    assert_eq!(typed("map<string, u8>", &dynamic("{\"a\": 1}")), r#"{"a":1}"#);
    assert_eq!(typed("map<u8, string>", &dynamic("[\"a\"]")), r#"{"1":"a"}"#);
    assert_eq!(
        typed(
            "map<bool, option<u8>>",
            &dynamic(r#"{"true": {"some": 1}, "false": null}"#)
        ),
        r#"{"false":{"none":true},"true":{"some":1}}"#
    );
    assert_eq!(typed("error-context", &Value::from("it broke")), r#""it broke""#);
    assert_eq!(
        typed(
            "list<error-context>",
            &Value::array([Value::Foreign(Arc::new(Broken))])
        ),
        r#"["it broke"]"#
    );
    assert_eq!(
        typed(
            "list<user>",
            &dynamic(r#"[{"name": "Ada", "tag_count": 18446744073709551615}]"#)
        ),
        r#"[{"name":"Ada","tag-count":18446744073709551615}]"#
    );
}

#[test]
fn floats_are_short_and_never_lost() {
    assert_eq!(typed("f32", &Value::Float(f64::from(0.1_f32))), "0.1");
    assert_eq!(typed("f64", &Value::Float(0.1)), "0.1");
    assert_eq!(typed("f64", &Value::Float(f64::NAN)), "\"NaN\"");
    assert_eq!(
        typed(
            "list<f32>",
            &Value::array([f64::INFINITY, f64::NEG_INFINITY].map(Value::Float))
        ),
        r#"["Infinity","-Infinity"]"#
    );
    assert_eq!(typed("f64", &Value::Float(f64::MAX)), "1.7976931348623157e+308");
}

#[test]
fn values_of_another_type_are_refused() {
    assert_eq!(
        typed("user", &dynamic("{\"name\": 1}")),
        "error: .name: expected string, got integer"
    );
    assert_eq!(
        typed("char", &Value::from("ab")),
        "error: expected char (a string of one Unicode scalar value), got 2 characters"
    );
}

#[test]
fn without_a_type() {
    assert_eq!(
        json::from_value(&dynamic("{\"a\": [1, null]}"))
            .unwrap()
            .to_string(),
        r#"{"a":[1,null]}"#
    );
    assert!(json::from_value(&Value::Float(f64::NAN)).is_err());
    assert!(json::from_value(&Value::string(b"\xff")).is_err());
    let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
    assert!(json::to_value(&serde_json::from_str(&deep).unwrap()).is_ok());
    assert_eq!(ty("u8").to_string(), "u8");
}
