//! `wippy:runtime/context`: a guest reads for whom it runs, and what came with the request. It can change nothing.

use wasmtime::{StoreContextMut, component::Linker};
use wippy_security::Context;
use wippy_wit::{Value, json};

use crate::state::GuestState;

type Store<'a> = StoreContextMut<'a, GuestState>;

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut context = linker.instance("wippy:runtime/context@0.1.0")?;
    context.func_wrap("actor-id", |store: Store<'_>, (): ()| {
        let actor = current(&store).and_then(Context::actor);
        Ok((actor.map(|actor| actor.id.to_string()),))
    })?;
    context.func_wrap("actor-meta", |store: Store<'_>, (): ()| {
        let actor = current(&store).and_then(Context::actor);
        Ok((actor.and_then(|actor| text(&actor.meta)),))
    })?;
    context.func_wrap("value", |store: Store<'_>, (key,): (String,)| {
        let values = current(&store).map(Context::values);
        Ok((values.and_then(|values| values.get(&*key)).and_then(text),))
    })?;
    context.func_wrap("call-id", |store: Store<'_>, (): ()| {
        let call = current(&store).and_then(Context::call_id);
        Ok((call.map(str::to_owned),))
    })
}

/// The context of the call that runs; none while an instance is made.
fn current<'a>(store: &'a Store<'_>) -> Option<&'a Context> {
    store.data().context.as_ref()
}

/// A value as JSON; none for nil, and for what has no form outside its own language.
fn text(value: &Value) -> Option<String> {
    if *value == Value::Nil {
        return None;
    }
    json::from_value(value).ok().map(|json| json.to_string())
}
