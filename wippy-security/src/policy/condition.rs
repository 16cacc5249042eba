//! [`Condition`]: one comparison of a field with a constant or with another field.
//!
//! A field that is missing equals nothing, contains nothing and is neither greater nor smaller. `ne`, `nin`,
//! `ncontains` and `nmatches` are the exact opposites of the operators without `n`, so they hold for it. Comparing
//! what cannot be compared, such as a text with a number, is an error, and the policy then decides for caution.

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};
use wippy_registry::schema::security as declared;
use wippy_wit::{Value, json};

use super::{
    PolicyProblem,
    field::{Field, Request, Term},
};

/// Longer patterns are refused.
const PATTERN_LEN_MAX: usize = 1024;
/// What a compiled pattern may take.
const PATTERN_MEMORY_MAX: usize = 1 << 20;

/// What stands for a value that may be a secret.
const HIDDEN: &str = "(secret)";

/// One comparison, ready to be made.
#[derive(Debug)]
pub(crate) struct Condition {
    field: Field,
    relation: Relation,
    /// Whether the relation must not hold.
    negated: bool,
    /// As it was written, for explanations.
    text: Box<str>,
}

#[derive(Debug)]
enum Relation {
    Exists,
    Equals(Operand),
    Ordered(fn(Ordering) -> bool, Operand),
    In(Operand),
    Contains(Operand),
    Matches(Pattern),
}

#[derive(Debug)]
enum Operand {
    Constant(Value),
    Field(Field),
}

#[derive(Debug)]
enum Pattern {
    Constant(Regex),
    /// Compiled for every request, under the same limits.
    Field(Field),
}

