//! `json.validate` and `json.validate_string`: JSON Schema, with patterns that take linear time and nothing fetched.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else there is, is refused alike"
)]

use std::{collections::HashMap, sync::Arc};

use jsonschema::{PatternOptions, Validator};
use mlua::{Lua, Value as LuaValue};
use serde_json::{Map, Value as Json};
use wippy_security::CallError;
use wippy_wit::Value;

use super::{from_lua, parse};
use crate::arguments::{Arguments, unexpected};

/// How many schemas a state remembers.
const CACHED_MAX: usize = 32;
const TEXT_MAX: usize = 1 << 20;
const PATTERNS_MAX: usize = 256;
const PATTERN_SIZE_MAX: usize = 1 << 18;
/// How many parts a schema may have once its references are followed.
const PARTS_MAX: usize = 50_000;
/// How deep parts may be within each other once references are followed.
const DEPTH_MAX: usize = 256;
/// How deep checking may go: parts within each other, for each level of the value where the schema is recursive.
const FRAMES_MAX: usize = 2_500;
/// How many problems a message tells.
const PROBLEMS_MAX: usize = 5;

/// `json.validate(schema, value)`.
pub(super) fn validate(lua: &Lua, arguments: &Arguments) -> Result<Value, CallError> {
    let schema = compiled(lua, arguments.get(0))?;
    let value = from_lua(lua, arguments.get(1))?;
    let problem = match check(&schema, &value) {
        Ok(()) => return Ok(Value::Boolean(true)),
        Err(problem) => problem,
    };
    // An empty table may be meant as either; the schema says which.
    let other = with_empty_objects(&value);
    if other != value && check(&schema, &other).is_ok() {
        return Ok(Value::Boolean(true));
    }
    Err(problem)
}

/// `json.validate_string(schema, text)`.
pub(super) fn validate_string(lua: &Lua, arguments: &Arguments) -> Result<Value, CallError> {
    let schema = compiled(lua, arguments.get(0))?;
    let value = parse(&arguments.bytes(1, "json_str")?)?;
    check(&schema, &value).map(|()| Value::Boolean(true))
}

fn check(schema: &Schema, value: &Json) -> Result<(), CallError> {
    if !schema.size.allows(value) {
        return Err(CallError::invalid(
            "the value is nested too deeply for a schema that refers to itself",
        ));
    }
    let mut problems = schema.validator.iter_errors(value).map(|problem| {
        let path = problem.instance_path().as_str();
        if path.is_empty() {
            problem.to_string()
        } else {
            format!("{path}: {problem}")
        }
    });
    let shown: Vec<String> = problems.by_ref().take(PROBLEMS_MAX).collect();
    if shown.is_empty() {
        return Ok(());
    }
    let more = if problems.next().is_some() { "; …" } else { "" };
    Err(CallError::invalid(format!("{}{more}", shown.join("; "))))
}

/// The schemas that a state has used, by their text.
#[derive(Default)]
struct Cache(HashMap<String, Arc<Schema>>);

struct Schema {
    validator: Validator,
    size: Size,
}

/// So many bytes of schemas are kept for other executions: as a rule they are a part of the script.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// Forgets the schemas that the state has used, if they are large.
pub(super) fn forget(lua: &Lua) {
    let bytes = lua
        .app_data_ref::<Cache>()
        .map_or(0, |cache| cache.0.keys().map(String::len).sum());
    if bytes > KEPT_BYTES_MAX {
        lua.remove_app_data::<Cache>();
    }
}

