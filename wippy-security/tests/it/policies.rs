//! Scopes as values, groups as scopes, and explanations.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use wippy_registry::{
    EntryId,
    schema::security::{Operand, Operator, Rule},
};
use wippy_security::{
    Actor, Context, Decision, Dispatcher, DispatcherConfig, Effect, ErrorKind, Match, Policies, Scope,
};
use wippy_wit::Value;

use crate::support::{actor, always, condition, declared, expression, id, policy};

#[test]
fn deny_wins_then_allow_and_else_nothing_is_said() {
    let scope = Scope::new([
        policy("app:b-allow", Effect::Allow, &["docs.*"], &["docs:*"]),
        policy("app:c-allow", Effect::Allow, &["docs.*"], &["*"]),
        policy("app:a-deny", Effect::Deny, &["*"], &["docs:secret"]),
    ]);
    let decide = |action, resource| {
        let verdict = scope.evaluate(&Actor::new("ada"), action, resource, &Value::Nil);
        (verdict.decision, verdict.policy.map(EntryId::as_str))
    };
    assert_eq!(
        decide("docs.read", "docs:guide"),
        (Decision::Allow, Some("app:b-allow"))
    );
    assert_eq!(
        decide("docs.read", "wiki:home"),
        (Decision::Allow, Some("app:c-allow"))
    );
    assert_eq!(
        decide("docs.read", "docs:secret"),
        (Decision::Deny, Some("app:a-deny"))
    );
    assert_eq!(
        decide("fs.get", "docs:secret"),
        (Decision::Deny, Some("app:a-deny"))
    );
    assert_eq!(decide("fs.get", "docs:guide"), (Decision::Undefined, None));
    let nothing = Scope::default();
    assert_eq!(
        nothing
            .evaluate(&Actor::new("ada"), "a", "r", &Value::Nil)
            .decision,
        Decision::Undefined
    );
}

#[test]
fn scopes_are_values() {
    let (one, two) = (
        policy("app:one", Effect::Allow, &["*"], &["*"]),
        policy("app:two", Effect::Deny, &["*"], &["x"]),
    );
    let scope = Scope::default().with(Arc::clone(&two)).with(Arc::clone(&one));
    assert!(scope.contains(&id("app:one")) && scope.contains(&id("app:two")));
    let ids: Vec<_> = scope.policies().map(|policy| policy.id().as_str()).collect();
    assert_eq!(ids, ["app:one", "app:two"]);
    let without = scope.without(&id("app:two"));
    assert!(!without.contains(&id("app:two")) && scope.contains(&id("app:two")));
    assert_eq!(without, Scope::new([Arc::clone(&one)]));
    assert_eq!(without.without(&id("app:none")), without);
    assert_eq!(scope, [two, Arc::clone(&one), one].into_iter().collect());
    let replaced = without.with(policy("app:one", Effect::Deny, &["*"], &["*"]));
    assert_eq!(replaced.policies().len(), 1);
    assert_eq!(
        replaced
            .evaluate(&Actor::new("ada"), "a", "r", &Value::Nil)
            .decision,
        Decision::Deny
    );
    assert_ne!(replaced, without);
}

fn book() -> Policies {
    let mut read = declared(Effect::Allow, &["docs.read"], &["*"], always());
    read.groups = vec![id("app:readers"), id("app:writers")];
    let mut write = declared(
        Effect::Allow,
        &["docs.write"],
        &["*"],
        expression("actor.id == meta.owner"),
    );
    write.groups = vec![id("app:writers")];
    let single = declared(Effect::Deny, &["*"], &["docs:secret"], always());
    let declared = [
        (id("app:read"), read),
        (id("app:write"), write),
        (id("app:single"), single),
    ];
    Policies::compile(declared.iter().map(|(id, policy)| (id, policy))).unwrap()
}

