//! Policies as CEL expressions.

use std::ops::Range;

use serde_json::{Value as Json, json};
use wippy_registry::{Entry, SourceMap, SourceText, Span, schema::security::Rule};
use wippy_security::{Effect, PolicyError};
use wippy_wit::Value;

use crate::support::{Outcome, Outcome::*, actor, always, compile, declared, expression, id, outcome, value};

fn evaluate(text: &str, meta: &Value) -> Outcome {
    let actor = actor(&json!({
        "role": "editor",
        "roles": ["editor", "author"],
        "level": 5,
        "org": { "name": "acme" },
        "active": true,
    }));
    outcome(&expression(text), &actor, "docs.write", "docs:guide", meta)
}

#[test]
fn the_documented_forms() {
    let meta = value(&json!({ "owner": "ada", "amount": 10, "tags": ["x", "y"], "ratio": 5.0, "empty": [] }));
    for (text, expected) in [
        (r#"actor.meta.role == "editor" && action == "docs.write""#, True),
        (r#"actor.meta.role == "admin" || actor.id == meta.owner"#, True),
        (r#"actor.meta.role != "editor""#, False),
        (r#"!(actor.meta.role == "editor")"#, False),
        (
            "meta.amount < 11 && meta.amount <= 10 && meta.amount > 9 && meta.amount >= 10",
            True,
        ),
        ("actor.meta.level == meta.ratio", True),
        ("meta.amount > 9.5", True),
        (r#"actor.meta.role in ["admin", "editor"]"#, True),
        (r#"!(actor.meta.role in ["admin"])"#, True),
        (r#""author" in actor.meta.roles"#, True),
        (r#"resource.contains(":gui")"#, True),
        (
            r#"resource.startsWith("docs:") && resource.endsWith("guide")"#,
            True,
        ),
        (r#"resource.matches("^docs:[a-z]+$")"#, True),
        (r#"resource.matches("^guide")"#, False),
        (r#"matches(resource, "guide")"#, True),
        (r#"meta.owner.matches("a" + "d")"#, True),
        (r#"resource.matches("(" + "")"#, Error),
        ("actor.meta.active", True),
        (r#"actor.meta.org.name == "acme""#, True),
        (r#"actor.meta["role"] == "editor""#, True),
        ("has(actor.meta.role) && !has(actor.meta.none)", True),
        (r#""role" in actor.meta && !("none" in actor.meta)"#, True),
        ("size(meta.tags) == 2", True),
        ("size(meta.empty) == 0", True),
        (r#"meta.tags.exists(tag, tag == "x")"#, True),
        (r#"meta.tags.all(tag, tag in ["x", "y", "z"])"#, True),
        (r#"meta.tags.filter(tag, tag == "x").size() == 1"#, True),
        (r#"meta.tags.map(tag, tag + "!") == ["x!", "y!"]"#, True),
        (r#"actor.meta.role == "editor" ? meta.amount < 100 : false"#, True),
        ("true", True),
        ("false", False),
        ("actor.meta.none == 1", Error),
        ("actor.meta.none == 1 || true", True),
        ("actor.meta.none == 1 && false", False),
        ("meta.amount > \"a\"", Error),
        ("meta.amount", Error),
        ("\"true\"", Error),
        ("1 / 0 == 1", Error),
        ("-9223372036854775808 / -1 == 1", Error),
        ("resource.size() == 10", True),
    ] {
        assert_eq!(evaluate(text, &meta), expected, "{text}");
    }
}

#[test]
fn nothing_known_is_an_empty_table() {
    assert_eq!(evaluate("has(meta.owner)", &Value::Nil), False);
    assert_eq!(evaluate(r#"meta.owner == "ada""#, &Value::Nil), Error);
    assert_eq!(evaluate("size(meta) == 0", &Value::Nil), True);
}

#[test]
fn every_kind_of_value_has_a_form() {
    let meta = Value::record([
        ("bytes", Value::string([0xff])),
        ("big", Value::Unsigned(u64::MAX)),
        ("nan", Value::Float(f64::NAN)),
        ("list", Value::array([Value::Nil, Value::from(1_i64)])),
    ]);
    for (text, expected) in [
        (r#"meta.bytes == b"\xff""#, True),
        ("meta.big > 1u", True),
        ("meta.nan == meta.nan", False),
        ("meta.list == [null, 1]", True),
    ] {
        assert_eq!(evaluate(text, &meta), expected, "{text}");
    }
}

fn mistake(text: &str) -> PolicyError {
    let error = compile(Effect::Deny, expression(text)).map(|_| text).unwrap_err();
    assert_eq!(error.path, "policy.expression");
    error
}

#[test]
fn mistakes_are_found_when_the_policy_is_compiled() {
    for (text, marked, problem) in [
        ("actor.id ==", "", "mismatched input '<EOF>'"),
        ("", "", "mismatched input '<EOF>'"),
        ("role == 'x'", "role", "there is no `role`"),
        ("\"é\" == roles", "roles", "there is no `roles`"),
        ("\"éé\" == éa", "é", "token recognition error at: 'é'"),
        ("\"é\" == 1\n&& \"é\" == 1 1", "1", "extraneous input '1'"),
        (
            "resource == 'é' + matches(resource, 'é(')",
            "'é('",
            "invalid regular expression `é(`: unclosed group",
        ),
        ("actor.name == 'x'", ".", "there is no field `actor.name`"),
        ("len(meta.tags) > 1", "(", "there is no function `len`"),
        (
            "resource.matches('a(')",
            "'a('",
            "invalid regular expression `a(`: unclosed group",
        ),
        ("Foo{a: 1} == 1", "{", "there is no `Foo`"),
    ] {
        let error = mistake(text);
        assert_eq!(error.problem.to_string(), problem, "{text}");
        let range = error.offset.unwrap();
        assert_eq!(&text[range], marked, "{text}");
    }
}

#[test]
fn other_dialects_are_shown_the_cel_form() {
    for (text, marked, instead) in [
        (
            r#"resource contains ":x""#,
            "contains",
            r#"resource.contains(":x")`, or for a list `":x" in resource"#,
        ),
        (
            r#"actor.meta.roles not contains "x""#,
            "contains",
            r#"!actor.meta.roles.contains("x")`, or for a list `!("x" in actor.meta.roles)"#,
        ),
        (
            r#"actor.id == "a" && resource matches "^x$""#,
            "matches",
            r#"resource.matches("^x$")"#,
        ),
        (
            r#"(actor.id + "x") matches ("a")"#,
            "matches",
            "text.matches(part)",
        ),
        (
            "resource startsWith 'a'",
            "startsWith",
            "resource.startsWith('a')",
        ),
        ("actor.id not in meta.owners", "not", "!(actor.id in meta.owners)"),
        ("not actor.meta.active", "not", "!"),
        ("actor.meta.active and true", "and", "&&"),
        ("actor.meta.active or true", "or", "||"),
        ("actor.id = 'a'", "=", "=="),
        (
            "action == ' and ' && resource matches 'or'",
            "matches",
            "resource.matches('or')",
        ),
    ] {
        let error = mistake(text);
        let expected = format!("`{marked}` is no operator of CEL: write `{instead}`");
        assert_eq!(error.problem.to_string(), expected, "{text}");
        assert_eq!(&text[error.offset.unwrap()], marked, "{text}");
    }
}

#[test]
fn the_mistake_is_marked_in_the_file() {
    let yaml = "policy:\n  expression: |\n    actor.id == meta.owner\n    && resource matches 'x'\n";
    let mut sources = SourceMap::default();
    let source = sources.add("src/_index.yaml", yaml);
    let text = "actor.id == meta.owner\n&& resource matches 'x'\n";
    let span = Span::new(source, yaml.find("actor").unwrap()..yaml.len());
    let rule = Rule::Expression(SourceText {
        text: text.into(),
        span,
        path: None,
    });
    let policy = declared(Effect::Allow, &["*"], &["*"], rule);
    let error = wippy_security::Policy::compile(id("app:policy"), &policy).unwrap_err();
    let diagnostic = error.diagnostic(
        &Entry::new(id("app:policy"), "security.policy.expr"),
        &policy,
        &sources,
    );
    assert_eq!(sources.snippet(diagnostic.span().unwrap()), Some("matches"));
    assert_eq!(
        diagnostic.message,
        "policy `app:policy`: `matches` is no operator of CEL: write `resource.matches('x')`"
    );
}

/// None of these may abort the process, and this test runs on a thread with the usual stack of 2 MiB.
#[test]
fn hostile_expressions_are_refused() {
    let nested =
        |open: &str, core: &str, close: &str, depth: usize| open.repeat(depth) + core + &close.repeat(depth);
    let chain = |first: &str, link: &str, len: usize| {
        first.to_owned() + &link.repeat((len - first.len()) / link.len())
    };
    for text in [
        "a".repeat(1_000_000),
        nested("(", "true", ")", 500_000),
        nested("(", "true", ")", 1000),
        nested("(", "true", ")", 60),
        "(".repeat(2000),
        ")".repeat(2000),
        nested("[", "1", "]", 1000),
        nested("{1:", "1", "}", 500),
        nested("size(", "'a'", ")", 300),
        chain("1", "+1", 2048),
        chain("1", "==1", 2048),
        chain("actor.meta", ".a", 2048),
        chain("actor.meta", "[0]", 2048),
        chain("true", "?true:true", 2048),
        chain("'a'", ".size()", 2048),
        nested("meta.l.all(x, ", "true", ")", 3),
        nested("meta.l.map(x, ", "true", ")", 20),
        "\"".to_owned() + &"a".repeat(2000),
        "\u{0}".repeat(2000),
        "€".repeat(600),
        "has(x)".to_owned(),
        "@".to_owned(),
        "/* */".to_owned(),
    ] {
        let error = mistake(&text);
        assert!(error.to_string().len() < 3000, "{error}");
        let in_text = |range: Range<usize>| text.get(range).is_some();
        assert!(error.offset.clone().is_none_or(in_text), "{error:?}");
    }
}

/// As large as they may be, they are evaluated where calls are made: on 2 MiB, of which much is taken already.
#[test]
fn the_deepest_expressions_fit_a_small_stack() {
    let texts = [
        "(".repeat(22) + "true" + &")".repeat(22),
        "[".repeat(20) + "1" + &"]".repeat(20) + " == []",
        "!".repeat(2000) + "true",
        "-".repeat(2000) + "1 == 1",
        "1".to_owned() + &"+1".repeat(44) + " == 45",
        "true".to_owned() + &"?true:true".repeat(20),
        "meta.l.all(x, meta.l.all(y, x + y > 0))".to_owned(),
        "true".to_owned() + &"&& true".repeat(280),
    ];
    let compile = |text: &String| {
        compile(Effect::Allow, expression(text)).unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    let policies: Vec<_> = texts.iter().map(compile).collect();
    let evaluate = move || {
        for policy in policies {
            let scope = wippy_security::Scope::new([policy.into()]);
            let meta = value(&json!({ "l": [1, 2] }));
            scope.evaluate(&actor(&Json::Null), "a", "r", &meta);
        }
    };
    std::thread::Builder::new()
        .stack_size(512 << 10)
        .spawn(evaluate)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn requests_cannot_bring_too_much() {
    let many = Value::array((0..100_000_i64).map(Value::from));
    let mut deep = Value::Nil;
    for _ in 0..100 {
        deep = Value::array([deep]);
    }
    for meta in [many, deep] {
        let meta = Value::record([("l", meta)]);
        assert_eq!(evaluate("meta.l.all(x, meta.l.all(y, x != y))", &meta), Error);
        assert_eq!(evaluate(r#"actor.id == "ada""#, &meta), True);
    }
}

#[test]
fn always_is_a_rule_too() {
    assert_eq!(
        outcome(&always(), &actor(&Json::Null), "a", "r", &Value::Nil),
        True
    );
}
