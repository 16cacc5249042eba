//! The audit trail: one `tracing` record of target `wippy::audit` for every decision that the guard makes.
//!
//! Refusals are warnings. What is allowed is recorded at debug level, which costs one load when nobody listens.

use wippy_registry::EntryId;

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

/// Records that a token was shown that is not valid; of the token itself nothing is said.
#[cold]
pub(crate) fn invalid_token(context: &Context, token_store: &EntryId) {
    let (actor, call_id, token_store) = (actor(context), context.call_id(), token_store.as_str());
    tracing::warn!(target: "wippy::audit", actor, token_store, call_id, "a token is not valid");
}

fn actor(context: &Context) -> Option<&str> {
    context.actor().map(|actor| &*actor.id)
}

fn policy(verdict: Option<Verdict<'_>>) -> Option<&str> {
    verdict.and_then(|verdict| verdict.policy).map(EntryId::as_str)
}
