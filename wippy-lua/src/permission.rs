//! Asking the guard: every operation of a module that touches the world does, under the context of the invocation that
//! runs now, whoever made the object that it works on.

use mlua::Lua;
use wippy_registry::EntryId;
use wippy_security::{CallError, Context, Permit, authorize};

use crate::raw;

/// The context of the invocation that runs.
///
/// # Errors
/// When none does.
pub(crate) fn invocation(lua: &Lua) -> Result<Context, CallError> {
    raw::context(lua).ok_or_else(|| CallError::internal("the world was asked for outside of an invocation"))
}

/// Asks the guard for the invocation that runs.
///
/// # Errors
/// When it refuses.
pub(crate) fn permit(lua: &Lua, action: &str, resource: &str) -> Result<Permit, CallError> {
    authorize(&invocation(lua)?, action, resource)
}

/// An entry's id as a script writes it.
///
/// # Errors
/// When it is none.
pub(crate) fn entry_id(text: &str) -> Result<EntryId, CallError> {
    EntryId::parse(text).map_err(|error| CallError::invalid(error.to_string()))
}
