//! The guard: the only place that decides, and the only one that makes a [`Permit`].

use crate::{CallError, Context, Decision, ErrorKind};

/// Proof that the guard allowed one action. It cannot be made, copied or kept: using it consumes it.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    _private: (),
}

/// Decides whether the actor of `context` may do `action` on `resource`.
///
/// With both an actor and a scope, the scope's policies decide and silence refuses. With either missing the action
/// is allowed, unless the dispatcher runs in strict mode.
///
/// # Errors
/// [`ErrorKind::PermissionDenied`], naming the actor, the action and the resource. Every refusal is an audit record.
pub fn authorize(context: &Context, action: &str, resource: &str) -> Result<Permit, CallError> {
    let allowed = match (context.actor(), context.scope()) {
        (Some(actor), Some(scope)) => scope.evaluate(actor, action, resource) == Decision::Allow,
        _ => !context.dispatcher().is_strict(),
    };
    if allowed { Ok(Permit { _private: () }) } else { Err(refuse(context, action, resource)) }
}

#[cold]
fn refuse(context: &Context, action: &str, resource: &str) -> CallError {
    let actor = context.actor().map_or("nobody", |actor| &actor.id);
    tracing::warn!(target: "wippy::audit", actor, action, resource, decision = "refused");
    CallError::new(
        ErrorKind::PermissionDenied,
        format!("actor `{actor}` may not do `{action}` on `{resource}`"),
    )
}
