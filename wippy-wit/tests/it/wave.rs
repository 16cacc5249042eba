//! The text form, and what people may type on a command line.

use wippy_wit::{Value, ValueReader, wave};

use crate::{dynamic, ty, ty_with};

const DEFINITIONS: &str = "
    record point { x: s32, y: option<s32> }
    variant shape { circle(f64), empty }
    enum direction { north, south-east }
    flags rights { read, write-all }
";

fn arguments(text: &str, arguments: &[&str]) -> String {
    let ty = ty_with(DEFINITIONS, text);
    let line = |text: &&str| match wave::parse_argument(&ty, text) {
        Ok(value) => match wave::print(&ty, &mut ValueReader::value(&value)) {
            Ok(printed) => format!("{text} -> {printed}"),
            Err(error) => format!("{text} -> {error}"),
        },
        Err(error) => format!("{text} -- {error}"),
    };
    arguments.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn plain_arguments() {
    insta::assert_snapshot!(arguments("string", &["Ada", "\"Ada\"", " a ", ""]), @"");
    insta::assert_snapshot!(arguments("char", &["é", "'é'", " ", "ab", ""]), @"");
    insta::assert_snapshot!(arguments("u8", &["7", " 7 ", "+7", "-7", "256", "99999999999999999999999", "7.0", "seven", ""]), @"");
    insta::assert_snapshot!(arguments("u64", &["18446744073709551615"]), @"");
    insta::assert_snapshot!(arguments("f64", &["7", "-0.5", "1e3", "nan", "inf", "-inf", "x"]), @"");
    insta::assert_snapshot!(arguments("bool", &["true", "false", "yes"]), @"");
    insta::assert_snapshot!(arguments("direction", &["north", "south_east", "south-east", "up"]), @"");
    insta::assert_snapshot!(arguments("list<u8>", &["ab", "[1, 2]", "[1, 256]", ""]), @"");
}

#[test]
fn compound_arguments() {
    insta::assert_snapshot!(arguments("option<string>", &["Ada", "none", "some(\"none\")", "null"]), @"");
    insta::assert_snapshot!(arguments("option<u8>", &["1", "none", "null", "some(1)", "x"]), @"");
    insta::assert_snapshot!(arguments("option<option<u8>>", &["none", "null", "some(none)", "some(some(1))", "{\"some\": 1}"]), @"");
    insta::assert_snapshot!(arguments("point", &["{x: 1}", "{\"x\": 1, \"y\": 2}", "{\"x\": \"a\"}", "{x: a}", "{y: 1}", "{x: 1", "{}"]), @"");
    insta::assert_snapshot!(arguments("shape", &["empty", "circle(1)", "{\"circle\": 1}", "\"empty\"", "circle", "square"]), @"");
    insta::assert_snapshot!(arguments("rights", &["{read}", "{}", "[\"read\", \"write_all\"]", "{read, up}"]), @"");
    insta::assert_snapshot!(arguments("list<string>", &["[\"a\", \"b\"]", "[]", "a", "[a]"]), @"");
    insta::assert_snapshot!(arguments("tuple<u8, string>", &["(1, \"a\")", "[1, \"a\"]", "(1)"]), @"");
    insta::assert_snapshot!(arguments("result<u8, string>", &["ok(1)", "err(\"no\")", "{\"ok\": 1}", "1"]), @"");
    insta::assert_snapshot!(arguments("list<u8, 2>", &["[1, 2]", "[1]"]), @"");
}

#[test]
fn types_without_text() {
    for (text, message) in [
        ("stream<u8>", "stream<u8> has no text form"),
        ("list<future>", "future has no text form"),
        ("map<string, u8>", "map<string, u8> has no text form"),
        ("error-context", "error-context has no text form"),
    ] {
        assert_eq!(wave::parse(&ty(text), "1").unwrap_err().to_string(), message);
        assert_eq!(wave::print(&ty(text), &mut ValueReader::value(&Value::Nil)).unwrap_err().to_string(), message);
    }
    let handle = ty_with("resource counter;", "borrow<counter>");
    assert_eq!(wave::parse(&handle, "1").unwrap_err().to_string(), "resource counter has no text form");
}

#[test]
fn printing_names_the_place_of_a_problem() {
    let points = ty_with(DEFINITIONS, "list<point>");
    let value = dynamic("[{\"x\": 1}, {\"x\": true}]");
    let error = wave::print(&points, &mut ValueReader::value(&value)).unwrap_err();
    assert_eq!(error.to_string(), "[2].x: expected s32, got boolean");
}

#[test]
fn deep_text_is_refused() {
    let text = "[".repeat(100_000);
    let error = wave::parse(&ty("list<list<u8>>"), &text).unwrap_err();
    insta::assert_snapshot!(error, @"");
}
