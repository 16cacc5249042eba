//! The fourteen operators, on every kind of field.

use serde_json::{Value as Json, json};
use wippy_registry::schema::security::{Operand, Operator, Operator::*, Rule};
use wippy_security::{Effect, PolicyProblem};
use wippy_wit::Value;

use crate::support::{Outcome, Outcome::*, actor, compile, condition, outcome, value};

fn holds(field: &str, operator: Operator, operand: Operand, meta: &Json) -> Outcome {
    let rule = Rule::Conditions(vec![condition(field, operator, operand)]);
    let actor = actor(&json!({
        "role": "editor",
        "level": 5,
        "tags": ["a", 2],
        "org": { "name": "acme", "size": 10 },
        "active": true,
        "limit": 1.5,
    }));
    outcome(&rule, &actor, "docs.write", "docs:guide", &value(meta))
}

#[test]
fn constants() {
    let meta = json!({ "owner": "ada", "amount": 10, "tags": ["x", "y"], "flag": false, "big": u64::MAX, "map": { "a": 1 } });
    for (field, operator, operand, expected) in [
        ("actor.id", Eq, json!("ada"), True),
        ("actor.id", Eq, json!("Ada"), False),
        ("action", Eq, json!("docs.write"), True),
        ("resource", Ne, json!("docs:guide"), False),
        ("actor.meta.role", Eq, json!("editor"), True),
        ("actor.meta.org.name", Eq, json!("acme"), True),
        ("actor.meta.org.none", Eq, json!("acme"), False),
        ("actor.meta.role.none", Eq, json!("acme"), False),
        ("actor.meta.level", Eq, json!(5), True),
        ("actor.meta.level", Eq, json!(5.0), True),
        ("actor.meta.level", Eq, json!("5"), False),
        ("actor.meta.level", Ne, json!("5"), True),
        ("actor.meta.active", Eq, json!(true), True),
        ("actor.meta.active", Ne, json!(true), False),
        ("actor.meta.tags", Eq, json!(["a", 2.0]), True),
        ("actor.meta.tags", Eq, json!([2, "a"]), False),
        ("actor.meta.none", Eq, json!("x"), False),
        ("actor.meta.none", Ne, json!("x"), True),
        ("actor.meta.none", Eq, Json::Null, True),
        ("actor.meta.role", Eq, Json::Null, False),
        ("actor.meta.role", Ne, Json::Null, True),
        ("meta.map", Eq, json!({ "a": 1 }), Error),
        ("meta.map", Eq, json!("a"), False),
        ("meta.flag", Eq, json!(false), True),
        ("meta.amount", Lt, json!(11), True),
        ("meta.amount", Lt, json!(10), False),
        ("meta.amount", Lte, json!(10), True),
        ("meta.amount", Lte, json!(9.5), False),
        ("meta.amount", Gt, json!(9.5), True),
        ("meta.amount", Gt, json!(10.0), False),
        ("meta.amount", Gte, json!(10.0), True),
        ("meta.amount", Gte, json!(11), False),
        ("meta.big", Gt, json!(i64::MAX), True),
        ("meta.big", Lt, json!(1e30), True),
        ("meta.amount", Gt, json!(-1e30), True),
        ("meta.amount", Gt, json!(-10.5), True),
        ("actor.meta.limit", Gt, json!(1), True),
        ("actor.meta.limit", Lt, json!(2), True),
        ("actor.id", Lt, json!("bob"), True),
        ("actor.id", Gt, json!("aba"), True),
        ("actor.id", Gt, json!(1), Error),
        ("meta.amount", Lt, json!("11"), Error),
        ("meta.flag", Lt, json!(1), Error),
        ("meta.tags", Gte, json!(1), Error),
        ("meta.none", Lt, json!(1), False),
        ("meta.none", Gt, json!(1), False),
        ("meta.none", Lte, json!(1), False),
        ("meta.none", Gte, json!(1), False),
        ("actor.meta.role", In, json!(["admin", "editor"]), True),
        ("actor.meta.role", In, json!(["admin"]), False),
        ("actor.meta.role", In, json!([]), False),
        ("actor.meta.role", Nin, json!(["admin"]), True),
        ("actor.meta.role", Nin, json!(["editor"]), False),
        ("actor.meta.level", In, json!([1, 5.0]), True),
        ("actor.meta.none", In, json!(["a", null]), False),
        ("actor.meta.none", Nin, json!(["a"]), True),
        ("meta.map", In, json!([{ "a": 1 }]), Error),
        ("meta.tags", Contains, json!("x"), True),
        ("meta.tags", Contains, json!("z"), False),
        ("meta.tags", Ncontains, json!("x"), False),
        ("meta.tags", Ncontains, json!("z"), True),
        ("actor.meta.tags", Contains, json!(2), True),
        ("resource", Contains, json!(":gui"), True),
        ("resource", Contains, json!("none"), False),
        ("resource", Ncontains, json!("none"), True),
        ("resource", Contains, json!(5), Error),
        ("meta.amount", Contains, json!("1"), Error),
        ("meta.amount", Ncontains, json!("1"), Error),
        ("meta.map", Contains, json!("a"), Error),
        ("meta.none", Contains, json!("a"), False),
        ("meta.none", Ncontains, json!("a"), True),
        ("resource", Matches, json!("^docs:[a-z]+$"), True),
        ("resource", Matches, json!("uid"), True),
        ("resource", Matches, json!("^guide"), False),
        ("resource", Nmatches, json!("^guide"), True),
        ("resource", Nmatches, json!("guide$"), False),
        ("meta.amount", Matches, json!("1"), Error),
        ("meta.amount", Nmatches, json!("1"), Error),
        ("meta.none", Matches, json!("1"), False),
        ("meta.none", Nmatches, json!("1"), True),
        ("meta.owner", Exists, json!(true), True),
    ] {
        let found = holds(field, operator, Operand::Value(operand.clone()), &meta);
        assert_eq!(found, expected, "{field} {operator:?} {operand}");
    }
}

