//! What runs with the application: which entries are services, and what each of them needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use wippy_registry::{EntryId, LinkedEntry, schema};
use wippy_security::Context;
use wippy_wit::json;

use super::App;
use crate::{
    boot::policies::identity_of,
    host::{HostService, ProcessHost},
    service::ProcessService,
    supervisor::{Service, Supervised, Supervisor},
};

/// The host of commands in an application that declares no terminal.
pub(crate) const TERMINAL: &str = "wippy:terminal";

/// The hosts of an application, which take processes in as soon as they are made.
pub(crate) fn hosts(entries: &[LinkedEntry]) -> BTreeMap<EntryId, Arc<ProcessHost>> {
    let mut hosts: BTreeMap<EntryId, Arc<ProcessHost>> = BTreeMap::new();
    let mut has_terminal = false;
    for entry in entries {
        let id = entry.entry.id.clone();
        if let schema::Config::ProcessHost(config) = &entry.config {
            hosts.insert(id.clone(), Arc::new(ProcessHost::new(id, config)));
        } else if matches!(entry.config, schema::Config::TerminalHost(_)) {
            has_terminal = true;
            hosts.insert(id.clone(), Arc::new(ProcessHost::terminal(id)));
        }
    }
    if !has_terminal && let Ok(id) = EntryId::parse(TERMINAL) {
        hosts.insert(id.clone(), Arc::new(ProcessHost::terminal(id)));
    }
    hosts
}

impl App {
    /// Starts the services that start with the application, and those that they need. They run until
    /// [`Supervisor::stop`].
    pub fn start_services(&self) -> Supervisor {
        let services = self.services();
        let wanted = wanted(&services);
        let supervised = services
            .into_iter()
            .filter(|service| wanted.contains(&service.id));
        Supervisor::start(supervised.collect())
    }

    /// Every service of the application, dependencies first.
    fn services(&self) -> Vec<Supervised> {
        let entries = self.prepared.entries();
        let services: BTreeMap<&EntryId, Arc<dyn Service>> = entries
            .iter()
            .filter_map(|entry| Some((&entry.entry.id, self.service(entry)?)))
            .collect();
        let by_id: BTreeMap<&EntryId, &LinkedEntry> =
            entries.iter().map(|entry| (&entry.entry.id, entry)).collect();
        entries
            .iter()
            .filter_map(|entry| {
                let id = &entry.entry.id;
                Some(Supervised {
                    service: Arc::clone(services.get(id)?),
                    id: id.clone(),
                    lifecycle: entry.config.lifecycle().cloned().unwrap_or_default(),
                    needs: needs(entry, &by_id, &|id| services.contains_key(id)),
                })
            })
            .collect()
    }

    /// The service that an entry is, if it is one.
    fn service(&self, entry: &LinkedEntry) -> Option<Arc<dyn Service>> {
        if let Some(service) = self.http_service(entry) {
            return Some(Arc::new(service));
        }
        if let Some(host) = self.hosts.get(&entry.entry.id) {
            return Some(Arc::new(HostService {
                host: Arc::clone(host),
                context: self.context(),
            }));
        }
        if let schema::Config::ProcessService(service) = &entry.config {
            let input = service.input.iter().map(json::to_value);
            return Some(Arc::new(ProcessService {
                context: self.context_of(&service.lifecycle)?,
                process: service.process.clone(),
                host: service.host.clone(),
                // What was read from YAML is not nested too deeply.
                input: input.map(Result::unwrap_or_default).collect(),
            }));
        }
        None
    }

    /// The context that a service starts with: whom it acts for and under which policies. None if those are not there,
    /// which was reported when the entries were linked.
    pub(super) fn context_of(&self, lifecycle: &schema::lifecycle::Lifecycle) -> Option<Context> {
        let identity = identity_of(Some(lifecycle), &self.dispatcher().policies()).ok()?;
        Some(identity.over(&self.context()))
    }
}

/// The services that `entry` needs, directly or by way of entries that are none.
fn needs(
    entry: &LinkedEntry,
    by_id: &BTreeMap<&EntryId, &LinkedEntry>,
    is_service: &dyn Fn(&EntryId) -> bool,
) -> Vec<EntryId> {
    let mut seen = BTreeSet::from([&entry.entry.id]);
    let mut open = vec![entry];
    let mut needs = Vec::new();
    while let Some(entry) = open.pop() {
        for reference in entry.references.iter().filter(|reference| reference.orders()) {
            if !seen.insert(&reference.id) {
                continue;
            }
            if is_service(&reference.id) {
                needs.push(reference.id.clone());
            } else if let Some(entry) = by_id.get(&reference.id) {
                open.push(entry);
            }
        }
    }
    needs
}

/// Those that start by themselves, and whatever they need.
fn wanted(services: &[Supervised]) -> BTreeSet<EntryId> {
    let mut wanted = BTreeSet::new();
    // Dependents come after what they need, so one round backwards finds all.
    for service in services.iter().rev() {
        if service.lifecycle.auto_start || wanted.contains(&service.id) {
            wanted.insert(service.id.clone());
            wanted.extend(service.needs.iter().cloned());
        }
    }
    wanted
}
