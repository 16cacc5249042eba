//! Every operation asks for its action, on the right resource, and for nothing else.

use std::sync::Arc;

use wippy_security::{Actor, CallError, Context, Effect, ErrorKind, Processes, Scope, Spawn, Values};
use wippy_wit::Value;

use super::{Theatre, spawn};
use crate::support::policy;

type Operation = fn(&Processes, &Context, &str) -> Result<(), CallError>;

type Actions = &'static [(&'static str, &'static str)];

fn start(processes: &Processes, context: &Context, spawn: Spawn) -> Result<(), CallError> {
    processes.spawn(context, spawn).map(drop)
}

/// What a guest can ask for, and the actions with resources that it takes; `{}` is the other process's PID.
const OPERATIONS: &[(&str, Operation, Actions)] = &[
    (
        "spawn",
        |processes, context, _| start(processes, context, spawn()),
        &[("process.spawn", "app:puppet"), ("process.host", "app:stage")],
    ),
    (
        "spawn monitored",
        |processes, context, _| {
            let monitor = true;
            start(processes, context, Spawn { monitor, ..spawn() })
        },
        &[
            ("process.spawn", "app:puppet"),
            ("process.spawn.monitored", "app:puppet"),
            ("process.host", "app:stage"),
        ],
    ),
    (
        "spawn linked",
        |processes, context, _| {
            let link = true;
            start(processes, context, Spawn { link, ..spawn() })
        },
        &[
            ("process.spawn", "app:puppet"),
            ("process.spawn.linked", "app:puppet"),
            ("process.host", "app:stage"),
        ],
    ),
    (
        "spawn with everything",
        |processes, context, _| {
            let spawn = Spawn {
                name: Some("worker".into()),
                values: Values::from([("a".into(), Value::Nil)]),
                actor: Some(Arc::new(Actor::new("bob"))),
                ..spawn()
            };
            start(processes, context, spawn)
        },
        &[
            ("process.spawn", "app:puppet"),
            ("process.host", "app:stage"),
            ("process.registry.register", "worker"),
            ("process.context", "context"),
            ("process.security", "security"),
        ],
    ),
    (
        "spawn with a scope",
        |processes, context, _| {
            let scope = Some(Arc::default());
            start(processes, context, Spawn { scope, ..spawn() })
        },
        &[
            ("process.spawn", "app:puppet"),
            ("process.host", "app:stage"),
            ("process.security", "security"),
        ],
    ),
    (
        "exec",
        |processes, context, _| processes.exec(context, spawn()).map(drop),
        &[("process.exec", "app:puppet"), ("process.host", "app:stage")],
    ),
    (
        "send",
        |processes, context, pid| processes.send(context, pid, "x".into(), vec![]),
        &[("process.send", "{}")],
    ),
    (
        "terminate",
        |processes, context, pid| processes.terminate(context, pid),
        &[("process.terminate", "{}")],
    ),
    (
        "cancel",
        |processes, context, pid| processes.cancel(context, pid, None, None),
        &[("process.cancel", "{}")],
    ),
    (
        "monitor",
        |processes, context, pid| processes.monitor(context, pid),
        &[("process.monitor", "{}")],
    ),
    (
        "unmonitor",
        |processes, context, pid| processes.unmonitor(context, pid),
        &[("process.unmonitor", "{}")],
    ),
    (
        "link",
        |processes, context, pid| processes.link(context, pid),
        &[("process.link", "{}")],
    ),
    (
        "unlink",
        |processes, context, pid| processes.unlink(context, pid),
        &[("process.unlink", "{}")],
    ),
    (
        "register",
        |processes, context, _| processes.register(context, "me", None),
        &[("process.registry.register", "me")],
    ),
    (
        "register another",
        |processes, context, pid| processes.register(context, "it", Some(pid)),
        &[
            ("process.registry.register", "it"),
            ("process.registry.foreign", "{}"),
        ],
    ),
    (
        "unregister another",
        |processes, context, _| processes.unregister(context, "other").map(drop),
        &[
            ("process.registry.unregister", "other"),
            ("process.registry.foreign", "{}"),
        ],
    ),
];

/// A process whose actor may do what `allowed` says, and another one called `other`.
fn with_actor(allowed: &[(&str, &str)]) -> (Theatre, Context, String) {
    let theatre = Theatre::new();
    let other = theatre.start();
    theatre
        .processes()
        .register(&other.context, "other", None)
        .unwrap();
    let pid = other.pid().as_str().to_owned();
    let policies = allowed.iter().enumerate().map(|(number, (action, resource))| {
        let resource = resource.replace("{}", &pid);
        policy(&format!("app:p{number}"), Effect::Allow, &[action], &[&resource])
    });
    let scope = Scope::new(policies.collect::<Vec<_>>());
    let context = theatre.start().context;
    let context = context.with_identity(Some(Arc::new(Actor::new("ada"))), Some(Arc::new(scope)));
    (theatre, context, pid)
}

