//! Change sets, versions, validators, listeners.

use std::sync::{Arc, Mutex, Weak};

use proptest::prelude::*;
use serde_json::json;
use wippy_registry::{
    Change, ChangeSet, Entry, EntryId, Error, Listener, MemoryHistory, Op, Registry, Rejection, Snapshot,
    Validator, Version,
};

fn id(name: &str) -> EntryId {
    EntryId::parse(&format!("app:{name}")).unwrap()
}

fn entry(name: &str, value: u8) -> Entry {
    Entry::new(id(name), "registry.entry").with_data(&json!({ "value": value }))
}

fn library(name: &str, imports: &[&str]) -> Entry {
    let imports: serde_json::Map<String, serde_json::Value> = imports
        .iter()
        .map(|name| ((*name).to_owned(), json!(*name)))
        .collect();
    Entry::new(id(name), "library.lua").with_data(&json!({ "source": "", "imports": imports }))
}

fn contents(snapshot: &Snapshot) -> Vec<Arc<Entry>> {
    snapshot.iter().cloned().collect()
}

#[test]
fn versions_can_be_read_and_applied_again() {
    let registry = Registry::new();
    assert_eq!(
        registry.apply(ChangeSet::new().create(entry("a", 1))).unwrap(),
        Version(1)
    );
    registry
        .apply(ChangeSet::new().update(entry("a", 2)).create(entry("b", 1)))
        .unwrap();
    registry.apply(ChangeSet::new().delete(id("a"))).unwrap();

    let old = registry.snapshot_at(Version(2)).unwrap();
    assert_eq!(contents(&old), [Arc::new(entry("a", 2)), Arc::new(entry("b", 1))]);
    assert_eq!(registry.apply_version(Version(1)).unwrap(), Version(4));
    assert_eq!(contents(&registry.snapshot()), [Arc::new(entry("a", 1))]);
    assert!(matches!(
        registry.snapshot_at(Version(9)),
        Err(Error::UnknownVersion(Version(9)))
    ));
}

#[test]
fn history_has_a_bound() {
    let registry = Registry::with_history(Box::new(MemoryHistory::with_bound(2)));
    for value in 0..4 {
        let op = if value == 0 { Op::Create } else { Op::Update };
        registry
            .apply([op(Arc::new(entry("a", value)))].into_iter().collect())
            .unwrap();
    }
    assert_eq!(registry.versions().unwrap(), [Version(3), Version(4)]);
    assert!(registry.apply_version(Version(1)).is_err());
    assert_eq!(registry.version(), Version(4));
}

#[test]
fn a_set_that_does_not_fit_changes_nothing() {
    let registry = Registry::new();
    registry.apply(ChangeSet::new().create(entry("a", 1))).unwrap();
    let fits = || ChangeSet::new().create(entry("new", 1));
    assert!(matches!(
        registry.apply(fits().create(entry("a", 2))),
        Err(Error::AlreadyExists(_))
    ));
    assert!(matches!(
        registry.apply(fits().update(entry("b", 2))),
        Err(Error::NotFound(_))
    ));
    assert!(matches!(
        registry.apply(fits().delete(id("b"))),
        Err(Error::NotFound(_))
    ));
    assert!(matches!(
        registry.apply(fits().delete(id("new"))),
        Err(Error::DuplicateOperation(_))
    ));
    assert_eq!(registry.version(), Version(1));
    assert_eq!(registry.snapshot().len(), 1);
}

/// Refuses what is named `bad…`, and writes down what it is told.
#[derive(Default)]
struct Recorder {
    log: Mutex<Vec<String>>,
    registry: Mutex<Weak<Registry>>,
}

