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
