//! Identities that entries declare, over those that are inherited.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::json;
use wippy_registry::schema::lifecycle::{Actor as Declared, SecurityContext};
use wippy_security::{
    Actor, Call, CallError, Context, Dispatcher, DispatcherConfig, Effect, ErrorKind, Handler, Identity,
    Permit, Policies, Scope, authorize,
};
use wippy_wit::{ValueReader, ValueWriter};

use crate::support::{always, declared, id, value};

/// `app:calls` and `app:reads` allow, `app:no_drop` denies; the first two are the group `app:staff`.
fn policies() -> Policies {
    let mut all = [
        (
            id("app:calls"),
            declared(Effect::Allow, &["funcs.call"], &["*"], always()),
        ),
        (
            id("app:reads"),
            declared(Effect::Allow, &["docs.*"], &["*"], always()),
        ),
        (
            id("app:no_drop"),
            declared(Effect::Deny, &["*"], &["*drop"], always()),
        ),
    ];
    for (_, policy) in all.iter_mut().take(2) {
        policy.groups.push(id("app:staff"));
    }
    Policies::compile(all.iter().map(|(id, policy)| (id, policy))).unwrap()
}

fn security(actor: Option<&str>, groups: &[&str], policies: &[&str]) -> SecurityContext {
    SecurityContext {
        actor: actor.map(|actor| Declared {
            id: actor.to_owned(),
            meta: [("team".to_owned(), json!("night"))].into_iter().collect(),
        }),
        groups: groups.iter().map(|group| id(group)).collect(),
        policies: policies.iter().map(|policy| id(policy)).collect(),
    }
}

fn names(scope: Option<&Arc<Scope>>) -> Option<Vec<&str>> {
    scope.map(|scope| scope.policies().map(|policy| policy.id().as_str()).collect())
}

fn root() -> Context {
    Context::root(Dispatcher::new(DispatcherConfig::default()))
}

#[test]
fn an_identity_is_what_its_block_says() {
    let policies = policies();
    let whole = policies
        .identity(&security(Some("service"), &["app:staff"], &["app:no_drop"]))
        .unwrap();
    let actor = whole.actor.as_ref().unwrap();
    assert_eq!(
        (&*actor.id, &actor.meta),
        ("service", &value(&json!({"team": "night"})))
    );
    assert_eq!(
        names(whole.scope.as_ref()).unwrap(),
        ["app:calls", "app:no_drop", "app:reads"]
    );

    assert!(policies.identity(&security(None, &[], &[])).unwrap().is_empty());
    let without_scope = policies.identity(&security(Some("service"), &[], &[])).unwrap();
    assert_eq!(without_scope.scope, None);
}

#[test]
fn half_an_identity_is_none() {
    for (groups, single) in [
        (["app:staff", "app:gone"], "app:calls"),
        (["app:staff", "app:staff"], "app:gone"),
    ] {
        let error = policies()
            .identity(&security(Some("service"), &groups, &[single]))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
}

#[test]
fn what_is_not_declared_is_inherited_and_what_was_denied_stays_denied() {
    let policies = policies();
    let strict = policies.gather([], &[id("app:no_drop")]).unwrap();
    let caller = root().with_identity(Some(Arc::new(Actor::new("ada"))), Some(Arc::new(strict)));
    let actor = |context: &Context| context.actor().map(|actor| actor.id.to_string());

    let nothing = Identity::default().over(&caller);
    assert_eq!(
        (actor(&nothing), nothing.scope()),
        (Some("ada".to_owned()), caller.scope())
    );

    let named = policies
        .identity(&security(Some("service"), &[], &[]))
        .unwrap()
        .over(&caller);
    assert_eq!(
        (actor(&named), named.scope()),
        (Some("service".to_owned()), caller.scope())
    );

    let staff = policies
        .identity(&security(None, &["app:staff"], &[]))
        .unwrap()
        .over(&caller);
    assert_eq!(actor(&staff), Some("ada".to_owned()));
    assert_eq!(
        names(staff.scope()).unwrap(),
        ["app:calls", "app:no_drop", "app:reads"]
    );
    assert!(authorize(&staff, "docs.read", "docs:guide").is_ok());
    assert!(authorize(&staff, "docs.read", "docs:drop").is_err());

    let fresh = policies
        .identity(&security(Some("service"), &["app:staff"], &[]))
        .unwrap()
        .over(&root());
    assert_eq!(names(fresh.scope()).unwrap(), ["app:calls", "app:reads"]);
}

/// Notes whom it was called for.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

#[async_trait]
impl Handler for Notes {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        let actor = call.context.actor().map(|actor| actor.id.to_string());
        self.0.lock().unwrap().push(actor.unwrap_or_default());
        call.result.boolean(true);
        Ok(())
    }

    fn signature(&self) -> Option<String> {
        Some("note()".to_owned())
    }
}

#[tokio::test]
async fn a_handler_acts_for_its_own_identity_but_is_called_for_the_callers() {
    let policies = policies();
    let (notes, root) = (Arc::new(Notes::default()), root());
    let service = policies
        .identity(&security(Some("service"), &["app:staff"], &[]))
        .unwrap();
    let dispatcher = root.dispatcher();
    dispatcher.insert(id("app:plain"), Identity::default().around(notes.clone()));
    dispatcher.insert(id("app:serves"), service.around(notes.clone()));

    let call = async |policy: &str, function: &str| {
        let scope = policies.gather([], &[id(policy)]).unwrap();
        let context = root.with_identity(Some(Arc::new(Actor::new("ada"))), Some(Arc::new(scope)));
        let function = dispatcher.resolve(&id(function)).unwrap();
        assert_eq!(function.signature().unwrap(), "note()");
        let (mut reader, mut writer) = (ValueReader::arguments(&[]), ValueWriter::default());
        dispatcher
            .call(&context, &function, &mut reader, &mut writer)?
            .await
    };
    call("app:calls", "app:plain").await.unwrap();
    call("app:calls", "app:serves").await.unwrap();
    let refused = call("app:reads", "app:serves").await.unwrap_err();
    assert_eq!(
        refused.message(),
        "actor `ada` may not do `funcs.call` on `app:serves`"
    );
    assert_eq!(*notes.0.lock().unwrap(), ["ada", "service"]);
}
