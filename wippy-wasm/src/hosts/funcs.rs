//! `wippy:runtime/funcs`: guests call other functions, under the context of their own call.

use std::borrow::Cow;

use wasmtime::{
    StoreContextMut,
    component::{Linker, WasmList, WasmStr},
};
use wippy_registry::EntryId;
use wippy_security::{Binding, CallError, Context, ErrorKind};
use wippy_wit::{Value, ValueReader, ValueWriter, json};

use super::text::{TextArgument, TextResult};
use crate::{limits::Exceeded, state::GuestState};

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut funcs = linker.instance("wippy:runtime/funcs@0.1.0")?;
    funcs.func_wrap_async("call-string", |store, (target, input): (WasmStr, WasmStr)| {
        Box::new(async move {
            let outcome = call_text(store, &target, &Input::Text(input), utf8).await?;
            Ok((outcome.map_err(|error| report(&error)),))
        })
    })?;
    funcs.func_wrap_async("call-bytes", |store, (target, input): (WasmStr, WasmList<u8>)| {
        Box::new(async move {
            let outcome = call_text(store, &target, &Input::Bytes(input), |_, bytes| Ok(bytes)).await?;
            Ok((outcome.map_err(|error| report(&error)),))
        })
    })?;
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

/// A function that a guest calls, under the name that the guest has for it, with what the instance keeps for calling it.
type Callee = (Box<str>, Binding);

/// The function that `target` names. Whoever takes it gives it [back](give_back), unless it is dropped while it runs, as
/// the instance is then.
fn take(
    store: &mut StoreContextMut<'_, GuestState>,
    context: &Context,
    target: &WasmStr,
) -> wasmtime::Result<Result<Callee, CallError>> {
    let name = target.to_str(&*store)?;
    let known = store
        .data()
        .callees
        .iter()
        .position(|(known, _)| **known == *name);
    if let Some(known) = known {
        return Ok(Ok(store.data_mut().callees.swap_remove(known)));
    }
    let id = EntryId::parse(&name).map_err(|error| CallError::invalid(error.to_string()));
    let function = id.and_then(|id| context.dispatcher().resolve_for(context, &id));
    Ok(function.map(|function| (name.into(), Binding::new(function))))
}

fn give_back(store: &mut StoreContextMut<'_, GuestState>, callee: Callee) {
    let callees = &mut store.data_mut().callees;
    if callees.len() < CALLEES_MAX {
        callees.push(callee);
    }
}

/// What a guest sends: it stays where it is, in the guest's memory, which nobody writes to during the call.
enum Input {
    Text(WasmStr),
    Bytes(WasmList<u8>),
}

impl Input {
    fn bytes<'a>(&self, store: &'a StoreContextMut<'_, GuestState>) -> wasmtime::Result<Cow<'a, [u8]>> {
        match self {
            Self::Text(text) => Ok(match text.to_str(store)? {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            }),
            Self::Bytes(bytes) => Ok(Cow::Borrowed(bytes.as_le_slice(store))),
        }
    }
}

/// Calls a function that takes a string and returns one; `finish` makes of that what the guest gets.
async fn call_text<R>(
    mut store: StoreContextMut<'_, GuestState>,
    target: &WasmStr,
    input: &Input,
    finish: fn(&str, Vec<u8>) -> Result<R, CallError>,
) -> wasmtime::Result<Result<R, CallError>> {
    if let Err(error) = may_call(store.data_mut()) {
        return Ok(Err(error));
    }
    // The guest waits for this, so nobody misses its context meanwhile.
    let Some(context) = store.data_mut().context.take() else {
        return Ok(Err(CallError::internal("a call lost its context")));
    };
    let outcome = call_as(&mut store, &context, target, input, finish).await;
    store.data_mut().context = Some(context);
    outcome
}

async fn call_as<R>(
    store: &mut StoreContextMut<'_, GuestState>,
    context: &Context,
    target: &WasmStr,
    input: &Input,
    finish: fn(&str, Vec<u8>) -> Result<R, CallError>,
) -> wasmtime::Result<Result<R, CallError>> {
    let mut callee = match take(store, context, target)? {
        Ok(callee) => callee,
        Err(error) => return Ok(Err(error)),
    };
    let outcome = send(context, &mut callee, &input.bytes(store)?).await;
    let outcome = outcome.and_then(|text| finish(&callee.0, text));
    give_back(store, callee);
    Ok(outcome)
}

async fn send(context: &Context, (target, binding): &mut Callee, input: &[u8]) -> Result<Vec<u8>, CallError> {
    let (mut reader, mut writer) = (TextArgument::new(input), TextResult::default());
    binding.call(context, &mut reader, &mut writer)?.await?;
    let expected = |found| CallError::invalid(format!("`{target}` returned {found}, expected a string"));
    writer.finish().map_err(expected)
}

fn utf8(target: &str, text: Vec<u8>) -> Result<String, CallError> {
    String::from_utf8(text)
        .map_err(|_| CallError::internal(format!("`{target}` returned a string that is not UTF-8")))
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
    dispatcher
        .call(&context, &function, &mut reader, &mut writer)?
        .await?;
    Ok(writer.finish())
}

/// An error as guests see it.
pub(super) fn report(error: &CallError) -> String {
    format!("{}: {}", error.kind(), error.message())
}
