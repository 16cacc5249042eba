//! WIT texts in all the forms that people write, and what is said about those that are none.

use std::fmt::Write as _;

use wippy_wit::{Document, Signature, SignatureError, document::Exports};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::WorldItem;

/// What the world exports, one name a line; an interface with its functions.
fn exports(document: &Document) -> Vec<String> {
    let resolve = &document.resolve;
    let exports = &resolve.worlds[document.world].exports;
    exports
        .iter()
        .map(|(key, item)| {
            let name = resolve.name_world_key(key);
            match item {
                WorldItem::Interface { id, .. } => {
                    let functions: Vec<_> = resolve.interfaces[*id].functions.keys().cloned().collect();
                    format!("{name}#{}", functions.join(","))
                }
                WorldItem::Function(_) | WorldItem::Type { .. } => name,
            }
        })
        .collect()
}

fn plain(text: &str) -> Vec<String> {
    exports(&Document::parse(text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

#[test]
fn functions_are_exported_at_the_top() {
    assert_eq!(plain("answer: func() -> s32;"), ["answer"]);
    assert_eq!(plain("answer: func() -> s32"), ["answer"]);
    assert_eq!(plain("answer: func() -> s32 // the answer"), ["answer"]);
    assert_eq!(
        plain("a: func();\n\n/// Doc {\n/* } */ b: func(x: u8)"),
        ["a", "b"]
    );
    assert_eq!(plain("record r { x: s32 }\nf: func(r: r) -> r;"), ["f"]);
    assert_eq!(
        plain("f: func(r: r) -> list<r>; record r { x: s32 } g: func()"),
        ["f", "g"]
    );
    assert_eq!(
        plain(
            "type t = list<u8>; enum e { a, b } flags fl { c } variant v { d(t), g(e) } f: func(v: v, x: fl)"
        ),
        ["f"]
    );
    assert_eq!(
        plain("%list: func() -> string; %record: func();"),
        ["list", "record"]
    );
    assert_eq!(plain("@unstable(feature = later)\nf: func(); g: func()"), ["g"]);
    assert_eq!(plain("f: async func() -> u8"), ["f"]);
    assert_eq!(plain("export f: func(); export g: func()"), ["f", "g"]);
    assert_eq!(
        plain("import log: func(text: string); export f: func(); g: func();"),
        ["f", "g"]
    );
    assert_eq!(plain(""), [""; 0]);
    assert_eq!(plain("// nothing"), [""; 0]);
}

#[test]
fn a_lone_interface_is_exported_at_the_top() {
    assert_eq!(
        plain("interface math { record r { x: u8 } add: func(a: r, b: r) -> r; sub: func(); }"),
        ["add", "sub"]
    );
    assert_eq!(plain("interface math { add: func() }"), ["add"]);
    let qualified = Document::parse_with("interface math { add: func(); }", Exports::Qualified).unwrap();
    assert_eq!(exports(&qualified), ["wippy:inline/math#add"]);
    let flat =
        Document::parse_with("package demo:x; interface math { add: func(); }", Exports::Plain).unwrap();
    assert_eq!(exports(&flat), ["add"]);
}

#[test]
fn further_forms() {
    assert_eq!(
        plain("interface a { f: func(); } interface b { g: func(); }"),
        ["wippy:inline/a#f", "wippy:inline/b#g"]
    );
    assert_eq!(
        plain(
            "package demo:math@1.2.0; interface ops { add: func(); } interface module { use ops2.{t}; h: func(x: t); } interface ops2 { type t = u8; }"
        ),
        [
            "demo:math/ops@1.2.0#add",
            "demo:math/ops2@1.2.0#",
            "demo:math/module@1.2.0#h"
        ]
    );
    assert_eq!(
        plain("world w { import l: func(); export f: func(); export i: interface { g: func(); } }"),
        ["f", "i#g"]
    );
    assert_eq!(
        plain("package a:b; interface i { f: func(); } world w { export i; }"),
        ["a:b/i#f"]
    );
    assert_eq!(
        plain(
            "resource counter { constructor(start: u32); increment: func(by: u32) -> u32; } make: func() -> counter;"
        ),
        ["wippy:inline/inline#[constructor]counter,[method]counter.increment,make"]
    );
    assert_eq!(
        plain("interface i { resource r { f: func(); } }"),
        ["wippy:inline/i#[method]r.f"]
    );
}

#[test]
fn functions_come_with_their_signatures() {
    let text =
        "world w { import l: func(); export f: func(x: u8); export i: interface { g: func() -> string; } }";
    let lines: Vec<_> = Signature::parse_all(text)
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(lines, ["f: func(x: u8);", "g: func() -> string;"]);
    assert_eq!(
        Signature::parse("").unwrap_err().message,
        "expected one function, found 0"
    );
    assert_eq!(
        Signature::parse("a: func(); b: func()").unwrap_err().message,
        "expected one function, found 2"
    );
}

/// The message with the place marked in the text.
fn marked(text: &str) -> String {
    let error: SignatureError = match Document::parse(text) {
        Ok(document) => return format!("{:?}", exports(&document)),
        Err(error) => error,
    };
    assert!(!error.message.contains('\n'), "{error}");
    match error.offset {
        None => error.message,
        Some(offset) => {
            let marked = format!("{} @ {}⟨here⟩{}", error.message, &text[..offset], &text[offset..]);
            marked.replace('\u{202e}', "⟨right to left⟩")
        }
    }
}

#[test]
fn errors_point_into_the_users_text() {
    let texts = [
        "answer func() -> s32;",
        "answer: func() -> s23;",
        "answer: func() -> s32; answer: func();",
        "a: func();\nb: func(x: lst<u8>);",
        "answer: func(",
        "answer: func() ->",
        "answer",
        "b: func(x: u8, x: u8);",
        "a: func(); }",
        "a: func(); } interface b { c: func();",
        "interface i { f: func() -> nope; }",
        "interface i { f: func()",
        "/* open",
        "a: func(x: Ü);",
        "a: func(x: \u{202e}u8);",
        "tag_count: func();",
        "type t = t; f: func();",
        "interface i { use wasi:io/streams@0.2.0.{input-stream}; f: func(); }",
        "world a { } world b { }",
        "package a:b;",
        "interface: func();",
        "f: func(x: borrow<c>);",
        "record r { } f: func(x: r);",
        "interface i {} f: func();",
        "flags fl { }",
        "f: func(x: tuple<>);",
        "; ; f: func()",
        "f: func() -> (u8, u8);",
        "{ f: func(); }",
    ];
    let lines: Vec<_> = texts.map(marked).into();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    expected `:` and a type after the name `answer` @ answer⟨here⟩ func() -> s32;
    name `s23` does not exist @ answer: func() -> ⟨here⟩s23;
    export `answer` conflicts with prior func of same name @ answer: func() -> s32; ⟨here⟩answer: func();
    expected ')', found '<' @ a: func();
    b: func(x: lst⟨here⟩<u8>);
    expected an identifier or string, found the end of the text @ answer: func(⟨here⟩
    expected a type, found the end of the text @ answer: func() ->⟨here⟩
    expected `:` and a type after the name `answer` @ answer⟨here⟩
    param `x` is defined more than once @ b: func(x: u8, ⟨here⟩x: u8);
    unmatched `}` @ a: func(); ⟨here⟩}
    unmatched `}` @ a: func(); ⟨here⟩} interface b { c: func();
    name `nope` does not exist @ interface i { f: func() -> ⟨here⟩nope; }
    expected ';', found the end of the text @ interface i { f: func()⟨here⟩
    unterminated block comment @ ⟨here⟩/* open
    invalid character in identifier 'Ü' @ a: func(x: ⟨here⟩Ü);
    Input contains bidirectional override codepoint \u{202e} @ a: func(x: ⟨here⟩⟨right to left⟩u8);
    invalid character in identifier '_' @ ⟨here⟩tag_count: func();
    type `t` depends on itself @ type t = ⟨here⟩t; f: func();
    package `wasi:io@0.2.0` is not part of this text @ interface i { use ⟨here⟩wasi:io/streams@0.2.0.{input-stream}; f: func(); }
    the text has several worlds; keep one @ world a { } ⟨here⟩world b { }
    the text has no world and no interface
    expected an identifier or string, found keyword `interface` @ ⟨here⟩interface: func();
    name `c` does not exist @ f: func(x: borrow<⟨here⟩c>);
    the type `r` is empty @ record ⟨here⟩r { } f: func(x: r);
    expected `world`, `interface` or `use`, found an identifier @ interface i {} ⟨here⟩f: func();
    the type `fl` is empty @ flags ⟨here⟩fl { }
    the type tuple is empty @ f: func(x: ⟨here⟩tuple<>);
    expected `import`, `export`, `include`, `use`, or type definition, found ';' @ ⟨here⟩; ; f: func()
    expected a type, found '(' @ f: func() -> ⟨here⟩(u8, u8);
    expected `import`, `export`, `include`, `use`, or type definition, found '{' @ ⟨here⟩{ f: func(); }
    "#);
}

#[test]
fn places_have_lines_and_columns() {
    let text = "a: func();\nbé: func(x: u9);";
    let error = Document::parse("a: func();\nb: func(x: u9);").unwrap_err();
    assert_eq!(error.line_column("a: func();\nb: func(x: u9);"), Some((2, 12)));
    assert_eq!(
        SignatureError {
            message: String::new(),
            offset: Some(14)
        }
        .line_column(text),
        Some((2, 3))
    );
    assert_eq!(
        SignatureError {
            message: String::new(),
            offset: Some(99)
        }
        .line_column(text),
        None
    );
}

#[test]
#[cfg_attr(miri, ignore = "megabytes of text, which are too much for the interpreter")]
fn types_that_explode_are_refused() {
    let mut text = "record t0 { x: u8 }\n".to_owned();
    for level in 1..40 {
        let _ = writeln!(text, "record t{level} {{ a: t{0}, b: t{0} }}", level - 1);
    }
    text.push_str("f: func(x: t39);");
    assert_eq!(
        Document::parse(&text).unwrap_err().message,
        "the type `t15` is too large"
    );

    let mut text = "type t0 = u8;\n".to_owned();
    for level in 1..20_000 {
        let _ = writeln!(text, "type t{level} = list<t{}>;", level - 1);
    }
    assert!(
        Document::parse(&text)
            .unwrap_err()
            .message
            .ends_with("is nested too deeply")
    );
    let long = " ".repeat(2 << 20);
    assert_eq!(
        Document::parse(&long).unwrap_err().message,
        "the text is longer than 1048576 bytes"
    );
}

/// Makes a component of a core module, as is done when one is loaded.
fn component(core: &str, wit: &str, exports: Exports) -> Vec<u8> {
    let document = Document::parse_with(wit, exports).unwrap();
    let mut module = wat::parse_str(core).unwrap();
    embed_component_metadata(
        &mut module,
        &document.resolve,
        document.world,
        StringEncoding::UTF8,
    )
    .unwrap();
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .unwrap()
        .encode()
        .unwrap()
}

#[test]
fn modules_become_components() {
    let answer = r#"(module (func (export "answer") (result i32) i32.const 42))"#;
    component(answer, "answer: func() -> s32", Exports::Plain);
    component(
        answer,
        "interface deep { answer: func() -> s32; }",
        Exports::Plain,
    );
    let qualified = r#"(module (func (export "wippy:inline/deep#answer") (result i32) i32.const 42))"#;
    component(
        qualified,
        "interface deep { answer: func() -> s32; }",
        Exports::Qualified,
    );
    let scale = r#"(module
        (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
        (func (export "scale") (param i32 i32 i32) (result i32) i32.const 8))"#;
    let wit = "record point { x: s32, y: s32 }\nenum unit { mm, inch }\nscale: func(at: point, to: unit) -> list<point>;";
    component(scale, wit, Exports::Plain);
}
