//! Lua entries: from settings to scripts that were compiled once, with every `require` accounted for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use wippy_lua::{Error, Library, LuaFunction, LuaProcess, MODULES, Required, Retry, Retrying, Source};
use wippy_registry::{
    Diagnostic, Entry, EntryId, Linked, LinkedEntry, SourceMap, SourceText,
    schema::{self, lua::Script},
    suggest,
};
use wippy_security::Handler;

use super::{
    pools,
    ready::{Ground, Ready, Which},
};
use crate::config::Config;

/// The libraries of the application; those with errors are missing.
pub(crate) type Libraries = BTreeMap<EntryId, Arc<Library>>;

/// Checks and collects the libraries. Linked entries come with dependencies first, so that a library's own imports
/// are there before it.
pub(super) fn libraries(linked: &Linked, which: &Which<'_>, diagnostics: &mut Vec<Diagnostic>) -> Libraries {
    let mut libraries = Libraries::new();
    for entry in &linked.entries {
        let schema::Config::LuaLibrary(library) = &entry.config else {
            continue;
        };
        if let Some(known) = which.known_library(&entry.entry.id) {
            libraries.insert(entry.entry.id.clone(), known);
            continue;
        }
        let mut problems = check(entry, &library.script, &linked.sources);
        if problems.is_empty()
            && let Some(imports) = imports(&library.script, &libraries)
        {
            let library = Library {
                id: entry.entry.id.clone(),
                name: name(&entry.entry, &library.script.source),
                text: Arc::clone(&library.script.source.text),
                modules: modules(&library.script),
                imports,
            };
            libraries.insert(entry.entry.id.clone(), Arc::new(library));
        }
        diagnostics.append(&mut problems);
    }
    libraries
}

/// Makes a function ready.
pub(super) fn function(
    entry: &LinkedEntry,
    config: &schema::lua::LuaFunction,
    libraries: &Libraries,
    sources: &SourceMap,
    ground: &Ground,
) -> Result<Ready, Vec<Diagnostic>> {
    let source = source(entry, &config.script, &config.method, libraries, sources)?;
    let mut limits = limits(&ground.settings);
    if let Some(pool) = &config.pool {
        limits.pool = pools::config(pool, None, &ground.classes);
    }
    let made = LuaFunction::new(source, ground.services(), limits);
    let function = made.map_err(|error| vec![blame(entry, &config.script, &error, sources)])?;
    let handler: Arc<dyn Handler> = match retry(entry, config)? {
        Some(retry) => Retrying::new(entry.entry.id.clone(), function.clone(), retry),
        None => function.clone(),
    };
    Ok(Ready::LuaFunction { function, handler })
}

/// What `meta.options.retry` says.
fn retry(entry: &LinkedEntry, config: &schema::lua::LuaFunction) -> Result<Option<Retry>, Vec<Diagnostic>> {
    let Some(options) = config.options.get("retry") else {
        return Ok(None);
    };
    Retry::from_json(options).map(Some).map_err(|reason| {
        let message = format!("`{}`: {reason}", entry.entry.id);
        let span = entry.entry.span_at("meta.options.retry");
        vec![Diagnostic::error("invalid-value", message).primary(span, "")]
    })
}

/// Makes a process ready.
pub(super) fn process(
    entry: &LinkedEntry,
    config: &schema::lua::LuaProcess,
    libraries: &Libraries,
    sources: &SourceMap,
    ground: &Ground,
) -> Result<Ready, Vec<Diagnostic>> {
    let source = source(entry, &config.script, &config.method, libraries, sources)?;
    let made = LuaProcess::new(source, ground.services(), limits(&ground.settings));
    made.map(|process| Ready::LuaProcess(Arc::new(process)))
        .map_err(|error| vec![blame(entry, &config.script, &error, sources)])
}

fn source(
    entry: &LinkedEntry,
    script: &Script,
    method: &str,
    libraries: &Libraries,
    sources: &SourceMap,
) -> Result<Source, Vec<Diagnostic>> {
    let problems = check(entry, script, sources);
    // An import that is missing here has problems of its own, which were reported.
    let Some(imports) = imports(script, libraries).filter(|_| problems.is_empty()) else {
        return Err(problems);
    };
    Ok(Source {
        id: entry.entry.id.clone(),
        name: name(&entry.entry, &script.source),
        text: Arc::clone(&script.source.text),
        method: method.into(),
        modules: modules(script),
        imports,
    })
}

fn imports(script: &Script, libraries: &Libraries) -> Option<BTreeMap<String, Arc<Library>>> {
    let import = |(alias, id): (&String, &EntryId)| Some((alias.clone(), Arc::clone(libraries.get(id)?)));
    script.imports.iter().map(import).collect()
}

fn modules(script: &Script) -> BTreeSet<String> {
    script.modules.iter().flatten().cloned().collect()
}