#[test]
fn existence() {
    let meta = json!({ "owner": "ada", "nothing": null, "no": false });
    for (field, exists) in [
        ("actor.id", true),
        ("action", true),
        ("resource", true),
        ("actor.meta.role", true),
        ("actor.meta.org.size", true),
        ("actor.meta.org.none", false),
        ("meta.owner", true),
        ("meta.owner.first", false),
        ("meta.no", true),
        ("meta.nothing", false),
        ("meta.none", false),
    ] {
        let expected = if exists { (True, False) } else { (False, True) };
        let found = (
            holds(field, Exists, Operand::None, &meta),
            holds(field, Nexists, Operand::None, &meta),
        );
        assert_eq!(found, expected, "{field}");
    }
    assert_eq!(holds("meta.owner", Exists, Operand::None, &Json::Null), False);
}

#[test]
fn other_fields() {
    let meta = json!({
        "owner": "ada", "author": "bob", "roles": ["editor"], "pattern": "^docs:", "broken": "(", "level": 7,
    });
    for (field, operator, other, expected) in [
        ("actor.id", Eq, "meta.owner", True),
        ("actor.id", Eq, "meta.author", False),
        ("actor.id", Ne, "meta.author", True),
        ("actor.id", Eq, "meta.none", False),
        ("actor.id", Ne, "meta.none", True),
        // Two fields that are both missing are not the same.
        ("actor.meta.none", Eq, "meta.none", False),
        ("actor.meta.none", Ne, "meta.none", True),
        ("meta.level", Gt, "actor.meta.level", True),
        ("meta.level", Lte, "actor.meta.level", False),
        ("meta.level", Gt, "actor.meta.none", False),
        ("meta.level", Gt, "actor.id", Error),
        ("actor.meta.role", In, "meta.roles", True),
        ("actor.meta.role", Nin, "meta.roles", False),
        ("actor.meta.role", In, "meta.none", False),
        ("actor.meta.role", In, "meta.owner", Error),
        ("meta.roles", Contains, "actor.meta.role", True),
        ("resource", Contains, "action", False),
        ("resource", Contains, "meta.none", False),
        ("resource", Matches, "meta.pattern", True),
        ("resource", Nmatches, "meta.pattern", False),
        ("resource", Matches, "meta.none", False),
        ("resource", Matches, "meta.broken", Error),
        ("resource", Nmatches, "meta.broken", Error),
        ("resource", Matches, "meta.level", Error),
    ] {
        let found = holds(field, operator, Operand::Field(other.to_owned()), &meta);
        assert_eq!(found, expected, "{field} {operator:?} {other}");
    }
}

