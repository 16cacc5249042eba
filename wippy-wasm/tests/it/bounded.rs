//! Functions that end by themselves are known as such, and only those; they compute the same either way.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use wippy_security::{Call, CallError, Context, Dispatcher, DispatcherConfig, ErrorKind, Handler, Permit};
use wippy_wasm::{Limits, Module, PoolConfig, WasmFunction};
use wippy_wit::Value;

use crate::{
    resources::method,
    support::{Wants, call, call_named, context, id, prepare, prepare_text},
};

/// A component of many parts: modules and components with several instances, functions in several interfaces.
const PARTS: &str = include_str!("bounded/parts.wat");
/// Which of its functions end by themselves. They lead to `straight` or to `loops`.
const PARTS_CASES: &[(&str, bool)] = &[
    ("one#f", true),
    ("one#g", false),
    ("other#f", false),
    ("other#g", true),
    ("made#f", false),
    ("made#g", true),
    ("made#h", false),
    ("whole#f", true),
    ("whole#g", false),
    ("whole#given", true),
    // It ends, but what is around a component is not looked at.
    ("whole#outer", false),
    ("again", true),
    ("again-long", false),
    ("last", true),
];

/// A component with a resource, whose destructor traps. What stands for `more` is run by `increment`, too.
const COUNTER: &str = include_str!("bounded/counter.wat");
const COUNTER_CASES: &[(&str, bool)] = &[
    ("[constructor]counter", true),
    ("[method]counter.increment", true),
    ("[method]counter.value", true),
    // The guest keeps what it is given.
    ("keep", true),
    ("consume", false),
];

/// Functions with one argument, by what is special about each. `F` in the WIT stands for the function.
const CASES: &[(&str, bool, &str)] = &[
    ("straight", true, "(i32.add (local.get 0) (i32.const 1))"),
    (
        "branches",
        true,
        "(if (result i32) (local.get 0) (then (i32.const 1)) (else (i32.const 2)))",
    ),
    (
        "reads_memory",
        true,
        "(i32.load8_u (i32.and (local.get 0) (i32.const 7)))",
    ),
    ("calls", true, "(call $leaf (call $leaf (local.get 0)))"),
    (
        "loops",
        false,
        "(loop $again (br_if $again (i32.eqz (local.get 0)))) (local.get 0)",
    ),
    ("loop_that_never_turns", false, "(loop (nop)) (local.get 0)"),
    ("recurses", false, "(call $f (local.get 0))"),
    ("calls_a_recursion", false, "(call $ping (local.get 0))"),
    ("calls_a_loop", false, "(call $looping (local.get 0))"),
    (
        "calls_who_knows",
        false,
        "(call_indirect (type $t) (local.get 0) (i32.const 0))",
    ),
    // What has a trap behind it cannot return.
    (
        "ends_in_a_loop",
        true,
        "(if (local.get 0) (then (call $looping (local.get 0)) (unreachable))) (local.get 0)",
    ),
    (
        "ends_who_knows_where",
        true,
        "(if (local.get 0) (then (call_indirect (type $t) (local.get 0) (i32.const 0)) (unreachable))) (local.get 0)",
    ),
    (
        "calls_what_may_end_in_a_loop",
        true,
        "(call $ending (local.get 0))",
    ),
    (
        "comes_out_of_a_loop",
        false,
        "(drop (call $looping (local.get 0))) (unreachable)",
    ),
    ("goes_on_elsewhere", false, "(return_call $leaf (local.get 0))"),
    ("grows", true, "(memory.grow (local.get 0))"),
    (
        "fills",
        true,
        "(memory.fill (i32.const 0) (i32.const 0) (local.get 0)) (local.get 0)",
    ),
    (
        "copies",
        true,
        "(memory.copy (i32.const 0) (i32.const 8) (local.get 0)) (local.get 0)",
    ),
];

