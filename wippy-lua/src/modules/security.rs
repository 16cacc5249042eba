//! `security`: who acts, under which policies, and what they allow.
//!
//! Asking about the running call is free. Making an actor or a scope, and getting a policy, a group or a token store, take
//! the permissions `security.…`. What is made here changes nothing yet: only `with_actor` and `with_scope` of a builder
//! do, each behind a permission of its own.

mod objects;
mod tokens;

use std::sync::Arc;

use mlua::{IntoLua, IntoLuaMulti, Lua, MultiValue, Table, Value as LuaValue};
use wippy_registry::EntryId;
use wippy_security::{Actor, CallError, Context, Policy, Scope, TokenStore, allows, authorize};
use wippy_wit::Value;

use super::{
    ledger::charge,
    owned::{Owned, current},
};
use crate::{errors, raw, values};

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua) -> mlua::Result<Table> {
    tokens::register(lua)?;
    let module = lua.create_table()?;
    module.raw_set("actor", lua.create_function(|lua, ()| actor(lua))?)?;
    module.raw_set("scope", lua.create_function(|lua, ()| scope(lua))?)?;
    module.raw_set("can", lua.create_function(can)?)?;
    module.raw_set("new_actor", lua.create_function(new_actor)?)?;
    module.raw_set("new_scope", lua.create_function(new_scope)?)?;
    module.raw_set(
        "policy",
        lua.create_function(|lua, id: String| answer(lua, policy(lua, &id)))?,
    )?;
    module.raw_set(
        "named_scope",
        lua.create_function(|lua, id: String| answer(lua, named_scope(lua, &id)))?,
    )?;
    module.raw_set(
        "token_store",
        lua.create_function(|lua, id: String| answer(lua, token_store(lua, &id)))?,
    )?;
    Ok(module)
}

/// The value, or nil and the error.
fn answer(lua: &Lua, outcome: Result<impl IntoLua, CallError>) -> mlua::Result<MultiValue> {
    match outcome {
        Ok(value) => value.into_lua_multi(lua),
        Err(error) => values::refuse(lua, error),
    }
}

fn actor(lua: &Lua) -> mlua::Result<Option<Owned<Actor>>> {
    let context = current(lua).map_err(errors::raise)?;
    Ok(context.actor().map(|actor| Owned::new(actor.clone(), &context)))
}

fn scope(lua: &Lua) -> mlua::Result<Option<Owned<Scope>>> {
    let context = current(lua).map_err(errors::raise)?;
    Ok(context.scope().map(|scope| Owned::new(scope.clone(), &context)))
}

fn can(lua: &Lua, (action, resource, meta): (String, String, Option<Table>)) -> mlua::Result<bool> {
    let context = current(lua).map_err(errors::raise)?;
    Ok(allows(&context, &action, &resource, &read_meta(lua, meta)?))
}

/// Raises when it is refused, as does `new_scope`: what is made of them cannot be done without them.
fn new_actor(lua: &Lua, (id, meta): (String, Option<Table>)) -> mlua::Result<Owned<Actor>> {
    let context = current(lua).map_err(errors::raise)?;
    if id.is_empty() {
        return Err(errors::raise(CallError::invalid("an actor needs an id")));
    }
    let _permit = authorize(&context, "security.actor.create", &id).map_err(errors::raise)?;
    let meta = read_meta(lua, meta)?;
    give_actor(lua, Arc::new(Actor { id: id.into(), meta }), &context)
}

/// An actor that the script made or had made.
fn give_actor(lua: &Lua, actor: Arc<Actor>, context: &Context) -> mlua::Result<Owned<Actor>> {
    let charge = charge(lua, actor.id.len() + actor.meta.weight())?;
    Ok(Owned::charged(actor, context, charge))
}

fn new_scope(lua: &Lua, policies: Option<Vec<Owned<Policy>>>) -> mlua::Result<Owned<Scope>> {
    let policies = policies.into_iter().flatten();
    make_scope(lua, || Scope::new(policies.map(|policy| policy.thing)))
}

/// A scope that no entry names, be it a new one or one with or without a policy that it had.
fn make_scope(lua: &Lua, make: impl FnOnce() -> Scope) -> mlua::Result<Owned<Scope>> {
    let context = current(lua).map_err(errors::raise)?;
    let _permit = authorize(&context, "security.scope.create", "custom").map_err(errors::raise)?;
    give_scope(lua, Arc::new(make()), &context)
}

/// A scope that the script made or had made.
fn give_scope(lua: &Lua, scope: Arc<Scope>, context: &Context) -> mlua::Result<Owned<Scope>> {
    let charge = charge(lua, scope.policies().len() * size_of::<Arc<Policy>>())?;
    Ok(Owned::charged(scope, context, charge))
}

fn policy(lua: &Lua, id: &str) -> Result<Owned<Policy>, CallError> {
    let (context, id) = guarded(lua, "security.policy.get", id)?;
    let policies = context.dispatcher().policies();
    Ok(Owned::new(policies.policy(&id)?.clone(), &context))
}

fn named_scope(lua: &Lua, id: &str) -> Result<Owned<Scope>, CallError> {
    let (context, id) = guarded(lua, "security.policy_group.get", id)?;
    let policies = context.dispatcher().policies();
    Ok(Owned::new(policies.scope(&id)?.clone(), &context))
}

fn token_store(lua: &Lua, id: &str) -> Result<tokens::Open, CallError> {
    let (context, id) = guarded(lua, "security.token_store.get", id)?;
    let stores = context.dispatcher().token_stores();
    let store: Owned<TokenStore> = Owned::new(stores.get(&id)?.clone(), &context);
    Ok(tokens::Open::new(store))
}

/// The context and the id, if the one may do `action` on the other. Whether there is such a thing is told only then.
fn guarded(lua: &Lua, action: &str, id: &str) -> Result<(Context, EntryId), CallError> {
    let context = current(lua)?;
    let id = EntryId::parse(id).map_err(|error| CallError::invalid(error.to_string()))?;
    let _permit = authorize(&context, action, id.as_str())?;
    Ok((context, id))
}

/// A copy of a table of metadata; nil when there is none.
fn read_meta(lua: &Lua, meta: Option<Table>) -> mlua::Result<Value> {
    let Some(meta) = meta else {
        return Ok(Value::Nil);
    };
    raw::read_value(lua, &LuaValue::Table(meta))
        .map_err(|error| errors::raise(CallError::from(error).context("meta")))
}