#[test]
fn what_is_not_a_number_or_not_a_text_is_an_error() {
    let meta = Value::record([
        ("amount", Value::Float(f64::NAN)),
        ("bytes", Value::string([0xff])),
    ]);
    let decide = |field, operator, operand: Json| {
        let rule = Rule::Conditions(vec![condition(field, operator, Operand::Value(operand))]);
        outcome(&rule, &actor(&Json::Null), "a", "r", &meta)
    };
    assert_eq!(decide("meta.amount", Gt, json!(1000)), Error);
    assert_eq!(decide("meta.amount", Eq, json!(1000)), False);
    assert_eq!(decide("meta.bytes", Matches, json!("a")), Error);
    assert_eq!(decide("meta.bytes", Contains, json!("a")), Error);
    assert_eq!(decide("meta.bytes", Eq, json!("a")), False);
}

#[test]
fn all_conditions_must_hold_and_one_that_does_not_settles_it() {
    let met = || condition("actor.id", Eq, Operand::Value(json!("ada")));
    let unmet = || condition("actor.id", Eq, Operand::Value(json!("bob")));
    let failing = || condition("actor.id", Gt, Operand::Value(json!(1)));
    for (conditions, expected) in [
        (vec![], True),
        (vec![met(), met()], True),
        (vec![met(), unmet()], False),
        (vec![met(), failing()], Error),
        (vec![failing(), unmet()], False),
        (vec![unmet(), failing()], False),
    ] {
        let rule = Rule::Conditions(conditions);
        assert_eq!(
            outcome(&rule, &actor(&Json::Null), "a", "r", &Value::Nil),
            expected,
            "{rule:?}"
        );
    }
}

#[test]
fn mistakes_are_found_when_the_policy_is_compiled() {
    let value = Operand::Value;
    let field = |field: &str| Operand::Field(field.to_owned());
    for (wrong, path, problem) in [
        (
            condition("actor.name", Eq, value(json!(1))),
            "field",
            "there is no field `actor.name`",
        ),
        (
            condition("meta.", Eq, value(json!(1))),
            "field",
            "there is no field `meta.`",
        ),
        (
            condition("meta.a..b", Eq, value(json!(1))),
            "field",
            "there is no field `meta.a..b`",
        ),
        (
            condition("actor.id", Eq, field("owner")),
            "value_from",
            "there is no field `owner`",
        ),
        (
            condition("actor.id", Eq, Operand::None),
            "operator",
            "`eq` needs `value` or `value_from`",
        ),
        (
            condition("actor.id", In, value(json!("a"))),
            "value",
            "`in` expects a list, got a text",
        ),
        (
            condition("actor.id", Nin, value(json!({ "a": 1 }))),
            "value",
            "`nin` expects a list, got a table",
        ),
        (
            condition("actor.id", Gt, value(json!(true))),
            "value",
            "`gt` expects a number or a text, got a boolean",
        ),
        (
            condition("actor.id", Lte, value(Json::Null)),
            "value",
            "`lte` expects a number or a text, got nothing",
        ),
        (
            condition("actor.id", Contains, value(Json::Null)),
            "value",
            "`contains` expects a text or an element, got nothing",
        ),
        (
            condition("actor.id", Matches, value(json!(1))),
            "value",
            "`matches` expects a regular expression, got a number",
        ),
        (
            condition("actor.id", Matches, value(json!("a(b"))),
            "value",
            "invalid regular expression `a(b`: unclosed group",
        ),
        (
            condition("actor.id", Exists, value(json!(false))),
            "value",
            "`exists` compares with nothing",
        ),
        (
            condition("actor.id", Nexists, field("meta.a")),
            "value_from",
            "`nexists` compares with nothing",
        ),
    ] {
        let good = condition("actor.id", Eq, value(json!("a")));
        let error = compile(Effect::Allow, Rule::Conditions(vec![good, wrong])).unwrap_err();
        assert_eq!(error.path, format!("policy.conditions.1.{path}"));
        assert_eq!(error.problem.to_string(), problem);
        assert_eq!(
            error.to_string(),
            format!("policy `app:policy`: `{}`: {problem}", error.path)
        );
    }
}

#[test]
fn patterns_are_bounded() {
    for pattern in ["a".repeat(5000), r"\w{500}{500}".to_owned(), "(".repeat(900)] {
        let matches = condition("actor.id", Matches, Operand::Value(json!(pattern)));
        let error = compile(Effect::Allow, Rule::Conditions(vec![matches])).unwrap_err();
        assert!(
            matches!(*error.problem, PolicyProblem::InvalidPattern { .. }),
            "{error}"
        );
    }
}
