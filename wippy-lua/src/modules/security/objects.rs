//! The methods of actors, scopes and policies. None of them changes what it is called on.

use std::sync::Arc;

use mlua::{FromLua, Lua, MetaMethod, Table, UserData, UserDataMethods, Value as LuaValue};
use wippy_registry::EntryId;
use wippy_security::{Actor, CallError, Policy, Scope};

use super::{make_scope, read_meta};
use crate::{
    errors,
    modules::owned::{Owned, current},
    raw,
};

impl UserData for Owned<Actor> {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_function("id", |lua, this: Self| lua.create_string(&*this.thing.id));
        methods.add_function("meta", |lua, this: Self| {
            if this.thing.meta.is_nil() {
                return lua.create_table().map(LuaValue::Table);
            }
            raw::write_value(lua, &this.thing.meta)
        });
        methods.add_meta_function(MetaMethod::ToString, |_, this: Self| {
            Ok(format!("actor: {}", this.thing.id))
        });
    }
}

impl UserData for Owned<Scope> {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_function("with", |lua, (this, policy): (Self, Owned<Policy>)| {
            make_scope(lua, || this.thing.with(policy.thing))
        });
        methods.add_function("without", |lua, (this, policy): (Self, PolicyId)| {
            make_scope(lua, || this.thing.without(&policy.0))
        });
        methods.add_function("contains", |_, (this, policy): (Self, PolicyId)| {
            Ok(this.thing.contains(&policy.0))
        });
        methods.add_function("policies", |lua, this: Self| {
            let context = current(lua).map_err(errors::raise)?;
            let policies = this.thing.policies();
            Ok(policies
                .map(|policy| Owned::new(policy.clone(), &context))
                .collect::<Vec<_>>())
        });
        methods.add_function("evaluate", |lua, (this, question): (Self, Question)| {
            question.ask(lua, &this.thing)
        });
        methods.add_meta_function(MetaMethod::ToString, |_, this: Self| {
            Ok(format!("scope: {:?}", this.thing))
        });
    }
}

impl UserData for Owned<Policy> {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_function("id", |lua, this: Self| {
            lua.create_string(this.thing.id().as_str())
        });
        methods.add_function("evaluate", |lua, (this, question): (Self, Question)| {
            question.ask(lua, &Scope::new([this.thing]))
        });
        methods.add_meta_function(MetaMethod::ToString, |_, this: Self| {
            Ok(format!("policy: {}", this.thing.id()))
        });
    }
}

/// A policy, or its id.
struct PolicyId(EntryId);

impl FromLua for PolicyId {
    fn from_lua(value: LuaValue, lua: &Lua) -> mlua::Result<Self> {
        if let LuaValue::String(id) = &value {
            let id = EntryId::parse(&id.to_string_lossy());
            return id
                .map(Self)
                .map_err(|error| errors::raise(CallError::invalid(error.to_string())));
        }
        let policy = Owned::<Policy>::from_lua(value, lua)?;
        Ok(Self(policy.thing.id().clone()))
    }
}

/// `actor, action, resource [, meta]`: what is asked of a scope or a policy.
struct Question {
    actor: Arc<Actor>,
    action: String,
    resource: String,
    meta: Option<Table>,
}

impl mlua::FromLuaMulti for Question {
    fn from_lua_multi(values: mlua::MultiValue, lua: &Lua) -> mlua::Result<Self> {
        let (actor, action, resource, meta) =
            <(Owned<Actor>, String, String, Option<Table>)>::from_lua_multi(values, lua)?;
        Ok(Self {
            actor: actor.thing,
            action,
            resource,
            meta,
        })
    }
}

impl Question {
    fn ask(self, lua: &Lua, scope: &Scope) -> mlua::Result<String> {
        let meta = read_meta(lua, self.meta)?;
        let verdict = scope.evaluate(&self.actor, &self.action, &self.resource, &meta);
        Ok(verdict.decision.to_string())
    }
}
