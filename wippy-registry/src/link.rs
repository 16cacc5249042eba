//! From separate entries to an application that can boot: settings decoded, references resolved, order known.
//!
//! Linking reports everything at once: repeated ids, references to nothing or to the wrong kind, cycles, and what
//! [`schema::decode_all`] finds in each entry.

mod environment;
pub(crate) mod order;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use self::environment::Environment;
use self::order::BootOrder;
use crate::diagnostic::{self, Diagnostic};
use crate::entry::Entry;
use crate::env::EnvLookup;
use crate::id::EntryId;
use crate::load::{Loaded, ProjectPaths};
use crate::schema::{self, Config, Decoded, Reference, Target};
use crate::source::{SourceMap, Span};
use crate::suggest;
use crate::version::ChangeSet;

/// An application, as far as it can be understood without running it.
#[derive(Clone, Debug)]
pub struct Linked {
    /// Entries without errors of their own, dependencies first; ties go by id.
    pub entries: Vec<LinkedEntry>,
    /// Every file that was read.
    pub sources: SourceMap,
    /// Where things are.
    pub project: ProjectPaths,
    /// What is wrong, loading included, in the order of files and lines.
    pub diagnostics: Vec<Diagnostic>,
    /// Where each of the entries is among them.
    places: HashMap<EntryId, usize>,
}

/// An entry with its settings.
#[derive(Clone, Debug)]
pub struct LinkedEntry {
    /// As stored.
    pub entry: Arc<Entry>,
    /// As meant.
    pub config: Config,
    /// The entries it needs.
    pub references: Vec<Reference>,
}

impl Linked {
    /// Whether nothing keeps it from starting.
    pub fn is_ok(&self) -> bool {
        !self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// The entry of an id.
    pub fn get(&self, id: &EntryId) -> Option<&LinkedEntry> {
        self.entries.get(*self.places.get(id)?)
    }

    /// The set that creates all entries in an empty registry.
    pub fn change_set(&self) -> ChangeSet {
        self.entries.iter().fold(ChangeSet::new(), |set, linked| {
            set.create(Arc::clone(&linked.entry))
        })
    }
}

/// Links what was loaded. Placeholders look among the `env.variable` entries first, then in `env`.
pub fn link(loaded: Loaded, env: &dyn EnvLookup) -> Linked {
    let Loaded {
        sources,
        entries,
        mut diagnostics,
        project,
    } = loaded;
    let environment = Environment::new(&entries, env);
    let mut decoded: Vec<(Arc<Entry>, Decoded)> = entries
        .into_iter()
        .map(|entry| {
            let decoded = schema::decode_all(&entry, &environment);
            (Arc::new(entry), decoded)
        })
        .collect();

    let mut linker = Linker::new(&decoded);
    for (_, decoded) in &decoded {
        linker.diagnostics.extend(decoded.diagnostics.iter().cloned());
        linker.check_references(decoded);
    }
    linker.check_names(&decoded);
    let order = linker.order(&decoded);
    diagnostics.append(&mut linker.diagnostics);
    diagnostic::sort(&mut diagnostics);

    let mut understood: HashMap<EntryId, usize> = HashMap::with_capacity(decoded.len());
    for (place, (entry, decoded)) in decoded.iter().enumerate() {
        if decoded.config.is_some() {
            understood.entry(entry.id.clone()).or_insert(place);
        }
    }
    let made = |id: &EntryId| {
        let (entry, decoded) = decoded.get_mut(*understood.get(id)?)?;
        Some(LinkedEntry {
            entry: Arc::clone(entry),
            config: decoded.config.take()?,
            references: std::mem::take(&mut decoded.references),
        })
    };
    let entries: Vec<LinkedEntry> = order.ids.iter().filter_map(made).collect();
    let ids = entries.iter().map(|linked| linked.entry.id.clone());
    Linked {
        places: ids.zip(0..).collect(),
        entries,
        sources,
        project,
        diagnostics,
    }
}

struct Linker {
    /// The first entry of every id.
    entries: BTreeMap<EntryId, Arc<Entry>>,
    /// Policy groups that some policy declares.
    groups: Vec<EntryId>,
    diagnostics: Vec<Diagnostic>,
}

impl Linker {
    fn new(decoded: &[(Arc<Entry>, Decoded)]) -> Self {
        let mut linker = Self {
            entries: BTreeMap::new(),
            groups: Vec::new(),
            diagnostics: Vec::new(),
        };
        for (entry, decoded) in decoded {
            linker.enter(entry);
            if let Some(Config::Policy(policy)) = &decoded.config {
                linker.groups.extend(policy.groups.iter().cloned());
            }
        }
        linker
    }

    fn enter(&mut self, entry: &Arc<Entry>) {
        if let Some(first) = self.entries.get(&entry.id) {
            self.diagnostics.push(
                Diagnostic::error("duplicate-id", format!("entry `{}` is declared twice", entry.id))
                    .primary(entry.origin, "declared again")
                    .secondary(first.origin, "first declared here"),
            );
        } else {
            self.entries.insert(entry.id.clone(), Arc::clone(entry));
        }
    }

