//! Policies: every one of the application compiled once, and whom a service starts out as.

use std::collections::BTreeMap;

use wippy_registry::{
    Diagnostic, EntryId, Linked, LinkedEntry,
    schema::{Config, lifecycle::Lifecycle, security as declared},
};
use wippy_security::{CallError, Identity, Policies};

/// Compiles all policies. What is wrong with any of them goes to `diagnostics`; there are no policies then, and
/// nothing of the application starts.
pub(crate) fn compile(linked: &Linked, diagnostics: &mut Vec<Diagnostic>) -> Policies {
    let declared: BTreeMap<&EntryId, (&LinkedEntry, &declared::Policy)> =
        linked.entries.iter().filter_map(policy).collect();
    let compiled = Policies::compile(declared.iter().map(|(id, (_, policy))| (*id, *policy)));
    compiled.unwrap_or_else(|errors| {
        let blamed = errors.iter().filter_map(|error| {
            let (entry, policy) = declared.get(&error.policy)?;
            Some(error.diagnostic(&entry.entry, policy, &linked.sources))
        });
        diagnostics.extend(blamed);
        Policies::default()
    })
}

fn policy(entry: &LinkedEntry) -> Option<(&EntryId, (&LinkedEntry, &declared::Policy))> {
    if let Config::Policy(policy) = &entry.config {
        Some((&entry.entry.id, (entry, policy)))
    } else {
        None
    }
}

/// Whom the processes or requests of a service act for at first, as its `lifecycle.security` says.
///
/// # Errors
/// When it names a policy or a group that is not there. Nothing may start then: half of a scope could allow what the
/// other half denies.
pub(crate) fn identity_of(lifecycle: Option<&Lifecycle>, policies: &Policies) -> Result<Identity, CallError> {
    match lifecycle.and_then(|lifecycle| lifecycle.security.as_ref()) {
        Some(security) => policies.identity(security),
        None => Ok(Identity::default()),
    }
}

/// Whom a script acts for instead of its caller or spawner, as its own `security` says.
///
/// # Errors
/// As for [`identity_of`].
pub(crate) fn own_identity(config: &Config, policies: &Policies) -> Result<Identity, CallError> {
    let security = if let Config::LuaFunction(function) = config {
        function.security.as_ref()
    } else if let Config::LuaProcess(process) = config {
        process.security.as_ref()
    } else {
        None
    };
    security.map_or_else(|| Ok(Identity::default()), |security| policies.identity(security))
}
