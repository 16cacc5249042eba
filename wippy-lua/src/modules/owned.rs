//! [`Owned`]: an actor, a scope and the like in the hands of a script.
//!
//! A script holds them as opaque userdata that it can neither make nor look into, and that no message and no result
//! takes out of its state. A state serves one call after another, so each of them belongs to the execution it was given
//! to: kept in a global, it is worth nothing to the next call.

use std::sync::{Arc, Weak};

use mlua::{FromLua, Lua, UserData, Value as LuaValue};
use wippy_security::{Actor, CallError, Context, ErrorKind, Execution, Policy, Scope, TokenStore};

use super::ledger::Charge;
use crate::{errors, raw};

/// The context of the call that runs.
///
/// # Errors
/// Outside of a call.
pub(crate) fn current(lua: &Lua) -> Result<Context, CallError> {
    raw::context(lua).ok_or_else(|| CallError::internal("this needs a call that it is part of"))
}

/// The execution that something was given to.
#[derive(Clone)]
pub(crate) struct Owner(Weak<Execution>);

impl Owner {
    pub(crate) fn of(context: &Context) -> Self {
        Self(Arc::downgrade(context.execution()))
    }

    /// # Errors
    /// When `context` is that of another execution.
    pub(crate) fn check(&self, context: &Context, what: &str) -> Result<(), CallError> {
        if std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(context.execution())) {
            return Ok(());
        }
        let message = format!("the {what} belongs to another call: get it in the call that uses it");
        Err(CallError::new(ErrorKind::PermissionDenied, message))
    }
}

/// Something of the security layer that a script may hold.
pub(crate) trait Holdable: Send + Sync + 'static {
    /// What messages call it.
    const NAME: &'static str;
    /// The same, as one of them.
    const ONE: &'static str;
    /// Where scripts get one.
    const FROM: &'static str;
}

impl Holdable for Actor {
    const NAME: &'static str = "actor";
    const ONE: &'static str = "an actor";
    const FROM: &'static str = "`security.actor` or `security.new_actor`";
}

impl Holdable for Scope {
    const NAME: &'static str = "scope";
    const ONE: &'static str = "a scope";
    const FROM: &'static str = "`security.scope`, `security.named_scope` or `security.new_scope`";
}

impl Holdable for Policy {
    const NAME: &'static str = "policy";
    const ONE: &'static str = "a policy";
    const FROM: &'static str = "`security.policy`";
}

impl Holdable for TokenStore {
    const NAME: &'static str = "token store";
    const ONE: &'static str = "a token store";
    const FROM: &'static str = "`security.token_store`";
}

/// Something that belongs to one execution.
pub(crate) struct Owned<T> {
    pub(crate) thing: Arc<T>,
    owner: Owner,
    /// What the script pays for it, if it is there for the script alone.
    charge: Option<Arc<Charge>>,
}

impl<T> Owned<T> {
    pub(crate) fn new(thing: Arc<T>, context: &Context) -> Self {
        Self {
            thing,
            owner: Owner::of(context),
            charge: None,
        }
    }

    /// One that the script pays for.
    pub(crate) fn charged(thing: Arc<T>, context: &Context, charge: Arc<Charge>) -> Self {
        Self {
            charge: Some(charge),
            ..Self::new(thing, context)
        }
    }
}

impl<T> Clone for Owned<T> {
    fn clone(&self) -> Self {
        Self {
            thing: self.thing.clone(),
            owner: self.owner.clone(),
            charge: self.charge.clone(),
        }
    }
}

impl<T: Holdable> Owned<T> {
    /// # Errors
    /// When it was given to another execution than the one that runs.
    pub(crate) fn check(&self, lua: &Lua) -> mlua::Result<()> {
        current(lua)
            .and_then(|context| self.owner.check(&context, T::NAME))
            .map_err(errors::raise)
    }
}

/// What to say of a `value` that is no `T`.
pub(crate) fn unexpected<T: Holdable>(value: &LuaValue) -> mlua::Error {
    let (one, from, found) = (T::ONE, T::FROM, value.type_name());
    errors::raise(CallError::invalid(format!(
        "{one} is expected, as {from} answers it, got {found}"
    )))
}

/// What arguments are read by: it takes nothing but what the running execution was given.
impl<T: Holdable> FromLua for Owned<T>
where
    Self: UserData,
{
    fn from_lua(value: LuaValue, lua: &Lua) -> mlua::Result<Self> {
        let owned = value
            .as_userdata()
            .and_then(|userdata| userdata.borrow::<Self>().ok())
            .map(|owned| owned.clone())
            .ok_or_else(|| unexpected::<T>(&value))?;
        owned.check(lua)?;
        Ok(owned)
    }
}