/// What is wrong, and with which part of the condition: `field`, `value` or `value_from`.
pub(crate) type Wrong = (&'static str, PolicyProblem);

impl Condition {
    pub(crate) fn compile(declared: &declared::Condition) -> Result<Self, Wrong> {
        use declared::Operator as Op;

        let field = parse_field(&declared.field).map_err(|problem| ("field", problem))?;
        let operand = || Operand::compile(&declared.operand, declared.operator);
        let relation = match declared.operator {
            Op::Exists | Op::Nexists => {
                check_no_operand(declared)?;
                Relation::Exists
            }
            Op::Eq | Op::Ne => Relation::Equals(operand()?),
            Op::Lt => Relation::Ordered(Ordering::is_lt, operand()?.check(is_ordered, declared)?),
            Op::Gt => Relation::Ordered(Ordering::is_gt, operand()?.check(is_ordered, declared)?),
            Op::Lte => Relation::Ordered(Ordering::is_le, operand()?.check(is_ordered, declared)?),
            Op::Gte => Relation::Ordered(Ordering::is_ge, operand()?.check(is_ordered, declared)?),
            Op::In | Op::Nin => Relation::In(operand()?.check(is_list, declared)?),
            Op::Contains | Op::Ncontains => Relation::Contains(operand()?.check(is_something, declared)?),
            Op::Matches | Op::Nmatches => Relation::Matches(Pattern::compile(declared)?),
        };
        let negated = matches!(
            declared.operator,
            Op::Ne | Op::Nin | Op::Nexists | Op::Ncontains | Op::Nmatches
        );
        Ok(Self {
            field,
            relation,
            negated,
            text: describe(declared).into(),
        })
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// When the two sides cannot be compared in this way.
    pub(crate) fn holds(&self, request: &Request<'_>) -> Result<bool, String> {
        let found = self.field.of(request);
        Ok(self.related(found, request)? != self.negated)
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    fn related(&self, found: Term<'_>, request: &Request<'_>) -> Result<bool, String> {
        match &self.relation {
            Relation::Exists => Ok(!found.is_missing()),
            Relation::Equals(Operand::Constant(Value::Nil)) => Ok(found.is_missing()),
            Relation::Equals(operand) => found.equals(operand.of(request)),
            Relation::Ordered(accepts, operand) => ordered(found, operand.of(request), *accepts),
            Relation::In(operand) => is_in(found, operand.of(request)),
            Relation::Contains(operand) => contains(found, operand.of(request)),
            Relation::Matches(pattern) => pattern.matches(found, request),
        }
    }
}

fn ordered(found: Term<'_>, bound: Term<'_>, accepts: fn(Ordering) -> bool) -> Result<bool, String> {
    if found.is_missing() || bound.is_missing() {
        return Ok(false);
    }
    let incomparable = || {
        format!(
            "{} cannot be ordered against {}",
            found.type_name(),
            bound.type_name()
        )
    };
    found.compare(bound).map(accepts).ok_or_else(incomparable)
}

fn is_in(found: Term<'_>, list: Term<'_>) -> Result<bool, String> {
    if list.is_missing() {
        return Ok(false);
    }
    let elements = list
        .as_list()
        .ok_or_else(|| format!("{} is no list to be in", list.type_name()))?;
    has_element(elements, found)
}

fn contains(found: Term<'_>, part: Term<'_>) -> Result<bool, String> {
    if found.is_missing() || part.is_missing() {
        return Ok(false);
    }
    if let Some(elements) = found.as_list() {
        return has_element(elements, part);
    }
    match (found.as_str(), part.as_str()) {
        (Some(text), Some(part)) => Ok(text.contains(part)),
        _ => Err(format!(
            "{} cannot contain {}",
            found.type_name(),
            part.type_name()
        )),
    }
}

/// An element that cannot be compared matters only if no other is the one.
fn has_element(elements: &[Value], wanted: Term<'_>) -> Result<bool, String> {
    let mut result = Ok(false);
    for element in elements {
        match wanted.equals(element.into()) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error) => result = Err(error),
        }
    }
    result
}

impl Operand {
    fn compile(declared: &declared::Operand, operator: declared::Operator) -> Result<Self, Wrong> {
        match declared {
            declared::Operand::Value(value) | declared::Operand::Secret(declared::Secret(value)) => {
                let too_deep = |_| ("value", PolicyProblem::TooDeep);
                json::to_value(value).map(Self::Constant).map_err(too_deep)
            }
            declared::Operand::Field(field) => match parse_field(field) {
                Ok(field) => Ok(Self::Field(field)),
                Err(problem) => Err(("value_from", problem)),
            },
            declared::Operand::None => Err((
                "operator",
                PolicyProblem::MissingOperand {
                    operator: name(operator),
                },
            )),
        }
    }

    /// Refuses a constant that can never fit; what a field holds shows only later.
    fn check(
        self,
        accepts: impl Fn(Term<'_>) -> Result<(), &'static str>,
        declared: &declared::Condition,
    ) -> Result<Self, Wrong> {
        if let Self::Constant(value) = &self
            && let Err(expected) = accepts(value.into())
        {
            let found = Term::from(value).type_name();
            let operator = name(declared.operator);
            return Err((
                "value",
                PolicyProblem::WrongOperand {
                    operator,
                    expected,
                    found,
                },
            ));
        }
        Ok(self)
    }

    fn of<'a>(&'a self, request: &Request<'a>) -> Term<'a> {
        match self {
            Self::Constant(value) => value.into(),
            Self::Field(field) => field.of(request),
        }
    }
}

fn is_ordered(term: Term<'_>) -> Result<(), &'static str> {
    let fits = term.compare(term).is_some();
    if fits { Ok(()) } else { Err("a number or a text") }
}

fn is_list(term: Term<'_>) -> Result<(), &'static str> {
    if term.as_list().is_some() {
        Ok(())
    } else {
        Err("a list")
    }
}

fn is_something(term: Term<'_>) -> Result<(), &'static str> {
    if term.is_missing() {
        Err("a text or an element")
    } else {
        Ok(())
    }
}

/// `exists: true` says nothing new; any other operand was meant to say something that is not so.
fn check_no_operand(declared: &declared::Condition) -> Result<(), Wrong> {
    let operator = name(declared.operator);
    match &declared.operand {
        declared::Operand::None => Ok(()),
        declared::Operand::Value(value) if value.as_bool() == Some(true) => Ok(()),
        declared::Operand::Value(_) | declared::Operand::Secret(_) => {
            Err(("value", PolicyProblem::UnwantedOperand { operator }))
        }
        declared::Operand::Field(_) => Err(("value_from", PolicyProblem::UnwantedOperand { operator })),
    }
}

impl Pattern {
    fn compile(declared: &declared::Condition) -> Result<Self, Wrong> {
        match Operand::compile(&declared.operand, declared.operator)? {
            Operand::Field(field) => Ok(Self::Field(field)),
            Operand::Constant(Value::String(bytes)) => {
                let pattern = String::from_utf8_lossy(&bytes);
                match regular_expression(&pattern) {
                    Ok(regex) => Ok(Self::Constant(regex)),
                    Err(reason) => {
                        let is_secret = matches!(declared.operand, declared::Operand::Secret(_));
                        let pattern = if is_secret {
                            HIDDEN.into()
                        } else {
                            pattern.into_owned()
                        };
                        Err(("value", PolicyProblem::InvalidPattern { pattern, reason }))
                    }
                }
            }
            Operand::Constant(value) => {
                let (operator, found) = (name(declared.operator), Term::from(&value).type_name());
                let expected = "a regular expression";
                Err((
                    "value",
                    PolicyProblem::WrongOperand {
                        operator,
                        expected,
                        found,
                    },
                ))
            }
        }
    }

    fn matches(&self, found: Term<'_>, request: &Request<'_>) -> Result<bool, String> {
        if found.is_missing() {
            return Ok(false);
        }
        let Some(text) = found.as_str() else {
            return Err(format!("{} cannot match a pattern", found.type_name()));
        };
        match self {
            Self::Constant(regex) => Ok(regex.is_match(text)),
            Self::Field(field) => {
                let pattern = field.of(request);
                if pattern.is_missing() {
                    return Ok(false);
                }
                let not_text = || format!("{} is no regular expression", pattern.type_name());
                Ok(regular_expression(pattern.as_str().ok_or_else(not_text)?)?.is_match(text))
            }
        }
    }
}

/// Compiles a regular expression under limits on its length and its memory. Matching is linear in the text.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn regular_expression(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > PATTERN_LEN_MAX {
        return Err(format!("it is longer than {PATTERN_LEN_MAX} bytes"));
    }
    RegexBuilder::new(pattern)
        .size_limit(PATTERN_MEMORY_MAX)
        .build()
        .map_err(|error| {
            if matches!(error, regex::Error::CompiledTooBig(_)) {
                return format!("it takes more than {PATTERN_MEMORY_MAX} bytes of memory");
            }
            // A picture of several lines, of which the last names the mistake.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        })
}

fn parse_field(text: &str) -> Result<Field, PolicyProblem> {
    Field::parse(text).ok_or_else(|| PolicyProblem::UnknownField {
        field: text.to_owned(),
    })
}

fn describe(declared: &declared::Condition) -> String {
    let (field, operator) = (&declared.field, name(declared.operator));
    match &declared.operand {
        declared::Operand::None => format!("{field} {operator}"),
        declared::Operand::Value(value) => format!("{field} {operator} {value}"),
        declared::Operand::Secret(_) => format!("{field} {operator} {HIDDEN}"),
        declared::Operand::Field(other) => format!("{field} {operator} {other}"),
    }
}

/// The word of the file format.
fn name(operator: declared::Operator) -> &'static str {
    use declared::Operator as Op;

    match operator {
        Op::Eq => "eq",
        Op::Ne => "ne",
        Op::Lt => "lt",
        Op::Gt => "gt",
        Op::Lte => "lte",
        Op::Gte => "gte",
        Op::In => "in",
        Op::Nin => "nin",
        Op::Exists => "exists",
        Op::Nexists => "nexists",
        Op::Contains => "contains",
        Op::Ncontains => "ncontains",
        Op::Matches => "matches",
        Op::Nmatches => "nmatches",
    }
}
