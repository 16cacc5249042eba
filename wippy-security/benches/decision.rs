//! How long a decision takes: `cargo bench -p wippy-security --bench decision`.
//!
//! Prints nanoseconds, the ratio to a scope of one unconditional policy, which is what a call cannot avoid, and how often
//! each decision took memory.

#![expect(clippy::print_stdout, reason = "the numbers are the point")]
#![expect(clippy::expect_used, reason = "a broken setup ends the measurement")]
#![expect(unsafe_code, reason = "an allocator that counts is an allocator")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use wippy_registry::{
    EntryId, SourceText,
    schema::security::{self as declared, Condition, Operand, Operator, Rule},
};
use wippy_security::{
    Actor, Context, Decision, Dispatcher, DispatcherConfig, Effect, Policy, Scope, authorize_with,
};
use wippy_wit::Value;

/// Counts what is taken.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is left to the system's allocator; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
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

/// What a decision costs.
#[derive(Clone, Copy)]
struct Cost {
    nanoseconds: f64,
    allocations: f64,
}

const ROUNDS: u32 = 400;
const DECISIONS: u32 = 1_000;

fn main() {
    let meta = Value::record([("owner", Value::from("ada")), ("amount", Value::from(5_i64))]);
    let one = scope(1, &|_| Rule::Conditions(Vec::new()));
    let baseline = evaluate(&one, &meta);
    print("one policy", baseline, baseline);
    print(
        "ten policies",
        evaluate(&scope(10, &|_| Rule::Conditions(Vec::new())), &meta),
        baseline,
    );
    print(
        "ten policies with three conditions each",
        evaluate(&scope(10, &conditions), &meta),
        baseline,
    );
    print(
        "one policy with a pattern condition",
        evaluate(&scope(1, &pattern), &meta),
        baseline,
    );
    print(
        "one expression",
        evaluate(&scope(1, &expression), &meta),
        baseline,
    );
    print(
        "the guard, ten policies",
        guard(scope(10, &|_| Rule::Conditions(Vec::new())), &meta),
        baseline,
    );
}

fn conditions(_: usize) -> Rule {
    let condition = |field: &str, operator, operand| Condition {
        field: field.to_owned(),
        operator,
        operand,
    };
    Rule::Conditions(vec![
        condition("actor.id", Operator::Eq, Operand::Field("meta.owner".to_owned())),
        condition("meta.amount", Operator::Lt, Operand::Value(10.into())),
        condition("actor.meta.role", Operator::Exists, Operand::None),
    ])
}

fn pattern(_: usize) -> Rule {
    let (field, operator) = ("resource".to_owned(), Operator::Matches);
    Rule::Conditions(vec![Condition {
        field,
        operator,
        operand: Operand::Value("^app:[a-z]+$".into()),
    }])
}

fn expression(_: usize) -> Rule {
    let text = r#"actor.meta.role == "editor" && meta.owner == actor.id && resource.matches("^app:")"#;
    Rule::Expression(SourceText::from_text(text))
}

/// All but the last policy deny something else, so that every one of them is looked at.
fn scope(len: usize, rule: &dyn Fn(usize) -> Rule) -> Scope {
    let policy = |number: usize| {
        let is_last = number + 1 == len;
        let resource = if is_last {
            "app:*".to_owned()
        } else {
            format!("app.tenant{number}:*secret*")
        };
        let declared = declared::Policy {
            actions: vec!["funcs.*".to_owned()],
            resources: vec![resource],
            effect: if is_last { Effect::Allow } else { Effect::Deny },
            rule: rule(number),
            groups: Vec::new(),
        };
        let id: EntryId = format!("app:p{number:02}").parse().expect("a valid id");
        Arc::new(Policy::compile(id, &declared).expect("a valid policy"))
    };
    Scope::new((0..len).map(policy))
}

fn actor() -> Actor {
    Actor {
        id: "ada".into(),
        meta: Value::record([("role", Value::from("editor"))]),
    }
}

fn evaluate(scope: &Scope, meta: &Value) -> Cost {
    let (action, resource) = ("funcs.call".to_owned(), "app:sum".to_owned());
    let actor = actor();
    best(|| {
        let verdict = scope.evaluate(
            black_box(&actor),
            black_box(&*action),
            black_box(&*resource),
            meta,
        );
        assert_eq!(verdict.decision, Decision::Allow);
    })
}

fn guard(scope: Scope, meta: &Value) -> Cost {
    let (action, resource) = ("funcs.call".to_owned(), "app:sum".to_owned());
    let context = Context::root(Dispatcher::new(DispatcherConfig::default()));
    let context = context.with_identity(Some(Arc::new(actor())), Some(Arc::new(scope)));
    best(|| {
        let permit = authorize_with(
            black_box(&context),
            black_box(&*action),
            black_box(&*resource),
            meta,
        );
        assert!(black_box(permit).is_ok());
    })
}

/// The best round: what disturbs only ever adds.
fn best(mut decide: impl FnMut()) -> Cost {
    let mut round = || {
        let start = Instant::now();
        (0..DECISIONS).for_each(|_| decide());
        start.elapsed().as_secs_f64() * 1e9 / f64::from(DECISIONS)
    };
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let nanoseconds = (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min);
    let taken = u32::try_from(ALLOCATIONS.load(Ordering::Relaxed) - before).unwrap_or(u32::MAX);
    Cost {
        nanoseconds,
        allocations: f64::from(taken) / f64::from(ROUNDS * DECISIONS),
    }
}

fn print(what: &str, cost: Cost, baseline: Cost) {
    println!(
        "{what:<42} {:>8.1} ns {:>7.1}x {:>6.2} allocations",
        cost.nanoseconds,
        cost.nanoseconds / baseline.nanoseconds,
        cost.allocations,
    );
}
