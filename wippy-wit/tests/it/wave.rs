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
    insta::assert_snapshot!(arguments("string", &["Ada", "\"Ada\"", " a ", ""]), @r#"
    Ada -> "Ada"
    "Ada" -> "\"Ada\""
     a  -> " a "
     -> ""
    "#);
    insta::assert_snapshot!(arguments("char", &["é", "'é'", " ", "ab", ""]), @r#"
    é -> 'é'
    'é' -> 'é'
      -> ' '
    ab -- WAVE: invalid value type (at byte 1)
     -- expected char (a string of one Unicode scalar value), got an empty string
    "#);
    insta::assert_snapshot!(arguments("u8", &["7", " 7 ", "+7", "-7", "256", "99999999999999999999999", "7.0", "seven", ""]), @r#"
    7 -> 7
     7  -> 7
    +7 -> 7
    -7 -- expected u8 (0..255), got -7
    256 -- expected u8 (0..255), got 256
    99999999999999999999999 -- expected u8 (0..255), got 1e23
    7.0 -- expected u8, got `7.0`
    seven -- expected u8, got `seven`
     -- expected u8, got ``
    "#);
    insta::assert_snapshot!(arguments("u64", &["18446744073709551615"]), @"18446744073709551615 -> 18446744073709551615");
    insta::assert_snapshot!(arguments("f64", &["7", "-0.5", "1e3", "nan", "inf", "-inf", "x"]), @r#"
    7 -> 7
    -0.5 -> -0.5
    1e3 -> 1000
    nan -> nan
    inf -> inf
    -inf -> -inf
    x -- expected number, got `x`
    "#);
    insta::assert_snapshot!(arguments("bool", &["true", "false", "yes"]), @r#"
    true -> true
    false -> false
    yes -- expected true or false, got `yes`
    "#);
    insta::assert_snapshot!(arguments("direction", &["north", "south_east", "south-east", "up"]), @r#"
    north -> north
    south_east -> south-east
    south-east -> south-east
    up -- unknown case `up`, expected one of `north`, `south-east`
    "#);
    insta::assert_snapshot!(arguments("list<u8>", &["ab", "[1, 2]", "[1, 256]", ""]), @r#"
    ab -> [97, 98]
    [1, 2] -> [1, 2]
    [1, 256] -> [91, 49, 44, 32, 50, 53, 54, 93]
     -> []
    "#);
}

#[test]
fn compound_arguments() {
    insta::assert_snapshot!(arguments("option<string>", &["Ada", "none", "some(\"none\")", "null"]), @r#"
    Ada -> some("Ada")
    none -> none
    some("none") -> some("none")
    null -> some("null")
    "#);
    insta::assert_snapshot!(arguments("option<u8>", &["1", "none", "null", "some(1)", "x"]), @r#"
    1 -> some(1)
    none -> none
    null -> none
    some(1) -> some(1)
    x -- expected u8, got `x`
    "#);
    insta::assert_snapshot!(arguments("option<option<u8>>", &["none", "null", "some(none)", "some(some(1))", "{\"some\": 1}"]), @r#"
    none -> none
    null -> none
    some(none) -> some(none)
    some(some(1)) -> some(some(1))
    {"some": 1} -> some(some(1))
    "#);
    insta::assert_snapshot!(arguments("point", &["{x: 1}", "{\"x\": 1, \"y\": 2}", "{\"x\": \"a\"}", "{x: a}", "{y: 1}", "{x: 1", "{}"]), @r#"
    {x: 1} -> {x: 1}
    {"x": 1, "y": 2} -> {x: 1, y: some(2)}
    {"x": "a"} -- .x: expected s32, got string
    {x: a} -- WAVE: invalid value type (at byte 5)
    {y: 1} -- WAVE: missing field "x" (at byte 1)
    {x: 1 -- WAVE: unexpected end of input (at byte 6)
    {} -- missing field `x`
    "#);
    insta::assert_snapshot!(arguments("shape", &["empty", "circle(1)", "{\"circle\": 1}", "\"empty\"", "circle", "square"]), @r#"
    empty -> empty
    circle(1) -> circle(1)
    {"circle": 1} -> circle(1)
    "empty" -> empty
    circle -- WAVE: missing payload for "circle" case (at byte 1)
    square -- WAVE: unknown case "square" (at byte 1)
    "#);
    insta::assert_snapshot!(arguments("rights", &["{read}", "{}", "[\"read\", \"write_all\"]", "{read, up}"]), @r#"
    {read} -> {read}
    {} -> {}
    ["read", "write_all"] -> {read, write-all}
    {read, up} -- WAVE: unknown case "up" (at byte 1)
    "#);
    insta::assert_snapshot!(arguments("list<string>", &["[\"a\", \"b\"]", "[]", "a", "[a]"]), @r#"
    ["a", "b"] -> ["a", "b"]
    [] -> []
    a -- WAVE: invalid value type (at byte 1)
    [a] -- WAVE: invalid value type (at byte 2)
    "#);
    insta::assert_snapshot!(arguments("tuple<u8, string>", &["(1, \"a\")", "[1, \"a\"]", "(1)"]), @r#"
    (1, "a") -> (1, "a")
    [1, "a"] -> (1, "a")
    (1) -- WAVE: expected 2 tuple elements; got 1 (at byte 1)
    "#);
    insta::assert_snapshot!(arguments("result<u8, string>", &["ok(1)", "err(\"no\")", "{\"ok\": 1}", "1"]), @r#"
    ok(1) -> ok(1)
    err("no") -> err("no")
    {"ok": 1} -> ok(1)
    1 -> ok(1)
    "#);
    insta::assert_snapshot!(arguments("map<u8, string>", &["[(2, \"b\"), (1, \"a\")]", "{\"1\": \"a\"}", "[\"a\"]", "[(1)]", "1"]), @r#"
    [(2, "b"), (1, "a")] -> [(1, "a"), (2, "b")]
    {"1": "a"} -> [(1, "a")]
    ["a"] -> [(1, "a")]
    [(1)] -- WAVE: expected 2 tuple elements; got 1 (at byte 2)
    1 -- expected map, got integer
    "#);
    insta::assert_snapshot!(arguments("map<string, option<u8>>", &["[(\"a\", some(1)), (\"b\", none)]", "{\"a\": {\"some\": 1}, \"b\": {\"none\": true}}"]), @r#"
    [("a", some(1)), ("b", none)] -> [("a", some(1)), ("b", none)]
    {"a": {"some": 1}, "b": {"none": true}} -> [("a", some(1)), ("b", none)]
    "#);
    insta::assert_snapshot!(arguments("error-context", &["it broke", "\"it broke\"", ""]), @r#"
    it broke -> "it broke"
    "it broke" -> "\"it broke\""
     -> ""
    "#);
    insta::assert_snapshot!(arguments("list<error-context>", &["[\"it broke\"]", "[1]"]), @r#"
    ["it broke"] -> ["it broke"]
    [1] -- [1]: expected error or string, got integer
    "#);
    insta::assert_snapshot!(arguments("list<u8, 2>", &["[1, 2]", "[1]"]), @r#"
    [1, 2] -> [1, 2]
    [1] -- expected list of 2 elements, got 1
    "#);
}

#[test]
fn types_without_text() {
    for (text, message) in [
        ("stream<u8>", "stream<u8> has no text form"),
        ("list<future>", "future has no text form"),
    ] {
        assert_eq!(wave::parse(&ty(text), "1").unwrap_err().to_string(), message);
        assert_eq!(
            wave::print(&ty(text), &mut ValueReader::value(&Value::Nil))
                .unwrap_err()
                .to_string(),
            message
        );
    }
    let handle = ty_with("resource counter;", "borrow<counter>");
    assert_eq!(
        wave::parse(&handle, "1").unwrap_err().to_string(),
        "resource counter has no text form"
    );
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
    insta::assert_snapshot!(error, @"WAVE: value nesting too deep (at byte 100)");
}
