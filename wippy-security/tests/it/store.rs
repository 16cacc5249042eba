//! The store in memory: what it keeps, for how long, and what it refuses.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use wippy_security::{Condition, ErrorKind, MemoryStore, ValueStore};
use wippy_wit::Value;

const SECOND: Duration = Duration::from_secs(1);

fn set(store: &MemoryStore, key: &str, value: i64, ttl: Option<Duration>) -> u64 {
    store.put(key, value.into(), ttl, Condition::Always).unwrap()
}

fn keys(store: &MemoryStore, prefix: &str, after: Option<&str>, limit: usize) -> (Vec<String>, bool) {
    let page = store.list(prefix, after, limit).unwrap();
    (
        page.items.iter().map(|(key, _)| key.to_string()).collect(),
        page.has_more,
    )
}

#[tokio::test(start_paused = true)]
async fn values_live_as_long_as_they_are_told_to() {
    let store = MemoryStore::new(10);
    set(&store, "short", 1, Some(SECOND));
    set(&store, "long", 2, Some(3 * SECOND));
    set(&store, "always", 3, Some(Duration::MAX));
    tokio::time::advance(Duration::from_millis(999)).await;
    assert_eq!(store.get("short").unwrap().value, Value::Integer(1));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(store.get("short").unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!store.has("short").unwrap());
    // Setting a value again sets its time again.
    set(&store, "long", 4, None);
    tokio::time::advance(100 * SECOND).await;
    assert_eq!(
        keys(&store, "", None, 10),
        (vec!["always".into(), "long".into()], false)
    );
    assert!(store.delete("long").unwrap());
    assert!(!store.delete("long").unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_full_store_takes_new_keys_when_others_expire() {
    let store = MemoryStore::new(2);
    set(&store, "a", 1, Some(SECOND));
    set(&store, "b", 1, None);
    let refused = store.put("c", Value::Nil, None, Condition::Always).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    set(&store, "b", 2, None);
    tokio::time::advance(SECOND).await;
    set(&store, "c", 1, None);
    assert_eq!(store.len(), 2);
}

#[test]
fn what_a_store_holds_together_is_bounded() {
    let store = MemoryStore::new(1000);
    let large = Value::string(vec![0; 100 << 20]);
    for key in ["a", "b"] {
        store.put(key, large.clone(), None, Condition::Always).unwrap();
    }
    let refused = store
        .put("c", large.clone(), None, Condition::Always)
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    store.put("a", large, None, Condition::Always).unwrap();
}

#[test]
fn conditions_notice_other_writers() {
    let store = MemoryStore::new(10);
    let first = store.put("k", 1_i64.into(), None, Condition::Absent).unwrap();
    let absent = store.put("k", 2_i64.into(), None, Condition::Absent).unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::AlreadyExists);
    let second = store
        .put("k", 2_i64.into(), None, Condition::Version(first))
        .unwrap();
    let stale = store
        .put("k", 3_i64.into(), None, Condition::Version(first))
        .unwrap_err();
    assert_eq!((stale.kind(), stale.retryable()), (ErrorKind::Conflict, true));
    // A key that was deleted and made again is another one.
    store.delete("k").unwrap();
    let again = set(&store, "k", 2, None);
    assert!(again > second);
    assert!(
        store
            .put("k", 3_i64.into(), None, Condition::Version(second))
            .is_err()
    );
}

#[test]
fn only_values_can_be_stored() {
    let store = MemoryStore::new(10);
    let error = wippy_security::CallError::internal("no value");
    let value = Value::array([Value::Foreign(Arc::new(error))]);
    let refused = store.put("k", value, None, Condition::Always).unwrap_err();
    assert_eq!(
        refused.message(),
        "`error` cannot be stored: it is no plain value"
    );
}

proptest! {
    #[test]
    fn pages_show_every_key_once_in_order(
        names in proptest::collection::btree_set("[ab]{0,4}", 0..40),
        prefix in "[ab]{0,2}",
        limit in 1_usize..7,
    ) {
        let store = MemoryStore::new(100);
        for name in &names {
            set(&store, name, 0, None);
        }
        let mut seen = Vec::new();
        loop {
            let (page, has_more) = keys(&store, &prefix, seen.last().map(String::as_str), limit);
            prop_assert_eq!(has_more, page.len() == limit && seen.len() + limit < names.iter().filter(|name| name.starts_with(&prefix)).count());
            seen.extend(page);
            if !has_more {
                break;
            }
        }
        let wanted: Vec<String> = names.into_iter().filter(|name| name.starts_with(&prefix)).collect();
        prop_assert_eq!(seen, wanted);
    }
}
