//! Complete mediation: everything that a script or a guest can reach is in a table, either as something that takes a
//! permission, and then it is tried without, or as something that needs none.
//!
//! The names come from the real module tables, the modules' sources and the real interfaces, so what is new and in no table
//! fails here. Before a function is called harmless: does it reach another entry, a process, a file, the network, or
//! anything of the world that its own entry was not given?

mod guests;
mod kept;
mod scripts;

use std::{collections::BTreeSet, sync::Arc};

use wippy_registry::schema::security::{Effect, Policy as Declared, Rule};
use wippy_security::{Actor, CallError, Context, ErrorKind, Policy, Scope};
use wippy_wit::Value;

use crate::stage::{Stage, id};

/// Fails when something real is in no table, or something in a table is not real.
fn compare(what: &str, real: &BTreeSet<String>, listed: &[&str]) {
    let listed: BTreeSet<String> = listed.iter().map(|name| (*name).to_owned()).collect();
    let covers = |listed: &String, name: &String| match listed.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => listed == name,
    };
    let unlisted: Vec<_> = real
        .iter()
        .filter(|name| !listed.iter().any(|listed| covers(listed, name)))
        .collect();
    let gone: Vec<_> = listed
        .iter()
        .filter(|listed| !real.iter().any(|name| covers(listed, name)))
        .collect();
    assert!(
        unlisted.is_empty(),
        "{what} that no table has: is each guarded or harmless? {unlisted:#?}"
    );
    assert!(gone.is_empty(), "{what} that are only in the tables: {gone:#?}");
}

/// A context in which everything is allowed but `denied`, an action on a resource.
fn context(stage: &Stage, denied: Option<(&str, &str)>) -> Context {
    let mut policies = vec![policy("test:all", Effect::Allow, "*", "*")];
    if let Some((action, resource)) = denied {
        policies.push(policy("test:denied", Effect::Deny, action, resource));
    }
    let (actor, scope) = (Actor::new("eve"), Scope::new(policies));
    stage
        .app
        .context()
        .with_identity(Some(Arc::new(actor)), Some(Arc::new(scope)))
}

/// What is wrong with how `name` is guarded, if anything is: without the permission it must be refused for just
/// that, and with it for nothing of the kind.
fn try_without(
    stage: &Stage,
    name: &str,
    (action, resource): (&str, &str),
    arguments: &[Value],
) -> Option<String> {
    let allowed = stage.call(&context(stage, None), name, arguments);
    if let Err(error) = &allowed
        && is_refusal(error)
    {
        return Some(format!("refused with every permission: {error}"));
    }
    let expected = format!("actor `eve` may not do `{action}` on `{resource}`");
    match stage.call(&context(stage, Some((action, resource))), name, arguments) {
        Ok(value) => Some(format!("not refused without `{action}`: it gives {value:?}")),
        Err(error) if is_refusal(&error) && error.message().contains(&expected) => None,
        Err(error) => Some(format!("not refused for `{action}` on `{resource}`: {error}")),
    }
}

/// A guest that calls another one gets the kind as text.
fn is_refusal(error: &CallError) -> bool {
    error.kind() == ErrorKind::PermissionDenied || error.message().contains("PERMISSION_DENIED")
}

fn policy(name: &str, effect: Effect, action: &str, resource: &str) -> Arc<Policy> {
    let declared = Declared {
        actions: vec![action.to_owned()],
        resources: vec![resource.to_owned()],
        effect,
        rule: Rule::Conditions(Vec::new()),
        groups: Vec::new(),
    };
    Arc::new(Policy::compile(id(name), &declared).unwrap())
}
