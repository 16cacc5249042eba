//! The guard: the only place that decides, and the only one that makes a [`Permit`].

use wippy_wit::Value;

use crate::{CallError, Context, Decision, ErrorKind, Verdict, audit};

/// Proof that the guard allowed one action. It cannot be made, copied or kept: using it consumes it.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    _private: (),
}

/// What a context asks to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) action: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) meta: &'a Value,
}

/// Decides whether the actor of `context` may do `action` on `resource`, about which nothing more is known.
///
/// With both an actor and a scope, the scope's policies decide and silence refuses. With either missing the action
/// is allowed, unless the dispatcher runs in strict mode.
///
/// # Errors
/// [`ErrorKind::PermissionDenied`], naming the actor, the action and the resource. Every refusal is an audit record.
pub fn authorize(context: &Context, action: &str, resource: &str) -> Result<Permit, CallError> {
    decide(
        context,
        Asked {
            action,
            resource,
            meta: &Value::Nil,
        },
    )
}

/// Like [`authorize`], with what policies may ask about the request as `meta.…`.
///
/// # Errors
/// As for [`authorize`].
pub fn authorize_with(
    context: &Context,
    action: &str,
    resource: &str,
    meta: &Value,
) -> Result<Permit, CallError> {
    decide(
        context,
        Asked {
            action,
            resource,
            meta,
        },
    )
}

/// Whether [`authorize`] would allow it. For leaving things out of a listing: it makes no permit and no record.
pub fn is_allowed(context: &Context, action: &str, resource: &str) -> bool {
    let asked = Asked {
        action,
        resource,
        meta: &Value::Nil,
    };
    allows(context, evaluate(context, asked))
}

fn decide(context: &Context, asked: Asked<'_>) -> Result<Permit, CallError> {
    let verdict = evaluate(context, asked);
    if allows(context, verdict) {
        audit::allowed(context, asked, verdict);
        Ok(Permit { _private: () })
    } else {
        audit::refused(context, asked, verdict);
        Err(refusal(context, asked))
    }
}

/// What the policies say, if the context has both an actor and a scope.
fn evaluate<'a>(context: &'a Context, asked: Asked<'_>) -> Option<Verdict<'a>> {
    let (actor, scope) = (context.actor()?, context.scope()?);
    Some(scope.evaluate(actor, asked.action, asked.resource, asked.meta))
}

fn allows(context: &Context, verdict: Option<Verdict<'_>>) -> bool {
    match verdict {
        Some(verdict) => verdict.decision == Decision::Allow,
        None => !context.dispatcher().is_strict(),
    }
}

/// Says which actor, action and resource it was about, but not which policy: that is for the audit only.
#[cold]
fn refusal(context: &Context, asked: Asked<'_>) -> CallError {
    let Asked { action, resource, .. } = asked;
    let who = match (context.actor(), context.scope()) {
        (Some(actor), Some(_)) => format!("actor `{}`", actor.id),
        (Some(actor), None) => format!("actor `{}` without a scope", actor.id),
        (None, _) => "actor `nobody`".to_owned(),
    };
    CallError::new(
        ErrorKind::PermissionDenied,
        format!("{who} may not do `{action}` on `{resource}`"),
    )
}
