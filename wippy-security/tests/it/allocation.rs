//! Allowing takes no memory.

#![expect(unsafe_code, reason = "an allocator that counts is an allocator")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    hint::black_box,
    sync::Arc,
};

use serde_json::json;
use wippy_registry::schema::security::{Operand, Operator, Rule};
use wippy_security::{
    Actor, Context, Dispatcher, DispatcherConfig, Effect, Policy, Scope, authorize, authorize_with,
};
use wippy_wit::Value;

use crate::support::{condition, declared, id, policy};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is left to the system's allocator; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(act: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    act();
    ALLOCATIONS.get() - before
}

#[test]
fn allowing_takes_no_memory() {
    let mut policies: Vec<_> = (0..9)
        .map(|number| {
            policy(
                &format!("app:p{number}"),
                Effect::Deny,
                &["docs.*", "*.write"],
                &["*:a*b*", "app.x:*"],
            )
        })
        .collect();
    policies.push(policy("app:q", Effect::Allow, &["funcs.*"], &["app:*"]));
    let identity = |policies: Vec<Arc<Policy>>| {
        let context = Context::root(Dispatcher::new(DispatcherConfig::default()));
        context.with_identity(
            Some(Arc::new(Actor::new("ada"))),
            Some(Arc::new(Scope::new(policies))),
        )
    };
    let context = identity(policies);
    let allow = || drop(black_box(authorize(&context, "funcs.call", "app:sum")).unwrap());
    allow();
    assert_eq!(allocations(allow), 0);

    // Conditions on constants and on other fields take none either.
    let rule = Rule::Conditions(vec![
        condition("actor.id", Operator::Eq, Operand::Field("meta.owner".to_owned())),
        condition("meta.amount", Operator::Lt, Operand::Value(json!(10))),
        condition("action", Operator::In, Operand::Value(json!(["x", "funcs.call"]))),
    ]);
    let conditional = Policy::compile(id("app:c"), &declared(Effect::Allow, &["*"], &["*"], rule)).unwrap();
    let context = identity(vec![Arc::new(conditional)]);
    let meta = Value::record([("owner", Value::from("ada")), ("amount", Value::from(5_i64))]);
    let allow = || drop(black_box(authorize_with(&context, "funcs.call", "app:sum", &meta)).unwrap());
    allow();
    assert_eq!(allocations(allow), 0);
}
