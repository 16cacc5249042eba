//! `security.policy`, `security.policy.expr`, `security.token_store`: who may do what, as declared.
//!
//! Patterns, operators and expressions are compiled by whoever enforces them; this module only reads them.

use std::time::Duration;

use crate::diagnostic::Diagnostic;
use crate::id::EntryId;
use crate::schema::decoder::Decoder;
use crate::schema::duration::duration;
use crate::schema::fields::{Fields, fields};
use crate::schema::read::{
    choice, declared_id, json, list, non_empty, one_or_list, positive, reference, some, source, text,
};
use crate::schema::reference::Target;
use crate::source::SourceText;
use crate::yaml::{Node, Value};

const TOKEN_LENGTH: u32 = 32;
const DEFAULT_EXPIRATION: Duration = Duration::from_hours(24);

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Patterns of actions; one that matches is enough.
    pub actions: Vec<String>,
    /// Patterns of resources; one that matches is enough.
    pub resources: Vec<String>,
    /// What it decides.
    pub effect: Effect,
    /// When it applies.
    pub rule: Rule,
    /// Named scopes that it belongs to, `namespace:group`.
    pub groups: Vec<EntryId>,
}

/// What a policy decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The action may happen.
    Allow,
    /// It may not, whatever else allows it.
    Deny,
}

/// When a policy applies.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// When all hold; always when there are none.
    Conditions(Vec<Condition>),
    /// When the CEL expression is true.
    Expression(SourceText),
}

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// `actor.id`, `actor.meta.…`, `action`, `resource` or `meta.…`.
    pub field: String,
    /// How it is compared.
    pub operator: Operator,
    /// What it is compared with.
    pub operand: Operand,
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words of the file format")]
pub enum Operator {
    Eq,
    Ne,
    Lt,
    Gt,
    Lte,
    Gte,
    In,
    Nin,
    Exists,
    Nexists,
    Contains,
    Ncontains,
    Matches,
    Nmatches,
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// Nothing: `exists` and `nexists` need none.
    None,
    /// `value`
    Value(serde_json::Value),
    /// `value` with a placeholder in it, so that it may be a secret.
    Secret(Secret),
    /// `value_from`: another field.
    Field(String),
}

/// A value that no message, listing or log may show.
#[derive(Clone, PartialEq)]
pub struct Secret(pub serde_json::Value);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("(secret)")
    }
}

/// Where tokens are kept and what they are like.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenStore {
    /// The `store.*` entry.
    pub store: EntryId,
    /// Random bytes of a token.
    pub token_length: u32,
    /// How long a token lasts when nothing else is said.
    pub default_expiration: Duration,
    /// The key that tokens are signed with.
    pub token_key: Option<String>,
}

const OPERATORS: [(&str, Operator); 14] = [
    ("eq", Operator::Eq),
    ("ne", Operator::Ne),
    ("lt", Operator::Lt),
    ("gt", Operator::Gt),
    ("lte", Operator::Lte),
    ("gte", Operator::Gte),
    ("in", Operator::In),
    ("nin", Operator::Nin),
    ("exists", Operator::Exists),
    ("nexists", Operator::Nexists),
    ("contains", Operator::Contains),
    ("ncontains", Operator::Ncontains),
    ("matches", Operator::Matches),
    ("nmatches", Operator::Nmatches),
];

impl std::fmt::Debug for TokenStore {
    /// Leaves the key out.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TokenStore")
            .field("store", &self.store)
            .field("token_length", &self.token_length)
            .field("default_expiration", &self.default_expiration)
            .finish_non_exhaustive()
    }
}

pub(crate) fn policy(decoder: &mut Decoder<'_>) -> Option<Policy> {
    let conditions = |policy: &mut Fields<'_>, decoder: &mut Decoder<'_>| {
        let conditions = policy
            .optional(decoder, "conditions", list(condition))
            .unwrap_or_default();
        Some(Rule::Conditions(conditions))
    };
    whole_policy(decoder, conditions)
}

pub(crate) fn expression_policy(decoder: &mut Decoder<'_>) -> Option<Policy> {
    whole_policy(decoder, |policy, decoder| {
        policy
            .required(decoder, "expression", source)
            .map(Rule::Expression)
    })
}

