//! Every row of the mapping's table, in the accepted forms and in the refused ones with their messages.

use wippy_wit::{Value, json};

use crate::{conform, dynamic, ty, ty_with};

const DEFINITIONS: &str = "
    record user { name: string, tag-count: u32, nick-name: option<string> }
    variant shape { circle(f64), empty, maybe(option<u8>), tag(u8) }
    enum direction { north, south-east }
    flags rights { read, write-all }
";

/// One line per value: `json -> canonical form`, or the message.
fn outcomes(text: &str, values: &[&str]) -> String {
    let ty = ty_with(DEFINITIONS, text);
    let line = |json: &&str| match conform(&ty, &dynamic(json)) {
        Ok(value) => format!("{json} -> {}", shown(&value)),
        Err(error) => format!("{json} -- {error}"),
    };
    values.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Float(number) => format!("{number:?}"),
        other => json::from_value(other).map_or_else(|error| error.to_string(), |json| json.to_string()),
    }
}

#[test]
fn booleans() {
    insta::assert_snapshot!(outcomes("bool", &["true", "0", "\"true\"", "null"]), @"");
}

#[test]
fn integers() {
    insta::assert_snapshot!(outcomes("u8", &["255", "256", "-1", "3.0", "3.5", "1e300", "\"1\"", "null"]), @"");
    insta::assert_snapshot!(outcomes("s64", &["9223372036854775807", "9223372036854775808", "1e19"]), @"");
    insta::assert_snapshot!(outcomes("u64", &["18446744073709551615", "1e19", "18446744073709551616", "-1"]), @"");
}

#[test]
fn floats() {
    insta::assert_snapshot!(outcomes("f64", &["1", "0.1", "\"1\""]), @"");
    insta::assert_snapshot!(outcomes("f32", &["0.1", "16777217", "1e300"]), @"");
    let ty = ty("f32");
    // Rounded once: by way of an f64 this would become 2^60.
    let above_the_middle = (1_i64 << 60) + (1 << 36) + 1;
    assert_eq!(conform(&ty, &Value::Integer(above_the_middle)), Ok(Value::Float(f64::from((1_u64 << 60) as f32 + 1.4e11))));
}

#[test]
fn text() {
    insta::assert_snapshot!(outcomes("char", &["\"é\"", "\"\"", "\"ab\"", "1"]), @"");
    insta::assert_snapshot!(outcomes("string", &["\"é\"", "1", "[]"]), @"");
    let surrogate = Value::string(b"ab\xed\xa0\x80");
    insta::assert_snapshot!(conform(&ty("string"), &surrogate).unwrap_err(), @"");
    insta::assert_snapshot!(conform(&ty("char"), &Value::string(b"\xed\xa0\x80")).unwrap_err(), @"");
}

#[test]
fn lists() {
    insta::assert_snapshot!(outcomes("list<u8>", &["\"ab\"", "[97, 98]", "[]", "[256]", "{\"x\": 1}", "1"]), @"");
    insta::assert_snapshot!(outcomes("list<string>", &["[\"a\"]", "{}", "[\"a\", null]", "[1]", "\"a\"", "{\"a\": 1}"]), @"");
    insta::assert_snapshot!(outcomes("list<option<u8>>", &[
        "[1, null, 3]", "[]", "{\"n\": 2}", "{\"n\": 2.0}", "{\"n\": -1}", "{\"n\": \"2\"}", "{\"n\": 99999999999}", "{\"n\": 1, \"x\": 2}", "{\"x\": 1}",
    ]), @"");
    insta::assert_snapshot!(outcomes("list<u8, 2>", &["[1, 2]", "[1]", "[1, 2, 3]"]), @"");
    insta::assert_snapshot!(outcomes("list<option<u8>, 2>", &["[1]", "{}", "[1, 2, 3]", "{\"n\": 3}"]), @"");
}

#[test]
fn holes() {
    let hole = Value::Table(Box::new(wippy_wit::Table {
        array: vec![Value::Integer(1)],
        pairs: vec![(Value::Integer(3), Value::Integer(3))],
    }));
    insta::assert_snapshot!(conform(&ty("list<u8>"), &hole).unwrap_err(), @"");
    insta::assert_snapshot!(conform(&ty("list<option<u8>>"), &hole).unwrap_err(), @"");
    let zero = Value::Table(Box::new(wippy_wit::Table {
        array: Vec::new(),
        pairs: vec![(Value::Integer(0), Value::Integer(3))],
    }));
    insta::assert_snapshot!(conform(&ty("list<u8>"), &zero).unwrap_err(), @"");
}

