//! [`Policy`]: one rule, compiled once from its entry and then only asked.
//!
//! A policy speaks of a request when an action pattern, a resource pattern and all its conditions (or its
//! expression) match. Whether that allows or denies is for the [`Scope`](crate::Scope) to weigh.

mod condition;
mod dialect;
mod expr;
mod field;
mod pattern;

use std::{fmt, ops::Range};

use wippy_registry::{Diagnostic, Entry, EntryId, SourceMap, schema::security as declared};

pub use wippy_registry::schema::security::Effect;

pub(crate) use self::field::Request;
use self::{condition::Condition, expr::Expression, pattern::Pattern};

/// A rule that allows or denies.
///
/// ```
/// use wippy_registry::schema::security::{self as declared, Effect, Rule};
/// use wippy_security::{Actor, Decision, Policy, Scope};
/// use wippy_wit::Value;
///
/// let declared = declared::Policy {
///     actions: vec!["funcs.call".to_owned()],
///     resources: vec!["app.api:*".to_owned()],
///     effect: Effect::Allow,
///     rule: Rule::Conditions(Vec::new()),
///     groups: Vec::new(),
/// };
/// let policy = Policy::compile("app:callers".parse()?, &declared)?;
/// let scope = Scope::new([policy.into()]);
/// let decide = |resource| scope.evaluate(&Actor::new("ada"), "funcs.call", resource, &Value::Nil).decision;
/// assert_eq!(decide("app.api:sum"), Decision::Allow);
/// assert_eq!(decide("app.admin:drop"), Decision::Undefined);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Policy {
    id: EntryId,
    actions: Box<[Pattern]>,
    resources: Box<[Pattern]>,
    effect: Effect,
    matcher: Matcher,
}

/// What must hold besides action and resource.
#[derive(Debug)]
enum Matcher {
    Conditions(Box<[Condition]>),
    Expression(Box<Expression>),
}

/// What a policy makes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// It speaks of it.
    Yes,
    /// The action is none of its own.
    OtherAction,
    /// The resource is none of its own.
    OtherResource,
    /// A condition does not hold, or the expression is false: this one.
    Unmet(Box<str>),
    /// Whether it holds cannot be told. An allow then does not count and a deny does.
    Failed(Box<str>),
}

impl Policy {
    /// Compiles the policy `id` from its settings.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn compile(id: EntryId, declared: &declared::Policy) -> Result<Self, PolicyError> {
        let matcher = match Matcher::compile(&declared.rule) {
            Ok(matcher) => matcher,
            Err((path, offset, problem)) => {
                return Err(PolicyError {
                    policy: id,
                    path,
                    offset,
                    problem: problem.into(),
                });
            }
        };
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
        Ok(Self {
            id,
            actions: patterns(&declared.actions),
            resources: patterns(&declared.resources),
            effect: declared.effect,
            matcher,
        })
    }

    /// The entry that declares it.
    pub fn id(&self) -> &EntryId {
        &self.id
    }

    /// What it decides.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Whether it counts for `request`. Failures are logged here, where the policy is known.
    pub(crate) fn applies(&self, request: &Request<'_>) -> bool {
        if !any(&self.actions, request.action) || !any(&self.resources, request.resource) {
            return false;
        }
        self.matcher
            .holds(request)
            .unwrap_or_else(|error| self.fails(request, &error))
    }

    /// What it makes of `request`, in detail.
    pub(crate) fn examine(&self, request: &Request<'_>) -> Match {
        if !any(&self.actions, request.action) {
            return Match::OtherAction;
        }
        if !any(&self.resources, request.resource) {
            return Match::OtherResource;
        }
        match self.matcher.holds(request) {
            Ok(true) => Match::Yes,
            Ok(false) => Match::Unmet(self.matcher.unmet(request).into()),
            Err(error) => Match::Failed(error.into()),
        }
    }

    #[cold]
    fn fails(&self, request: &Request<'_>, error: &str) -> bool {
        let counts = self.effect == Effect::Deny;
        let (policy, action, resource) = (self.id.as_str(), request.action, request.resource);
        tracing::warn!(target: "wippy::audit", policy, action, resource, error, counts, "a policy failed");
        counts
    }
}

impl fmt::Debug for Policy {
    /// Leaves out what it compares with, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("id", &self.id)
            .field("effect", &self.effect)
            .finish_non_exhaustive()
    }
}

fn any(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

impl Matcher {
    fn compile(rule: &declared::Rule) -> Result<Self, (String, Option<Range<usize>>, PolicyProblem)> {
        match rule {
            declared::Rule::Conditions(conditions) => {
                let compile = |(index, declared)| {
                    let path = |part| format!("policy.conditions.{index}.{part}");
                    Condition::compile(declared).map_err(|(part, problem)| (path(part), None, problem))
                };
                Ok(Self::Conditions(
                    conditions
                        .iter()
                        .enumerate()
                        .map(compile)
                        .collect::<Result<_, _>>()?,
                ))
            }
            declared::Rule::Expression(source) => match Expression::compile(&source.text) {
                Ok(expression) => Ok(Self::Expression(Box::new(expression))),
                Err((offset, problem)) => Err(("policy.expression".to_owned(), offset, problem)),
            },
        }
    }

    /// Whether all conditions hold, or the expression does.
    ///
    /// # Errors
    /// When that cannot be told. A condition that surely does not hold settles it, wherever it stands.
    fn holds(&self, request: &Request<'_>) -> Result<bool, String> {
        let conditions = match self {
            Self::Expression(expression) => return expression.holds(request),
            Self::Conditions(conditions) => conditions,
        };
        let mut outcome = Ok(true);
        for condition in conditions {
            match condition.holds(request) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(error) => outcome = Err(format!("`{}`: {error}", condition.text())),
            }
        }
        outcome
    }

    fn unmet(&self, request: &Request<'_>) -> &str {
        match self {
            Self::Expression(_) => "the expression is false",
            Self::Conditions(conditions) => {
                let unmet = conditions
                    .iter()
                    .find(|condition| condition.holds(request) == Ok(false));
                unmet.map_or("a condition", Condition::text)
            }
        }
    }
}

