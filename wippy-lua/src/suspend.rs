//! Blocking functions in safe code.

use std::future::Future;

use mlua::{FromLuaMulti, Function, Lua, MultiValue};
use wippy_security::CallError;

use crate::raw::{self, Completion, Suspension};

/// Makes a Lua function of `start`. It reads its arguments and answers a future; the running coroutine waits for that,
/// and what it gives makes the function's results.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn suspending<A, F, W, C>(lua: &Lua, start: F) -> mlua::Result<Function>
where
    A: FromLuaMulti,
    F: Fn(&Lua, A) -> mlua::Result<W> + Send + 'static,
    W: Future<Output = C> + Send + 'static,
    C: FnOnce(&Lua) -> mlua::Result<MultiValue> + Send + 'static,
{
    raw::suspending_function(lua, move |lua, arguments| {
        let waiting = start(lua, A::from_lua_multi(arguments, lua)?)?;
        let suspension: Suspension = Box::pin(async move {
            let completion: Completion = Box::new(waiting.await);
            Ok(completion)
        });
        Ok(suspension)
    })
}

/// Does `work` on a thread where blocking does not matter.
///
/// # Errors
/// What the work says.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CallError> + Send + 'static,
) -> Result<T, CallError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(CallError::internal("blocking work was interrupted")))
}
