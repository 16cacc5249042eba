//! The guard: the only place that decides, and the only one that makes a [`Permit`].

use wippy_wit::Value;

use crate::{CallError, Context, Decision, ErrorKind, Verdict, audit};

/// Proof that the guard allowed one action. It cannot be made, copied or kept: using it consumes it.
///
/// ```compile_fail,E0451
/// let forged = wippy_security::Permit { _private: () };
/// ```
/// ```compile_fail,E0382
/// fn twice(permit: wippy_security::Permit) -> [wippy_security::Permit; 2] {
///     [permit, permit]
/// }
/// ```
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

/// Decides about something that is known by two names: none of them may be denied, and one has to be allowed.
///
/// # Errors
/// As for [`authorize`].
pub(crate) fn authorize_alias(
    context: &Context,
    action: &str,
    alias: &str,
    resource: &str,
) -> Result<Permit, CallError> {
    let asked = |resource| Asked {
        action,
        resource,
        meta: &Value::Nil,
    };
    let (Some(actor), Some(scope)) = (context.actor(), context.scope()) else {
        return decide(context, asked(alias));
    };
    let evaluate = |resource| scope.evaluate(actor, action, resource, &Value::Nil).decision;
    match (evaluate(alias), evaluate(resource)) {
        // The one that decides is asked once more, for the audit trail and the refusal.
        (Decision::Deny, _) | (Decision::Allow, Decision::Undefined) => decide(context, asked(alias)),
        (Decision::Allow | Decision::Undefined, _) => decide(context, asked(resource)),
    }
}

/// A permit for what needs no further question: an edge starts something, or what runs goes on.
pub(crate) fn granted() -> Permit {
    Permit { _private: () }
}

/// Whether the actor of `context` may do `action` on `resource`, for those who only ask: nothing is done, so there is
/// neither a permit nor a record of a refusal.
pub fn allows(context: &Context, action: &str, resource: &str, meta: &Value) -> bool {
    let asked = Asked {
        action,
        resource,
        meta,
    };
    weigh(context, asked).0
}

/// Whether it is allowed, and what the scope said if it was asked.
fn weigh<'c>(context: &'c Context, asked: Asked<'_>) -> (bool, Option<Verdict<'c>>) {
    let (Some(actor), Some(scope)) = (context.actor(), context.scope()) else {
        return (!context.dispatcher().is_strict(), None);
    };
    let verdict = scope.evaluate(actor, asked.action, asked.resource, asked.meta);
    (verdict.decision == Decision::Allow, Some(verdict))
}

fn decide(context: &Context, asked: Asked<'_>) -> Result<Permit, CallError> {
    let (is_allowed, verdict) = weigh(context, asked);
    if is_allowed {
        audit::allowed(context, asked, verdict);
        Ok(Permit { _private: () })
    } else {
        audit::refused(context, asked, verdict);
        context.dispatcher().count_refusal();
        Err(refusal(context, asked))
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