/// What tracebacks call a script: its file, or its entry when it is inline.
fn name(entry: &Entry, source: &SourceText) -> Arc<str> {
    source.path.clone().unwrap_or_else(|| entry.id.as_str().into())
}

fn limits(config: &Config) -> wippy_lua::Config {
    let defaults = wippy_lua::Config::default();
    let memory = config
        .lua
        .memory_limit
        .and_then(|bytes| usize::try_from(bytes).ok());
    let budget = config
        .lua
        .instruction_budget
        .and_then(|budget| u32::try_from(budget).ok());
    wippy_lua::Config {
        memory_limit: memory.unwrap_or(defaults.memory_limit),
        instruction_budget: budget.unwrap_or(defaults.instruction_budget),
        ..defaults
    }
}

/// What can be said about a script without running it: whether it is Lua, and whether it requires what it may.
fn check(entry: &LinkedEntry, script: &Script, sources: &SourceMap) -> Vec<Diagnostic> {
    let id = &entry.entry.id;
    if let Err(error) = wippy_lua::check(Some(id), &name(&entry.entry, &script.source), &script.source.text) {
        return vec![blame(entry, script, &error, sources)];
    }
    let undeclared = wippy_lua::required(&script.source.text)
        .into_iter()
        .filter(|required| {
            let listed = script
                .modules
                .iter()
                .flatten()
                .any(|module| *module == required.name);
            !listed && !script.imports.contains_key(&required.name)
        });
    undeclared
        .map(|required| undeclared_require(entry, script, &required, sources))
        .collect()
}

fn undeclared_require(
    entry: &LinkedEntry,
    script: &Script,
    required: &Required,
    sources: &SourceMap,
) -> Diagnostic {
    let Required { name, line, column } = required;
    let start = line_range(&script.source.text, *line).start + column.saturating_sub(1);
    let span = script.source.span_at(start..start + name.len(), sources);
    let id = &entry.entry.id;
    let diagnostic = Diagnostic::error(
        "undeclared-module",
        format!("`{id}` requires `{name}`, which the entry does not declare"),
    )
    .primary(span, "not declared");
    if MODULES.contains(&name.as_str()) {
        return diagnostic.help(match &script.modules {
            Some(_) => format!("add `{name}` to the entry's `modules`"),
            None => format!("add `modules: [{name}]` to the entry"),
        });
    }
    let known = MODULES
        .iter()
        .copied()
        .chain(script.imports.keys().map(String::as_str));
    diagnostic
        .did_you_mean(suggest::closest(name, known))
        .help(format!(
            "a library is declared by `imports`: `{name}: namespace:library`"
        ))
}

/// What the runtime says is wrong with a script, at the token that is to blame.
fn blame(entry: &LinkedEntry, script: &Script, error: &Error, sources: &SourceMap) -> Diagnostic {
    let entry = &entry.entry;
    match error {
        Error::Syntax {
            line, message, near, ..
        } => {
            let range = line_range(&script.source.text, *line);
            let text = script.source.text.get(range.clone()).unwrap_or_default();
            let indent = text.len() - text.trim_start().len();
            let token = near
                .as_deref()
                .and_then(|near| Some((text.find(near)?, near.len())));
            let (offset, length) = token.unwrap_or((indent, text.trim().len()));
            let start = range.start + offset;
            Diagnostic::error("invalid-lua", format!("`{}`: {message}", entry.id))
                .primary(script.source.span_at(start..start + length, sources), "")
        }
        Error::UnknownModule {
            module, suggestion, ..
        } => {
            let items = entry
                .at("modules")
                .and_then(wippy_registry::Node::as_list)
                .unwrap_or_default();
            let item = items.iter().find(|item| item.as_str() == Some(module));
            let span = item.map_or_else(|| entry.span_at("modules"), wippy_registry::Node::span);
            let diagnostic = Diagnostic::error(
                "unknown-module",
                format!("`{}`: there is no module `{module}`", entry.id),
            )
            .primary(span, "no such module");
            match suggestion {
                Some(near) => diagnostic.did_you_mean(Some(near)),
                None => diagnostic.help(format!("the modules are: {}", MODULES.join(", "))),
            }
        }
        Error::State { reason, .. } => Diagnostic::error(
            "lua-state",
            format!("`{}`: a Lua state cannot be made: {reason}", entry.id),
        )
        .primary(entry.origin, "")
        .help("`lua.memory_limit` in the configuration may be too small"),
    }
}

/// The bytes of a line, without its end.
fn line_range(text: &str, line: usize) -> std::ops::Range<usize> {
    let mut start = 0;
    for (number, content) in text.split('\n').enumerate() {
        if number + 1 == line {
            return start..start + content.len();
        }
        start += content.len() + 1;
    }
    text.len()..text.len()
}
