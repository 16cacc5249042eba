//! Tokens: what they stand for, and everything that is none.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use wippy_registry::schema::security as declared;
use wippy_security::{
    Actor, CallError, Condition, Context, Dispatcher, DispatcherConfig, Effect, ErrorKind, Grant,
    MemoryStore, Page, Policies, Scope, Stored, TokenStore, TokenStores, ValueStore,
};
use wippy_wit::Value;

use crate::support::{actor, always, declared as policy, id, value};

const DAY: Duration = Duration::from_hours(24);

/// A store in memory whose keys and values can be looked at and changed.
#[derive(Default)]
struct Open {
    kept: Mutex<Vec<(String, Vec<u8>)>>,
}

impl ValueStore for Open {
    fn get(&self, key: &str) -> Result<Stored, CallError> {
        let kept = self.kept.lock().unwrap();
        let found = kept.iter().find(|(known, _)| known == key);
        let (_, value) = found.ok_or_else(|| CallError::new(ErrorKind::NotFound, "nothing"))?;
        Ok(Stored {
            value: Value::String(value.clone().into()),
            version: 0,
        })
    }

    fn put(
        &self,
        key: &str,
        value: Value,
        _ttl: Option<Duration>,
        _condition: Condition,
    ) -> Result<u64, CallError> {
        let Value::String(bytes) = value else {
            panic!("a record is bytes");
        };
        self.kept.lock().unwrap().push((key.to_owned(), bytes.into()));
        Ok(0)
    }

    fn delete(&self, key: &str) -> Result<bool, CallError> {
        let mut kept = self.kept.lock().unwrap();
        let before = kept.len();
        kept.retain(|(known, _)| known != key);
        Ok(kept.len() < before)
    }

    fn has(&self, key: &str) -> Result<bool, CallError> {
        Ok(self.get(key).is_ok())
    }

    fn list(&self, _prefix: &str, _after: Option<&str>, _limit: usize) -> Result<Page, CallError> {
        Ok(Page::default())
    }
}

fn settings(key: Option<&str>) -> declared::TokenStore {
    declared::TokenStore {
        store: id("app:kept"),
        token_length: 32,
        default_expiration: DAY,
        token_key: key.map(ToOwned::to_owned),
    }
}

fn tokens(store: &Arc<impl ValueStore + 'static>) -> TokenStore {
    TokenStore::new(id("app:tokens"), &settings(Some("a key")), store.clone()).unwrap()
}

/// A dispatcher with the policies `app:read` and `app:write`.
fn dispatcher() -> Arc<Dispatcher> {
    let dispatcher = Dispatcher::new(DispatcherConfig::default());
    dispatcher.set_policies(policies(&["app:read", "app:write"]));
    dispatcher
}

fn policies(names: &[&str]) -> Policies {
    let allow = policy(Effect::Allow, &["*"], &["*"], always());
    let ids: Vec<_> = names.iter().map(|name| id(name)).collect();
    Policies::compile(ids.iter().map(|id| (id, &allow))).unwrap()
}

fn context() -> Context {
    Context::root(dispatcher())
}

fn grant(context: &Context) -> Grant {
    let scope = context
        .dispatcher()
        .policies()
        .gather([], &[id("app:read")])
        .unwrap();
    Grant {
        actor: Arc::new(actor(&json!({"role": "editor", "level": 3}))),
        scope: Arc::new(scope),
        meta: value(&json!({"device": "phone"})),
    }
}

