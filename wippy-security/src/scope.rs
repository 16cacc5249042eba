//! [`Scope`]: the set of policies under which an actor acts, and how it decides.
//!
//! Any policy that denies wins; else any that allows; else nothing is said, which the guard takes as a refusal. The
//! order in which policies were added plays no part.

use std::{fmt, sync::Arc};

use wippy_registry::EntryId;
use wippy_wit::Value;

use crate::{
    Actor,
    policy::{Effect, Match, Policy, Request},
};

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

/// A decision and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// What was decided.
    pub decision: Decision,
    /// The policy that decided, the first by id if there are more; none if no policy speaks of the request.
    pub policy: Option<&'a EntryId>,
}

/// One policy's part in a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The policy.
    pub policy: EntryId,
    /// What it decides when it matches.
    pub effect: Effect,
    /// Whether it matches, and if not, why.
    pub outcome: Match,
    /// Whether it is the one that decided.
    pub decisive: bool,
}

impl Explanation {
    /// Whether the policy has a say: it matches, or it denies and cannot tell.
    pub fn counts(&self) -> bool {
        match &self.outcome {
            Match::Yes => true,
            Match::Failed(_) => self.effect == Effect::Deny,
            Match::OtherAction | Match::OtherResource | Match::Unmet(_) => false,
        }
    }
}

/// An immutable set of policies, by id. One without policies decides nothing.
#[derive(Clone, Default)]
pub struct Scope {
    /// Sorted by id, each id once.
    policies: Vec<Arc<Policy>>,
}

impl Scope {
    /// A scope of `policies`. Of two with one id the later counts.
    pub fn new(policies: impl IntoIterator<Item = Arc<Policy>>) -> Self {
        let mut scope = Self::default();
        policies.into_iter().for_each(|policy| scope.insert(policy));
        scope
    }

    /// The same with `policy`, which replaces one of the same id.
    #[must_use]
    pub fn with(&self, policy: Arc<Policy>) -> Self {
        let mut scope = self.clone();
        scope.insert(policy);
        scope
    }

    /// The same without the policy `id`.
    #[must_use]
    pub fn without(&self, id: &EntryId) -> Self {
        let mut scope = self.clone();
        scope.policies.retain(|policy| policy.id() != id);
        scope
    }

    /// The policies of both. Of two with one id that of `other` counts.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        Self::new(self.policies.iter().chain(&other.policies).cloned())
    }

    /// Whether the policy `id` is in it.
    pub fn contains(&self, id: &EntryId) -> bool {
        self.find(id).is_ok()
    }

    /// The policy `id`, if it is in it.
    pub fn get(&self, id: &EntryId) -> Option<&Arc<Policy>> {
        self.find(id).ok().and_then(|at| self.policies.get(at))
    }

    /// Its policies, by id.
    pub fn policies(&self) -> impl ExactSizeIterator<Item = &Arc<Policy>> {
        self.policies.iter()
    }

    /// Decides whether `actor` may do `action` on `resource`; `meta` is what is known about the request.
    pub fn evaluate<'a>(&'a self, actor: &Actor, action: &str, resource: &str, meta: &Value) -> Verdict<'a> {
        let request = Request {
            actor,
            action,
            resource,
            meta,
        };
        let mut allowed_by = None;
        for policy in &self.policies {
            match policy.effect() {
                Effect::Deny if policy.applies(&request) => {
                    return Verdict {
                        decision: Decision::Deny,
                        policy: Some(policy.id()),
                    };
                }
                Effect::Allow if allowed_by.is_none() && policy.applies(&request) => {
                    allowed_by = Some(policy.id());
                }
                Effect::Deny | Effect::Allow => {}
            }
        }
        let decision = if allowed_by.is_some() {
            Decision::Allow
        } else {
            Decision::Undefined
        };
        Verdict {
            decision,
            policy: allowed_by,
        }
    }

    /// How [`evaluate`](Self::evaluate) comes to its verdict: one line for each policy, by id. This asks and decides
    /// nothing, so the audit trail says nothing of it.
    pub fn explain(&self, actor: &Actor, action: &str, resource: &str, meta: &Value) -> Vec<Explanation> {
        let request = Request {
            actor,
            action,
            resource,
            meta,
        };
        let explain = |policy: &Arc<Policy>| Explanation {
            policy: policy.id().clone(),
            effect: policy.effect(),
            outcome: policy.examine(&request),
            decisive: false,
        };
        let mut lines: Vec<Explanation> = self.policies.iter().map(explain).collect();
        let first = |effect| {
            lines
                .iter()
                .position(|line| line.effect == effect && line.counts())
        };
        let decisive = first(Effect::Deny).or_else(|| first(Effect::Allow));
        if let Some(line) = decisive.and_then(|at| lines.get_mut(at)) {
            line.decisive = true;
        }
        lines
    }

    fn insert(&mut self, policy: Arc<Policy>) {
        match self.find(policy.id()) {
            Ok(at) => {
                if let Some(replaced) = self.policies.get_mut(at) {
                    *replaced = policy;
                }
            }
            Err(at) => self.policies.insert(at, policy),
        }
    }

    fn find(&self, id: &EntryId) -> Result<usize, usize> {
        self.policies.binary_search_by(|policy| policy.id().cmp(id))
    }
}

impl PartialEq for Scope {
    /// Scopes are equal when they have the same policies, not ones that say the same.
    fn eq(&self, other: &Self) -> bool {
        self.policies.len() == other.policies.len()
            && self
                .policies
                .iter()
                .zip(&other.policies)
                .all(|(one, two)| Arc::ptr_eq(one, two))
    }
}

impl FromIterator<Arc<Policy>> for Scope {
    fn from_iter<T: IntoIterator<Item = Arc<Policy>>>(policies: T) -> Self {
        Self::new(policies)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.policies.iter().map(|policy| policy.id()))
            .finish()
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Undefined => "undefined",
        })
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.write_str("it matches"),
            Self::OtherAction => f.write_str("no pattern matches the action"),
            Self::OtherResource => f.write_str("no pattern matches the resource"),
            Self::Unmet(condition) => write!(f, "not met: {condition}"),
            Self::Failed(error) => write!(f, "it cannot be told: {error}"),
        }
    }
}
