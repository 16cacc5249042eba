//! What travels with a context.

use std::{sync::Arc, time::Duration};

use wippy_security::{Context, Dispatcher, DispatcherConfig};

#[test]
fn an_attachment_is_found_by_its_type_and_inherited() {
    let context = Context::root(Dispatcher::new(DispatcherConfig::default()));
    assert_eq!(context.attachment::<String>(), None);
    let attached = context.with_attachment(Arc::new("request".to_owned()));
    assert_eq!(
        attached.callee().attachment::<String>().as_deref(),
        Some(&"request".to_owned())
    );
    assert_eq!(attached.attachment::<u32>(), None);
    assert_eq!(attached.without_attachment().attachment::<String>(), None);
    assert_eq!(
        context.attachment::<String>(),
        None,
        "the context it came from is as it was"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deadline_only_comes_nearer_and_may_be_any_length_away() {
    let context = Context::root(Dispatcher::new(DispatcherConfig::default()));
    let soon = context.with_timeout(Duration::from_secs(5));
    for never in [
        Duration::MAX,
        Duration::from_secs(u64::MAX / 2),
        Duration::from_secs(1 << 62),
    ] {
        assert_eq!(context.with_timeout(never).deadline(), None, "{never:?}");
        assert_eq!(soon.with_timeout(never).deadline(), soon.deadline());
    }
    assert!(soon.with_timeout(Duration::from_secs(1)).deadline() < soon.deadline());
}

#[tokio::test(start_paused = true)]
async fn a_callee_is_the_same_in_the_memory_of_an_earlier_one() {
    let root = Context::root(Dispatcher::new(DispatcherConfig::default()));
    let first = root.callee_in(None);
    let place = Arc::as_ptr(&first);
    let caller = root
        .with_attachment(Arc::new(7_u32))
        .with_timeout(Duration::from_secs(5))
        .callee();
    let second = caller.callee_in(Some(first));
    assert_eq!(Arc::as_ptr(&second), place, "the memory is used again");
    assert_eq!(second.depth(), 2);
    assert_eq!(second.deadline(), caller.deadline());
    assert_eq!(second.attachment::<u32>().as_deref(), Some(&7));
    let third = root.callee_in(Some(second));
    assert_eq!((third.depth(), third.deadline()), (1, None));
    assert_eq!(third.attachment::<u32>(), None, "nothing is left of the other");
}

/// An execution ends with its call, so the next call has another one; and what others hold stays as it is.
#[test]
fn a_context_that_somebody_may_still_need_is_not_made_another() {
    let root = Context::root(Dispatcher::new(DispatcherConfig::default()));
    let first = root.callee_in(None);
    first.execution().park(1, Box::new("leased"));
    assert!(!Context::is_spent(&first));
    let place = Arc::as_ptr(&first);
    let second = root.callee_in(Some(Arc::clone(&first)));
    assert_ne!(Arc::as_ptr(&second), place);
    assert!(second.execution().take(1).is_none());
    assert!(first.execution().take(1).is_some());

    let held = root.callee_in(None);
    let other = root.callee().callee_in(Some(Arc::clone(&held)));
    assert_eq!((held.depth(), other.depth()), (1, 2));
}
