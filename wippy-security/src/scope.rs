//! [`Scope`]: the set of policies under which an actor acts.

use crate::Actor;

/// What a scope says about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Some policy allows it and none denies it.
    Allow,
    /// Some policy denies it.
    Deny,
    /// No policy speaks of it.
    Undefined,
}

/// A set of policies. One without policies decides nothing, which the guard takes as a refusal.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scope {}

impl Scope {
    /// Decides whether `actor` may do `action` on `resource`.
    #[expect(clippy::unused_self, reason = "policies are compiled into scopes by their own module")]
    pub fn evaluate(&self, _actor: &Actor, _action: &str, _resource: &str) -> Decision {
        Decision::Undefined
    }
}