/// A policy cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy `{policy}`: `{path}`: {problem}")]
pub struct PolicyError {
    /// Whose settings they are.
    pub policy: EntryId,
    /// Where in the entry it is, in the form that [`Entry::at`] takes.
    pub path: String,
    /// Where in the expression it is, in bytes, if that is known. Empty where something is missing.
    pub offset: Option<Range<usize>>,
    /// What is wrong.
    pub problem: Box<PolicyProblem>,
}

/// What can be wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyProblem {
    /// Policies do not know such a field.
    #[error("there is no field `{field}`")]
    UnknownField {
        /// As it was written.
        field: String,
    },
    /// Expressions do not know such a variable.
    #[error("there is no `{name}`")]
    UnknownName {
        /// As it was written.
        name: String,
    },
    /// Expressions do not know such a function.
    #[error("there is no function `{name}`")]
    UnknownFunction {
        /// As it was written.
        name: String,
    },
    /// The regular expression cannot be read, or is too large.
    #[error("invalid regular expression `{pattern}`: {reason}")]
    InvalidPattern {
        /// As it was written.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The operator compares with something, and there is nothing.
    #[error("`{operator}` needs `value` or `value_from`")]
    MissingOperand {
        /// The operator.
        operator: &'static str,
    },
    /// The operator compares with nothing, and there is something.
    #[error("`{operator}` compares with nothing")]
    UnwantedOperand {
        /// The operator.
        operator: &'static str,
    },
    /// The operator cannot compare with such a thing.
    #[error("`{operator}` expects {expected}, got {found}")]
    WrongOperand {
        /// The operator.
        operator: &'static str,
        /// What it compares with.
        expected: &'static str,
        /// What there is.
        found: &'static str,
    },
    /// The expression is longer than it may be.
    #[error("the expression is longer than {max} bytes")]
    TooLong {
        /// The limit, in bytes.
        max: usize,
    },
    /// It is nested deeper than it may be.
    #[error("it is nested too deeply")]
    TooDeep,
    /// Too many loops within loops.
    #[error("loops may be nested {max} deep")]
    TooManyLoops {
        /// The limit.
        max: usize,
    },
    /// An operator of another expression language.
    #[error("`{found}` is no operator of CEL: write `{instead}`")]
    OtherDialect {
        /// As it was written.
        found: String,
        /// The CEL form.
        instead: String,
    },
    /// The expression is no CEL.
    #[error("{message}")]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// The parser gave up.
    #[error("the expression cannot be read")]
    Unreadable,
}

impl PolicyError {
    /// The error with the lines it is about; `declared` is what could not be compiled, and `entry` what it was
    /// decoded from.
    pub fn diagnostic(&self, entry: &Entry, declared: &declared::Policy, sources: &SourceMap) -> Diagnostic {
        let span = match (&self.offset, &declared.rule) {
            (Some(range), declared::Rule::Expression(source)) => source.span_at(range.clone(), sources),
            _ => entry.span_at(&self.path),
        };
        let message = format!("policy `{}`: {}", self.policy, self.problem);
        let diagnostic = Diagnostic::error("invalid-policy", message).primary(span, "");
        match self.problem.help() {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        }
    }
}

impl PolicyProblem {
    /// The next step, where there is an obvious one.
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::UnknownField { .. } => {
                "the fields are `actor.id`, `actor.meta.…`, `action`, `resource` and `meta.…`"
            }
            Self::UnknownName { name } => match name.as_str() {
                "nil" | "None" | "undefined" => "CEL writes `null`",
                "True" => "CEL writes `true`",
                "False" => "CEL writes `false`",
                _ => "the variables are `actor`, `action`, `resource` and `meta`; texts stand in quotes",
            },
            Self::UnknownFunction { name } => match name.as_str() {
                "len" | "length" | "count" => "CEL writes `size(list)`",
                "any" | "some" => "CEL writes `list.exists(element, condition)`",
                "hasPrefix" => "CEL writes `text.startsWith(part)`",
                "hasSuffix" => "CEL writes `text.endsWith(part)`",
                _ => {
                    "the functions are `size`, `contains`, `startsWith`, `endsWith`, `matches`, `has`, `all`, \
                     `exists`, `exists_one`, `map`, `filter` and the names of types"
                }
            },
            Self::UnwantedOperand { operator: "nexists" } => {
                "leave the operand out; the opposite is `exists`"
            }
            Self::UnwantedOperand { .. } => "leave the operand out; the opposite is `nexists`",
            Self::TooLong { .. } | Self::TooDeep | Self::TooManyLoops { .. } => {
                "split it: a policy that allows and one that denies are often clearer than one expression"
            }
            Self::InvalidPattern { .. } => {
                "a character that means something stands for itself behind a backslash; there is no looking \
                 around and no referring back"
            }
            Self::MissingOperand { .. }
            | Self::WrongOperand { .. }
            | Self::OtherDialect { .. }
            | Self::Syntax { .. }
            | Self::Unreadable => return None,
        })
    }
}
