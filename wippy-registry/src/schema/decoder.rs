//! The field table that every schema is written with: [`Decoder`] collects problems and references of one entry,
//! [`Fields`] walks a mapping by the names that the schema asks for.
//!
//! A schema asks for each field once, by name, with a function that reads the value; whatever was not asked for is
//! unknown. Reading never stops early: a reader that finds a problem reports it and returns `None`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::diagnostic::Diagnostic;
use crate::entry::Entry;
use crate::env::{self, EnvLookup, Expanded, Reason, Unresolved};
use crate::id::{EntryId, Namespace};
use crate::kind::Kind;
use crate::schema::{Config, Decoded};
use crate::source::{SourceText, Span};
use crate::suggest;
use crate::yaml::{Map, Node, Value};

/// A place where an entry names another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The field, `lifecycle.requires.0`.
    pub field: String,
    /// The entry named, in full.
    pub id: EntryId,
    /// Where it is named.
    pub span: Span,
    /// What may be named there.
    pub target: Target,
}

/// What a field may refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Any entry.
    Any,
    /// `fs.*`
    FileSystem,
    /// `env.storage.*`
    EnvStorage,
    /// `env.variable`
    EnvVariable,
    /// `function.*`
    Function,
    /// `process.lua`, `process.wasm`
    Process,
    /// `process.host`, `terminal.host`
    Host,
    /// `library.lua`
    Library,
    /// `http.service`
    Server,
    /// `http.router`
    Router,
    /// `store.*`
    Store,
    /// `security.policy`, `security.policy.expr`
    Policy,
    /// Not an entry: a group that policies name in `groups`.
    PolicyGroup,
}

impl Reference {
    /// Whether what is named has to start first; a policy group is no entry, though an entry may have its id.
    pub fn orders(&self) -> bool {
        self.target != Target::PolicyGroup
    }
}

impl Target {
    /// Whether an entry of the kind may be named.
    pub fn accepts(self, kind: &Kind) -> bool {
        let text = kind.as_str();
        match self {
            Self::Any => true,
            Self::FileSystem => kind.family() == "fs",
            Self::EnvStorage => text.starts_with("env.storage."),
            Self::EnvVariable => *kind == Kind::ENV_VARIABLE,
            Self::Function => kind.family() == "function",
            Self::Process => *kind == Kind::PROCESS_LUA || *kind == Kind::PROCESS_WASM,
            Self::Host => *kind == Kind::PROCESS_HOST || *kind == Kind::TERMINAL_HOST,
            Self::Library => *kind == Kind::LIBRARY_LUA,
            Self::Server => *kind == Kind::HTTP_SERVICE,
            Self::Router => *kind == Kind::HTTP_ROUTER,
            Self::Store => kind.family() == "store",
            Self::Policy => *kind == Kind::SECURITY_POLICY || *kind == Kind::SECURITY_POLICY_EXPR,
            Self::PolicyGroup => false,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Any => "an entry",
            Self::FileSystem => "an `fs.*` entry",
            Self::EnvStorage => "an `env.storage.*` entry",
            Self::EnvVariable => "an `env.variable` entry",
            Self::Function => "a `function.*` entry",
            Self::Process => "a `process.lua` or `process.wasm` entry",
            Self::Host => "a `process.host` or `terminal.host` entry",
            Self::Library => "a `library.lua` entry",
            Self::Server => "an `http.service` entry",
            Self::Router => "an `http.router` entry",
            Self::Store => "a `store.*` entry",
            Self::Policy => "a `security.policy` or `security.policy.expr` entry",
            Self::PolicyGroup => "a policy group",
        })
    }
}

/// Problems and references of one entry, as they are found.
pub(crate) struct Decoder<'e> {
    entry: &'e Entry,
    namespace: Namespace,
    env: &'e dyn EnvLookup,
    path: Vec<String>,
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
    fn within<T>(&mut self, step: impl Into<String>, read: impl FnOnce(&mut Self) -> T) -> T {
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
    fn not_number<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
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
    fn scalar(&mut self, node: &Node) -> Option<Node> {
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

    fn refer(&mut self, id: EntryId, span: Span, target: Target) {
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

/// Whom a field belongs to, for messages.
#[derive(Clone)]
enum Owner {
    /// The kind of an entry.
    Kind(String),
    /// A field that holds fields.
    Field(String),
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(name) | Self::Field(name) => write!(formatter, "`{name}`"),
        }
    }
}

/// A mapping whose fields a schema asks for one by one.
pub(crate) struct Fields<'n> {
    map: Option<&'n Map>,
    owner: Owner,
    /// Where to say that a field is missing.
    place: Span,
    asked: BTreeSet<&'static str>,
}

