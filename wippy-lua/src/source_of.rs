//! Channels over asynchronous functions.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as Waking, Poll},
};

use mlua::{Lua, Value as LuaValue};

use crate::raw::{self, Delivery, Source};

type Pending = Pin<Box<dyn Future<Output = Option<Delivery>> + Send>>;

/// A channel that gives what `next` answers, call by call, until that is `None`.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn channel_of<F>(lua: &Lua, mut next: impl FnMut() -> F + Send + 'static) -> mlua::Result<LuaValue>
where
    F: Future<Output = Option<Delivery>> + Send + 'static,
{
    let repeated = Repeated {
        next: Box::new(move || Box::pin(next())),
        pending: None,
    };
    raw::sourced_channel(lua, Box::new(repeated))
}

/// Calls a function again once its answer was taken.
struct Repeated {
    next: Box<dyn FnMut() -> Pending + Send>,
    pending: Option<Pending>,
}

impl Source for Repeated {
    fn poll_next(&mut self, waking: &mut Waking<'_>) -> Poll<Option<Delivery>> {
        let pending = self.pending.get_or_insert_with(&mut self.next);
        let answer = std::task::ready!(pending.as_mut().poll(waking));
        self.pending = None;
        Poll::Ready(answer)
    }
}
