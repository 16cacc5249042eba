//! The audit trail: one `tracing` record of target `wippy::audit` for every decision that the guard makes.
//!
//! Refusals are warnings. What is allowed is recorded at debug level, which costs one load when nobody listens.

use crate::{Context, guard::Asked, scope::Verdict};

/// Records that `asked` may happen.
#[inline]
pub(crate) fn allowed(context: &Context, asked: Asked<'_>, verdict: Option<Verdict<'_>>) {
    if tracing::enabled!(target: "wippy::audit", tracing::Level::DEBUG) {
        record_allowed(context, asked, verdict);
    }
}

#[cold]
fn record_allowed(context: &Context, asked: Asked<'_>, verdict: Option<Verdict<'_>>) {
    let Asked { action, resource, .. } = asked;
    let policy = policy(verdict);
    let (actor, call_id) = (actor(context), context.call_id());
    tracing::debug!(target: "wippy::audit", actor, action, resource, policy, call_id, decision = "allowed");
}

/// Records that `asked` was refused.
#[cold]
pub(crate) fn refused(context: &Context, asked: Asked<'_>, verdict: Option<Verdict<'_>>) {
    let Asked { action, resource, .. } = asked;
    let policy = policy(verdict);
    let (actor, call_id) = (actor(context), context.call_id());
    tracing::warn!(target: "wippy::audit", actor, action, resource, policy, call_id, decision = "refused");
}

fn actor(context: &Context) -> Option<&str> {
    context.actor().map(|actor| &*actor.id)
}

fn policy(verdict: Option<Verdict<'_>>) -> Option<&str> {
    verdict
        .and_then(|verdict| verdict.policy)
        .map(wippy_registry::EntryId::as_str)
}