#[test]
fn every_operation_takes_exactly_its_actions() {
    for (name, operation, actions) in OPERATIONS {
        let (theatre, context, pid) = with_actor(actions);
        operation(theatre.processes(), &context, &pid).unwrap_or_else(|error| panic!("{name}: {error}"));
        for missing in *actions {
            let rest: Vec<_> = actions
                .iter()
                .filter(|action| *action != missing)
                .copied()
                .collect();
            let (theatre, context, pid) = with_actor(&rest);
            let error = operation(theatre.processes(), &context, &pid).unwrap_err();
            let resource = missing.1.replace("{}", &pid);
            assert_eq!(
                (error.kind(), error.message()),
                (
                    ErrorKind::PermissionDenied,
                    &*format!("actor `ada` may not do `{}` on `{resource}`", missing.0)
                ),
                "{name}"
            );
            assert_eq!(theatre.processes().len(), 2, "{name} started something");
        }
    }
}

#[test]
fn looking_up_and_own_names_take_no_further_action() {
    let (theatre, context, pid) = with_actor(&[("process.registry.*", "mine")]);
    let processes = theatre.processes();
    assert_eq!(processes.lookup("other").unwrap().as_str(), pid);
    processes.register(&context, "mine", None).unwrap();
    assert!(processes.unregister(&context, "mine").unwrap());
    let own = context.process().unwrap().pid().clone();
    processes.register(&context, "mine", Some(own.as_str())).unwrap();
}

#[test]
fn a_name_is_no_way_around_a_policy_on_the_pid_nor_the_reverse() {
    let theatre = Theatre::new();
    let other = theatre.start();
    theatre
        .processes()
        .register(&other.context, "other", None)
        .unwrap();
    let pid = other.pid().as_str();
    let send = |policies: Vec<_>, destination: &str| {
        let scope = Some(Arc::new(Scope::new(policies)));
        let context = theatre
            .root
            .with_identity(Some(Arc::new(Actor::new("ada"))), scope);
        theatre
            .processes()
            .send(&context, destination, "x".into(), vec![])
    };
    let allow = |what: &str| policy("app:allow", Effect::Allow, &["process.send"], &[what]);
    let deny = |what: &str| policy("app:deny", Effect::Deny, &["process.send"], &[what]);
    // Either is enough to be allowed by a name, which stands for its process.
    send(vec![allow("other")], "other").unwrap();
    send(vec![allow(pid)], "other").unwrap();
    send(vec![allow(pid)], pid).unwrap();
    send(vec![allow("other")], pid).unwrap_err();
    // And either to be refused.
    for denied in ["other", pid] {
        let error = send(vec![allow("*"), deny(denied)], "other").unwrap_err();
        let message = format!("actor `ada` may not do `process.send` on `{denied}`");
        assert_eq!(error.message(), message);
    }
    send(vec![allow("*"), deny(pid)], pid).unwrap_err();
    // Who may not reach a name does not learn whether anybody has it.
    assert_eq!(
        send(vec![], "nobody").unwrap_err().kind(),
        ErrorKind::PermissionDenied
    );
    assert_eq!(
        send(vec![allow("*")], "nobody").unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn an_upgrade_to_another_entry_takes_the_permission_to_spawn_it() {
    use wippy_security::Ended;
    let theatre = Theatre::new();
    theatre
        .processes()
        .insert(crate::support::id("app:admin"), theatre.puppets.clone());
    let scope = Scope::new([policy(
        "app:p",
        Effect::Allow,
        &["process.spawn"],
        &["app:puppet"],
    )]);
    let context = theatre
        .root
        .with_identity(Some(Arc::new(Actor::new("ada"))), Some(Arc::new(scope)));
    theatre.processes().launch(&context, spawn(), vec![]).unwrap();
    let puppet = theatre.puppets.next();
    let parent = theatre.start();
    theatre
        .processes()
        .monitor(&parent.context, puppet.pid().as_str())
        .unwrap();
    puppet.end(Ok(Ended::Upgrade {
        entry: Some(crate::support::id("app:admin")),
        arguments: vec![],
    }));
    theatre.stage.settle();
    assert_eq!(parent.letters(), ["EXIT 1 PERMISSION_DENIED"]);
}
