//! Whose stack something runs on: that of a thread, or a guest's own.
//!
//! A guest that calls another function waits for it on its stack, which has room for what the host does there, but not for
//! a second guest that takes as much as it may.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

thread_local! {
    static IS_GUESTS: Cell<bool> = const { Cell::new(false) };
}

/// Whether this runs on the stack of a thread, as far as [`on_guests`] knows.
pub(crate) fn is_threads() -> bool {
    !IS_GUESTS.get()
}

/// What is polled while a guest waits for it, on that guest's stack.
pub(crate) fn on_guests<F: Future + Unpin>(future: F) -> impl Future<Output = F::Output> {
    OnGuests(future)
}

struct OnGuests<F>(F);

impl<F: Future + Unpin> Future for OnGuests<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _mark = Mark::new();
        Pin::new(&mut self.0).poll(cx)
    }
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
