//! [`Policies`]: every policy of an application by id, and the named scopes that their groups are.

use std::{collections::BTreeMap, sync::Arc};

use wippy_registry::{EntryId, schema::security as declared};

use crate::{CallError, ErrorKind, Policy, PolicyError, Scope};

/// The policies of one state of the registry, compiled. It never changes; a new state makes a new one, which
/// [`Dispatcher::set_policies`](crate::Dispatcher::set_policies) puts in place. A context keeps the scope it began
/// with.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    all: Scope,
    groups: BTreeMap<EntryId, Arc<Scope>>,
}

impl Policies {
    /// Compiles all policies.
    ///
    /// # Errors
    /// Everything that is wrong with any of them. There is no result then: without one of its policies a scope could
    /// allow what it should deny.
    pub fn compile<'a>(
        declared: impl IntoIterator<Item = (&'a EntryId, &'a declared::Policy)>,
    ) -> Result<Self, Vec<PolicyError>> {
        let (mut policies, mut groups, mut errors) = (Vec::new(), BTreeMap::new(), Vec::new());
        for (id, declared) in declared {
            let policy = match Policy::compile(id.clone(), declared) {
                Ok(policy) => Arc::new(policy),
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            for group in &declared.groups {
                groups
                    .entry(group.clone())
                    .or_insert_with(Vec::new)
                    .push(Arc::clone(&policy));
            }
            policies.push(policy);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let groups = groups
            .into_iter()
            .map(|(id, policies)| (id, Arc::new(Scope::new(policies))))
            .collect();
        Ok(Self {
            all: Scope::new(policies),
            groups,
        })
    }

    /// All of them as one scope, which no context has unless it is given it.
    pub fn all(&self) -> &Scope {
        &self.all
    }

    /// The policy `id`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn policy(&self, id: &EntryId) -> Result<&Arc<Policy>, CallError> {
        self.all.get(id).ok_or_else(|| not_found("policy", id))
    }

    /// The scope that the group `id` names: all policies that say they belong to it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when no policy does.
    pub fn scope(&self, id: &EntryId) -> Result<&Arc<Scope>, CallError> {
        self.groups.get(id).ok_or_else(|| not_found("policy group", id))
    }

    /// The groups and their scopes, by id.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&EntryId, &Arc<Scope>)> {
        self.groups.iter()
    }

    /// A scope of whole groups and of single policies, as a service's `lifecycle.security` asks for.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when one of them does not exist.
    pub fn gather<'a>(
        &self,
        groups: impl IntoIterator<Item = &'a EntryId>,
        policies: impl IntoIterator<Item = &'a EntryId>,
    ) -> Result<Scope, CallError> {
        let mut gathered = Vec::new();
        for group in groups {
            gathered.extend(self.scope(group)?.policies().cloned());
        }
        for policy in policies {
            gathered.push(Arc::clone(self.policy(policy)?));
        }
        Ok(Scope::new(gathered))
    }
}

#[cold]
fn not_found(what: &str, id: &EntryId) -> CallError {
    CallError::new(ErrorKind::NotFound, format!("there is no {what} `{id}`"))
}
