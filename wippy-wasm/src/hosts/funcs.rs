//! `wippy:runtime/funcs`: guests call other functions, under the context of their own call.

use std::sync::Arc;

use wasmtime::{StoreContextMut, component::Linker};
use wippy_registry::EntryId;
use wippy_security::{CallError, Context, ErrorKind, Function};
use wippy_wit::{Value, ValueReader, ValueWriter, json};

use super::text::{TextArgument, TextResult};
use crate::{limits::Exceeded, state::GuestState};

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut funcs = linker.instance("wippy:runtime/funcs@0.1.0")?;
    funcs.func_wrap_async("call-string", |mut store, (target, input): (String, String)| {
        let callee = callee(&mut store, &target);
        Box::new(async move {
            let outcome = call_text(callee, &target, input.as_bytes()).await;
            let outcome = outcome.and_then(|text| utf8(&target, text));
            Ok((outcome.map_err(|error| report(&error)),))
        })
    })?;
    funcs.func_wrap_async("call-bytes", |mut store, (target, input): (String, Vec<u8>)| {
        let callee = callee(&mut store, &target);
        Box::new(async move {
            let outcome = call_text(callee, &target, &input).await;
            Ok((outcome.map_err(|error| report(&error)),))
        })
    })?;
    funcs.func_wrap_async("call-json", |store, (target, arguments): (String, String)| {
        let context = caller(&store);
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
fn caller(store: &StoreContextMut<'_, GuestState>) -> Result<Context, CallError> {
    let state = store.data();
    let context = state
        .context
        .clone()
        .ok_or_else(|| CallError::internal("functions cannot be called while an instance is made"))?;
    match state.call_depth {
        Some(max) if context.depth() >= max => {
            let message =
                format!("calls are nested too deeply: the limit `max_call_depth` of the caller is {max}");
            Err(CallError::new(ErrorKind::Unavailable, message).with_retryable(false))
        }
        Some(_) | None => Ok(match state.pool {
            Some(pool) => context.from_within(pool),
            None => context,
        }),
    }
}

/// The context to call with, and the function that `target` names.
fn callee(
    store: &mut StoreContextMut<'_, GuestState>,
    target: &str,
) -> Result<(Context, Arc<Function>), CallError> {
    let context = caller(store)?;
    let callees = &mut store.data_mut().callees;
    if let Some((_, function)) = callees.iter().find(|(known, _)| **known == *target) {
        return Ok((context, Arc::clone(function)));
    }
    let id = EntryId::parse(target).map_err(|error| CallError::invalid(error.to_string()))?;
    let function = context.dispatcher().resolve_for(&context, &id)?;
    if callees.len() < CALLEES_MAX {
        callees.push((target.into(), Arc::clone(&function)));
    }
    Ok((context, function))
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

/// Calls a function that takes a string and returns one.
async fn call_text(
    callee: Result<(Context, Arc<Function>), CallError>,
    target: &str,
    input: &[u8],
) -> Result<Vec<u8>, CallError> {
    let (context, function) = callee?;
    let (mut reader, mut writer) = (TextArgument::new(input), TextResult::default());
    let dispatcher = context.dispatcher();
    dispatcher
        .call(&context, &function, &mut reader, &mut writer)?
        .await?;
    let expected = |found| CallError::invalid(format!("`{target}` returned {found}, expected a string"));
    writer.finish().map_err(expected)
}

fn utf8(target: &str, text: Vec<u8>) -> Result<String, CallError> {
    String::from_utf8(text)
        .map_err(|_| CallError::internal(format!("`{target}` returned a string that is not UTF-8")))
}

/// An error as guests see it.
pub(super) fn report(error: &CallError) -> String {
    format!("{}: {}", error.kind(), error.message())
}
