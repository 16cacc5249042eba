//! What an idle process holds of memory, to the byte.

#![expect(unsafe_code, reason = "an allocator that counts is an allocator")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use wippy_security::Spawn;

use crate::{processes::application, support::id};

thread_local! {
    /// What this thread has allocated and not freed.
    static HELD: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

fn count(change: isize) {
    HELD.with(|held| held.set(held.get() + change));
}

fn signed(size: usize) -> isize {
    isize::try_from(size).unwrap_or(isize::MAX)
}

// SAFETY: everything is left to the system's allocator; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(signed(size) - signed(layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The bytes that each process of the script holds once it waits.
async fn held_by(text: &str) -> isize {
    const PROCESSES: isize = 16;
    let app = application(&[("test:idle", text)]);
    let (context, processes) = (app.context(), app.dispatcher.processes());
    let start = || {
        let spawn = Spawn::new(id("test:idle"), id("test:host"), Vec::new());
        processes.launch(&context, spawn, Vec::new()).unwrap()
    };
    // What is made once for all of them is made by the first.
    let mut running = vec![start()];
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
    running.reserve(64);
    let before = HELD.get();
    for _ in 0..PROCESSES {
        running.push(start());
    }
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
    (HELD.get() - before) / PROCESSES
}

#[tokio::test]
async fn an_idle_process_is_small() {
    let text = "return { main = function()
        local inbox = process.inbox()
        while true do
            local msg = inbox:receive()
            process.send(msg:from(), msg:topic(), msg:payload():data())
        end
    end }";
    let held = held_by(text).await;
    assert!(held < 25 << 10, "an idle process holds {held} bytes");
}
