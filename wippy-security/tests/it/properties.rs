//! What holds for every set of policies.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use wippy_registry::schema::security::{Operand, Operator, Rule};
use wippy_security::{
    Actor, Context, Decision, Dispatcher, DispatcherConfig, Effect, Policy, Scope, allows, authorize,
};
use wippy_wit::Value;

use crate::support::{always, condition, declared, expression, id};

const ACTIONS: [&str; 3] = ["docs.read", "docs.write", "fs.get"];
const RESOURCES: [&str; 3] = ["docs:guide", "docs:secret", "app:x"];

fn rules() -> impl Strategy<Value = Rule> {
    prop_oneof![
        4 => Just(always()),
        1 => Just(Rule::Conditions(vec![condition("actor.id", Operator::Eq, Operand::Value(json!("ada")))])),
        1 => Just(Rule::Conditions(vec![condition("actor.id", Operator::Lt, Operand::Value(json!(1)))])),
        1 => Just(expression("actor.id == 'ada'")),
        1 => Just(expression("meta.none == 1")),
    ]
}

fn policies(effect: impl Strategy<Value = Effect> + 'static) -> impl Strategy<Value = Arc<Policy>> {
    let actions = prop::sample::select(vec!["*", "docs.*", "*.read", "docs.write", "none"]);
    let resources = prop::sample::select(vec!["*", "docs:*", "*secret", "app:x", "none"]);
    (0..1000_u32, effect, actions, resources, rules()).prop_map(|(number, effect, action, resource, rule)| {
        let declared = declared(effect, &[action], &[resource], rule);
        Arc::new(Policy::compile(id(&format!("app:p{number}")), &declared).unwrap())
    })
}

fn effects() -> impl Strategy<Value = Effect> {
    prop_oneof![3 => Just(Effect::Allow), 1 => Just(Effect::Deny)]
}

fn sets() -> impl Strategy<Value = Vec<Arc<Policy>>> {
    prop::collection::vec(policies(effects()), 0..8).prop_map(|mut policies| {
        policies.sort_by(|one, two| one.id().cmp(two.id()));
        policies.dedup_by(|one, two| one.id() == two.id());
        policies
    })
}

fn requests() -> impl Strategy<Value = (Actor, &'static str, &'static str)> {
    let actors = prop::sample::select(vec![Actor::new("ada"), Actor::new("bob")]);
    (
        actors,
        prop::sample::select(ACTIONS.to_vec()),
        prop::sample::select(RESOURCES.to_vec()),
    )
}

fn decide(scope: &Scope, (actor, action, resource): &(Actor, &str, &str)) -> Decision {
    scope.evaluate(actor, action, resource, &Value::Nil).decision
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn deny_wins(set in sets(), request in requests()) {
        let each: Vec<_> = set.iter().map(|policy| decide(&Scope::new([Arc::clone(policy)]), &request)).collect();
        let expected = [Decision::Deny, Decision::Allow].into_iter().find(|decision| each.contains(decision));
        prop_assert_eq!(decide(&Scope::new(set), &request), expected.unwrap_or(Decision::Undefined));
    }

    #[test]
    fn order_does_not_matter((set, shuffled) in sets().prop_flat_map(|set| (Just(set.clone()), Just(set).prop_shuffle())), request in requests()) {
        let (one, two) = (Scope::new(set), Scope::new(shuffled));
        let (actor, action, resource) = &request;
        prop_assert_eq!(
            one.evaluate(actor, action, resource, &Value::Nil),
            two.evaluate(actor, action, resource, &Value::Nil)
        );
    }

    #[test]
    fn another_allow_never_takes_away_and_another_deny_never_gives(
        set in sets(), allow in policies(Just(Effect::Allow)), deny in policies(Just(Effect::Deny)), request in requests(),
    ) {
        let scope = Scope::new(set);
        prop_assume!(!scope.contains(allow.id()) && !scope.contains(deny.id()));
        let before = decide(&scope, &request);
        let more = decide(&scope.with(allow), &request);
        prop_assert!(more == before || (before, more) == (Decision::Undefined, Decision::Allow));
        let less = decide(&scope.with(deny), &request);
        prop_assert!(less == before || less == Decision::Deny);
    }

    #[test]
    fn the_explanation_is_the_decision(set in sets(), request in requests()) {
        let scope = Scope::new(set);
        let (actor, action, resource) = &request;
        let verdict = scope.evaluate(actor, action, resource, &Value::Nil);
        let lines = scope.explain(actor, action, resource, &Value::Nil);
        prop_assert_eq!(lines.len(), scope.policies().len());
        let decisive: Vec<_> = lines.iter().filter(|line| line.decisive).map(|line| &line.policy).collect();
        prop_assert_eq!(decisive, verdict.policy.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn what_either_scope_denies_both_together_deny(one in sets(), two in sets(), request in requests()) {
        let (one, two) = (Scope::new(one), Scope::new(two));
        // Two policies of one id are versions of one policy, not two.
        prop_assume!(one.policies().all(|policy| !two.contains(policy.id())));
        let each = [decide(&one, &request), decide(&two, &request)];
        let expected = [Decision::Deny, Decision::Allow].into_iter().find(|decision| each.contains(decision));
        prop_assert_eq!(decide(&one.join(&two), &request), expected.unwrap_or(Decision::Undefined));
        prop_assert_eq!(decide(&two.join(&one), &request), decide(&one.join(&two), &request));
    }

    #[test]
    fn asking_is_deciding(set in sets(), request in requests(), has_actor: bool, has_scope: bool, strict: bool) {
        let (actor, action, resource) = request;
        let (actor, scope) = (has_actor.then(|| Arc::new(actor)), has_scope.then(|| Arc::new(Scope::new(set))));
        let dispatcher = Dispatcher::new(DispatcherConfig { strict, ..DispatcherConfig::default() });
        let context = Context::root(dispatcher).with_identity(actor, scope);
        let is_allowed = authorize(&context, action, resource).is_ok();
        prop_assert_eq!(allows(&context, action, resource, &Value::Nil), is_allowed);
    }

    #[test]
    fn strict_mode_only_removes(
        set in sets(), request in requests(), has_actor: bool, has_scope: bool,
    ) {
        let (actor, action, resource) = request;
        let (actor, scope) = (has_actor.then(|| Arc::new(actor)), has_scope.then(|| Arc::new(Scope::new(set))));
        let is_allowed = |strict| {
            let dispatcher = Dispatcher::new(DispatcherConfig { strict, ..DispatcherConfig::default() });
            let context = Context::root(dispatcher).with_identity(actor.clone(), scope.clone());
            authorize(&context, action, resource).is_ok()
        };
        let (relaxed, strict) = (is_allowed(false), is_allowed(true));
        prop_assert!(relaxed || !strict);
        if has_actor && has_scope {
            prop_assert_eq!(relaxed, strict);
        } else {
            prop_assert!(relaxed && !strict);
        }
    }
}
