//! [`Expression`]: a CEL expression over the same fields as conditions, compiled once and bounded on every side.
//!
//! Compiling is recursive, so it happens on a thread with a stack of its own and after a bound on the length; what
//! comes out has a bounded depth, so evaluating is safe on any thread. A request's part in the work is bounded too:
//! loops nest at most twice, and what they can run over is counted.

use std::{
    collections::HashMap,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock, OnceLock},
    thread,
};

use cel::{
    Context, Env, ExecutionError, IdedExpr, ParseErrors,
    common::{
        ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SourceInfo},
        types::CelString,
        value::{CowVal, Val},
    },
    context::VariableResolver,
    extractors::This,
    objects::{Key, Map},
};
use regex::Regex;
use wippy_wit::{Table, Value};

use super::{PolicyProblem, condition::regular_expression, dialect, field::Request};

/// Longer expressions are refused.
const LEN_MAX: usize = 2048;
/// Parentheses, lists and calls may be nested this deep.
const NESTING_MAX: u16 = 24;
/// What is compiled may be this deep, which evaluating it takes stack for.
const DEPTH_MAX: usize = 48;
/// Loops (`all`, `exists`, `map`, …) within loops.
const LOOPS_MAX: usize = 2;
/// How many values an actor or a request may bring, and how deep they may be nested.
const VALUES_MAX: usize = 1024;
const VALUE_DEPTH_MAX: usize = 32;
/// Many times what the longest and deepest expression takes without optimisation. It is reserved, not touched.
const STACK_SIZE: usize = 16 << 20;
/// An error may quote what the request brought, which can be long.
const ERROR_LEN_MAX: usize = 200;

const VARIABLES: [&str; 4] = ["action", "actor", "meta", "resource"];
const TYPES: [&str; 9] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "uint",
];
const FUNCTIONS: [&str; 13] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "int",
    "matches",
    "size",
    "startsWith",
    "string",
    "type",
    "uint",
];

static ENVIRONMENT: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

/// A compiled expression.
pub(crate) struct Expression {
    tree: IdedExpr,
    /// The functions it can call; `matches` knows the patterns of this expression.
    functions: Context<'static, 'static>,
}

/// What is wrong, and where in the text if that is known.
pub(crate) type Wrong = (Option<Range<usize>>, PolicyProblem);

impl Expression {
    pub(crate) fn compile(text: &str) -> Result<Self, Wrong> {
        if text.len() > LEN_MAX {
            return Err((None, PolicyProblem::TooLong { max: LEN_MAX }));
        }
        thread::scope(|scope| {
            let builder = thread::Builder::new()
                .name("expression".to_owned())
                .stack_size(STACK_SIZE);
            let compiled = builder
                .spawn_scoped(scope, || Self::compile_here(text))
                .map(thread::ScopedJoinHandle::join);
            // Without memory for the stack, or when the parser gives up, the expression is as good as unreadable.
            compiled
                .ok()
                .and_then(Result::ok)
                .unwrap_or(Err((None, PolicyProblem::Unreadable)))
        })
    }

    fn compile_here(text: &str) -> Result<Self, Wrong> {
        let parser = ENVIRONMENT
            .parser()
            .max_recursion_depth(NESTING_MAX)
            .error_recovery_limit(1);
        let (tree, source) = parser
            .parse_with_source_info(text)
            .map_err(|errors| syntax_error(text, &errors))?;
        let mut check = Check {
            text,
            source: &source,
            patterns: HashMap::new(),
            names: Vec::new(),
        };
        check.tree(&tree)?;
        let functions = functions(check.patterns);
        Ok(Self { tree, functions })
    }