fn assert_invalid(outcome: Result<Grant, CallError>) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(
        error.message(),
        "the token is not valid: it is unknown, revoked or expired"
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_stands_for_its_grant_until_it_expires_or_is_revoked() {
    let (tokens, context) = (tokens(&Arc::new(MemoryStore::new(10))), context());
    let granted = grant(&context);
    let token = tokens.create(&context, &granted, None).await.unwrap();
    assert_eq!(tokens.validate(&context, &token).await.unwrap(), granted);
    assert_eq!(
        tokens.validate(&context, &token).await.unwrap(),
        granted,
        "it is no ticket"
    );

    assert!(tokens.revoke(&context, &token).await.unwrap());
    assert_invalid(tokens.validate(&context, &token).await);
    assert!(!tokens.revoke(&context, &token).await.unwrap());

    let hour = Duration::from_hours(1);
    let short = tokens.create(&context, &granted, Some(hour)).await.unwrap();
    tokio::time::advance(Duration::from_millis(3_599_999)).await;
    tokens.validate(&context, &short).await.unwrap();
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_invalid(tokens.validate(&context, &short).await);
}

#[tokio::test]
async fn a_store_that_forgets_nothing_does_not_make_tokens_last_longer() {
    let (tokens, context) = (tokens(&Arc::new(Open::default())), context());
    let token = tokens
        .create(&context, &grant(&context), Some(Duration::from_millis(1)))
        .await
        .unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert_invalid(tokens.validate(&context, &token).await);
}

#[tokio::test]
async fn what_is_no_token_of_this_store_is_invalid() {
    let (store, context) = (Arc::new(MemoryStore::new(10)), context());
    let tokens = tokens(&store);
    let token = tokens.create(&context, &grant(&context), None).await.unwrap();
    let (secret, signature) = token.split_once('.').unwrap();
    let long = "A".repeat(100_000);
    let changed = |text: &str| {
        let (first, rest) = text.split_at(1);
        format!("{}{rest}", if first == "A" { "B" } else { "A" })
    };
    let guesses = [
        String::new(),
        ".".to_owned(),
        secret.to_owned(),
        format!("{secret}."),
        format!(".{signature}"),
        format!("{}.{signature}", changed(secret)),
        format!("{secret}.{}", changed(signature)),
        format!("{secret}.{signature}="),
        format!("{secret}.{signature}.{signature}"),
        format!("{token} "),
        format!("{secret}.{long}"),
        "\0\u{fffd}.💥".to_owned(),
    ];
    for guess in guesses {
        assert_invalid(tokens.validate(&context, &guess).await);
        assert!(!tokens.revoke(&context, &guess).await.unwrap(), "{guess}");
    }
    // Neither another store over the same keys nor another key takes it.
    let sibling = TokenStore::new(id("app:other"), &settings(Some("a key")), store.clone()).unwrap();
    let rekeyed = TokenStore::new(id("app:tokens"), &settings(Some("another key")), store.clone()).unwrap();
    let keyless = TokenStore::new(id("app:tokens"), &settings(None), store).unwrap();
    for other in [sibling, rekeyed, keyless] {
        assert_invalid(other.validate(&context, &token).await);
        assert!(!other.revoke(&context, &token).await.unwrap());
    }
    tokens.validate(&context, &token).await.unwrap();
}

#[tokio::test]
async fn the_store_never_holds_a_token_and_cannot_change_what_one_is_good_for() {
    let (store, context) = (Arc::new(Open::default()), context());
    let tokens = tokens(&store);
    let mine = tokens.create(&context, &grant(&context), None).await.unwrap();
    let mut theirs = grant(&context);
    theirs.actor = Arc::new(Actor::new("root"));
    tokens.create(&context, &theirs, None).await.unwrap();

    let (secret, signature) = mine.split_once('.').unwrap();
    let mut everything = String::new();
    for (key, record) in store.kept.lock().unwrap().iter() {
        everything += key;
        everything += &String::from_utf8_lossy(record);
    }
    assert!(!everything.contains(secret) && !everything.contains(signature));

    // Another's record in the place of one's own, and one's own record with another actor.
    let (my_place, my_record) = store.kept.lock().unwrap()[0].clone();
    let their_record = store.kept.lock().unwrap()[1].1.clone();
    let edited = String::from_utf8_lossy(&my_record).contains("ada").then(|| {
        let at = my_record.windows(3).position(|bytes| bytes == b"ada").unwrap();
        let mut edited = my_record.clone();
        edited[at..at + 3].copy_from_slice(b"bob");
        edited
    });
    for forged in [
        their_record,
        edited.unwrap(),
        Vec::new(),
        vec![0; 31],
        vec![0; 64],
    ] {
        store.kept.lock().unwrap()[0] = (my_place.clone(), forged);
        assert_invalid(tokens.validate(&context, &mine).await);
    }
    store.kept.lock().unwrap()[0] = (my_place, my_record);
    tokens.validate(&context, &mine).await.unwrap();
}

#[tokio::test]
async fn policies_count_as_they_are_now() {
    let (tokens, context) = (tokens(&Arc::new(MemoryStore::new(10))), context());
    let token = tokens.create(&context, &grant(&context), None).await.unwrap();
    context.dispatcher().set_policies(policies(&["app:read"]));
    let scope = tokens.validate(&context, &token).await.unwrap().scope;
    let now = context.dispatcher().policies();
    assert!(Arc::ptr_eq(
        scope.get(&id("app:read")).unwrap(),
        now.policy(&id("app:read")).unwrap()
    ));
    // Without one of its policies a scope could allow what it should deny.
    context.dispatcher().set_policies(policies(&["app:write"]));
    assert_invalid(tokens.validate(&context, &token).await);
}

#[tokio::test]
async fn tokens_are_random() {
    let (tokens, context) = (tokens(&Arc::new(MemoryStore::new(1000))), context());
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        let token = tokens.create(&context, &grant(&context), None).await.unwrap();
        assert_eq!(token.len(), 43 + 1 + 43);
        // Not even their beginnings are alike.
        assert!(seen.insert(token[..12].to_owned()), "{token}");
    }
}

