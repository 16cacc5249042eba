//! The guard's answers and its audit trail.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use tracing::Level;
use wippy_registry::schema::security::{Operand, Operator, Rule};
use wippy_security::{
    Actor, Context, Dispatcher, DispatcherConfig, Effect, ErrorKind, Policy, Scope, authorize, authorize_with,
};
use wippy_wit::Value;

use crate::support::{condition, declared, id, policy};

fn context(strict: bool) -> Context {
    Context::root(Dispatcher::new(DispatcherConfig {
        strict,
        ..DispatcherConfig::default()
    }))
}

fn with_policies(policies: impl IntoIterator<Item = Arc<Policy>>) -> Context {
    context(false).with_identity(
        Some(Arc::new(Actor::new("ada"))),
        Some(Arc::new(Scope::new(policies))),
    )
}

#[test]
fn refusals_name_actor_action_and_resource() {
    let ada = Some(Arc::new(Actor::new("ada")));
    for (context, message) in [
        (
            with_policies([]),
            "actor `ada` may not do `fs.get` on `app:files`",
        ),
        (
            context(true).with_identity(ada, None),
            "actor `ada` without a scope may not do `fs.get` on `app:files`",
        ),
        (context(true), "actor `nobody` may not do `fs.get` on `app:files`"),
        (
            context(true).with_identity(None, Some(Arc::default())),
            "actor `nobody` may not do `fs.get` on `app:files`",
        ),
    ] {
        let error = authorize(&context, "fs.get", "app:files").unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::PermissionDenied, message)
        );
        assert!(!error.retryable());
    }
}

#[test]
fn policies_may_ask_about_the_request() {
    let owns = condition("actor.id", Operator::Eq, Operand::Field("meta.owner".to_owned()));
    let declared = declared(Effect::Allow, &["*"], &["*"], Rule::Conditions(vec![owns]));
    let context = with_policies([Arc::new(Policy::compile(id("app:own"), &declared).unwrap())]);
    let meta = |owner: &str| Value::record([("owner", Value::from(owner))]);
    assert!(authorize_with(&context, "docs.write", "docs:guide", &meta("ada")).is_ok());
    assert!(authorize_with(&context, "docs.write", "docs:guide", &meta("bob")).is_err());
    assert!(authorize(&context, "docs.write", "docs:guide").is_err());
}

#[derive(Clone, Default)]
struct Records(Arc<Mutex<Vec<u8>>>);

impl Write for Records {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn recorded(level: Level, act: impl FnOnce()) -> String {
    let records = Records::default();
    let writer = records.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_max_level(level)
        .with_ansi(false)
        .without_time()
        .finish();
    tracing::subscriber::with_default(subscriber, act);
    let bytes = records.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

/// One test, because what a callsite knows about who listens is shared by all threads.
#[test]
fn decisions_leave_a_trail() {
    let allow = policy("app:allow", Effect::Allow, &["*"], &["*"]);
    let deny = policy("app:deny", Effect::Deny, &["*"], &["app:secret"]);
    let context = with_policies([allow, deny]).with_call_id("call-7");
    let act = || {
        drop(authorize(&context, "fs.get", "app:files").unwrap());
        authorize(&context, "fs.get", "app:secret").unwrap_err();
        authorize(&with_policies([]), "fs.get", "app:secret").unwrap_err();
    };
    let refusals = concat!(
        " WARN wippy::audit: actor=\"ada\" action=\"fs.get\" resource=\"app:secret\" policy=\"app:deny\" ",
        "call_id=\"call-7\" decision=\"refused\"\n",
        " WARN wippy::audit: actor=\"ada\" action=\"fs.get\" resource=\"app:secret\" decision=\"refused\"\n",
    );
    assert_eq!(recorded(Level::INFO, act), refusals);
    let allowed = concat!(
        "DEBUG wippy::audit: actor=\"ada\" action=\"fs.get\" resource=\"app:files\" policy=\"app:allow\" ",
        "call_id=\"call-7\" decision=\"allowed\"\n",
    );
    assert_eq!(recorded(Level::DEBUG, act), format!("{allowed}{refusals}"));

    let failing = condition("actor.id", Operator::Gt, Operand::Value(1.into()));
    let declared = declared(Effect::Allow, &["*"], &["*"], Rule::Conditions(vec![failing]));
    let context = with_policies([Arc::new(Policy::compile(id("app:failing"), &declared).unwrap())]);
    let log = recorded(Level::INFO, || drop(authorize(&context, "a", "r").unwrap_err()));
    assert_eq!(
        log.lines().next().unwrap(),
        " WARN wippy::audit: a policy failed policy=\"app:failing\" action=\"a\" resource=\"r\" \
         error=\"`actor.id gt 1`: a text cannot be ordered against a number\" counts=false"
    );
}