    /// Whether it is true.
    ///
    /// # Errors
    /// When it asks for what the request does not have, compares what cannot be compared, or gives no boolean.
    pub(crate) fn holds(&self, request: &Request<'_>) -> Result<bool, String> {
        let variables = Variables {
            request,
            actor: OnceLock::new(),
            meta: OnceLock::new(),
        };
        let evaluate = || {
            let mut context: Context<'_, '_> = self.functions.new_inner_scope();
            context.set_variable_resolver(&variables);
            cel::Value::resolve(&self.tree, &context)
        };
        // A request must not be able to take the caller down by a mistake in the evaluator.
        match catch_unwind(AssertUnwindSafe(evaluate)) {
            Ok(Ok(cel::Value::Bool(holds))) => Ok(holds),
            Ok(Ok(other)) => Err(format!("it gives a {}, not true or false", other.type_of())),
            Ok(Err(error)) => Err(variables.too_large().unwrap_or_else(|| message(&error))),
            Err(_) => Err("it cannot be evaluated".to_owned()),
        }
    }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Expression").field(&self.tree).finish()
    }
}

fn message(error: &ExecutionError) -> String {
    let mut text = if let ExecutionError::NoSuchKey(key) = error {
        format!("there is no `{key}`")
    } else {
        error.to_string()
    };
    if let Some((end, _)) = text.char_indices().nth(ERROR_LEN_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The standard functions, with a `matches` that compiles the patterns of the expression once and all others under
/// limits.
fn functions(patterns: HashMap<String, Regex>) -> Context<'static, 'static> {
    let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
    let matches = move |This(text): This<Arc<String>>, pattern: Arc<String>| match patterns.get(&*pattern) {
        Some(regex) => Ok(regex.is_match(&text)),
        None => regular_expression(&pattern)
            .map(|regex| regex.is_match(&text))
            .map_err(|reason| ExecutionError::function_error("matches", reason)),
    };
    // Without its `regex` feature the library has no function of this name to collide with.
    let added = context.add_function("matches", matches);
    debug_assert!(added.is_ok(), "{added:?}");
    context
}

/// Looks a parsed expression through before it is used.
struct Check<'a> {
    text: &'a str,
    source: &'a SourceInfo,
    patterns: HashMap<String, Regex>,
    /// Variables that loops bring in.
    names: Vec<&'a str>,
}

impl<'a> Check<'a> {
    /// Visits every node, with a list of what is left to do rather than by recursion.
    fn tree(&mut self, tree: &'a IdedExpr) -> Result<(), Wrong> {
        let mut left = vec![(tree, 1, 0)];
        let mut idents = Vec::new();
        while let Some((node, depth, loops)) = left.pop() {
            if depth > DEPTH_MAX {
                return Err((self.range(node.id), PolicyProblem::TooDeep));
            }
            let mut visit = |child: &'a IdedExpr| left.push((child, depth + 1, loops));
            match &node.expr {
                Expr::Unspecified | Expr::Literal(_) => {}
                Expr::Ident(name) => idents.push((node.id, name.as_str())),
                Expr::Call(call) => {
                    self.call(node.id, call)?;
                    call.target
                        .as_deref()
                        .into_iter()
                        .chain(&call.args)
                        .for_each(visit);
                }
                Expr::Select(select) => {
                    if let Expr::Ident(root) = &select.operand.expr {
                        self.select(node.id, root, &select.field)?;
                    }
                    visit(&select.operand);
                }
                Expr::List(list) => list.elements.iter().for_each(visit),
                Expr::Map(map) => {
                    for entry in &map.entries {
                        if let EntryExpr::MapEntry(entry) = &entry.expr {
                            visit(&entry.key);
                            visit(&entry.value);
                        }
                    }
                }
                Expr::Struct(message) => {
                    let name = message.type_name.clone();
                    return Err((self.range(node.id), PolicyProblem::UnknownName { name }));
                }
                Expr::Comprehension(comprehension) => {
                    let ComprehensionExpr {
                        iter_range,
                        accu_init,
                        loop_cond,
                        loop_step,
                        result,
                        ..
                    } = &**comprehension;
                    if loops >= LOOPS_MAX {
                        return Err((
                            self.range(node.id),
                            PolicyProblem::TooManyLoops { max: LOOPS_MAX },
                        ));
                    }
                    self.names
                        .extend([&*comprehension.iter_var, &*comprehension.accu_var]);
                    self.names.extend(comprehension.iter_var2.as_deref());
                    visit(iter_range);
                    visit(accu_init);
                    left.extend([loop_cond, loop_step, result].map(|part| (part, depth + 1, loops + 1)));
                }
            }
        }
        let unknown = |name: &str| {
            !VARIABLES.contains(&name)
                && !TYPES.contains(&name)
                && !self.names.contains(&name)
                && !name.starts_with('@')
        };
        match idents.into_iter().find(|(_, name)| unknown(name)) {
            Some((id, name)) => Err((
                self.range(id),
                PolicyProblem::UnknownName {
                    name: name.to_owned(),
                },
            )),
            None => Ok(()),
        }
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> Result<(), Wrong> {
        let name = &call.func_name;
        let is_operator = !name.starts_with(|first: char| first.is_ascii_alphabetic());
        if !is_operator && !FUNCTIONS.contains(&name.as_str()) {
            return Err((
                self.range(id),
                PolicyProblem::UnknownFunction { name: name.clone() },
            ));
        }
        if name == "matches"
            && let Some(IdedExpr {
                id,
                expr: Expr::Literal(LiteralValue::String(pattern)),
            }) = call.args.last()
        {
            let pattern = pattern.inner().to_owned();
            match regular_expression(&pattern) {
                Ok(regex) => drop(self.patterns.insert(pattern, regex)),
                Err(reason) => {
                    return Err((self.range(*id), PolicyProblem::InvalidPattern { pattern, reason }));
                }
            }
        }
        Ok(())
    }

    fn select(&self, id: u64, root: &str, field: &str) -> Result<(), Wrong> {
        if root != "actor" || ["id", "meta"].contains(&field) || self.names.contains(&root) {
            return Ok(());
        }
        Err((
            self.range(id),
            PolicyProblem::UnknownField {
                field: format!("actor.{field}"),
            },
        ))
    }

    /// The bytes of a node; the parser says where its last character begins.
    fn range(&self, id: u64) -> Option<Range<usize>> {
        let (start, last) = self.source.offset_for(id)?;
        let (start, last) = (usize::try_from(start).ok()?, usize::try_from(last).ok()?);
        let end = last + self.text.get(last..)?.chars().next().map_or(0, char::len_utf8);
        self.text.get(start..end).map(|_| start..end)
    }
}

fn syntax_error(text: &str, errors: &ParseErrors) -> Wrong {
    if let Some((range, instead)) = dialect::foreign(text) {
        let found = text.get(range.clone()).unwrap_or_default().to_owned();
        return (Some(range), PolicyProblem::OtherDialect { found, instead });
    }
    let Some(error) = errors.errors.first() else {
        return (None, PolicyProblem::Unreadable);
    };
    if error.msg == "UNKNOWN" {
        // Only the bounds stop the parser without a place in the text.
        return (None, PolicyProblem::TooDeep);
    }
    let message = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
    // What follows is a list of dozens of tokens.
    let message = message.split(" expecting ").next().unwrap_or(message).to_owned();
    (offset_of(text, error.pos), PolicyProblem::Syntax { message })
}

/// The parser counts lines and columns from 1, columns in characters.
fn offset_of(text: &str, (line, column): (isize, isize)) -> Option<Range<usize>> {
    let line = usize::try_from(line.checked_sub(1)?).ok()?;
    let column = usize::try_from(column.checked_sub(1)?).ok()?;
    let line_start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let mut rest = text.get(line_start..)?.char_indices().skip(column);
    let here = rest.next().map_or(text.len()..text.len(), |(offset, character)| {
        let start = line_start + offset;
        start..start + character.len_utf8()
    });
    Some(here)
}

/// The variables of one request, converted when they are first asked for.
struct Variables<'a> {
    request: &'a Request<'a>,
    actor: OnceLock<Option<Box<dyn Val>>>,
    meta: OnceLock<Option<Box<dyn Val>>>,
}

impl VariableResolver for Variables<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let borrowed = |value: &'b Option<Box<dyn Val>>| value.as_deref().map(CowVal::Borrowed);
        match variable {
            "action" => Some(CowVal::owned(CelString::from(self.request.action))),
            "resource" => Some(CowVal::owned(CelString::from(self.request.resource))),
            "actor" => borrowed(self.actor.get_or_init(|| self.convert_actor())),
            "meta" => borrowed(
                self.meta
                    .get_or_init(|| convert_fields(self.request.meta)?.try_into().ok()),
            ),
            _ => None,
        }
    }
}

