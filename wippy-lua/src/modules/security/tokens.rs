//! Token stores: `create`, `validate`, `revoke`, `close`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mlua::{FromLua, IntoLuaMulti, Lua, MetaMethod, Table, UserData, UserDataMethods, Value as LuaValue};
use wippy_registry::schema::duration;
use wippy_security::{Actor, CallError, ErrorKind, Grant, Scope, TokenStore};
use wippy_wit::Value;

use super::{give_actor, give_scope, read_meta};
use crate::{
    errors,
    modules::owned::{Owned, current, unexpected},
    raw,
    suspend::suspending,
    values,
};

/// A token store, until it is closed.
#[derive(Clone)]
pub(super) struct Open {
    store: Owned<TokenStore>,
    is_closed: Arc<AtomicBool>,
}

impl Open {
    pub(super) fn new(store: Owned<TokenStore>) -> Self {
        Self {
            store,
            is_closed: Arc::default(),
        }
    }

    fn get(self) -> Result<Arc<TokenStore>, CallError> {
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(CallError::new(
                ErrorKind::Unavailable,
                "the token store is closed",
            ));
        }
        Ok(self.store.thing)
    }
}

impl FromLua for Open {
    fn from_lua(value: LuaValue, lua: &Lua) -> mlua::Result<Self> {
        let open = value
            .as_userdata()
            .and_then(|userdata| userdata.borrow::<Self>().ok())
            .map(|open| open.clone())
            .ok_or_else(|| unexpected::<TokenStore>(&value))?;
        open.store.check(lua)?;
        Ok(open)
    }
}

impl UserData for Open {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_function("close", |_, this: Self| {
            this.is_closed.store(true, Ordering::Relaxed);
            Ok(true)
        });
        methods.add_meta_method(MetaMethod::Close, |_, this, _error: LuaValue| {
            this.is_closed.store(true, Ordering::Relaxed);
            Ok(())
        });
        methods.add_meta_method(MetaMethod::Index, |lua, _, name: String| {
            lua.named_registry_value::<LuaValue>(&method(&name))
        });
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| {
            Ok(format!("token store: {}", this.store.thing.id()))
        });
    }
}

/// Where the blocking methods are kept: mlua's own methods cannot suspend.
fn method(name: &str) -> String {
    format!("wippy.security.tokens.{name}")
}

/// Makes the methods that wait for a store.
///
/// # Errors
/// When memory does not suffice.
pub(super) fn register(lua: &Lua) -> mlua::Result<()> {
    type Create = (Open, Owned<Actor>, Owned<Scope>, Option<Table>);
    let create = suspending(lua, |lua, (store, actor, scope, options): Create| {
        let (store, context) = (store.get(), current(lua));
        let (expiration, meta) = read_options(lua, options)?;
        let grant = Grant {
            actor: actor.thing,
            scope: scope.thing,
            meta,
        };
        Ok(async move {
            let outcome = async { store?.create(&context?, &grant, expiration?).await }.await;
            move |lua: &Lua| values::answer(lua, outcome.map(|token| token.as_str().into()))
        })
    })?;
    lua.set_named_registry_value(&method("create"), create)?;
    let validate = suspending(lua, |lua, (store, token): (Open, String)| {
        let (store, context) = (store.get(), current(lua));
        Ok(async move {
            let outcome = async { store?.validate(&context?, &token).await }.await;
            move |lua: &Lua| granted(lua, outcome)
        })
    })?;
    lua.set_named_registry_value(&method("validate"), validate)?;
    let revoke = suspending(lua, |lua, (store, token): (Open, String)| {
        let (store, context) = (store.get(), current(lua));
        Ok(async move {
            let outcome = async { store?.revoke(&context?, &token).await }.await;
            move |lua: &Lua| values::answer(lua, outcome.map(Value::Boolean))
        })
    })?;
    lua.set_named_registry_value(&method("revoke"), revoke)
}

/// `actor, scope, nil, meta`, or `nil, nil, err`.
fn granted(lua: &Lua, outcome: Result<Grant, CallError>) -> mlua::Result<mlua::MultiValue> {
    match outcome.and_then(|grant| Ok((current(lua)?, grant))) {
        Ok((context, grant)) => {
            let actor = give_actor(lua, grant.actor, &context)?;
            let scope = give_scope(lua, grant.scope, &context)?;
            let meta = raw::write_value(lua, &grant.meta)?;
            (actor, scope, LuaValue::Nil, meta).into_lua_multi(lua)
        }
        Err(error) => (LuaValue::Nil, LuaValue::Nil, errors::to_lua(lua, error)?).into_lua_multi(lua),
    }
}

type Options = (Result<Option<Duration>, CallError>, Value);

/// `{expiration = "24h" or milliseconds, meta = {...}}`
fn read_options(lua: &Lua, options: Option<Table>) -> mlua::Result<Options> {
    let Some(options) = options else {
        return Ok((Ok(None), Value::Nil));
    };
    let expiration = read_expiration(&options.raw_get("expiration")?);
    Ok((expiration, read_meta(lua, options.raw_get("meta")?)?))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "everything else is no time")]
fn read_expiration(value: &LuaValue) -> Result<Option<Duration>, CallError> {
    let expiration = match value {
        LuaValue::Nil => return Ok(None),
        LuaValue::String(text) => duration::parse(&text.to_string_lossy()),
        LuaValue::Integer(milliseconds) => u64::try_from(*milliseconds).ok().map(Duration::from_millis),
        LuaValue::Number(milliseconds) => Duration::try_from_secs_f64(milliseconds / 1000.0).ok(),
        _ => None,
    };
    let invalid =
        || CallError::invalid("`expiration` is a time such as \"24h\", or a number of milliseconds");
    expiration.map(Some).ok_or_else(invalid)
}
