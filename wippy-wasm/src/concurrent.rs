//! Asynchronous functions, and those that take or give streams.
//!
//! Such a function may go on after it returned: a stream that it gave away has values that it is yet to make. So a call
//! has two parts. [`call`] lasts until the result is there. Then, unless nothing is left to do, [`tail`] takes the instance
//! over and runs it until its streams have ended and its tasks are done, or nobody wants them any more. Nothing is different
//! otherwise: an instance runs one call at a time, under the same context, limits and deadline to its end.

mod function;
mod session;
mod sink;
pub(crate) mod supply;
mod tail;

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use wippy_security::{CallError, Context};
use wippy_wit::{Reader, Writer};

pub(crate) use self::session::Session;
use self::session::Standing;
use crate::{
    abi,
    deadline::{self, Deadline},
    instance::{self, CallFailure, Instance, Invocation},
    module::Module,
    trap,
};

/// Runs a call until its result is there. The streams that cross are those of the session.
async fn call(
    instance: &mut Instance,
    module: &Module,
    invocation: Invocation<'_>,
    context: &Context,
    deadline: Deadline,
    arguments: &mut dyn Reader,
    result: &mut dyn Writer,
) -> (Arc<Session>, Result<(), CallFailure>) {
    let session = Session::new(
        invocation.method,
        module.limits.host_bytes,
        instance.error_contexts(),
    );
    if let Err(failure) = instance.prepare(module, invocation, context, deadline, arguments) {
        return (session, Err(failure));
    }
    let (store, export) = instance.engine_parts();
    let calling = abi::concurrent::call(store, export, invocation, &session, arguments, result);
    let outcome = deadline::within(deadline, calling).await;
    let outcome = outcome.map(|outcome| {
        let returned = outcome?;
        sink::connect(&session, store)?;
        Ok(returned)
    });
    (session, instance::finish(module, invocation.method, outcome))
}

/// Runs a call and everything that it leaves behind, for callers that cannot read streams while it runs.
pub(crate) async fn call_through(
    instance: &mut Instance,
    module: &Module,
    invocation: Invocation<'_>,
    context: &Context,
    deadline: Deadline,
    arguments: &mut dyn Reader,
    result: &mut dyn Writer,
) -> Result<(), CallFailure> {
    if invocation.method.has_streams() {
        let name = &invocation.method.function.signature.name;
        let message = format!(
            "{}: `{name}` has streams, which only functions may have",
            module.id
        );
        return Err(CallFailure::Refused(CallError::invalid(message)));
    }
    let (session, outcome) = call(instance, module, invocation, context, deadline, arguments, result).await;
    if !instance::is_good(&outcome) {
        return outcome;
    }
    match settle(instance, module, &session, deadline).await {
        Ok(()) => outcome,
        Err(error) => Err(CallFailure::Trapped(error, None)),
    }
}

/// Whether a call left nothing behind.
async fn is_settled(instance: &mut Instance, session: &Session) -> bool {
    let (store, _) = instance.engine_parts();
    let asked = store.run_concurrent(async |accessor| {
        poll_fn(|waking| {
            let is_settled = accessor.poll_no_interesting_tasks(waking).is_ready()
                && session.poll_standing(waking) == Poll::Ready(Standing::Settled);
            Poll::Ready(is_settled)
        })
        .await
    });
    asked.await.unwrap_or(false)
}

/// Runs what a call left behind until it is done or nobody wants it any more. If it fails, so do its streams.
async fn settle(
    instance: &mut Instance,
    module: &Module,
    session: &Arc<Session>,
    deadline: Deadline,
) -> Result<(), CallError> {
    let method = &session.method().function.signature.name;
    let (store, _) = instance.engine_parts();
    let running = store.run_concurrent(async |accessor| {
        poll_fn(|waking| {
            let tasks = accessor.poll_no_interesting_tasks(waking);
            match session.poll_standing(waking) {
                Poll::Ready(Standing::Settled) => tasks,
                Poll::Ready(Standing::Abandoned) => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
    });
    let mut running = pin!(session.enter(deadline::within(deadline, running)));
    // A guest that is busy in the host keeps the engine from looking, so it is looked here too.
    let outcome = poll_fn(|waking| match session.poll_standing(waking) {
        Poll::Ready(Standing::Abandoned) => Poll::Ready(Ok(Ok(()))),
        Poll::Ready(Standing::Settled) | Poll::Pending => running.as_mut().poll(waking),
    });
    let error = match outcome.await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => trap::classify(&error, module, method),
        Err(exceeded) => trap::exceeded(exceeded, module.id.as_str(), method),
    };
    session.fail(&error);
    Err(error)
}