fn compiled(lua: &Lua, schema: &LuaValue) -> Result<Arc<Schema>, CallError> {
    let json = match schema {
        LuaValue::String(text) => {
            parse(&text.as_bytes()).map_err(|error| CallError::invalid(format!("the schema: {error}")))?
        }
        LuaValue::Table(_) => schema_of_table(&from_lua(lua, schema)?, ""),
        other => return Err(unexpected(other, "schema", "a table or a JSON text")),
    };
    let text = json.to_string();
    let known = lua
        .app_data_ref::<Cache>()
        .and_then(|cache| cache.0.get(&text).cloned());
    if let Some(schema) = known {
        return Ok(schema);
    }
    let schema = Arc::new(compile(&json, &text)?);
    let mut cache = lua.remove_app_data::<Cache>().unwrap_or_default();
    if cache.0.len() >= CACHED_MAX {
        cache.0.clear();
    }
    cache.0.insert(text, schema.clone());
    lua.set_app_data(cache);
    Ok(schema)
}

fn compile(schema: &Json, text: &str) -> Result<Schema, CallError> {
    if text.len() > TEXT_MAX {
        return Err(CallError::invalid(format!(
            "the schema has more than {TEXT_MAX} bytes"
        )));
    }
    let size = Size::of(schema)?;
    let patterns = PatternOptions::regex()
        .size_limit(PATTERN_SIZE_MAX)
        .dfa_size_limit(PATTERN_SIZE_MAX);
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .with_pattern_options(patterns)
        .build(schema)
        .map_err(|error| CallError::invalid(format!("the schema: {error}")))?;
    Ok(Schema { validator, size })
}

/// A schema's table as JSON: an empty table is an array only where a schema has lists.
fn schema_of_table(json: &Json, key: &str) -> Json {
    const LISTS: &[&str] = &[
        "allOf",
        "anyOf",
        "enum",
        "examples",
        "oneOf",
        "prefixItems",
        "required",
        "type",
    ];
    match json {
        Json::Array(elements) if elements.is_empty() && !LISTS.contains(&key) => Json::Object(Map::new()),
        Json::Array(elements) => elements
            .iter()
            .map(|element| schema_of_table(element, ""))
            .collect(),
        Json::Object(fields) => {
            let field = |(key, value): (&String, &Json)| (key.clone(), schema_of_table(value, key));
            Json::Object(fields.iter().map(field).collect())
        }
        other => other.clone(),
    }
}

fn with_empty_objects(json: &Json) -> Json {
    match json {
        Json::Array(elements) if elements.is_empty() => Json::Object(Map::new()),
        Json::Array(elements) => elements.iter().map(with_empty_objects).collect(),
        Json::Object(fields) => {
            let field = |(key, value): (&String, &Json)| (key.clone(), with_empty_objects(value));
            Json::Object(fields.iter().map(field).collect())
        }
        other => other.clone(),
    }
}

/// What a schema would cost, found before anything is compiled or checked.
///
/// References to parts that refer on twice each make a schema of a few lines that takes ages to check; one that leads
/// to itself without going into the value would never end. So that all references are seen, they have to point into
/// the schema itself, and no part may be the base of others.
#[derive(Default)]
struct Size {
    patterns: usize,
    parts: usize,
    /// How deep parts are within each other, along references.
    depth: usize,
    deepest: usize,
    /// Whether a part refers to one that it is within.
    is_recursive: bool,
}

/// A way through the schema.
#[derive(Clone, Copy)]
struct Place<'a> {
    root: &'a Json,
    /// Whether the same value is looked at as where the latest reference stood.
    in_place: bool,
}

/// A reference that was followed.
struct Step {
    target: String,
    in_place: bool,
}

impl Size {
    fn of(schema: &Json) -> Result<Self, CallError> {
        let mut size = Self::default();
        let place = Place {
            root: schema,
            in_place: true,
        };
        size.visit(place, schema, &mut Vec::new())?;
        Ok(size)
    }

    /// Whether checking a value stays within a thread's stack.
    fn allows(&self, value: &Json) -> bool {
        !self.is_recursive || self.deepest.saturating_mul(depth_of(value)) <= FRAMES_MAX
    }

