//! `.wippy.yaml`, profiles and flags, read into one [`Config`]: what is meant.
//!
//! Layers are merged in this order, later ones win: the files from left to right, the profile, `--set`. Every value
//! is checked against the table in `keys`, and every problem is reported with the place where it was written.

mod form;
mod keys;
mod layers;
mod quote;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    str::FromStr as _,
    time::Duration,
};

use wippy_registry::{Diagnostic, Node, SourceId, SourceMap, Span, yaml::Map};

pub use self::quote::{FieldOverride, Quote};

use crate::{
    args::{Override, Shared, Target},
    report::Problems,
};

/// The file that is read when no `--config` is given.
pub const FILE_NAME: &str = ".wippy.yaml";

/// The configuration of a run.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Values for `${NAME}` that come before those of the environment.
    pub vars: BTreeMap<String, String>,
    /// Fields of entries to override.
    pub overrides: Vec<FieldOverride>,
    /// Entries to leave out: ids, or globs of ids.
    pub disable: Vec<String>,
    /// What log lines look like.
    pub log_encoding: LogEncoding,
    /// Whether what has no actor or scope is refused.
    pub strict: bool,
    /// How many threads run the application; the number of cores when unset.
    pub workers: Option<usize>,
    /// Whether guests with a `worker_class` have processors of their own.
    pub wasm_isolation: Option<IsolationConfig>,
    /// How Lua runs.
    pub lua: LuaConfig,
    /// How WebAssembly runs.
    pub wasm: WasmConfig,
    /// Where metrics are read; nothing is counted if absent.
    pub prometheus: Option<PrometheusConfig>,
    /// Where traces are sent; nothing is traced if absent.
    pub otel: Option<OtelConfig>,
}

/// What log lines look like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogEncoding {
    /// Text for people.
    #[default]
    Console,
    /// One JSON object a line.
    Json,
}

/// The `otel` section of a run that is traced.
#[derive(Debug, Clone, Default)]
pub struct OtelConfig {
    /// The URL of the collector; a port of this machine when unset.
    pub endpoint: Option<String>,
    /// What the application is called there.
    pub service_name: Option<String>,
    /// The part of traces that begin here and are recorded; all when unset.
    pub sample_rate: Option<f64>,
    /// How long spans may wait to be sent together.
    pub export_interval: Option<Duration>,
}

/// The `prometheus` section of a run that is measured.
#[derive(Debug, Clone, Default)]
pub struct PrometheusConfig {
    /// The address to listen on; a port of this machine when unset.
    pub address: Option<String>,
}

/// The `scheduler.wasm_isolation` section of a run that has it enabled.
#[derive(Debug, Clone, Default)]
pub struct IsolationConfig {
    /// How many processors; half of them when unset.
    pub reserved_cores: Option<usize>,
}

/// The `lua` section.
#[derive(Debug, Clone, Default)]
pub struct LuaConfig {
    /// Bytes one state may hold.
    pub memory_limit: Option<u64>,
    /// Instructions after which a state that never waits is interrupted.
    pub instruction_budget: Option<u64>,
}

/// The `wasm` section.
#[derive(Debug, Clone, Default)]
pub struct WasmConfig {
    /// Limits of entries that set none, by their name in an entry's `limits`.
    pub limits: BTreeMap<String, u64>,
    /// Where compiled code is kept.
    pub cache: CacheConfig,
    /// `pooling` or `on_demand`.
    pub allocator: Option<String>,
}

/// The `wasm.cache` section. A run keeps compiled code unless told otherwise; whoever embeds the runtime asks for it.
#[derive(Debug, Clone, Default)]
pub struct CacheConfig {
    /// Whether compiled code is kept at all.
    pub enabled: bool,
    /// Where; a folder of the user's cache when unset.
    pub dir: Option<PathBuf>,
    /// How much, in bytes.
    pub max_bytes: Option<u64>,
}

impl Config {
    /// Reads the configuration of the project in `directory` as the flags ask for it.
    ///
    /// # Errors
    /// Every problem of every layer.
    pub fn read(directory: &Path, shared: &Shared) -> Result<Self, Problems> {
        let mut sources = SourceMap::default();
        let mut diagnostics = Vec::new();
        let root = layers::merged(directory, shared, &mut sources, &mut diagnostics);
        keys::check(&root, &mut diagnostics);
        let overrides = overrides(&root, shared, &mut sources, &mut diagnostics);
        if diagnostics.iter().any(Diagnostic::is_error) {
            return Err(Problems { sources, diagnostics });
        }
        let mut config = Self {
            overrides,
            ..Self::from_node(&root, directory)
        };
        if shared.json_logs {
            config.log_encoding = LogEncoding::Json;
        } else if shared.console {
            config.log_encoding = LogEncoding::Console;
        }
        Ok(config)
    }

