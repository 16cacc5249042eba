//! [`Owner`]: on whose behalf an instance was used, and who may therefore use it again.

use std::sync::Arc;

use crate::{Actor, Context, Scope};

/// On whose behalf an instance was used.
#[derive(Clone)]
pub(super) enum Owner {
    /// This actor, under these policies.
    Actor(Arc<Actor>, Option<Arc<Scope>>),
    /// Anybody.
    Anybody,
    /// Nobody any more: it is as if it had not been used.
    Nobody,
}

impl Owner {
    /// The actor of a call; none when nobody acts, since what nobody owns must not become everybody's.
    pub(super) fn actor(context: &Context) -> Option<Self> {
        let actor = context.actor()?;
        Some(Self::Actor(Arc::clone(actor), context.scope().cloned()))
    }
}

impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anybody, Self::Anybody) | (Self::Nobody, Self::Nobody) => true,
            (Self::Actor(actor, scope), Self::Actor(other, other_scope)) => {
                actor == other && same(scope.as_ref(), other_scope.as_ref())
            }
            (Self::Anybody | Self::Nobody | Self::Actor(..), _) => false,
        }
    }
}

/// Scopes are shared, not made anew, so only the same one counts as the same.
fn same(scope: Option<&Arc<Scope>>, other: Option<&Arc<Scope>>) -> bool {
    match (scope, other) {
        (None, None) => true,
        (Some(scope), Some(other)) => Arc::ptr_eq(scope, other),
        (None, Some(_)) | (Some(_), None) => false,
    }
}
