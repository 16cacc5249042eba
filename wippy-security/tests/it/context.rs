//! What travels with a context.

use std::sync::Arc;

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