impl Recorder {
    fn attach(registry: &Arc<Registry>) -> Arc<Self> {
        let recorder = Arc::new(Self::default());
        registry
            .add_validator(Arc::clone(&recorder) as Arc<dyn Validator>)
            .unwrap();
        registry
            .add_listener(Arc::clone(&recorder) as Arc<dyn Listener>)
            .unwrap();
        recorder
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

impl Validator for Recorder {
    fn validate(&self, change: &Change, after: &Snapshot) -> Result<(), Rejection> {
        if change.id().name().starts_with("bad") {
            return Err(Rejection::new(
                change.id(),
                format!("bad in version {}", after.version()),
            ));
        }
        Ok(())
    }
}

impl Listener for Recorder {
    fn changed(&self, change: &Change, after: &Arc<Snapshot>) {
        let what = match change {
            Change::Created(entry) => format!("+{}", entry.id.name()),
            Change::Updated { after, .. } => format!("~{}", after.id.name()),
            Change::Deleted(entry) => format!("-{}", entry.id.name()),
        };
        self.log.lock().unwrap().push(what);
        if let Some(registry) = self.registry.lock().unwrap().upgrade() {
            assert_eq!(
                registry.version(),
                after.version(),
                "listeners see the new version as current"
            );
            assert!(matches!(registry.apply(ChangeSet::new()), Err(Error::Reentrant)));
        }
    }

    fn committed(&self, after: &Arc<Snapshot>) {
        self.log.lock().unwrap().push(format!("v{}", after.version()));
    }
}

#[test]
fn one_rejection_refuses_the_whole_set() {
    let registry = Arc::new(Registry::new());
    let recorder = Recorder::attach(&registry);
    let set = ChangeSet::new()
        .create(entry("good", 1))
        .create(entry("bad", 1))
        .create(entry("bad2", 1));
    let error = registry.apply(set).unwrap_err();
    insta::assert_snapshot!(error, @"the changeset was rejected: entry `app:bad`: bad in version 1; entry `app:bad2`: bad in version 1");
    assert_eq!(registry.version(), Version(0));
    assert!(recorder.take().is_empty());
}

#[test]
fn listeners_see_dependency_order() {
    let registry = Arc::new(Registry::new());
    let recorder = Recorder::attach(&registry);
    *recorder.registry.lock().unwrap() = Arc::downgrade(&registry);
    let all = ChangeSet::new()
        .create(library("a", &["b", "c"]))
        .create(library("b", &["c"]))
        .create(library("c", &[]))
        .create(entry("aa", 1));
    registry.apply(all).unwrap();
    assert_eq!(recorder.take(), ["+aa", "+c", "+b", "+a", "v1"]);

    registry
        .apply(
            ChangeSet::new()
                .delete(id("c"))
                .delete(id("b"))
                .update(library("a", &["d"]))
                .create(library("d", &[])),
        )
        .unwrap();
    assert_eq!(recorder.take(), ["-b", "-c", "+d", "~a", "v2"]);
}

#[test]
fn readers_on_other_threads_see_whole_versions() {
    let registry = Registry::new();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while registry.version() < Version(100) {
                    let snapshot = registry.snapshot();
                    let values: Vec<_> = snapshot.iter().map(|entry| entry.data.to_json()).collect();
                    assert!(values.windows(2).all(|pair| pair[0] == pair[1]), "{values:?}");
                }
            });
        }
        registry
            .apply(ChangeSet::new().create(entry("a", 0)).create(entry("b", 0)))
            .unwrap();
        for value in 1..100 {
            registry
                .apply(
                    ChangeSet::new()
                        .update(entry("a", value))
                        .update(entry("b", value)),
                )
                .unwrap();
        }
    });
}

/// A set that fits some entries: for each of a few names, what to do if it exists and if it does not.
fn fitting_set(before: &[Arc<Entry>], choices: &[(bool, u8)]) -> ChangeSet {
    let names = ["a", "b", "c", "d", "e"];
    names
        .iter()
        .zip(choices)
        .filter_map(|(name, (acts, value))| {
            let exists = before.iter().any(|entry| entry.id.name() == *name);
            match (acts, exists, value % 2) {
                (false, _, _) => None,
                (true, false, _) => Some(Op::Create(Arc::new(entry(name, *value)))),
                (true, true, 0) => Some(Op::Delete(id(name))),
                (true, true, _) => Some(Op::Update(Arc::new(entry(name, *value)))),
            }
        })
        .collect()
}

fn choices() -> impl Strategy<Value = Vec<(bool, u8)>> {
    prop::collection::vec(any::<(bool, u8)>(), 5)
}

proptest! {
    #[test]
    fn applying_and_undoing_leaves_things_as_they_were(first in choices(), second in choices()) {
        let registry = Registry::new();
        registry.apply(fitting_set(&[], &first)).unwrap();
        let before = registry.snapshot();
        let set = fitting_set(&contents(&before), &second);
        let undo = set.invert(before.iter()).unwrap();
        registry.apply(set).unwrap();
        registry.apply(undo).unwrap();
        prop_assert_eq!(contents(&registry.snapshot()), contents(&before));
    }

    #[test]
    fn a_squashed_set_does_what_the_two_do(base in choices(), first in choices(), second in choices()) {
        let (twice, once) = (Registry::new(), Registry::new());
        for registry in [&twice, &once] {
            registry.apply(fitting_set(&[], &base)).unwrap();
        }
        let one = fitting_set(&contents(&twice.snapshot()), &first);
        twice.apply(one.clone()).unwrap();
        let two = fitting_set(&contents(&twice.snapshot()), &second);
        twice.apply(two.clone()).unwrap();
        once.apply(one.squash(&two).unwrap()).unwrap();
        prop_assert_eq!(contents(&once.snapshot()), contents(&twice.snapshot()));
    }

    #[test]
    fn the_set_between_two_states_leads_from_one_to_the_other(first in choices(), second in choices()) {
        let (from, to) = (Registry::new(), Registry::new());
        from.apply(fitting_set(&[], &first)).unwrap();
        to.apply(fitting_set(&[], &second)).unwrap();
        from.apply(ChangeSet::between(from.snapshot().iter(), to.snapshot().iter())).unwrap();
        prop_assert_eq!(contents(&from.snapshot()), contents(&to.snapshot()));
        let nothing = ChangeSet::between(from.snapshot().iter(), to.snapshot().iter());
        prop_assert!(nothing.is_empty());
    }
}