impl Variables<'_> {
    fn convert_actor(&self) -> Option<Box<dyn Val>> {
        let id = cel::Value::String(Arc::new(self.request.actor.id.to_string()));
        let meta = convert_fields(&self.request.actor.meta)?;
        map([(key("id"), id), (key("meta"), meta)].into()).try_into().ok()
    }

    fn too_large(&self) -> Option<String> {
        let failed = |value: &OnceLock<Option<Box<dyn Val>>>| matches!(value.get(), Some(None));
        let name = if failed(&self.actor) {
            "actor.meta"
        } else if failed(&self.meta) {
            "meta"
        } else {
            return None;
        };
        Some(format!(
            "`{name}` has more than {VALUES_MAX} values, or is nested deeper than {VALUE_DEPTH_MAX} levels"
        ))
    }
}

/// What is known about an actor or a request; nothing known is a table without keys.
fn convert_fields(meta: &Value) -> Option<cel::Value> {
    let nothing = Value::Table(Box::default());
    convert(
        if meta.is_nil() { &nothing } else { meta },
        VALUE_DEPTH_MAX,
        &mut 0,
    )
}

/// `None` when there is too much of it.
fn convert(value: &Value, depth: usize, count: &mut usize) -> Option<cel::Value> {
    *count += 1;
    if *count > VALUES_MAX {
        return None;
    }
    Some(match value {
        // What is opaque is there, which is all that can be asked about it.
        Value::Nil | Value::Foreign(_) => cel::Value::Null,
        Value::Boolean(value) => cel::Value::Bool(*value),
        Value::Integer(value) => cel::Value::Int(*value),
        Value::Unsigned(value) => cel::Value::UInt(*value),
        Value::Float(value) => cel::Value::Float(*value),
        Value::String(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => cel::Value::String(Arc::new(text.to_owned())),
            Err(_) => cel::Value::Bytes(Arc::new(bytes.to_vec())),
        },
        Value::Table(table) => convert_table(table, depth.checked_sub(1)?, count)?,
    })
}

