//! [`Decoder`]: problems and references of one entry, collected while its schema reads it.
//!
//! Reading never stops early: a reader that finds a problem reports it here and returns `None`.

use std::borrow::Cow;

use crate::diagnostic::Diagnostic;
use crate::entry::Entry;
use crate::env::{self, EnvLookup, Expanded, Reason, Unresolved};
use crate::id::{EntryId, Namespace};
use crate::schema::fields::{Fields, Owner};
use crate::schema::read::written;
use crate::schema::reference::{Reference, Target};
use crate::schema::{Config, Decoded};
use crate::source::Span;
use crate::yaml::{Node, Value};

/// Problems and references of one entry, as they are found.
pub(crate) struct Decoder<'e> {
    entry: &'e Entry,
    namespace: Namespace,
    env: &'e dyn EnvLookup,
    path: Vec<Cow<'static, str>>,
    references: Vec<Reference>,
    diagnostics: Vec<Diagnostic>,
}

impl<'e> Decoder<'e> {
    pub(crate) fn new(entry: &'e Entry, env: &'e dyn EnvLookup) -> Self {
        Self {
            entry,
            namespace: entry.id.to_namespace(),
            env,
            path: Vec::new(),
            references: Vec::new(),
            diagnostics: Vec::new(),
        }
    }

    pub(crate) fn finish(self, config: Option<Config>) -> Decoded {
        let failed = self.diagnostics.iter().any(Diagnostic::is_error);
        Decoded {
            config: config.filter(|_| !failed),
            references: self.references,
            diagnostics: self.diagnostics,
        }
    }

    pub(crate) fn entry(&self) -> &'e Entry {
        self.entry
    }

    /// The namespace that bare names belong to.
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// The fields of the entry's kind.
    pub(crate) fn fields(&self) -> Fields<'e> {
        Fields::new(
            self.entry.data.as_map(),
            Owner::Kind(self.entry.kind.to_string()),
            self.entry.kind_span,
        )
    }

    /// The parts of `meta` that the kind understands; other keys are free.
    pub(crate) fn meta(&mut self, read: impl FnOnce(&mut Fields<'e>, &mut Self)) {
        let mut fields = Fields::new(
            self.entry.meta.as_map(),
            Owner::Kind(self.entry.kind.to_string()),
            self.entry.kind_span,
        );
        self.within("meta", |decoder| read(&mut fields, decoder));
    }

    /// Runs with one more step in the path that messages show.
    pub(crate) fn within<T>(
        &mut self,
        step: impl Into<Cow<'static, str>>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.path.push(step.into());
        let value = read(self);
        self.path.pop();
        value
    }

    pub(crate) fn path(&self) -> String {
        self.path.join(".")
    }

    /// Reports a value of another type than the field has.
    pub(crate) fn wrong_type<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        self.unexpected("wrong-type", node, expected)
    }

    /// Reports a value that the field cannot have; one that is not even a scalar is of the wrong type.
    pub(crate) fn invalid<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        let is_scalar = matches!(node.value(), Value::String(_) | Value::Number(_) | Value::Bool(_));
        self.unexpected(
            if is_scalar { "invalid-value" } else { "wrong-type" },
            node,
            expected,
        )
    }

    /// Reports a value that is not a number, or not one that the field can have.
    pub(crate) fn not_number<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        let is_number = matches!(node.value(), Value::Number(_));
        self.unexpected(
            if is_number { "invalid-value" } else { "wrong-type" },
            node,
            expected,
        )
    }

    fn unexpected<T>(&mut self, code: &'static str, node: &Node, expected: &str) -> Option<T> {
        let message = format!(
            "`{}`: expected {expected}, found {}",
            self.path(),
            node.describe()
        );
        let mut diagnostic = Diagnostic::error(code, message).primary(node.written_span(), "");
        if written(node).contains("${") {
            // What a placeholder stands for may be a secret, so messages show what is written.
            diagnostic = diagnostic.note("the value is read after its placeholders are resolved");
        }
        self.report(diagnostic);
        None
    }

    /// The text of a value with its placeholders resolved.
    pub(crate) fn expanded(&mut self, node: &Node) -> Option<Expanded> {
        let text = node.as_str()?;
        if node.include().is_some() {
            return Some(Expanded {
                text: text.to_owned(),
                names: Vec::new(),
                whole: false,
            });
        }
        match env::expand(text, self.env) {
            Ok(expanded) => {
                self.refer_to_variables(&expanded, node);
                Some(expanded)
            }
            Err(problems) => {
                for problem in problems {
                    let diagnostic = unresolved(&problem, &self.path(), node.span());
                    self.report(diagnostic);
                }
                None
            }
        }
    }

    fn refer_to_variables(&mut self, expanded: &Expanded, node: &Node) {
        let ids: Vec<EntryId> = expanded
            .names
            .iter()
            .filter_map(|name| EntryId::parse(name).ok())
            .collect();
        for id in ids {
            self.refer(id, node.span(), Target::EnvVariable);
        }
    }

    /// The value that a scalar field means: a lone placeholder may stand for a number or a boolean.
    pub(crate) fn scalar(&mut self, node: &Node) -> Option<Node> {
        let Some(expanded) = node.as_str().is_some().then(|| self.expanded(node)) else {
            return Some(node.clone());
        };
        let expanded = expanded?;
        let typed = expanded
            .whole
            .then(|| serde_json::from_str::<serde_json::Value>(&expanded.text).ok())
            .flatten()
            .filter(|value| value.is_number() || value.is_boolean());
        let value = typed.map_or_else(
            || Value::String(expanded.text.into()),
            |typed| Node::from_json(&typed).value().clone(),
        );
        Some(Node::new(value, node.span()))
    }

    /// Notes that the entry names another one.
    pub(crate) fn refer(&mut self, id: EntryId, span: Span, target: Target) {
        self.references.push(Reference {
            field: self.path(),
            id,
            span,
            target,
        });
    }
}

fn unresolved(problem: &Unresolved, path: &str, span: Span) -> Diagnostic {
    match &problem.reason {
        Reason::Unset(name) => Diagnostic::error(
            "unresolved-placeholder",
            format!("`{path}`: nothing sets `{name}` and the placeholder has no default"),
        )
        .primary(span, "")
        .help(format!("set `{name}`, or give a default: `${{env:{name}|…}}`")),
        Reason::Unclosed => Diagnostic::error(
            "invalid-placeholder",
            format!("`{path}`: the placeholder has no closing `}}`"),
        )
        .primary(span, "")
        .help("write `$${` for a literal `${`"),
        Reason::BadName(name) => {
            let message = if name.is_empty() {
                format!("`{path}`: the placeholder names no variable")
            } else {
                format!("`{path}`: `{name}` is not the name of a variable")
            };
            Diagnostic::error("invalid-placeholder", message)
                .primary(span, "")
                .help("a name has letters, digits and `_`, or is an entry id `namespace:name`")
        }
    }
}
