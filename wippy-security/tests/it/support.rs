//! Short ways to make policies and to ask them.

use std::sync::Arc;

use serde_json::Value as Json;
use wippy_registry::{
    EntryId, SourceText,
    schema::security::{self as declared, Condition, Operand, Operator, Rule},
};
use wippy_security::{Actor, Decision, Effect, Policy, PolicyError, Scope};
use wippy_wit::{Value, json};

pub(crate) fn id(text: &str) -> EntryId {
    text.parse().unwrap()
}

pub(crate) fn value(json: &Json) -> Value {
    json::to_value(json).unwrap()
}

pub(crate) fn actor(meta: &Json) -> Actor {
    Actor {
        id: "ada".into(),
        meta: value(meta),
    }
}

pub(crate) fn declared(effect: Effect, actions: &[&str], resources: &[&str], rule: Rule) -> declared::Policy {
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    declared::Policy {
        actions: texts(actions),
        resources: texts(resources),
        effect,
        rule,
        groups: Vec::new(),
    }
}

pub(crate) fn condition(field: &str, operator: Operator, operand: Operand) -> Condition {
    Condition {
        field: field.to_owned(),
        operator,
        operand,
    }
}

pub(crate) fn always() -> Rule {
    Rule::Conditions(Vec::new())
}

pub(crate) fn expression(text: &str) -> Rule {
    Rule::Expression(SourceText::from_text(text))
}

pub(crate) fn compile(effect: Effect, rule: Rule) -> Result<Policy, PolicyError> {
    Policy::compile(id("app:policy"), &declared(effect, &["*"], &["*"], rule))
}

pub(crate) fn policy(name: &str, effect: Effect, actions: &[&str], resources: &[&str]) -> Arc<Policy> {
    Arc::new(Policy::compile(id(name), &declared(effect, actions, resources, always())).unwrap())
}

/// What a rule makes of a request: true, false, or an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    True,
    False,
    Error,
}

/// Asks an allow and a deny with the same rule, which differ only when the rule fails.
pub(crate) fn outcome(rule: &Rule, actor: &Actor, action: &str, resource: &str, meta: &Value) -> Outcome {
    let decide = |effect| {
        let policy = compile(effect, rule.clone()).unwrap_or_else(|error| panic!("{error}"));
        Scope::new([Arc::new(policy)])
            .evaluate(actor, action, resource, meta)
            .decision
    };
    match (decide(Effect::Allow), decide(Effect::Deny)) {
        (Decision::Allow, Decision::Deny) => Outcome::True,
        (Decision::Undefined, Decision::Undefined) => Outcome::False,
        (Decision::Undefined, Decision::Deny) => Outcome::Error,
        other => panic!("{other:?}"),
    }
}