fn convert_table(table: &Table, depth: usize, count: &mut usize) -> Option<cel::Value> {
    if table.pairs.is_empty() && !table.array.is_empty() {
        let elements = table.array.iter().map(|element| convert(element, depth, count));
        return Some(cel::Value::List(Arc::new(elements.collect::<Option<_>>()?)));
    }
    let mut fields = HashMap::with_capacity(table.pairs.len().min(VALUES_MAX));
    for (index, element) in (1..).zip(&table.array) {
        fields.insert(Key::Int(index), convert(element, depth, count)?);
    }
    for (name, value) in &table.pairs {
        // Other keys have no form in the language, so that nothing can ask for them.
        if let Some(name) = convert_key(name) {
            fields.insert(name, convert(value, depth, count)?);
        }
    }
    Some(map(fields))
}

fn convert_key(value: &Value) -> Option<Key> {
    match value {
        Value::Boolean(value) => Some(Key::Bool(*value)),
        Value::Integer(value) => Some(Key::Int(*value)),
        Value::Unsigned(value) => Some(Key::Uint(*value)),
        Value::String(bytes) => std::str::from_utf8(bytes).ok().map(key),
        Value::Nil | Value::Float(_) | Value::Table(_) | Value::Foreign(_) => None,
    }
}

fn key(text: &str) -> Key {
    Key::String(Arc::new(text.to_owned()))
}

fn map(fields: HashMap<Key, cel::Value>) -> cel::Value {
    cel::Value::Map(Map {
        map: Arc::new(fields),
    })
}