    /// Reads what [`keys::check`] has accepted, so nothing can fail here.
    fn from_node(root: &Node, directory: &Path) -> Self {
        let cache = CacheConfig {
            enabled: flag(root, "wasm.cache.enabled").unwrap_or(true),
            dir: text(root, "wasm.cache.dir").map(|dir| directory.join(dir)),
            max_bytes: size(root, "wasm.cache.max_bytes"),
        };
        Self {
            vars: pairs(root, "vars")
                .filter_map(|(name, node)| Some((name.to_owned(), scalar(node)?)))
                .collect(),
            overrides: Vec::new(),
            disable: root
                .at("disable")
                .and_then(Node::as_list)
                .map(|ids| {
                    ids.iter()
                        .filter_map(|id| id.as_str().map(ToOwned::to_owned))
                        .collect()
                })
                .unwrap_or_default(),
            log_encoding: match text(root, "logger.encoding") {
                Some("json") => LogEncoding::Json,
                Some(_) | None => LogEncoding::Console,
            },
            strict: flag(root, "security.strict_mode").unwrap_or(false),
            workers: size(root, "scheduler.workers").and_then(|workers| usize::try_from(workers).ok()),
            wasm_isolation: flag(root, "scheduler.wasm_isolation.enabled")
                .unwrap_or(false)
                .then(|| IsolationConfig {
                    reserved_cores: size(root, "scheduler.wasm_isolation.reserved_cores")
                        .and_then(|cores| usize::try_from(cores).ok()),
                }),
            lua: LuaConfig {
                memory_limit: size(root, "lua.memory_limit"),
                instruction_budget: size(root, "lua.instruction_budget"),
            },
            wasm: WasmConfig {
                limits: pairs(root, "wasm.limits")
                    .filter_map(|(name, node)| Some((name.to_owned(), form::size(node)?)))
                    .collect(),
                cache,
                allocator: text(root, "wasm.allocator").map(ToOwned::to_owned),
            },
            otel: flag(root, "otel.enabled")
                .unwrap_or(false)
                .then(|| Self::otel_of(root)),
            prometheus: flag(root, "prometheus.enabled")
                .unwrap_or(false)
                .then(|| PrometheusConfig {
                    address: text(root, "prometheus.address").map(ToOwned::to_owned),
                }),
        }
    }

    fn otel_of(root: &Node) -> OtelConfig {
        let scheme = if flag(root, "otel.insecure") == Some(false) {
            "https"
        } else {
            "http"
        };
        // The usual form is a URL; the older one is a host and a port.
        let url = |endpoint: &str| {
            if endpoint.contains("://") {
                endpoint.to_owned()
            } else {
                format!("{scheme}://{endpoint}")
            }
        };
        OtelConfig {
            endpoint: text(root, "otel.endpoint").map(url),
            service_name: text(root, "otel.service_name").map(ToOwned::to_owned),
            sample_rate: root.at("otel.sample_rate").and_then(form::share),
            export_interval: text(root, "otel.export_interval").and_then(form::duration),
        }
    }

    /// The value of a variable: those of the configuration come before those of the environment.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.vars.get(name).cloned().or_else(|| std::env::var(name).ok())
    }
}

/// The overridden fields: those of the configuration, then those of flags.
fn overrides(
    root: &Node,
    shared: &Shared,
    sources: &mut SourceMap,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<FieldOverride> {
    let mut overrides = Vec::new();
    let fields = root.at("override").and_then(Node::as_map);
    for (target, field) in fields.into_iter().flat_map(Map::iter) {
        match Target::from_str(target) {
            Ok(Target { entry, field: name }) => {
                let value = Quote::new(field.key_span, &field.node, sources);
                overrides.push(FieldOverride {
                    entry,
                    field: name,
                    value,
                });
            }
            Err(reason) => diagnostics.push(
                Diagnostic::error("invalid-value", format!("`override`: {reason}"))
                    .primary(field.key_span, ""),
            ),
        }
    }
    for Override { target, value } in &shared.overrides {
        match flag_value("-o", &target.to_string(), value, sources) {
            Ok((key, node)) => overrides.push(FieldOverride {
                entry: target.entry.clone(),
                field: target.field.clone(),
                value: Quote::new(key, &node, sources),
            }),
            Err(diagnostic) => diagnostics.push(*diagnostic),
        }
    }
    overrides
}

/// Reads the YAML value of a flag such as `--set path=value`; returns the place of the path too.
fn flag_value(
    flag: &str,
    path: &str,
    value: &str,
    sources: &mut SourceMap,
) -> Result<(Span, Node), Box<Diagnostic>> {
    let id: SourceId = sources.add("(command line)", format!("{flag} {path}={value}"));
    let key = flag.len() + 1..flag.len() + 1 + path.len();
    let shift = key.end + 1;
    let alone = sources.add(format!("{flag} {path}"), value);
    let node = wippy_registry::yaml::parse(sources, alone)?;
    Ok((Span::new(id, key), quote::moved(&node, id, shift)))
}

fn pairs<'n>(root: &'n Node, path: &str) -> impl Iterator<Item = (&'n str, &'n Node)> {
    root.at(path)
        .and_then(Node::as_map)
        .into_iter()
        .flat_map(|map| map.iter().map(|(key, field)| (key, &field.node)))
}

fn flag(root: &Node, path: &str) -> Option<bool> {
    root.at(path).and_then(form::flag)
}

fn text<'n>(root: &'n Node, path: &str) -> Option<&'n str> {
    root.at(path).and_then(Node::as_str)
}

fn size(root: &Node, path: &str) -> Option<u64> {
    root.at(path).and_then(form::size)
}

/// A scalar as the text it is written as.
fn scalar(node: &Node) -> Option<String> {
    match node.to_json() {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Bool(value) => Some(value.to_string()),
        serde_json::Value::Number(value) => Some(value.to_string()),
        serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => None,
    }
}