#[tokio::test]
async fn everything_takes_its_permission() {
    let (tokens, context) = (tokens(&Arc::new(MemoryStore::new(10))), context());
    let granted = grant(&context);
    let token = tokens.create(&context, &granted, None).await.unwrap();
    let nobody = context.with_identity(
        Some(Arc::new(Actor::new("eve"))),
        Some(Arc::new(Scope::default())),
    );
    let refusals = [
        tokens.create(&nobody, &granted, None).await.unwrap_err(),
        tokens.validate(&nobody, &token).await.unwrap_err(),
        tokens.revoke(&nobody, &token).await.unwrap_err(),
    ];
    for (refusal, action) in refusals.iter().zip(["create", "validate", "revoke"]) {
        assert_eq!(refusal.kind(), ErrorKind::PermissionDenied);
        assert_eq!(
            refusal.message(),
            format!("actor `eve` may not do `security.token.{action}` on `app:tokens`")
        );
    }
    assert_eq!(tokens.validate(&context, &token).await.unwrap(), granted);
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused() {
    let (tokens, context) = (tokens(&Arc::new(MemoryStore::new(2))), context());
    let refuse = async |change: fn(&mut Grant), expiration| {
        let mut granted = grant(&context);
        change(&mut granted);
        tokens.create(&context, &granted, expiration).await.unwrap_err()
    };
    let large = refuse(|grant| grant.meta = "x".repeat(70_000).into(), None).await;
    let bytes = refuse(|grant| grant.meta = Value::string(b"\xff"), None).await;
    let never = refuse(|_| {}, Some(Duration::ZERO)).await;
    let ever = refuse(|_| {}, Some(Duration::MAX)).await;
    for error in [large, bytes, never, ever] {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    for _ in 0..2 {
        tokens.create(&context, &grant(&context), None).await.unwrap();
    }
    let full = refuse(|_| {}, None).await;
    assert_eq!(full.kind(), ErrorKind::Unavailable, "{full}");
}

#[test]
fn a_key_is_not_shown() {
    let store = TokenStore::new(
        id("app:tokens"),
        &settings(Some("hunter2")),
        Arc::new(MemoryStore::new(1)),
    );
    let stores: TokenStores = [store.unwrap()].into_iter().collect();
    assert!(!format!("{stores:?} {:?}", settings(Some("hunter2"))).contains("hunter2"));
    assert_eq!(
        stores.get(&id("app:none")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}