#[test]
fn tuples() {
    insta::assert_snapshot!(outcomes("tuple<u8, string>", &["[1, \"a\"]", "[1]", "[1, \"a\", 2]", "[\"a\", 1]", "{}", "1"]), @"");
    insta::assert_snapshot!(outcomes("tuple<option<u8>, u8, option<u8>>", &[
        "[null, 1]", "[1, 2, 3]", "[1]", "[1, 2, 3, 4]", "{\"n\": 1}", "[1, null, 3]",
    ]), @"");
}

#[test]
fn records() {
    insta::assert_snapshot!(outcomes("user", &[
        "{\"name\": \"Ada\", \"tag-count\": 1, \"nick-name\": \"A\"}",
        "{\"name\": \"Ada\", \"tag_count\": 1, \"age\": 3}",
        "{\"name\": \"Ada\", \"tagCount\": 1}",
        "{\"Name\": \"Ada\", \"tag_count\": 1}",
        "{}",
        "{\"name\": 1, \"tag_count\": 1}",
        "\"Ada\"",
    ]), @"");
}

#[test]
fn options() {
    insta::assert_snapshot!(outcomes("option<u8>", &["null", "1", "\"a\""]), @"");
    insta::assert_snapshot!(outcomes("option<option<u8>>", &["null", "{}", "{\"some\": null}", "{\"some\": 1}", "1", "{\"value\": 1}", "[1]"]), @"");
    insta::assert_snapshot!(outcomes("option<user>", &["{}"]), @"");
}

#[test]
fn results() {
    insta::assert_snapshot!(outcomes("result<u8, string>", &[
        "{\"ok\": 1}", "{\"err\": \"no\"}", "{}", "{\"ok\": 1, \"err\": \"no\"}", "{\"ok\": \"a\"}", "1", "{\"tag\": \"err\", \"value\": \"no\"}", "{\"x\": 1}",
    ]), @"");
    insta::assert_snapshot!(outcomes("result", &["{\"ok\": true}", "{\"err\": true}", "{\"ok\": 1}", "{\"ok\": null}", "true"]), @"");
    insta::assert_snapshot!(outcomes("result<option<u8>, option<u8>>", &[
        "{}", "{\"ok\": null}", "{\"err\": null}", "{\"tag\": \"err\"}", "{\"tag\": \"ok\"}", "{\"err\": 1}",
    ]), @"");
    insta::assert_snapshot!(outcomes("result<u8, option<u8>>", &["{}", "{\"ok\": 1}"]), @"");
}

#[test]
fn variants() {
    insta::assert_snapshot!(outcomes("shape", &[
        "{\"tag\": \"circle\", \"value\": 1}",
        "{\"circle\": 1}",
        "\"empty\"",
        "{\"empty\": true}",
        "{\"tag\": \"empty\"}",
        "{\"tag\": \"maybe\"}",
        "{\"maybe\": 1}",
        "{\"tag\": 1}",
        "\"maybe\"",
        "\"circle\"",
        "\"square\"",
        "{\"tag\": \"square\"}",
        "{\"tag\": \"circle\"}",
        "{\"tag\": \"empty\", \"value\": 1}",
        "{\"empty\": 1}",
        "{\"circle\": \"a\"}",
        "{\"circle\": 1, \"empty\": true}",
        "{}",
        "[\"empty\"]",
        "1",
    ]), @"");
}

#[test]
fn enums_and_flags() {
    insta::assert_snapshot!(outcomes("direction", &["\"north\"", "\"south_east\"", "\"up\"", "1"]), @"");
    insta::assert_snapshot!(outcomes("rights", &[
        "{\"read\": true, \"write_all\": true}", "{\"read\": false}", "[\"write-all\", \"read\", \"read\"]", "{}", "[\"up\"]", "{\"up\": true}", "{\"read\": 1}", "[1]", "\"read\"",
    ]), @"");
}

#[test]
fn deep_paths() {
    let message = outcomes("list<user>", &["[{\"name\": \"a\", \"tag_count\": 1}, {\"name\": \"b\", \"tag_count\": \"c\"}]"]);
    insta::assert_snapshot!(message, @"");
}

#[test]
fn other_types() {
    insta::assert_snapshot!(outcomes("stream<u8>", &["\"ab\"", "1"]), @"");
    insta::assert_snapshot!(outcomes("stream<u16>", &["\"ab\""]), @"");
    insta::assert_snapshot!(outcomes("error-context", &["\"ab\"", "1"]), @"");
    insta::assert_snapshot!(outcomes("map<string, u8>", &["{\"a\": 1}", "{\"a\": 256}", "[1]", "1"]), @"");
}
