//! Every row of the mapping's table, in the accepted forms and in the refused ones with their messages.

use wippy_wit::{Value, accept, json};

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
    insta::assert_snapshot!(outcomes("bool", &["true", "0", "\"true\"", "null"]), @r#"
    true -> true
    0 -- expected boolean, got integer
    "true" -- expected boolean, got string
    null -- expected boolean, got nil
    "#);
}

#[test]
fn integers() {
    insta::assert_snapshot!(outcomes("u8", &["255", "256", "-1", "3.0", "3.5", "1e300", "\"1\"", "null"]), @r#"
    255 -> 255
    256 -- expected u8 (0..255), got 256
    -1 -- expected u8 (0..255), got -1
    3.0 -> 3
    3.5 -- expected u8, got number 3.5
    1e300 -- expected u8 (0..255), got 1e300
    "1" -- expected u8, got string
    null -- expected u8, got nil
    "#);
    insta::assert_snapshot!(outcomes("s64", &["9223372036854775807", "9223372036854775808", "1e19"]), @r#"
    9223372036854775807 -> 9223372036854775807
    9223372036854775808 -- expected s64 (-9223372036854775808..9223372036854775807), got 9223372036854775808
    1e19 -- expected s64 (-9223372036854775808..9223372036854775807), got 1e19
    "#);
    insta::assert_snapshot!(outcomes("u64", &["18446744073709551615", "1e19", "18446744073709551616", "-1"]), @r#"
    18446744073709551615 -> 18446744073709551615
    1e19 -> 10000000000000000000
    18446744073709551616 -- expected u64 (0..18446744073709551615), got 1.8446744073709552e19
    -1 -- expected u64 (0..18446744073709551615), got -1
    "#);
}

#[test]
fn floats() {
    insta::assert_snapshot!(outcomes("f64", &["1", "0.1", "\"1\""]), @r#"
    1 -> 1.0
    0.1 -> 0.1
    "1" -- expected number, got string
    "#);
    insta::assert_snapshot!(outcomes("f32", &["0.1", "16777217", "1e300"]), @r#"
    0.1 -> 0.10000000149011612
    16777217 -> 16777216.0
    1e300 -> inf
    "#);
    let ty = ty("f32");
    // Rounded once, to 2^60 + 2^37: by way of an f64 this would become 2^60.
    let above_the_middle = Value::Integer((1 << 60) + (1 << 36) + 1);
    assert_eq!(
        conform(&ty, &above_the_middle),
        Ok(Value::Float(1_152_921_642_045_800_448.0))
    );
}

#[test]
fn text() {
    insta::assert_snapshot!(outcomes("char", &["\"é\"", "\"\"", "\"ab\"", "1"]), @r#"
    "é" -> "é"
    "" -- expected char (a string of one Unicode scalar value), got an empty string
    "ab" -- expected char (a string of one Unicode scalar value), got 2 characters
    1 -- expected char (a string of one Unicode scalar value), got integer
    "#);
    insta::assert_snapshot!(outcomes("string", &["\"é\"", "1", "[]"]), @r#"
    "é" -> "é"
    1 -- expected string, got integer
    [] -- expected string, got table
    "#);
    let surrogate = Value::string(b"ab\xed\xa0\x80");
    insta::assert_snapshot!(conform(&ty("string"), &surrogate).unwrap_err(), @"expected string, got bytes that are not UTF-8 (at byte 3)");
    insta::assert_snapshot!(conform(&ty("char"), &Value::string(b"\xed\xa0\x80")).unwrap_err(), @"expected char, got bytes that are not UTF-8 (at byte 1)");
}

#[test]
fn lists() {
    insta::assert_snapshot!(outcomes("list<u8>", &["\"ab\"", "[97, 98]", "[]", "[256]", "{\"x\": 1}", "1"]), @r#"
    "ab" -> "ab"
    [97, 98] -> "ab"
    [] -> ""
    [256] -- [1]: expected u8 (0..255), got 256
    {"x": 1} -- expected an array, got a table with the key `x`
    1 -- expected string or list of u8, got integer
    "#);
    insta::assert_snapshot!(outcomes("list<string>", &["[\"a\"]", "{}", "[\"a\", null]", "[1]", "\"a\"", "{\"a\": 1}"]), @r#"
    ["a"] -> ["a"]
    {} -> []
    ["a", null] -- [2]: expected string, got nil
    [1] -- [1]: expected string, got integer
    "a" -- expected list, got string
    {"a": 1} -- expected an array, got a table with the key `a`
    "#);
    insta::assert_snapshot!(outcomes("list<option<u8>>", &[
        "[1, null, 3]", "[]", "{\"n\": 2}", "{\"n\": 2.0}", "{\"n\": -1}", "{\"n\": \"2\"}", "{\"n\": 99999999999}", "{\"n\": 1, \"x\": 2}", "{\"x\": 1}",
    ]), @r#"
    [1, null, 3] -> {"1":1,"2":null,"3":3,"n":3}
    [] -> {"n":0}
    {"n": 2} -> {"1":null,"2":null,"n":2}
    {"n": 2.0} -> {"1":null,"2":null,"n":2}
    {"n": -1} -- .n: expected a length (0..16777216), got -1
    {"n": "2"} -- .n: expected a length, got string
    {"n": 99999999999} -- .n: expected a length (0..16777216), got 99999999999
    {"n": 1, "x": 2} -- expected an array, got a table with the key `x`
    {"x": 1} -- expected an array, got a table with the key `x`
    "#);
    insta::assert_snapshot!(outcomes("list<u8, 2>", &["[1, 2]", "[1]", "[1, 2, 3]"]), @r#"
    [1, 2] -> [1,2]
    [1] -- expected list of 2 elements, got 1
    [1, 2, 3] -- expected list of 2 elements, got 3
    "#);
    insta::assert_snapshot!(outcomes("list<option<u8>, 2>", &["[1]", "{}", "[1, 2, 3]", "{\"n\": 3}"]), @r#"
    [1] -> {"1":1,"2":null,"n":2}
    {} -> {"1":null,"2":null,"n":2}
    [1, 2, 3] -- expected list of 2 elements, got 3
    {"n": 3} -- expected list of 2 elements, got 3
    "#);
}

#[test]
fn holes() {
    let hole = Value::Table(Box::new(wippy_wit::Table {
        array: vec![Value::Integer(1)],
        pairs: vec![(Value::Integer(3), Value::Integer(3))],
    }));
    insta::assert_snapshot!(conform(&ty("list<u8>"), &hole).unwrap_err(), @"expected an array without holes: [2] is nil, [3] is not");
    insta::assert_snapshot!(conform(&ty("list<option<u8>>"), &hole).unwrap_err(), @"expected an array without holes: [2] is nil, [3] is not");
    let zero = Value::Table(Box::new(wippy_wit::Table {
        array: Vec::new(),
        pairs: vec![(Value::Integer(0), Value::Integer(3))],
    }));
    insta::assert_snapshot!(conform(&ty("list<u8>"), &zero).unwrap_err(), @"expected an array, got a table with the key `0`");
}

#[test]
fn sparse_arrays() {
    let sparse = Value::Table(Box::new(wippy_wit::Table {
        array: vec![Value::Integer(1)],
        pairs: vec![
            (Value::Integer(3), Value::Integer(3)),
            (Value::from("n"), Value::Integer(4)),
        ],
    }));
    let canonical = conform(&ty("list<option<u8>>"), &sparse).unwrap();
    let Value::Table(table) = &canonical else {
        panic!("{canonical:?}")
    };
    assert_eq!(
        table.array,
        [Value::Integer(1), Value::Nil, Value::Integer(3), Value::Nil]
    );
}

#[test]
fn tuples() {
    insta::assert_snapshot!(outcomes("tuple<u8, string>", &["[1, \"a\"]", "[1]", "[1, \"a\", 2]", "[\"a\", 1]", "{}", "1"]), @r#"
    [1, "a"] -> [1,"a"]
    [1] -- expected tuple of 2 elements, got 1
    [1, "a", 2] -- expected tuple of 2 elements, got 3
    ["a", 1] -- [1]: expected u8, got string
    {} -- expected tuple of 2 elements, got 0
    1 -- expected tuple, got integer
    "#);
    insta::assert_snapshot!(outcomes("tuple<option<u8>, u8, option<u8>>", &[
        "[null, 1]", "[1, 2, 3]", "[1]", "[1, 2, 3, 4]", "{\"n\": 1}", "[1, null, 3]",
    ]), @r#"
    [null, 1] -> {"1":null,"2":1,"3":null,"n":3}
    [1, 2, 3] -> {"1":1,"2":2,"3":3,"n":3}
    [1] -- expected tuple of 3 elements, got 1
    [1, 2, 3, 4] -- expected tuple of 3 elements, got 4
    {"n": 1} -- expected tuple of 3 elements, got 1
    [1, null, 3] -- [2]: expected u8, got nil
    "#);
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
    ]), @r#"
    {"name": "Ada", "tag-count": 1, "nick-name": "A"} -> {"name":"Ada","nick-name":"A","tag-count":1}
    {"name": "Ada", "tag_count": 1, "age": 3} -> {"name":"Ada","tag-count":1}
    {"name": "Ada", "tagCount": 1} -- missing field `tag_count` (there is `tagCount`: did you mean that?)
    {"Name": "Ada", "tag_count": 1} -- missing field `name` (there is `Name`: did you mean that?)
    {} -- missing field `name`
    {"name": 1, "tag_count": 1} -- .name: expected string, got integer
    "Ada" -- expected record, got string
    "#);
}

#[test]
fn options() {
    insta::assert_snapshot!(outcomes("option<u8>", &["null", "1", "\"a\""]), @r#"
    null -> null
    1 -> 1
    "a" -- expected u8, got string
    "#);
    insta::assert_snapshot!(outcomes("option<option<u8>>", &["null", "{}", "{\"some\": null}", "{\"some\": 1}", "1", "{\"value\": 1}", "[1]"]), @r#"
    null -> null
    {} -> []
    {"some": null} -> []
    {"some": 1} -> {"some":1}
    1 -- expected option {some = ...} or nil, got integer
    {"value": 1} -- expected option {some = ...} or nil, got a table with the key `value`
    [1] -- expected option {some = ...} or nil, got an array
    "#);
    insta::assert_snapshot!(outcomes("option<user>", &["{}"]), @"{} -- missing field `name`");
}

#[test]
fn results() {
    insta::assert_snapshot!(outcomes("result<u8, string>", &[
        "{\"ok\": 1}", "{\"err\": \"no\"}", "{}", "{\"ok\": 1, \"err\": \"no\"}", "{\"ok\": \"a\"}", "1", "{\"tag\": \"err\", \"value\": \"no\"}", "{\"x\": 1}",
    ]), @r#"
    {"ok": 1} -> {"ok":1}
    {"err": "no"} -> {"err":"no"}
    {} -- expected result {ok = ...} or {err = ...}, got a table with neither
    {"ok": 1, "err": "no"} -- expected result {ok = ...} or {err = ...}, got a table with both
    {"ok": "a"} -- .ok: expected u8, got string
    1 -- expected result {ok = ...} or {err = ...}, got integer
    {"tag": "err", "value": "no"} -> {"err":"no"}
    {"x": 1} -- expected result {ok = ...} or {err = ...}, got a table with the key `x`
    "#);
    insta::assert_snapshot!(outcomes("result", &["{\"ok\": true}", "{\"err\": true}", "{\"ok\": 1}", "{\"ok\": null}", "true"]), @r#"
    {"ok": true} -> {"ok":true}
    {"err": true} -> {"err":true}
    {"ok": 1} -- .ok: expected true, got a payload
    {"ok": null} -> {"ok":true}
    true -- expected result {ok = ...} or {err = ...}, got boolean
    "#);
    insta::assert_snapshot!(outcomes("result<option<u8>, option<u8>>", &[
        "{}", "{\"ok\": null}", "{\"err\": null}", "{\"tag\": \"err\"}", "{\"tag\": \"ok\"}", "{\"err\": 1}",
    ]), @r#"
    {} -> []
    {"ok": null} -> []
    {"err": null} -> {"tag":"err"}
    {"tag": "err"} -> {"tag":"err"}
    {"tag": "ok"} -> []
    {"err": 1} -> {"err":1,"tag":"err"}
    "#);
    insta::assert_snapshot!(outcomes("result<u8, option<u8>>", &["{}", "{\"ok\": 1}"]), @r#"
    {} -> {"tag":"err"}
    {"ok": 1} -> {"ok":1}
    "#);
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
    ]), @r#"
    {"tag": "circle", "value": 1} -> {"tag":"circle","value":1.0}
    {"circle": 1} -> {"tag":"circle","value":1.0}
    "empty" -> {"tag":"empty"}
    {"empty": true} -> {"tag":"empty"}
    {"tag": "empty"} -> {"tag":"empty"}
    {"tag": "maybe"} -> {"tag":"maybe"}
    {"maybe": 1} -> {"tag":"maybe","value":1}
    {"tag": 1} -> {"tag":"tag","value":1}
    "maybe" -- case `maybe` needs a payload: {tag = "maybe", value = ...}
    "circle" -- case `circle` needs a payload: {tag = "circle", value = ...}
    "square" -- unknown case `square`, expected one of `circle`, `empty`, `maybe`, `tag`
    {"tag": "square"} -- .tag: unknown case `square`, expected one of `circle`, `empty`, `maybe`, `tag`
    {"tag": "circle"} -- .circle: expected number, got nil
    {"tag": "empty", "value": 1} -- case `empty` has no payload
    {"empty": 1} -- case `empty` has no payload
    {"circle": "a"} -- .circle: expected number, got string
    {"circle": 1, "empty": true} -- expected variant {tag = "case", value = ...}, got a table with several keys
    {} -- expected variant {tag = "case", value = ...}, got an empty table
    ["empty"] -- expected variant {tag = "case", value = ...}, got an array
    1 -- expected variant, got integer
    "#);
}

#[test]
fn enums_and_flags() {
    insta::assert_snapshot!(outcomes("direction", &["\"north\"", "\"south_east\"", "\"up\"", "1"]), @r#"
    "north" -> "north"
    "south_east" -> "south-east"
    "up" -- unknown case `up`, expected one of `north`, `south-east`
    1 -- expected enum case, got integer
    "#);
    insta::assert_snapshot!(outcomes("rights", &[
        "{\"read\": true, \"write_all\": true}", "{\"read\": false}", "[\"write-all\", \"read\", \"read\"]", "{}", "[\"up\"]", "{\"up\": true}", "{\"read\": 1}", "[1]", "\"read\"",
    ]), @r#"
    {"read": true, "write_all": true} -> {"read":true,"write-all":true}
    {"read": false} -> []
    ["write-all", "read", "read"] -> {"read":true,"write-all":true}
    {} -> []
    ["up"] -- [1]: unknown flag `up`, expected one of `read`, `write-all`
    {"up": true} -- unknown flag `up`, expected one of `read`, `write-all`
    {"read": 1} -- .read: expected boolean, got integer
    [1] -- [1]: expected flag name, got integer
    "read" -- expected flags, got string
    "#);
}

#[test]
fn deep_paths() {
    let message = outcomes(
        "list<user>",
        &["[{\"name\": \"a\", \"tag_count\": 1}, {\"name\": \"b\", \"tag_count\": \"c\"}]"],
    );
    insta::assert_snapshot!(message, @r#"[{"name": "a", "tag_count": 1}, {"name": "b", "tag_count": "c"}] -- [2].tag_count: expected u32, got string"#);
}

#[test]
fn other_types() {
    insta::assert_snapshot!(outcomes("stream<u8>", &["\"ab\"", "1"]), @r#"
    "ab" -> "ab"
    1 -- expected channel or string, got integer
    "#);
    insta::assert_snapshot!(outcomes("stream<u16>", &["\"ab\""]), @r#""ab" -- expected channel, got string"#);
    insta::assert_snapshot!(outcomes("error-context", &["\"ab\"", "1"]), @r#"
    "ab" -> "ab"
    1 -- expected error or string, got integer
    "#);
}

#[test]
fn maps() {
    insta::assert_snapshot!(outcomes("map<string, u8>", &["{\"a-b\": 1}", "{\"a-b\": 256}", "{\"7\": null}", "[1]", "1"]), @r#"
    {"a-b": 1} -> {"a-b":1}
    {"a-b": 256} -- ["a-b"]: expected u8 (0..255), got 256
    {"7": null} -- ["7"]: expected u8, got nil
    [1] -- [1]: in the key: expected string, got integer
    1 -- expected map, got integer
    "#);
    insta::assert_snapshot!(outcomes("map<u8, string>", &["[\"a\"]", "{\"7\": \"a\", \"8\": \"b\"}", "{\"07\": \"a\"}", "{\"256\": \"a\"}", "{\"7\": 1}", "{\"x\": \"a\"}"]), @r#"
    ["a"] -> {"1":"a"}
    {"7": "a", "8": "b"} -> {"7":"a","8":"b"}
    {"07": "a"} -- ["07"]: in the key: expected u8, got string
    {"256": "a"} -- ["256"]: in the key: expected u8 (0..255), got 256
    {"7": 1} -- ["7"]: expected string, got integer
    {"x": "a"} -- .x: in the key: expected u8, got string
    "#);
    insta::assert_snapshot!(outcomes("map<bool, u8>", &["{}", "[1]", "{\"yes\": 1}"]), @r#"
    {} -> []
    [1] -- [1]: in the key: expected boolean, got integer
    {"yes": 1} -- .yes: in the key: expected boolean, got string
    "#);
    insta::assert_snapshot!(outcomes("map<char, u8>", &["{\"é\": 1}", "{\"ab\": 1}"]), @r#"
    {"é": 1} -> {"é":1}
    {"ab": 1} -- .ab: in the key: expected char (a string of one Unicode scalar value), got 2 characters
    "#);
    insta::assert_snapshot!(outcomes("map<string, option<u8>>", &["{\"a\": {\"some\": 1}, \"b\": {\"none\": true}, \"c\": null}", "{\"a\": 1}", "{\"a\": {}}", "{\"a\": {\"none\": true, \"x\": 1}}"]), @r#"
    {"a": {"some": 1}, "b": {"none": true}, "c": null} -> {"a":{"some":1},"b":{"none":true},"c":{"none":true}}
    {"a": 1} -- .a: expected option {some = ...} or {none = true}, got integer
    {"a": {}} -- .a.some: expected u8, got nil
    {"a": {"none": true, "x": 1}} -- .a: expected option {some = ...} or {none = true}, got a table with the key `x`
    "#);
    insta::assert_snapshot!(outcomes("map<string, option<option<u8>>>", &["{\"a\": {\"some\": 1}, \"b\": {}, \"c\": {\"none\": true}}", "{\"a\": {\"some\": {\"some\": 1}}}"]), @r#"
    {"a": {"some": 1}, "b": {}, "c": {"none": true}} -> {"a":{"some":1},"b":[],"c":{"none":true}}
    {"a": {"some": {"some": 1}}} -- .a.some: expected u8, got table
    "#);
}

/// An error shows the beginning of a long key, and that there is more of it.
#[test]
fn long_keys_are_shortened() {
    let place = |key: &str| {
        let value = Value::record([(key, Value::Boolean(true))]);
        let error = conform(&crate::ty("map<string, u8>"), &value).unwrap_err();
        error.to_string()
    };
    let whole = "x".repeat(48);
    assert_eq!(place(&whole), format!(".{whole}: expected u8, got boolean"));
    let long = "x".repeat(49);
    assert_eq!(
        place(&long),
        format!("[\"{}…\"]: expected u8, got boolean", &long[..45])
    );
    // A character is shown as a whole or not at all.
    let wide = "é".repeat(25);
    assert_eq!(
        place(&wide),
        format!("[\"{}…\"]: expected u8, got boolean", &wide[..44])
    );
}

/// Bytes are looked at many in one step, and some of them twice.
#[test]
fn strings_of_all_lengths_are_told_from_other_bytes() {
    for length in 0..=200 {
        let plain = vec![b'a'; length];
        assert!(accept::is_utf8(&plain), "{length}");
        for place in 0..length {
            let mut wild = plain.clone();
            wild[place] = 0x80;
            assert!(!accept::is_utf8(&wild), "{length} {place}");
            if let Some(pair) = wild.get_mut(place..place + 2) {
                pair.copy_from_slice("é".as_bytes());
                assert!(accept::is_utf8(&wild), "{length} {place}");
            }
        }
    }
}
