//! Whose stack something runs on: that of a thread, or a guest's own.
//!
//! A guest that calls another function waits for it on its stack, which has room for what the host does there, but not for
//! a second guest that takes as much as it may.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::Pin,
};

thread_local! {
    static IS_GUESTS: Cell<bool> = const { Cell::new(false) };
}

/// Whether this runs on the stack of a thread, as far as [`on_guests`] knows.
pub(crate) fn is_threads() -> bool {
    !IS_GUESTS.get()
}

/// `future`, which a guest waits for and so is polled on that guest's stack.
pub(crate) fn on_guests<F: Future + Unpin>(mut future: F) -> impl Future<Output = F::Output> {
    poll_fn(move |cx| {
        let _mark = Mark::new();
        Pin::new(&mut future).poll(cx)
    })
}

/// Says that this is a guest's stack, until it is dropped.
pub(crate) struct Mark(bool);

impl Mark {
    pub(crate) fn new() -> Self {
        Self(IS_GUESTS.replace(true))
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        IS_GUESTS.set(self.0);
    }
}
