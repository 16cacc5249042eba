//! Slots that hold all that the engine ever keeps in them.
//!
//! A pool keeps some of the pages that a guest touched in its slot, for the next one: so each slot grows to a bound, in
//! whichever round a guest that takes much happens to come into it. That is no leak, and would hide one.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use wippy_security::{Context, ErrorKind, PoolConfig};
use wippy_wasm::{Limits, WasmFunction};
use wippy_wit::Value;

use crate::{
    alone::usage,
    support::{call_named, engine, id, prepare_text_within},
};

/// Touches more of its memory and tables than is kept, and most of its stack, which is kept whole; and stays.
const GUEST: &str = r#"(module
  (memory 48)
  (table $a 16384 funcref)
  (table $b 16384 funcref)
  (table $c 16384 funcref)
  (table $d 16384 funcref)
  (elem declare func $down)

  (func $down (param $depth i32) (result i32)
    (if (i32.eqz (local.get $depth)) (then (loop $again (br $again))))
    (i32.add (call $down (i32.sub (local.get $depth) (i32.const 1))) (i32.const 1)))

  (func (export "stay") (param $depth i32) (result i32)
    (memory.fill (i32.const 0) (i32.const 0xa5) (i32.const 0x300000))
    (table.fill $a (i32.const 0) (ref.func $down) (i32.const 16384))
    (table.fill $b (i32.const 0) (ref.func $down) (i32.const 16384))
    (table.fill $c (i32.const 0) (ref.func $down) (i32.const 16384))
    (table.fill $d (i32.const 0) (ref.func $down) (i32.const 16384))
    (call $down (local.get $depth))))"#;

/// How deep it recurses: its stack has room for this, though not for twice as much.
const DEPTH: i64 = 8_000;

/// What a machine may take for other reasons meanwhile.
const SLACK: usize = 1 << 20;

/// Fills every slot that no instance has, until doing so takes nothing more.
pub async fn fill(context: &Context) {
    let limits = Limits {
        execution: Some(Duration::from_millis(500)),
        ..Limits::default()
    };
    let module = prepare_text_within(GUEST, Some("stay: func(depth: u32) -> u32;"), "stay", limits).unwrap();
    let function = WasmFunction::new(module, PoolConfig::default());
    context.dispatcher().insert(id("stay"), Arc::new(function));
    // On a machine that is busy some may have ended before others begin.
    for _ in 0..10 {
        let before = usage().memory_bytes;
        let all_at_once = stay(context).await;
        if all_at_once && usage().memory_bytes < before + SLACK {
            return;
        }
    }
    panic!("the slots are never full");
}

/// Has a guest stay in each slot. Whether all were there at the same time.
async fn stay(context: &Context) -> bool {
    let (taken, all) = engine().instances();
    let staying: Vec<_> = (taken..all)
        .map(|_| {
            let context = context.with_own_execution();
            tokio::spawn(async move { call_named(&context, "stay", &[Value::Integer(DEPTH)]).await })
        })
        .collect();
    let mut most = 0;
    while !staying.iter().all(JoinHandle::is_finished) {
        most = most.max(engine().instances().0);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for call in staying {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    }
    most == all
}