    fn visit(&mut self, place: Place<'_>, part: &Json, path: &mut Vec<Step>) -> Result<(), CallError> {
        self.parts += 1;
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        if self.parts > PARTS_MAX || self.depth > DEPTH_MAX {
            return Err(CallError::invalid(
                "the schema is too large once its references are followed",
            ));
        }
        match part {
            Json::Array(parts) => parts.iter().try_for_each(|part| self.visit(place, part, path))?,
            Json::Object(fields) => fields
                .iter()
                .try_for_each(|(key, part)| self.field(place, key, part, path))?,
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
        self.depth -= 1;
        Ok(())
    }

    fn field(
        &mut self,
        place: Place<'_>,
        key: &str,
        part: &Json,
        path: &mut Vec<Step>,
    ) -> Result<(), CallError> {
        let inside = Place {
            in_place: false,
            ..place
        };
        match (key, part) {
            ("$ref", Json::String(target)) => self.follow(place, target, path),
            ("$dynamicRef" | "$recursiveRef", _) => Err(CallError::invalid(format!(
                "the schema: `{key}` is not supported, use `$ref`"
            ))),
            ("$id", Json::String(_)) if self.depth > 1 => {
                Err(CallError::invalid("the schema: only its root may have an `$id`"))
            }
            ("$schema", Json::String(draft)) if draft.contains("draft-03") || draft.contains("draft-04") => {
                Err(CallError::invalid(
                    "the schema: drafts before 6 are not supported",
                ))
            }
            // What stands there counts where it is referred to.
            ("$defs" | "definitions", _) if !path.is_empty() => Ok(()),
            ("$defs" | "definitions" | "properties", Json::Object(parts)) => self.each(inside, parts, path),
            ("patternProperties", Json::Object(parts)) => {
                parts.iter().try_for_each(|_| self.pattern())?;
                self.each(inside, parts, path)
            }
            ("dependencies" | "dependentSchemas", Json::Object(parts)) => self.each(place, parts, path),
            ("pattern", Json::String(_)) => self.pattern(),
            ("allOf" | "anyOf" | "else" | "if" | "not" | "oneOf" | "then", _) => {
                self.visit(place, part, path)
            }
            ("const" | "default" | "enum" | "examples", _) => Ok(()),
            _ => self.visit(inside, part, path),
        }
    }

    /// Parts by names that are the schema's own, whatever they read like.
    fn each(
        &mut self,
        place: Place<'_>,
        parts: &Map<String, Json>,
        path: &mut Vec<Step>,
    ) -> Result<(), CallError> {
        parts.values().try_for_each(|part| self.visit(place, part, path))
    }

    fn pattern(&mut self) -> Result<(), CallError> {
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            return Err(CallError::invalid(format!(
                "the schema has more than {PATTERNS_MAX} patterns"
            )));
        }
        Ok(())
    }

    fn follow(&mut self, place: Place<'_>, target: &str, path: &mut Vec<Step>) -> Result<(), CallError> {
        if let Some(met) = path.iter().position(|step| step.target == target) {
            self.is_recursive = true;
            if !place.in_place || path.iter().skip(met + 1).any(|step| !step.in_place) {
                return Ok(());
            }
            return Err(CallError::invalid(format!("`$ref: {target}` leads to itself")));
        }
        let found = target
            .strip_prefix('#')
            .and_then(|pointer| place.root.pointer(pointer))
            .ok_or_else(|| {
                CallError::invalid(format!(
                    "`$ref: {target}` leads nowhere: references point into the schema, as `#/$defs/name`"
                ))
            })?;
        path.push(Step {
            target: target.to_owned(),
            in_place: place.in_place,
        });
        let there = Place {
            in_place: true,
            ..place
        };
        self.visit(there, found, path)?;
        path.pop();
        Ok(())
    }
}

fn depth_of(value: &Json) -> usize {
    match value {
        Json::Array(elements) => 1 + elements.iter().map(depth_of).max().unwrap_or_default(),
        Json::Object(fields) => 1 + fields.values().map(depth_of).max().unwrap_or_default(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => 1,
    }
}
