//! From what stopped a guest to the error that its caller sees.

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace, component::ResourceTableError};
use wasmtime_wasi::I32Exit;
use wippy_security::{CallError, ErrorKind};
use wippy_wit::Value;

use crate::{
    limits::{Exceeded, Limits, Lingered, TooMuch},
    module::Module,
};

/// The error for what stopped a call of `method` of `module`.
///
/// Callers learn what the guest did wrong and where in the guest, never anything of the host.
#[cold]
pub(crate) fn classify(error: &wasmtime::Error, module: &Module, method: &str) -> CallError {
    let id = module.id.as_str();
    if let Some(error) = error.downcast_ref::<wippy_wit::Error>() {
        return CallError::invalid(format!("{id}: {error}"));
    }
    // What a channel failed with that the guest was given.
    if let Some(error) = error.downcast_ref::<CallError>() {
        return CallError::new(error.kind(), format!("{id}: {}", error.message()));
    }
    if let Some(exceeded) = exceeded_in(error, &module.limits) {
        return limit(exceeded, id, method, error);
    }
    if let Some(I32Exit(code)) = error.downcast_ref::<I32Exit>() {
        let details = Value::record([("exit_code", Value::Integer(i64::from(*code)))]);
        return CallError::internal(format!("{id}: the guest exited with code {code}")).with_details(details);
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        let details = details(method, error, [("trap", Value::string(trap_name(*trap)))]);
        return CallError::internal(format!("{id}: the guest trapped: {trap}")).with_details(details);
    }
    if is_crowded(error) {
        return no_slot(id);
    }
    if let Some(lingered) = error.downcast_ref::<Lingered>() {
        let details = details(method, error, [("trap", Value::string("stopped"))]);
        return CallError::internal(format!("{id}: {lingered}")).with_details(details);
    }
    let reason = crate::engine::first_line(error);
    CallError::internal(format!("{id}: the guest broke its contract: {reason}")).with_details(details(
        method,
        error,
        [("trap", Value::string("abi"))],
    ))
}

/// Whether the pool of an engine lacked something.
pub(crate) fn is_crowded(error: &wasmtime::Error) -> bool {
    error.downcast_ref::<PoolConcurrencyLimitError>().is_some()
}

/// The error for a call that found no room for an instance.
#[cold]
pub(crate) fn no_slot(id: &str) -> CallError {
    let message = format!("{id}: all instance slots of the engine are taken");
    CallError::new(ErrorKind::Unavailable, message)
}

/// The limit that `error` is about, if it is about one. The engine guards some limits itself and has its own words.
fn exceeded_in(error: &wasmtime::Error, limits: &Limits) -> Option<Exceeded> {
    if let Some(exceeded) = error.downcast_ref::<Exceeded>() {
        return Some(*exceeded);
    }
    if let Some(Trap::OutOfFuel) = error.downcast_ref::<Trap>() {
        return limits.fuel.map(Exceeded::Fuel);
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref::<ResourceTableError>() {
        return Some(Exceeded::Resources(limits.resources));
    }
    if error.is::<TooMuch>() {
        return Some(Exceeded::HostBytes(limits.host_bytes));
    }
    let cause = error.root_cause().to_string();
    let says = |text| cause.contains(text);
    if says("fuel allocated for hostcalls has been exhausted") {
        return Some(Exceeded::HostBytes(limits.host_bytes));
    }
    says("store handle limit exceeded").then_some(Exceeded::Resources(limits.resources))
}

/// The code that a guest exited with, if that is what stopped it.
pub(crate) fn exit_code(error: &wasmtime::Error) -> Option<i32> {
    error.downcast_ref::<I32Exit>().map(|exit| exit.0)
}

/// The error for a call that went over a limit.
pub(crate) fn exceeded(exceeded: Exceeded, id: &str, method: &str) -> CallError {
    limit(exceeded, id, method, &exceeded.into())
}

fn limit(exceeded: Exceeded, id: &str, method: &str, error: &wasmtime::Error) -> CallError {
    let kind = match exceeded {
        Exceeded::Deadline | Exceeded::Execution(_) => ErrorKind::Timeout,
        Exceeded::Memory(_)
        | Exceeded::Table(_)
        | Exceeded::HostBytes(_)
        | Exceeded::Resources(_)
        | Exceeded::Output(_)
        | Exceeded::Fuel(_) => ErrorKind::Internal,
    };
    let value = Value::Integer(i64::try_from(exceeded.value()).unwrap_or(i64::MAX));
    let extra = [("limit", Value::string(exceeded.name())), ("value", value)];
    CallError::new(kind, format!("{id}: {exceeded}")).with_details(details(method, error, extra))
}

fn details<const N: usize>(method: &str, error: &wasmtime::Error, extra: [(&str, Value); N]) -> Value {
    let mut fields = vec![("method", Value::string(method))];
    fields.extend(extra);
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        fields.push(("backtrace", Value::array(frames(backtrace))));
    }
    Value::record(fields)
}

/// The guest's own frames, innermost first.
fn frames(backtrace: &WasmBacktrace) -> Vec<Value> {
    const FRAMES_MAX: usize = 32;
    let frames = backtrace.frames().iter().take(FRAMES_MAX);
    let text = |frame: &wasmtime::FrameInfo| {
        let function = frame.func_name().map_or_else(
            || format!("function {}", frame.func_index()),
            |name| rustc_demangle::demangle(name).to_string(),
        );
        match frame.module().name() {
            Some(module) => format!("{module}!{function}"),
            None => function,
        }
    };
    frames.map(|frame| Value::string(text(frame))).collect()
}

/// A trap's name for programs.
fn trap_name(trap: Trap) -> &'static str {
    match trap {
        Trap::StackOverflow => "stack_overflow",
        Trap::MemoryOutOfBounds => "memory_out_of_bounds",
        Trap::HeapMisaligned => "heap_misaligned",
        Trap::TableOutOfBounds => "table_out_of_bounds",
        Trap::IndirectCallToNull => "indirect_call_to_null",
        Trap::BadSignature => "bad_signature",
        Trap::IntegerOverflow => "integer_overflow",
        Trap::IntegerDivisionByZero => "integer_division_by_zero",
        Trap::BadConversionToInteger => "bad_conversion_to_integer",
        Trap::UnreachableCodeReached => "unreachable",
        Trap::Interrupt => "interrupt",
        Trap::OutOfFuel => "out_of_fuel",
        Trap::CannotEnterComponent => "cannot_enter_component",
        Trap::CannotLeaveComponent => "cannot_leave_component",
        Trap::AsyncDeadlock => "async_deadlock",
        // The engine's list is open; what is not named here is still told by the message.
        _ => "trap",
    }
}
