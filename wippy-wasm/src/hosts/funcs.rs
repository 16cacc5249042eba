//! `wippy:runtime/funcs`: guests call other functions, under the context of their own call.

use std::{
    future::{Future, poll_fn, ready},
    pin::Pin,
    task,
};

use wasmtime::{StoreContextMut, component::Linker};
use wippy_registry::EntryId;
use wippy_security::{CallError, Context, ErrorKind, stack::StackMark};
use wippy_wit::{Value, ValueReader, ValueWriter, json};

use crate::{
    abi::{Callee, Givable, Given, Passed},
    limits::Exceeded,
    state::GuestState,
};

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut funcs = linker.instance("wippy:runtime/funcs@0.1.0")?;
    funcs.func_wrap_async(
        "call-string",
        |store, (target, input): (Passed<str>, Passed<str>)| call_text::<_, str>(store, &target, input),
    )?;
    funcs.func_wrap_async(
        "call-bytes",
        |store, (target, input): (Passed<str>, Passed<[u8]>)| call_text::<_, [u8]>(store, &target, input),
    )?;
    funcs.func_wrap_async("call-json", |mut store, (target, arguments): (String, String)| {
        let context = caller(&mut store);
        let max = store.data().host_bytes;
        Box::new(async move {
            if json_cost(&arguments) > max {
                return Err(Exceeded::HostBytes(max).into());
            }
            let outcome = call_json(context, &target, &arguments).await;
            Ok((outcome.map_err(|error| report(&error)),))
        })
    })
}

/// The context to call with, if the guest may call at all now.
fn caller(store: &mut StoreContextMut<'_, GuestState>) -> Result<Context, CallError> {
    may_call(store.data_mut()).cloned()
}

/// The context of the guest's call, if the guest may call others now.
fn may_call(state: &mut GuestState) -> Result<&mut Context, CallError> {
    let context = state
        .context
        .as_mut()
        .ok_or_else(|| CallError::internal("functions cannot be called while an instance is made"))?;
    if let Some(max) = state.call_depth
        && context.depth() >= max
    {
        let message =
            format!("calls are nested too deeply: the limit `max_call_depth` of the caller is {max}");
        return Err(CallError::new(ErrorKind::Unavailable, message).with_retryable(false));
    }
    if let Some(pool) = state.pool
        && !state.is_outward
    {
        *context = context.from_within(pool);
        state.is_outward = true;
    }
    Ok(context)
}

/// The function that the guest calls, if it may call any now. Whoever takes it [gives it back](give_back), unless the call is
/// dropped while it runs, as the instance is then.
fn take(store: &mut StoreContextMut<'_, GuestState>, target: &Passed<str>) -> Result<Callee, CallError> {
    may_call(store.data_mut())?;
    let name = target.bytes(store);
    let callees = &store.data().callees;
    let known = callees
        .iter()
        .rposition(|callee| callee.name().as_bytes() == name);
    match known {
        Some(known) => Ok(store.data_mut().callees.swap_remove(known)),
        None => find(store.data(), name),
    }
}

#[cold]
fn find(state: &GuestState, name: &[u8]) -> Result<Callee, CallError> {
    let name = String::from_utf8_lossy(name);
    let context = state.context.as_ref();
    let context = context.ok_or_else(|| CallError::internal("a call lost its context"))?;
    let id = EntryId::parse(&name).map_err(|error| CallError::invalid(error.to_string()))?;
    let function = context.dispatcher().resolve_for(context, &id)?;
    Ok(Callee::new(name.into(), function))
}

fn give_back(state: &mut GuestState, callee: Callee) {
    if state.callees.len() < CALLEES_MAX {
        state.callees.push(callee);
    }
}

/// What a guest hears of a call.
type Answer<R> = Result<Given<R>, Box<str>>;

/// Calls a function that takes a string, or bytes, and returns such.
fn call_text<'a, T, R>(
    mut store: StoreContextMut<'a, GuestState>,
    target: &Passed<str>,
    input: Passed<T>,
) -> Box<dyn Future<Output = wasmtime::Result<(Answer<R>,)>> + Send + 'a>
where
    T: ?Sized,
    R: Givable + ?Sized + 'static,
{
    let mut callee = match take(&mut store, target) {
        Ok(callee) => callee,
        Err(error) => return Box::new(ready(Ok((Err(report(&error).into()),)))),
    };
    match callee.begin(&store, input) {
        // The usual case.
        Some(outcome) => Box::new(ready(Ok((answer(&mut store, callee, outcome),)))),
        None => Box::new(async move {
            let outcome = callee.wait().await;
            Ok((answer(&mut store, callee, outcome),))
        }),
    }
}

/// What a call that has ended gives the guest.
fn answer<R: Givable + ?Sized>(
    store: &mut StoreContextMut<'_, GuestState>,
    mut callee: Callee,
    outcome: Result<(), CallError>,
) -> Answer<R> {
    let result = callee.end();
    let given = outcome.and_then(|()| match result.map(R::given) {
        Ok(Some(given)) => Ok(given),
        Ok(None) => Err(no_text(callee.name())),
        Err(found) => Err(unexpected(callee.name(), found)),
    });
    give_back(store.data_mut(), callee);
    given.map_err(|error| report(&error).into())
}

#[cold]
fn no_text(target: &str) -> CallError {
    CallError::internal(format!("`{target}` returned a string that is not UTF-8"))
}

#[cold]
fn unexpected(target: &str, found: &str) -> CallError {
    CallError::invalid(format!("`{target}` returned {found}, expected a string"))
}

/// So many functions that a guest calls are remembered by their names.
const CALLEES_MAX: usize = 16;

/// What a JSON text may take once it is read, in bytes: a digit and a comma become a value of many.
pub(super) fn json_cost(text: &str) -> usize {
    const VALUE_COST: usize = 96;
    let values = text
        .bytes()
        .filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{'));
    text.len()
        .saturating_add(values.count().saturating_mul(VALUE_COST))
}

async fn call_json(
    context: Result<Context, CallError>,
    target: &str,
    arguments: &str,
) -> Result<String, CallError> {
    let arguments = json_arguments(arguments)?;
    let value = call(context, target, &arguments).await?;
    Ok(json::from_value(&value)?.to_string())
}

/// The values of a JSON array.
pub(super) fn json_arguments(text: &str) -> Result<Vec<Value>, CallError> {
    let arguments: Vec<serde_json::Value> = serde_json::from_str(text)
        .map_err(|error| CallError::invalid(format!("the arguments are no JSON array: {error}")))?;
    let values = arguments.iter().map(json::to_value).collect::<Result<_, _>>()?;
    Ok(values)
}

async fn call(
    context: Result<Context, CallError>,
    target: &str,
    arguments: &[Value],
) -> Result<Value, CallError> {
    let context = context?;
    let id = EntryId::parse(target).map_err(|error| CallError::invalid(error.to_string()))?;
    let dispatcher = context.dispatcher();
    let function = dispatcher.resolve_for(&context, &id)?;
    let (mut reader, mut writer) = (ValueReader::arguments(arguments), ValueWriter::default());
    {
        let mut calling = dispatcher.call(&context, &function, &mut reader, &mut writer)?;
        let on_its_stack = |cx: &mut task::Context<'_>| {
            let _mark = StackMark::guest();
            Pin::new(&mut calling).poll(cx)
        };
        poll_fn(on_its_stack).await?;
    }
    Ok(writer.finish())
}

/// An error as guests see it.
pub(super) fn report(error: &CallError) -> String {
    format!("{}: {}", error.kind(), error.message())
}
