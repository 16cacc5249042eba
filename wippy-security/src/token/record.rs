//! [`Record`]: what a token stands for, as a store keeps it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::{Value as Json, json};
use wippy_registry::EntryId;
use wippy_wit::{Value, json as values};

use super::Grant;
use crate::{Actor, CallError, Policies};

/// What a token stands for, and until when.
pub(super) struct Record {
    actor: Arc<Actor>,
    policies: Vec<EntryId>,
    meta: Value,
    /// In milliseconds since 1970.
    expires_ms: u64,
}

impl Record {
    pub(super) fn new(grant: &Grant, expires: SystemTime) -> Self {
        let since = expires.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            actor: Arc::clone(&grant.actor),
            policies: grant.scope.policies().map(|policy| policy.id().clone()).collect(),
            meta: grant.meta.clone(),
            expires_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn expires(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.expires_ms)
    }

    /// # Errors
    /// When the actor or the metadata hold something that has no written form.
    pub(super) fn to_text(&self) -> Result<String, CallError> {
        let written = |what: &str, value: &Value| {
            values::from_value(value).map_err(|error| CallError::from(error).context(what))
        };
        let document = json!({
            "actor": { "id": *self.actor.id, "meta": written("the actor's `meta`", &self.actor.meta)? },
            "policies": self.policies,
            "meta": written("`meta`", &self.meta)?,
            "expires_ms": self.expires_ms,
        });
        Ok(document.to_string())
    }

    pub(super) fn from_text(text: &[u8]) -> Option<Self> {
        let document: Json = serde_json::from_slice(text).ok()?;
        let policies = document.get("policies")?.as_array()?;
        let id = |id: &Json| EntryId::parse(id.as_str()?).ok();
        Some(Self {
            actor: Arc::new(Actor {
                id: document.pointer("/actor/id")?.as_str()?.into(),
                meta: values::to_value(document.pointer("/actor/meta")?).ok()?,
            }),
            policies: policies.iter().map(id).collect::<Option<_>>()?,
            meta: values::to_value(document.get("meta")?).ok()?,
            expires_ms: document.get("expires_ms")?.as_u64()?,
        })
    }

    /// What it stands for now. Nothing, if one of its policies is gone: the others could allow what that one denied.
    pub(super) fn grant(self, policies: &Policies) -> Option<Grant> {
        let scope = policies.gather([], &self.policies).ok()?;
        Some(Grant {
            actor: self.actor,
            scope: Arc::new(scope),
            meta: self.meta,
        })
    }
}
