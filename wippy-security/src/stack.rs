//! How much of the native stack calls have taken that nest in each other, and whose it is: a thread's, or a guest's own.
//!
//! A guest that calls another function waits for it on its own stack. That has room for what the host does there, but not
//! for a second guest that takes as much as it may.

use std::{cell::Cell, hint::black_box};

/// Bytes that calls take of a stack before those that can do so begin on another one.
struct Limits {
    deep: usize,
    /// Before those that cannot are refused. What begins just before that, such as a script, takes half a megabyte at most: in a
    /// script, functions in C call each other two hundred deep.
    too_deep: usize,
}

/// Threads have two megabytes at least, of which a guest that fails may take a quarter.
const OF_THREADS: Limits = Limits {
    deep: 256 << 10,
    too_deep: 768 << 10,
};

/// Of a guest's stack, the host has one megabyte.
const OF_GUESTS: Limits = Limits {
    deep: 64 << 10,
    too_deep: 384 << 10,
};

/// The stack that is in use.
#[derive(Clone, Copy)]
struct Stack {
    /// Where calls begin to nest on it; 0 if none do.
    bottom: usize,
    is_guests: bool,
}

thread_local! {
    static STACK: Cell<Stack> = const {
        Cell::new(Stack {
            bottom: 0,
            is_guests: false,
        })
    };
}

#[inline(never)]
fn here() -> usize {
    let marker = 0_u8;
    black_box(&raw const marker) as usize
}

/// Bytes that calls have taken of the stack, and what they may take.
fn taken() -> (usize, Limits) {
    let Stack { bottom, is_guests } = STACK.get();
    let taken = match bottom {
        0 => 0,
        bottom => bottom.saturating_sub(here()),
    };
    (taken, if is_guests { OF_GUESTS } else { OF_THREADS })
}

/// Whether calls have taken much of the stack, so that another one should begin when they have left it, if it can.
pub fn is_deep() -> bool {
    let (taken, limits) = taken();
    taken > limits.deep
}

/// Whether calls have taken so much of the stack that no other one may begin there.
pub fn is_too_deep() -> bool {
    let (taken, limits) = taken();
    taken > limits.too_deep
}

/// Whether the stack is a thread's, as far as [`StackMark::guest`] has not said otherwise.
pub fn is_threads() -> bool {
    !STACK.get().is_guests
}

/// Says what the stack is from here on, until it is dropped.
#[must_use = "it only says so until it is dropped"]
pub struct StackMark(Stack);

impl StackMark {
    /// Calls nest from here on, unless they do so already.
    pub fn nesting() -> Self {
        let before = STACK.get();
        if before.bottom == 0 {
            STACK.set(Stack {
                bottom: here(),
                ..before
            });
        }
        Self(before)
    }

    /// It is that of a guest, which waits for what is done on it.
    pub fn guest() -> Self {
        Self(STACK.replace(Stack {
            bottom: here(),
            is_guests: true,
        }))
    }
}

impl Drop for StackMark {
    fn drop(&mut self) {
        STACK.set(self.0);
    }
}