    fn check_references(&mut self, decoded: &Decoded) {
        for reference in &decoded.references {
            let problem = if reference.target == Target::PolicyGroup {
                self.check_group(reference)
            } else {
                self.check_reference(reference)
            };
            self.diagnostics.extend(problem);
        }
    }

    fn check_reference(&self, reference: &Reference) -> Option<Diagnostic> {
        let Reference {
            field,
            id,
            span,
            target,
        } = reference;
        let Some(entry) = self.entries.get(id) else {
            return Some(
                Diagnostic::error(
                    "unknown-reference",
                    format!("`{field}`: there is no entry `{id}`"),
                )
                .primary(*span, "")
                .did_you_mean(self.nearest(id, *target))
                .note(format!("the field names {target}")),
            );
        };
        if target.accepts(&entry.kind) {
            return None;
        }
        Some(
            Diagnostic::error(
                "wrong-reference",
                format!("`{field}`: expected {target}, but `{id}` is `{}`", entry.kind),
            )
            .primary(*span, "")
            .secondary(entry.kind_span, "its kind"),
        )
    }

    /// A fitting entry with a near id, or one of the same name elsewhere.
    fn nearest(&self, id: &EntryId, target: Target) -> Option<&str> {
        let fitting = || self.entries.values().filter(|entry| target.accepts(&entry.kind));
        suggest::closest(id.as_str(), fitting().map(|entry| entry.id.as_str())).or_else(|| {
            fitting()
                .find(|entry| entry.id.name() == id.name())
                .map(|entry| entry.id.as_str())
        })
    }

    fn check_group(&self, reference: &Reference) -> Option<Diagnostic> {
        let Reference { field, id, span, .. } = reference;
        if self.groups.contains(id) {
            return None;
        }
        let near = suggest::closest(id.as_str(), self.groups.iter().map(EntryId::as_str));
        Some(
            Diagnostic::error(
                "unknown-group",
                format!("`{field}`: no policy belongs to group `{id}`"),
            )
            .primary(*span, "")
            .did_you_mean(near)
            .note("a group belongs to the namespace of the policies that name it in `groups`"),
        )
    }

    /// Names besides ids that only one entry can have.
    fn check_names(&mut self, decoded: &[(Arc<Entry>, Decoded)]) {
        let mut variables = BTreeMap::new();
        let mut commands = BTreeMap::new();
        for (entry, decoded) in decoded {
            match &decoded.config {
                Some(Config::EnvVariable(variable)) => {
                    if let Some(name) = &variable.variable {
                        self.check_name("variable", name, entry.span_at("variable"), &mut variables);
                    }
                }
                Some(
                    Config::WasmProcess(schema::wasm::WasmProcess {
                        command: Some(command),
                        ..
                    })
                    | Config::LuaProcess(schema::lua::LuaProcess {
                        command: Some(command),
                        ..
                    }),
                ) => self.check_name(
                    "command",
                    &command.name,
                    entry.span_at("meta.command.name"),
                    &mut commands,
                ),
                Some(_) | None => {}
            }
        }
    }

    fn check_name(&mut self, what: &str, name: &str, span: Span, names: &mut BTreeMap<String, Span>) {
        match names.get(name) {
            Some(first) => self.diagnostics.push(
                Diagnostic::error("duplicate-name", format!("two entries declare {what} `{name}`"))
                    .primary(span, "declared again")
                    .secondary(*first, "first declared here"),
            ),
            None => {
                names.insert(name.to_owned(), span);
            }
        }
    }

    fn order(&mut self, decoded: &[(Arc<Entry>, Decoded)]) -> BootOrder {
        let mut graph: BTreeMap<EntryId, Vec<EntryId>> = BTreeMap::new();
        for (entry, decoded) in decoded {
            let orders = decoded.references.iter().filter(|reference| reference.orders());
            let needs = orders.map(|reference| reference.id.clone());
            graph.entry(entry.id.clone()).or_insert_with(|| needs.collect());
        }
        let order = order::boot_order(&graph);
        for cycle in &order.cycles {
            let problem = describe_cycle(cycle, decoded);
            self.diagnostics.push(problem);
        }
        order
    }
}

fn describe_cycle(cycle: &[EntryId], decoded: &[(Arc<Entry>, Decoded)]) -> Diagnostic {
    let path: Vec<String> = cycle
        .iter()
        .chain(cycle.first())
        .map(|id| format!("`{id}`"))
        .collect();
    let message = match cycle {
        [only] => format!("entry `{only}` needs itself, so it cannot start"),
        _ => format!(
            "entries need each other, so none can start first: {}",
            path.join(" → ")
        ),
    };
    let mut diagnostic = Diagnostic::error("cycle", message);
    for (from, to) in cycle.iter().zip(cycle.iter().cycle().skip(1)) {
        let reference = decoded
            .iter()
            .find(|(entry, _)| entry.id == *from)
            .and_then(|(_, decoded)| decoded.references.iter().find(|reference| reference.id == *to));
        let Some(reference) = reference else { continue };
        let text = format!("`{from}` needs `{to}`");
        diagnostic = if diagnostic.labels.is_empty() {
            diagnostic.primary(reference.span, text)
        } else {
            diagnostic.secondary(reference.span, text)
        };
    }
    diagnostic
}