impl<'n> Fields<'n> {
    fn new(map: Option<&'n Map>, owner: Owner, place: Span) -> Self {
        Self {
            map,
            owner,
            place,
            asked: BTreeSet::new(),
        }
    }

    /// The value of a field, unless it is absent or null; remembers that the field exists.
    fn take(&mut self, name: &'static str) -> Option<&'n Node> {
        self.asked.insert(name);
        self.map?
            .get(name)
            .map(|field| &field.node)
            .filter(|node| !node.is_null())
    }

    /// Whether a field is written.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.map
            .and_then(|map| map.get(name))
            .is_some_and(|field| !field.node.is_null())
    }

    /// A field that may be absent; `None` also when it has a problem.
    pub(crate) fn optional<T>(
        &mut self,
        decoder: &mut Decoder<'_>,
        name: &'static str,
        read: impl FnOnce(&Node, &mut Decoder<'_>) -> Option<T>,
    ) -> Option<T> {
        let node = self.take(name)?;
        decoder.within(name, |decoder| read(node, decoder))
    }

    /// A field that must be there.
    pub(crate) fn required<T>(
        &mut self,
        decoder: &mut Decoder<'_>,
        name: &'static str,
        read: impl FnOnce(&Node, &mut Decoder<'_>) -> Option<T>,
    ) -> Option<T> {
        let Some(node) = self.take(name) else {
            self.missing(decoder, name);
            return None;
        };
        decoder.within(name, |decoder| read(node, decoder))
    }

    fn missing(&self, decoder: &mut Decoder<'_>, name: &str) {
        let path = decoder.within(name, |decoder| decoder.path());
        let message = match &self.owner {
            Owner::Kind(kind) => {
                format!(
                    "entry `{}` has no `{path}`, which `{kind}` requires",
                    decoder.entry.id
                )
            }
            Owner::Field(field) => format!("`{field}` of entry `{}` has no `{name}`", decoder.entry.id),
        };
        let near = self.map.and_then(|map| {
            let unasked = map
                .iter()
                .map(|(key, _)| key)
                .filter(|key| !self.asked.contains(key));
            suggest::closest(name, unasked).and_then(|key| map.get(key).map(|field| (key, field.key_span)))
        });
        let mut diagnostic = Diagnostic::error("missing-field", message).primary(self.place, "");
        if let Some((key, span)) = near {
            diagnostic = diagnostic.secondary(span, format!("is `{key}` meant to be `{name}`?"));
        }
        decoder.report(diagnostic);
    }

    /// Reports the fields that nobody asked for.
    pub(crate) fn finish(self, decoder: &mut Decoder<'_>) {
        for (key, field) in self.map.into_iter().flat_map(Map::iter) {
            if self.asked.contains(key) {
                continue;
            }
            let path = decoder.within(key, |decoder| decoder.path());
            let known: Vec<String> = self.asked.iter().map(|name| format!("`{name}`")).collect();
            let near = suggest::closest(key, self.asked.iter().copied());
            let mut diagnostic =
                Diagnostic::error("unknown-field", format!("{} has no field `{path}`", self.owner))
                    .primary(field.key_span, "")
                    .did_you_mean(near);
            if near.is_none() {
                diagnostic = diagnostic.note(format!("its fields are {}", known.join(", ")));
            }
            decoder.report(diagnostic);
        }
    }
}

/// Reads a mapping with known fields; what is not asked for is unknown.
pub(crate) fn fields<T>(
    read: impl FnOnce(&mut Fields<'_>, &mut Decoder<'_>) -> Option<T>,
) -> impl FnOnce(&Node, &mut Decoder<'_>) -> Option<T> {
    move |node, decoder| {
        let Some(map) = node.as_map() else {
            return decoder.wrong_type(node, "a mapping");
        };
        let mut fields = Fields::new(Some(map), Owner::Field(decoder.path()), node.span());
        let value = read(&mut fields, decoder);
        fields.finish(decoder);
        value
    }
}

/// Text with placeholders resolved.
pub(crate) fn text(node: &Node, decoder: &mut Decoder<'_>) -> Option<String> {
    match node.value() {
        Value::String(_) => decoder.expanded(node).map(|expanded| expanded.text),
        Value::Bool(_) | Value::Number(_) => {
            let message = format!("`{}`: expected text, found {}", decoder.path(), node.describe());
            decoder.report(
                Diagnostic::error("wrong-type", message)
                    .primary(node.span(), "")
                    .help(format!("quote it: \"{}\"", node.to_json())),
            );
            None
        }
        Value::Null | Value::List(_) | Value::Map(_) => decoder.wrong_type(node, "text"),
    }
}

/// Text that is not empty.
pub(crate) fn non_empty(node: &Node, decoder: &mut Decoder<'_>) -> Option<String> {
    let text = text(node, decoder)?;
    if text.trim().is_empty() {
        decoder.invalid(node, "text that is not empty")
    } else {
        Some(text)
    }
}

/// Program text; placeholders in it belong to the program.
pub(crate) fn source(node: &Node, decoder: &mut Decoder<'_>) -> Option<SourceText> {
    let Value::String(text) = node.value() else {
        return decoder.wrong_type(node, "text or `file://…`");
    };
    let path = node.include().map(|include| include.path.clone());
    Some(SourceText {
        text: Arc::clone(text),
        span: node.span(),
        path,
    })
}

/// `true` or `false`.
pub(crate) fn boolean(node: &Node, decoder: &mut Decoder<'_>) -> Option<bool> {
    let scalar = decoder.scalar(node)?;
    match scalar.value() {
        Value::Bool(value) => Some(*value),
        Value::Null | Value::Number(_) | Value::String(_) | Value::List(_) | Value::Map(_) => {
            decoder.wrong_type(node, "`true` or `false`")
        }
    }
}

/// A whole number that fits the type and is not negative.
pub(crate) fn count<T: TryFrom<u64>>(node: &Node, decoder: &mut Decoder<'_>) -> Option<T> {
    let scalar = decoder.scalar(node)?;
    match scalar
        .decode::<u64>()
        .ok()
        .and_then(|number| T::try_from(number).ok())
    {
        Some(number) => Some(number),
        None => decoder.not_number(node, "a whole number, zero or more"),
    }
}

/// A whole number that fits the type and is at least one.
pub(crate) fn positive<T: TryFrom<u64>>(node: &Node, decoder: &mut Decoder<'_>) -> Option<T> {
    let scalar = decoder.scalar(node)?;
    let number = scalar.decode::<u64>().ok().filter(|number| *number > 0);
    match number.and_then(|number| T::try_from(number).ok()) {
        Some(number) => Some(number),
        None => decoder.not_number(node, "a whole number, one or more"),
    }
}

/// A number in a range.
pub(crate) fn number(
    range: std::ops::RangeInclusive<f64>,
) -> impl Fn(&Node, &mut Decoder<'_>) -> Option<f64> {
    move |node, decoder| {
        let scalar = decoder.scalar(node)?;
        match scalar
            .decode::<f64>()
            .ok()
            .filter(|number| range.contains(number))
        {
            Some(number) => Some(number),
            None => decoder.not_number(
                node,
                &format!("a number from {} to {}", range.start(), range.end()),
            ),
        }
    }
}

/// The text of a field as it stands in the file, which is what messages may show.
pub(crate) fn written(node: &Node) -> &str {
    node.as_str().unwrap_or_default()
}

/// One of some words.
pub(crate) fn choice<T: Copy>(words: &[(&str, T)]) -> impl Fn(&Node, &mut Decoder<'_>) -> Option<T> {
    move |node, decoder| {
        let text = text(node, decoder)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let message = format!(
            "`{}`: `{}` is not one of {}",
            decoder.path(),
            written(node),
            known.join(", ")
        );
        decoder.report(
            Diagnostic::error("invalid-value", message)
                .primary(node.written_span(), "")
                .did_you_mean(suggest::closest(&text, words.iter().map(|(word, _)| *word))),
        );
        None
    }
}

/// A list of values of one sort. Items with problems are left out, after being reported.
pub(crate) fn list<T>(
    read: impl Fn(&Node, &mut Decoder<'_>) -> Option<T>,
) -> impl Fn(&Node, &mut Decoder<'_>) -> Option<Vec<T>> {
    move |node, decoder| {
        let Some(items) = node.as_list() else {
            return decoder.wrong_type(node, "a list");
        };
        let each = items.iter().enumerate();
        Some(
            each.filter_map(|(index, item)| decoder.within(index.to_string(), |decoder| read(item, decoder)))
                .collect(),
        )
    }
}

/// A list, or one value in place of a list of one.
pub(crate) fn one_or_list<T>(
    read: impl Fn(&Node, &mut Decoder<'_>) -> Option<T>,
) -> impl Fn(&Node, &mut Decoder<'_>) -> Option<Vec<T>> {
    move |node, decoder| match node.value() {
        Value::List(_) => list(&read)(node, decoder),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Map(_) => {
            read(node, decoder).map(|value| vec![value])
        }
    }
}

/// What another reader reads, unless it is an empty list.
pub(crate) fn some<T>(
    read: impl Fn(&Node, &mut Decoder<'_>) -> Option<T>,
) -> impl Fn(&Node, &mut Decoder<'_>) -> Option<T> {
    move |node, decoder| {
        if node.as_list().is_some_and(<[Node]>::is_empty) {
            return decoder.invalid(node, "at least one item");
        }
        read(node, decoder)
    }
}

/// A mapping from free names to values of one sort.
pub(crate) fn named<T>(
    read: impl Fn(&Node, &mut Decoder<'_>) -> Option<T>,
) -> impl Fn(&Node, &mut Decoder<'_>) -> Option<IndexMap<String, T>> {
    move |node, decoder| {
        let Some(map) = node.as_map() else {
            return decoder.wrong_type(node, "a mapping");
        };
        let mut values = IndexMap::new();
        for (key, field) in map.iter() {
            if let Some(value) = decoder.within(key, |decoder| read(&field.node, decoder)) {
                values.insert(key.to_owned(), value);
            }
        }
        Some(values)
    }
}

/// Text, or a number or boolean as its text.
pub(crate) fn plain(node: &Node, decoder: &mut Decoder<'_>) -> Option<String> {
    match node.value() {
        Value::Bool(_) | Value::Number(_) => Some(node.to_json().to_string()),
        Value::Null | Value::String(_) | Value::List(_) | Value::Map(_) => text(node, decoder),
    }
}

/// Any value, with placeholders resolved in every text.
pub(crate) fn json(node: &Node, decoder: &mut Decoder<'_>) -> Option<serde_json::Value> {
    match node.value() {
        Value::String(_) => decoder.scalar(node).map(|scalar| scalar.to_json()),
        Value::List(_) => list(json)(node, decoder).map(serde_json::Value::Array),
        Value::Map(_) => {
            named(json)(node, decoder).map(|fields| serde_json::Value::Object(fields.into_iter().collect()))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(node.to_json()),
    }
}

/// The id of another entry, or its name in the same namespace.
pub(crate) fn reference(target: Target) -> impl Fn(&Node, &mut Decoder<'_>) -> Option<EntryId> {
    move |node, decoder| {
        let text = text(node, decoder)?;
        match EntryId::resolve(&text, &decoder.namespace) {
            Ok(id) => {
                decoder.refer(id.clone(), node.written_span(), target);
                Some(id)
            }
            Err(error) => {
                let message = format!("`{}`: {error}", decoder.path());
                decoder
                    .report(Diagnostic::error("invalid-reference", message).primary(node.written_span(), ""));
                None
            }
        }
    }
}

/// The id of something that is not an entry, such as a policy group this entry declares.
pub(crate) fn declared_id(node: &Node, decoder: &mut Decoder<'_>) -> Option<EntryId> {
    let before = decoder.references.len();
    let id = reference(Target::PolicyGroup)(node, decoder);
    decoder.references.truncate(before);
    id
}