#[test]
fn groups_are_scopes() {
    let book = book();
    let ids = |scope: &Scope| {
        scope
            .policies()
            .map(|policy| policy.id().to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let groups: Vec<_> = book
        .groups()
        .map(|(id, scope)| format!("{id}: {}", ids(scope)))
        .collect();
    assert_eq!(
        groups,
        ["app:readers: app:read", "app:writers: app:read app:write"]
    );
    assert_eq!(ids(book.scope(&id("app:writers")).unwrap()), "app:read app:write");
    assert_eq!(book.policy(&id("app:single")).unwrap().effect(), Effect::Deny);
    assert_eq!(ids(book.all()), "app:read app:single app:write");
    let gathered = book.gather([&id("app:readers")], [&id("app:single")]).unwrap();
    assert_eq!(ids(&gathered), "app:read app:single");
    for error in [
        book.scope(&id("app:none")).unwrap_err(),
        book.policy(&id("app:readers")).unwrap_err(),
        book.gather([&id("app:none")], []).unwrap_err(),
        book.gather([], [&id("app:none")]).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}

#[test]
fn every_bad_policy_is_reported_and_none_is_left_out_silently() {
    let good = declared(Effect::Allow, &["*"], &["*"], always());
    let bad = declared(Effect::Deny, &["*"], &["*"], expression("actor.id =="));
    let worse = declared(Effect::Deny, &["*"], &["*"], expression("nobody"));
    let declared = [(id("app:a"), good), (id("app:b"), bad), (id("app:c"), worse)];
    let errors = Policies::compile(declared.iter().map(|(id, policy)| (id, policy))).unwrap_err();
    let ids: Vec<_> = errors.iter().map(|error| error.policy.as_str()).collect();
    assert_eq!(ids, ["app:b", "app:c"]);
}

#[test]
fn policies_are_replaced_while_calls_run() {
    let dispatcher = Dispatcher::new(DispatcherConfig::default());
    assert_eq!(dispatcher.policies().all().policies().len(), 0);
    dispatcher.set_policies(book());
    let scope = Arc::clone(dispatcher.policies().scope(&id("app:readers")).unwrap());
    let context =
        Context::root(Arc::clone(&dispatcher)).with_identity(Some(Arc::new(Actor::new("ada"))), Some(scope));
    dispatcher.set_policies(Policies::default());
    assert!(dispatcher.policies().scope(&id("app:readers")).is_err());
    assert!(wippy_security::authorize(&context, "docs.read", "docs:guide").is_ok());
}

#[test]
fn decisions_are_explained() {
    let must_own = condition("actor.id", Operator::Eq, Operand::Field("meta.owner".to_owned()));
    let failing = condition("meta.amount", Operator::Gt, Operand::Value(json!(5)));
    let compile = |name: &str, effect, actions: &[&str], resources: &[&str], rule| {
        let declared = declared(effect, actions, resources, rule);
        Arc::new(wippy_security::Policy::compile(id(name), &declared).unwrap())
    };
    let scope = Scope::new([
        compile("app:a", Effect::Allow, &["docs.read"], &["*"], always()),
        compile("app:b", Effect::Allow, &["docs.*"], &["wiki:*"], always()),
        compile(
            "app:c",
            Effect::Allow,
            &["docs.*"],
            &["*"],
            Rule::Conditions(vec![must_own]),
        ),
        compile(
            "app:d",
            Effect::Allow,
            &["docs.*"],
            &["*"],
            expression("actor.id == 'bob'"),
        ),
        compile("app:e", Effect::Allow, &["docs.*"], &["*"], always()),
        compile(
            "app:f",
            Effect::Deny,
            &["docs.*"],
            &["*"],
            Rule::Conditions(vec![failing]),
        ),
        compile(
            "app:g",
            Effect::Allow,
            &["*"],
            &["*"],
            expression("meta.none == 1"),
        ),
    ]);
    let meta = Value::record([("owner", Value::from("bob")), ("amount", Value::from("much"))]);
    let lines: Vec<_> = scope
        .explain(&actor(&Json::Null), "docs.write", "docs:guide", &meta)
        .into_iter()
        .map(|line| {
            let mark = if line.decisive { "*" } else { " " };
            format!("{mark}{} {:?}: {}", line.policy, line.effect, line.outcome)
        })
        .collect();
    assert_eq!(
        lines,
        [
            " app:a Allow: no pattern matches the action",
            " app:b Allow: no pattern matches the resource",
            " app:c Allow: not met: actor.id eq meta.owner",
            " app:d Allow: not met: the expression is false",
            " app:e Allow: it matches",
            "*app:f Deny: it cannot be told: `meta.amount gt 5`: a text cannot be ordered against a number",
            " app:g Allow: it cannot be told: there is no `none`",
        ]
    );
    assert_eq!(
        scope
            .without(&id("app:f"))
            .explain(&actor(&Json::Null), "fs.get", "x", &meta)[0]
            .outcome,
        Match::OtherAction
    );
}
