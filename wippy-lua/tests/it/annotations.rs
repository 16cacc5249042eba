//! Type annotations: what is accepted, what is refused, and that plain Lua is left alone.

use std::fmt::Write;

use proptest::{collection::vec, prelude::*, sample::select};
use wippy_lua::{Error, LuaFunction, check, plain};
use wippy_wit::json;

use crate::support::{App, id, source};

#[test]
fn cases() {
    let folder = fixtures::cases("lua/annotations");
    insta::glob!(folder, "*.lua", |path| {
        let text = std::fs::read_to_string(path).unwrap();
        insta::assert_snapshot!(outcome(&text));
    });
}

/// The script as it runs, with numbered lines, and what it returns; or what is wrong with it.
fn outcome(text: &str) -> String {
    if let Err(error) = check(Some(&id("test:case")), "case.lua", text) {
        return refusal(text, &error);
    }
    let mut shown = String::new();
    for (number, line) in (1..).zip(plain(text).lines()) {
        writeln!(shown, "{}", format!("{number:3} {line}").trim_end()).unwrap();
    }
    let app = App::new();
    let mut source = source("test:case", text);
    source.name = "case.lua".into();
    let function = LuaFunction::new(source, app.services.clone(), app.config.clone()).unwrap();
    app.dispatcher.insert(id("test:case"), function);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let result = runtime.block_on(app.call("test:case", &[])).unwrap();
    write!(shown, "--> {}", json::from_value(&result).unwrap()).unwrap();
    shown
}

fn refusal(text: &str, error: &Error) -> String {
    let Error::Syntax {
        line, message, near, ..
    } = error
    else {
        panic!("{error}")
    };
    let source = text.lines().nth(line - 1).unwrap_or_default();
    let caret = near
        .as_deref()
        .and_then(|near| source.find(near))
        .map(|at| format!("\n    {}^", " ".repeat(at)))
        .unwrap_or_default();
    format!("{line:3} {source}{caret}\n{message}")
}

/// Pieces that scripts with and without annotations are made of, and some that neither has.
const PIECES: &[&str] = &[
    "local", "function", "type", "export", "for", "in", "do", "end", "return", "as", "is", "if", "then", "x",
    "y", "T", "User", "string", "number", "nil", "true", "1", "0x1p4", "'s'", "\"", "[[", "]]", "--", "--[[",
    "\n", " ", "=", "==", ":", "::", "<", ">", ">>", "(", ")", "{", "}", "[", "]", ",", ";", ".", "..",
    "...", "?", "!", "|", "&", "->", "@min", "@", "~=", "é", "日", "\\", "$", "goto", "<const>", "self",
    "typeof", "readonly", "fun",
];

fn soup() -> impl Strategy<Value = String> {
    vec((select(PIECES), any::<bool>()), 0..60).prop_map(|pieces| {
        let spaced = |(piece, space): (&str, bool)| {
            if space {
                format!("{piece} ")
            } else {
                piece.to_owned()
            }
        };
        pieces.into_iter().map(spaced).collect()
    })
}

/// Expressions and statements of plain Lua.
fn plain_lua() -> impl Strategy<Value = String> {
    let leaf = select(vec![
        "x",
        "as",
        "type",
        "T",
        "nil",
        "1",
        "'s'",
        "{}",
        "...",
        "f()",
        "x.as",
        "x:type()",
        "as 's'",
        "type { 1 }",
        "function(a, b, ...) return a end",
        "{ a = 1, ['b'] = 2; 3 }",
        "x.type",
        "(x)",
        "-x",
        "not x",
        "#x",
    ])
    .prop_map(str::to_owned);
    let expression = leaf.prop_recursive(3, 12, 2, |inner| {
        let operators = select(vec![
            "+", "<", ">", "<<", ">>", "//", "..", "and", "or", "==", "~=", "&", "|", "~",
        ]);
        (inner.clone(), operators, inner).prop_map(|(a, operator, b)| format!("({a}) {operator} ({b})"))
    });
    let statement = (expression.clone(), expression, 0_usize..10).prop_map(|(a, b, form)| match form {
        0 => format!("local x <const>, as, T = {a}, {b}"),
        1 => format!("x = {a} as {{ {b} }}"),
        2 => format!("for as, type in pairs({a}), {b} do end"),
        3 => format!("for i = 1, 2 do x = {a} end -- local y: number\n"),
        4 => format!("do goto l end ::l:: x, y = {a}, {b}"),
        5 => format!("if {a} then type = {b} end"),
        6 => format!("function t.as:type(as, ...) local x = {a} return {b} end"),
        7 => format!("x[{a}] = {b};"),
        8 => format!("local function type(a, ...) return {a} end type({b})"),
        _ => format!("x = [==[ type T = {{}} ]==] .. {a}"),
    });
    vec(statement, 0..8).prop_map(|statements| {
        let blocks = statements
            .into_iter()
            .map(|statement| format!("do {statement} end\n"));
        format!(
            "local x, y, f, t = 1, 2, print, {{ as = {{}} }}\n{}",
            blocks.collect::<String>()
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_is_too_strange(text in soup()) {
        let plain = plain(&text);
        prop_assert_eq!(plain.len(), text.len());
        prop_assert_eq!(plain.lines().count(), text.lines().count());
        let _ = check(None, "soup.lua", &text);
    }

    #[test]
    fn plain_lua_is_left_alone(text in plain_lua()) {
        prop_assert!(check(None, "plain.lua", &text).is_ok(), "{}", text);
        prop_assert_eq!(plain(&text), &*text);
    }

    #[test]
    fn an_annotation_changes_nothing_around_it(text in plain_lua()) {
        // `as` and a table or string behind it on its line read as a cast, once a script is not plain.
        let text = text.replace(" as {", " at {").replace("as 's'", "at 's'");
        let annotated = format!("{text}local last: {{[string]: number}} = {{}}\n");
        let expected = format!("{text}local last{} = {{}}\n", " ".repeat(": {[string]: number}".len()));
        prop_assert_eq!(plain(&annotated), expected);
    }
}