fn module(body: &str) -> Module {
    let wat = format!(
        r#"(module
            (memory (export "memory") 1)
            (table 1 funcref)
            (elem (i32.const 0) $leaf)
            (type $t (func (param i32) (result i32)))
            (func $leaf (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))
            (func $looping (param i32) (result i32) (loop $again (br_if $again (i32.eqz (local.get 0)))) (local.get 0))
            (func $ending (param i32) (result i32)
                (if (local.get 0) (then (call $looping (local.get 0)) (unreachable))) (local.get 0))
            (func $ping (param i32) (result i32) (call $pong (local.get 0)))
            (func $pong (param i32) (result i32) (call $ping (local.get 0)))
            (func $f (export "f") (param i32) (result i32) {body}))"#
    );
    prepare_text(&wat, Some("f: func(x: u32) -> u32;"), "f").unwrap()
}

#[test]
fn what_ends_by_itself_is_known() {
    let wrong: Vec<_> = CASES
        .iter()
        .filter(|(_, expected, body)| module(body).ends_at_once() != *expected)
        .map(|(name, expected, _)| format!("{name}: expected {expected}"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Nobody knows how long one of them takes, so few of them are few.
#[test]
fn what_handles_much_memory_is_not_at_once() {
    let ends_at_once = |count: usize| {
        let copy = "(memory.copy (i32.const 0) (i32.const 8) (local.get 0))";
        module(&format!("{} (local.get 0)", copy.repeat(count))).ends_at_once()
    };
    assert!(ends_at_once(3));
    assert!(!ends_at_once(4));
}

/// An allocator that only moves on.
const BUMP: &str = "(global.set $heap (i32.add (global.get $heap) (local.get 3)))
    (i32.sub (global.get $heap) (local.get 3))";

fn with_allocator(allocator: &str, params: &str, flat: usize) -> Module {
    let flat = "i32 ".repeat(flat);
    let wat = format!(
        r#"(module
            (memory (export "memory") 1)
            (global $heap (mut i32) (i32.const 1024))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {allocator})
            (func (export "f") (param {flat}) (result i32) (local.get 1)))"#
    );
    prepare_text(&wat, Some(&format!("f: func({params}) -> u32;")), "f").unwrap()
}

/// Room is made for each argument in memory of its own, by the guest's allocator.
#[test]
fn arguments_in_memory_of_their_own_cost_what_the_allocator_does() {
    let slow = format!("(loop (nop)) {BUMP}");
    let dear = format!("(memory.fill (i32.const 0) (i32.const 0) (i32.const 0)) {BUMP}");
    for (params, flat, allocator, expected) in [
        ("x: string", 2, BUMP, true),
        ("x: list<u8>", 2, BUMP, true),
        ("x: list<tuple<u32, f64>>", 2, BUMP, true),
        ("x: option<string>, y: u32", 4, BUMP, true),
        (
            "x: tuple<string, string>, y: result<string, list<u16>>",
            7,
            BUMP,
            true,
        ),
        // So many that there is no telling.
        ("x: list<string>", 2, BUMP, false),
        ("x: list<list<u8>>", 2, BUMP, false),
        ("x: list<option<string>>", 2, BUMP, false),
        ("x: string", 2, &slow, false),
        // The allocator does not run for those.
        ("x: u32, y: u32", 2, &slow, true),
        ("x: string, y: string, z: string", 6, &dear, true),
        ("x: string, y: string, z: string, u: string", 8, &dear, false),
    ] {
        let module = with_allocator(allocator, params, flat);
        assert_eq!(module.ends_at_once(), expected, "{params} {allocator}");
    }
}

#[test]
fn what_ends_by_itself_is_known_however_the_component_is_put_together() {
    for (component, cases) in [(PARTS, PARTS_CASES), (COUNTER, COUNTER_CASES)] {
        let ends_at_once = |name: &str| prepare_text(component, None, name).unwrap().ends_at_once();
        let wrong: Vec<_> = cases
            .iter()
            .filter(|(name, expected)| ends_at_once(name) != *expected)
            .map(|(name, expected)| format!("{name}: expected {expected}"))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

#[test]
fn functions_of_committed_guests_are_known() {
    for (guest, method, expected) in [
        ("math", "ops#add", true),
        ("math", "negate", true),
        ("counters", "alive", true),
        // They may panic, and no more.
        ("counters", "increment", true),
        ("counters", "explode", true),
        // It drops a handle, for which a destructor runs.
        ("counters", "consume", false),
        ("bench", "add", true),
        ("bench", "div", true),
        ("bench", "sum", false),
        ("bench", "echo_string", true),
        ("bench", "echo_bytes", true),
        ("bench", "echo_users", false),
        // The allocator that Rust brings along has loops.
        ("greet", "greet", false),
    ] {
        let module = prepare(guest, method, Wants::default()).unwrap();
        assert_eq!(module.ends_at_once(), expected, "{guest} {method}");
    }
}

/// Where work is counted, there are asynchronous components, too, and a guest could wait for a part of itself.
#[test]
fn what_may_fail_is_not_at_once_where_work_is_counted() {
    let counted = |method: &str| {
        let wants = Wants {
            limits: Limits {
                fuel: Some(1 << 20),
                ..Limits::default()
            },
            ..Wants::default()
        };
        prepare("counters", method, wants).unwrap().ends_at_once()
    };
    assert!(counted("alive"));
    assert!(!counted("increment"));
}

/// Values that calls and blocks take and give can have places on the stack, which is that of whoever calls.
#[test]
fn what_may_take_much_of_the_stack_is_not_at_once() {
    let module = |pairs: usize, values: usize| {
        let values = "i64 ".repeat(values);
        let body = "(call $swallow (call $wide))".repeat(pairs);
        let wat = format!(
            "(module
                (func $wide (result {values}) unreachable)
                (func $swallow (param {values}) unreachable)
                (func (export \"f\") (param i32) (result i32)
                    (if (local.get 0) (then {body}))
                    (local.get 0)))"
        );
        prepare_text(&wat, Some("f: func(x: u32) -> u32;"), "f").unwrap()
    };
    assert!(module(10, 100).ends_at_once());
    assert!(!module(40, 100).ends_at_once(), "many values");
    assert!(!module(1, 200).ends_at_once(), "many parameters");
}

/// A component that is instantiated in a component again and again is small, and much to look at.
#[test]
fn what_is_much_to_look_at_is_given_up() {
    let functions = "(func)".repeat(1_000);
    let each = |count: usize, text: &dyn Fn(usize) -> String| {
        let texts: Vec<_> = (0..count).map(text).collect();
        texts.concat()
    };
    let calls = each(1_000, &|index| format!("(call {index})"));
    let parts = each(100, &|index| {
        format!(
            "(core instance (instantiate $m))
            (func (canon lift (core func {index} \"f\")))
            (export \"f{index}\" (func {}))",
            2 * index
        )
    });
    let instances = each(200, &|index| {
        format!(
            "(instance (instantiate $c)) (export \"i{index}\" (instance {}))",
            2 * index
        )
    });
    let wat = format!(
        "(component
            (component $c
                (core module $m {functions} (func (export \"f\") {calls}))
                {parts})
            {instances})"
    );
    let begun = Instant::now();
    let prepared = prepare_text(&wat, None, "i0#f0");
    // It has more instances than one component may.
    let error = format!("{:?}", prepared.unwrap_err());
    assert!(error.contains("core module instances"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn what_is_long_is_not_at_once() {
    let long = "(drop (i32.mul (local.get 0) (local.get 0)))".repeat(2_000);
    assert!(!module(&format!("{long} (local.get 0)")).ends_at_once());
    let short = "(drop (i32.mul (local.get 0) (local.get 0)))".repeat(200);
    assert!(module(&format!("{short} (local.get 0)")).ends_at_once());
    // Eight calls of eight calls, and so on: short to write, long to run.
    let levels: Vec<String> = (1..8)
        .map(|level| {
            let calls = format!("(drop (call $level{} (local.get 0)))", level - 1).repeat(8);
            format!("(func $level{level} (param i32) (result i32) {calls} (local.get 0))")
        })
        .collect();
    let levels = levels.concat();
    let wat = format!(
        r#"(module
            (func $level0 (param i32) (result i32) (local.get 0))
            {levels}
            (func (export "f") (param i32) (result i32) (call $level7 (local.get 0))))"#
    );
    let module = prepare_text(&wat, Some("f: func(x: u32) -> u32;"), "f").unwrap();
    assert!(!module.ends_at_once());
}

/// Whoever imports something may have to wait for it.
#[test]
fn what_has_imports_is_not_at_once() {
    let module = prepare("calls-funcs", "relay", Wants::imports(&["funcs"])).unwrap();
    assert!(!module.ends_at_once());
}

#[tokio::test]
async fn what_ends_by_itself_computes_the_same() {
    for (body, argument, expected) in [
        ("(i32.add (local.get 0) (i32.const 1))", 41, 42),
        ("(call $leaf (call $leaf (local.get 0)))", 2, 18),
        // As above, with a loop that never turns.
        ("(loop (nop)) (call $leaf (call $leaf (local.get 0)))", 2, 18),
    ] {
        let context = context(module(body));
        for _ in 0..3 {
            let result = call(&context, &[Value::Integer(argument)]).await.unwrap();
            assert_eq!(result, Value::Integer(expected), "{body}");
        }
    }
}

#[tokio::test]
async fn what_ends_in_a_trap_says_so_each_time() {
    let context = context(module("(unreachable)"));
    for _ in 0..3 {
        let error = call(&context, &[Value::Integer(1)]).await.unwrap_err();
        assert!(error.message().contains("unreachable"), "{error}");
    }
}

/// A context that knows functions of a component by their names there.
fn functions(names: &[&str], prepare: impl Fn(&str) -> Module) -> Context {
    let dispatcher = Dispatcher::new(DispatcherConfig::default());
    for name in names {
        let function = WasmFunction::new(prepare(name), PoolConfig::default());
        dispatcher.insert(id(name), Arc::new(function));
    }
    Context::root(dispatcher)
}

#[tokio::test]
async fn functions_of_interfaces_compute_the_same() {
    let text = |name: &str| prepare_text(PARTS, None, &format!("one#{name}")).unwrap();
    let context = functions(&["f", "g"], text);
    for _ in 0..3 {
        let short = call_named(&context, "f", &[Value::Integer(41)]).await;
        assert_eq!(short, Ok(Value::Integer(42)));
        let long = call_named(&context, "g", &[Value::Integer(41)]).await;
        assert_eq!(long, Ok(Value::Integer(41)));
    }
}

type Prepare<'a> = &'a dyn Fn(&str) -> Module;

#[tokio::test]
async fn resources_are_the_same_either_way() {
    let long = COUNTER.replace("(;more;)", "(loop (nop))");
    let text = |wat: &str, name: &str| prepare_text(wat, None, name).unwrap();
    let committed = |name: &str| prepare("counters", name, Wants::default()).unwrap();
    let ways: [(Prepare<'_>, bool); 3] = [
        (&|name| text(COUNTER, name), true),
        (&|name| text(&long, name), false),
        (&committed, true),
    ];
    for (way, (prepare, expected)) in ways.into_iter().enumerate() {
        assert_eq!(prepare("increment").ends_at_once(), expected, "{way}");
        let context = functions(&["counter"], |_| prepare("[constructor]counter"));
        let start = |start| [Value::Integer(start)];
        let one = call_named(&context, "counter", &start(5)).await.unwrap();
        let other = call_named(&context, "counter", &start(-7)).await.unwrap();
        let mut values = Vec::new();
        for by in [2, -10, i64::from(i32::MAX)] {
            for handle in [&one, &other] {
                let arguments = [Value::Integer(by)];
                values.push(method(&context, handle, "increment", &arguments).await.unwrap());
                values.push(method(&context, handle, "value", &[]).await.unwrap());
            }
        }
        let expected = [7, 7, -5, -5, -3, -3, -15, -15, 2_147_483_644, 2_147_483_644];
        let expected = expected.into_iter().chain([2_147_483_632, 2_147_483_632]);
        assert_eq!(values, expected.map(Value::Integer).collect::<Vec<_>>(), "{way}");
        let error = method(&context, &one, "increment", &[Value::from("2")])
            .await
            .unwrap_err();
        assert!(
            error.message().contains("argument 1 (by): expected s32"),
            "{way}: {error}"
        );
    }
}

/// Only dropping a handle runs a destructor, and whoever drops one in the guest is not at once.
#[tokio::test]
async fn what_is_given_away_is_not_destroyed_by_the_call() {
    let text = |name: &str| prepare_text(COUNTER, None, name).unwrap();
    let context = functions(&["counter", "keep", "consume"], text);
    for _ in 0..3 {
        let handle = call_named(&context, "counter", &[Value::Integer(5)])
            .await
            .unwrap();
        let handles = std::slice::from_ref(&handle);
        assert_eq!(call_named(&context, "keep", handles).await, Ok(Value::Integer(5)));
        let error = method(&context, &handle, "value", &[]).await.unwrap_err();
        assert!(error.message().contains("is closed"), "{error}");
    }
    let handle = call_named(&context, "counter", &[Value::Integer(5)])
        .await
        .unwrap();
    let error = call_named(&context, "consume", &[handle]).await.unwrap_err();
    assert!(error.message().contains("unreachable"), "{error}");
}

/// A function that fails if its argument says so, and what it runs then: a loop, or calls that go deeper and deeper.
const ENDINGS: &str = r#"(module
    (memory (export "memory") 1)
    (global $heap (mut i32) (i32.const 1024))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (global.set $heap (i32.add (global.get $heap) (local.get 3)))
        (i32.sub (global.get $heap) (local.get 3)))
    (func $for_ever (loop $again (br $again)))
    (func $deeper (param i64 i64 i64 i64) (result i64)
        (i64.add (local.get 3)
            (call $deeper (local.get 3) (local.get 0) (local.get 1) (i64.add (local.get 2) (i64.const 1)))))
    (func (export "f") (param $text i32) (param $len i32) (result i32)
        (local $first i32)
        (local.set $first (i32.load8_u (local.get $text)))
        (if (i32.eq (local.get $first) (i32.const 108)) (then (call $for_ever) (unreachable)))
        (if (i32.eq (local.get $first) (i32.const 100))
            (then (call $deeper (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)) (unreachable)))
        (i32.store (i32.const 16) (local.get $text))
        (i32.store (i32.const 20) (local.get $len))
        (i32.const 16)))"#;

fn endings() -> Module {
    prepare_text(ENDINGS, Some("f: func(text: string) -> string;"), "f").unwrap()
}

/// `text` given to a function that may fail: by a caller on a thread, and by a guest that waits for it on its own stack.
async fn both_ways(context: &Context, text: &str) -> [Result<Value, String>; 2] {
    let here = call_named(context, "f", &[Value::from(text)]).await;
    let there = call_named(context, "relay", &[Value::from("test:f"), Value::from(text)]).await;
    [here, there].map(|outcome| outcome.map_err(|error| error.message().to_owned()))
}

fn relayed() -> Context {
    assert!(endings().ends_at_once());
    functions(&["f", "relay"], |name| match name {
        "f" => endings(),
        relay => prepare("calls-funcs", relay, Wants::imports(&["funcs"])).unwrap(),
    })
}

#[tokio::test]
async fn what_may_fail_computes_the_same_wherever_it_is_called() {
    let context = relayed();
    for _ in 0..3 {
        let outcomes = both_ways(&context, "echo").await;
        assert_eq!(outcomes, [Ok(Value::from("echo")), Ok(Value::from("echo"))]);
    }
}

#[tokio::test]
async fn a_failure_that_takes_long_is_cut_short() {
    let context = relayed();
    for _ in 0..3 {
        let begun = Instant::now();
        let error = call_named(&context, "f", &[Value::from("loop")])
            .await
            .unwrap_err();
        let took = begun.elapsed();
        assert!(
            error.message().contains("not done with that within 35 ms"),
            "{error}"
        );
        // Twenty, and what the host may take. It holds its thread meanwhile; a busy machine adds to it.
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

#[tokio::test]
async fn a_failure_that_goes_deep_ends_at_the_limit_of_the_stack() {
    let context = relayed();
    for _ in 0..3 {
        for outcome in both_ways(&context, "deep").await {
            let error = outcome.unwrap_err();
            assert!(error.contains("call stack exhausted"), "{error}");
        }
        // Those that are called next have instances of their own.
        let outcomes = both_ways(&context, "echo").await;
        assert_eq!(outcomes, [Ok(Value::from("echo")), Ok(Value::from("echo"))]);
    }
}

/// Makes a guest call `target`, which fails and goes on for ever. On the stack of a guest that waits nothing may run that takes
/// as much as it likes when it fails, so it has its own, and is interrupted like any other until the deadline. What ends at once
/// would be stopped before.
async fn fails_on_a_stack_of_its_own(context: &Context, target: &str) {
    let hurried = context.with_timeout(Duration::from_millis(300));
    let arguments = [Value::from(target), Value::from("loop")];
    let error = call_named(&hurried, "relay", &arguments).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

#[tokio::test]
async fn what_a_guest_calls_fails_on_a_stack_of_its_own() {
    fails_on_a_stack_of_its_own(&relayed(), "test:f").await;
}

/// Calls `test:f` after a while.
struct Hesitant;

#[async_trait]
impl Handler for Hesitant {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, call: Call<'a>) -> Result<(), CallError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let function = call.context.dispatcher().resolve(&id("f"))?;
        let dispatcher = call.context.dispatcher();
        dispatcher
            .call(call.context, &function, call.arguments, call.result)?
            .await
    }
}

#[tokio::test]
async fn so_does_what_had_to_wait_before() {
    let context = relayed();
    let hesitant = Arc::new(Hesitant);
    context.dispatcher().insert(id("hesitant"), hesitant);
    fails_on_a_stack_of_its_own(&context, "test:hesitant").await;
}

/// What the host takes for the arguments of a call is not counted as what the guest takes.
#[tokio::test]
async fn arguments_that_take_long_are_no_failure() {
    const LISTS: usize = 7;
    let flat = "i32 i32 ".repeat(LISTS);
    let names = (0..LISTS).map(|index| format!("x{index}: list<tuple<u32, f64>>"));
    let params = names.collect::<Vec<_>>().join(", ");
    let wat = format!(
        r#"(module
            (memory (export "memory") 100)
            (global $heap (mut i32) (i32.const 1024))
            (func $for_ever (loop $again (br $again)))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {BUMP})
            (func (export "f") (param {flat}) (result i32)
                (global.set $heap (i32.const 1024))
                (if (i32.eqz (local.get 1)) (then (call $for_ever) (unreachable)))
                (local.get 1)))"#
    );
    let module = prepare_text(&wat, Some(&format!("f: func({params}) -> u32;")), "f").unwrap();
    assert!(module.ends_at_once());
    let context = context(module);
    let pair = || Value::array([Value::Integer(1), Value::Float(2.0)]);
    let count = 20_000;
    let list = Value::array((0..count).map(|_| pair()));
    let arguments = vec![list; LISTS];
    for _ in 0..2 {
        let called = call(&context, &arguments).await;
        assert_eq!(called, Ok(Value::Integer(count)));
    }
}