fn whole_policy(
    decoder: &mut Decoder<'_>,
    rule: impl Fn(&mut Fields<'_>, &mut Decoder<'_>) -> Option<Rule>,
) -> Option<Policy> {
    let mut entry = decoder.fields();
    let groups = entry
        .optional(decoder, "groups", list(declared_id))
        .unwrap_or_default();
    let policy = entry.required(
        decoder,
        "policy",
        fields(|policy, decoder| {
            let actions = policy.required(decoder, "actions", some(one_or_list(non_empty)));
            let resources = policy.required(decoder, "resources", some(one_or_list(non_empty)));
            let effects = [("allow", Effect::Allow), ("deny", Effect::Deny)];
            let effect = policy.required(decoder, "effect", choice(&effects));
            let rule = rule(policy, decoder);
            Some((actions?, resources?, effect?, rule?))
        }),
    );
    entry.finish(decoder);
    let (actions, resources, effect, rule) = policy?;
    Some(Policy {
        actions,
        resources,
        effect,
        rule,
        groups,
    })
}

fn condition(node: &Node, decoder: &mut Decoder<'_>) -> Option<Condition> {
    fields(|condition, decoder| {
        let field = condition.required(decoder, "field", field_path);
        let operator = condition.required(decoder, "operator", choice(&OPERATORS));
        let value = condition.optional(decoder, "value", operand);
        let value_from = condition.optional(decoder, "value_from", field_path);
        let operator = operator?;
        let needs_operand = !matches!(operator, Operator::Exists | Operator::Nexists);
        let written = [condition.has("value"), condition.has("value_from")];
        let operand = match (value, value_from) {
            (None, None) if !needs_operand => Operand::None,
            (Some(value), None) => value,
            (None, Some(field)) => Operand::Field(field),
            (Some(_), Some(_)) | (None, None) => {
                if written != [true, false] && written != [false, true] {
                    let message = format!(
                        "`{}`: a condition needs `value` or `value_from`, and not both",
                        decoder.path()
                    );
                    decoder.report(Diagnostic::error("invalid-condition", message).primary(node.span(), ""));
                }
                return None;
            }
        };
        Some(Condition {
            field: field?,
            operator,
            operand,
        })
    })(node, decoder)
}

fn operand(node: &Node, decoder: &mut Decoder<'_>) -> Option<Operand> {
    let value = json(node, decoder)?;
    Some(if has_placeholder(node) {
        Operand::Secret(Secret(value))
    } else {
        Operand::Value(value)
    })
}

fn has_placeholder(node: &Node) -> bool {
    match node.value() {
        Value::String(text) => text.contains("${"),
        Value::List(items) => items.iter().any(has_placeholder),
        Value::Map(map) => map.iter().any(|(_, field)| has_placeholder(&field.node)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn field_path(node: &Node, decoder: &mut Decoder<'_>) -> Option<String> {
    let path = text(node, decoder)?;
    let nested = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
    let fits = ["actor.id", "action", "resource"].contains(&path.as_str())
        || nested("actor.meta.")
        || nested("meta.");
    if fits {
        Some(path)
    } else {
        decoder.invalid(
            node,
            "`actor.id`, `actor.meta.…`, `action`, `resource` or `meta.…`",
        )
    }
}

pub(crate) fn token_store(decoder: &mut Decoder<'_>) -> Option<TokenStore> {
    let mut entry = decoder.fields();
    let store = entry.required(decoder, "store", reference(Target::Store));
    let token_length = entry
        .optional(decoder, "token_length", token_length)
        .unwrap_or(TOKEN_LENGTH);
    let default_expiration = entry
        .optional(decoder, "default_expiration", duration)
        .unwrap_or(DEFAULT_EXPIRATION);
    let token_key = entry.optional(decoder, "token_key", secret);
    entry.finish(decoder);
    Some(TokenStore {
        store: store?,
        token_length,
        default_expiration,
        token_key,
    })
}

/// Fewer than 16 random bytes can be guessed; more than 1024 are a mistake.
fn token_length(node: &Node, decoder: &mut Decoder<'_>) -> Option<u32> {
    let length = positive::<u32>(node, decoder)?;
    if (16..=1024).contains(&length) {
        Some(length)
    } else {
        decoder.invalid(node, "16 to 1024 bytes")
    }
}

/// An empty key would sign with nothing; the message must not repeat a key.
fn secret(node: &Node, decoder: &mut Decoder<'_>) -> Option<String> {
    let key = text(node, decoder)?;
    if key.is_empty() {
        let message = format!("`{}` is empty", decoder.path());
        decoder.report(Diagnostic::error("invalid-value", message).primary(node.written_span(), ""));
        return None;
    }
    Some(key)
}
