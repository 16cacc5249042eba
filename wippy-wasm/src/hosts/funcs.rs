//! `wippy:runtime/funcs`: guests call other functions, under the context of their own call.

use wasmtime::{StoreContextMut, component::Linker};
use wippy_registry::EntryId;
use wippy_security::{CallError, Context, ErrorKind};
use wippy_wit::{Value, ValueReader, ValueWriter, json};

use crate::{limits::Exceeded, state::GuestState};

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut funcs = linker.instance("wippy:runtime/funcs@0.1.0")?;
    funcs.func_wrap_async("call-string", |store, (target, input): (String, String)| {
        let context = caller(&store);
        Box::new(async move {
            let outcome = call(context, &target, &[Value::from(input)])
                .await
                .and_then(|value| text(&target, value));
            Ok((outcome.map_err(|error| report(&error)),))
        })
    })?;
    funcs.func_wrap_async("call-bytes", |store, (target, input): (String, Vec<u8>)| {
        let context = caller(&store);
        Box::new(async move {
            let outcome = call(context, &target, &[Value::string(input)])
                .await
                .and_then(|value| bytes(&target, value));
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
        Some(_) | None => Ok(context),
    }
}

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

fn text(target: &str, value: Value) -> Result<String, CallError> {
    match bytes(target, value).map(String::from_utf8) {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(_)) => Err(CallError::internal(format!(
            "`{target}` returned a string that is not UTF-8"
        ))),
        Err(error) => Err(error),
    }
}

fn bytes(target: &str, value: Value) -> Result<Vec<u8>, CallError> {
    match value {
        Value::String(bytes) => Ok(bytes.into_vec()),
        other => {
            let found = other.datum().type_name().to_owned();
            Err(CallError::invalid(format!(
                "`{target}` returned {found}, expected a string"
            )))
        }
    }
}

/// An error as guests see it.
pub(super) fn report(error: &CallError) -> String {
    format!("{}: {}", error.kind(), error.message())
}
