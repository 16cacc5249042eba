//! `wippy policy explain`: what the policies of the application make of one request, and why. Nothing is started.

use std::process::ExitCode;

use serde_json::{Value as Json, json};
use wippy_registry::{EntryId, Linked, suggest};
use wippy_security::{Actor, Decision, Effect, Explanation, Policies, Scope};
use wippy_wit::Value;

use super::configured;
use crate::{
    Failure,
    args::{ExplainArgs, PolicyCommand, Shared},
    boot, output,
    report::Problems,
    telemetry::Occasion,
};

pub(super) fn run(shared: &Shared, command: PolicyCommand) -> Result<ExitCode, Failure> {
    let (directory, config) = configured(shared, Occasion::Command)?;
    let linked = boot::read(&directory, &config);
    let policies = policies(&linked)?;
    match command {
        PolicyCommand::Explain(args) => explain(&policies, &args),
    }
}

fn policies(linked: &Linked) -> Result<Policies, Failure> {
    let mut diagnostics = linked.diagnostics.clone();
    let policies = boot::policies::compile(linked, &mut diagnostics);
    let problems = Problems::new(linked.sources.clone(), diagnostics);
    if problems.has_errors() {
        return Err(problems.into());
    }
    Ok(policies)
}

fn explain(policies: &Policies, args: &ExplainArgs) -> Result<ExitCode, Failure> {
    let scope = scope(policies, &args.scope)?;
    let actor = Actor {
        id: args.actor.as_str().into(),
        meta: value("--actor-meta", args.actor_meta.as_ref())?,
    };
    let meta = value("--meta", args.meta.as_ref())?;
    let (action, resource) = (args.action.as_str(), args.resource.as_str());
    let lines = scope.explain(&actor, action, resource, &meta);
    let decision = decision(&lines);
    if args.json {
        output::json(&document(args, decision, &lines));
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&summary(args, decision, &lines));
    if !lines.is_empty() {
        output::line("");
        output::table(
            ["POLICY", "EFFECT", "COUNTS", "WHY"],
            lines.iter().map(row).collect(),
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The groups and policies that were named; all policies when none was.
fn scope(policies: &Policies, names: &[EntryId]) -> Result<Scope, Failure> {
    if names.is_empty() {
        return Ok(policies.all().clone());
    }
    let mut scope = Scope::default();
    for name in names {
        scope = match (policies.scope(name), policies.policy(name)) {
            (Ok(group), _) => scope.join(group),
            (Err(_), Ok(policy)) => scope.with(policy.clone()),
            (Err(_), Err(_)) => return Err(unknown_scope(policies, name)),
        };
    }
    Ok(scope)
}

fn unknown_scope(policies: &Policies, name: &EntryId) -> Failure {
    let failure = Failure::usage(format!(
        "`--scope`: there is no policy group and no policy `{name}`"
    ));
    let groups = policies.groups().map(|(id, _)| id.as_str());
    let known: Vec<&str> = groups
        .chain(policies.all().policies().map(|policy| policy.id().as_str()))
        .collect();
    match suggest::closest(name.as_str(), known.iter().copied()) {
        Some(near) => failure.help(format!("did you mean `{near}`?")),
        None if known.is_empty() => failure.help("the application has no policies"),
        None => failure.help(format!("there are: {}", known.join(", "))),
    }
}

fn value(option: &str, document: Option<&Json>) -> Result<Value, Failure> {
    let Some(document) = document else {
        return Ok(Value::Nil);
    };
    wippy_wit::json::to_value(document).map_err(|error| Failure::usage(format!("`{option}`: {error}")))
}

fn summary(args: &ExplainArgs, decision: Decision, lines: &[Explanation]) -> String {
    let asked = format!("actor `{}`, `{}` on `{}`", args.actor, args.action, args.resource);
    let decisive = lines.iter().find(|line| line.decisive);
    match decisive {
        Some(line) => format!("{decision}: {asked}, decided by `{}`", line.policy),
        None => format!("{decision}: {asked}; no policy speaks of it, so it is refused"),
    }
}

fn row(line: &Explanation) -> [String; 4] {
    [
        line.policy.to_string(),
        effect(line).to_owned(),
        counts(line).to_owned(),
        line.outcome.to_string(),
    ]
}

fn effect(line: &Explanation) -> &'static str {
    match line.effect {
        Effect::Allow => "allow",
        Effect::Deny => "deny",
    }
}

fn counts(line: &Explanation) -> &'static str {
    match (line.decisive, line.counts()) {
        (true, _) => "decides",
        (false, true) => "yes",
        (false, false) => "no",
    }
}

fn decision(lines: &[Explanation]) -> Decision {
    match lines.iter().find(|line| line.decisive).map(|line| line.effect) {
        Some(Effect::Allow) => Decision::Allow,
        Some(Effect::Deny) => Decision::Deny,
        None => Decision::Undefined,
    }
}

fn document(args: &ExplainArgs, decision: Decision, lines: &[Explanation]) -> Json {
    let policy = |line: &Explanation| {
        json!({
            "policy": line.policy,
            "effect": effect(line),
            "counts": line.counts(),
            "decisive": line.decisive,
            "why": line.outcome.to_string(),
        })
    };
    json!({
        "actor": args.actor,
        "action": args.action,
        "resource": args.resource,
        "decision": decision.to_string(),
        "policies": lines.iter().map(policy).collect::<Vec<_>>(),
    })
}
