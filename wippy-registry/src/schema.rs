//! From an [`Entry`] to the typed settings of its kind.
//!
//! [`decode`] checks every field of an entry and reports all problems at once: unknown fields, missing ones, wrong
//! types, bad values, placeholders without a value. Each kind is one struct; families of kinds are the modules.

pub mod data;
mod decoder;
pub mod duration;
pub mod env;
mod fields;
pub mod fs;
pub mod http;
pub mod lifecycle;
pub mod lua;
pub mod pool;
pub mod process;
mod read;
mod reference;
pub mod security;
pub mod store;
pub mod wasi;
pub mod wasm;

use self::decoder::Decoder;
pub use self::reference::{Reference, Target};
use crate::diagnostic::Diagnostic;
use crate::entry::Entry;
use crate::env::EnvLookup;
use crate::kind::Kind;
use crate::suggest;

/// The typed settings of an entry, by kind.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Config {
    /// `function.wat`, `function.wasm`
    WasmFunction(wasm::WasmFunction),
    /// `process.wasm`
    WasmProcess(wasm::WasmProcess),
    /// `function.lua`
    LuaFunction(lua::LuaFunction),
    /// `process.lua`
    LuaProcess(lua::LuaProcess),
    /// `library.lua`
    LuaLibrary(lua::LuaLibrary),
    /// `registry.entry`
    RegistryEntry(data::RegistryEntry),
    /// `fs.directory`
    Directory(fs::Directory),
    /// `env.storage.*`
    EnvStorage(env::Storage),
    /// `env.variable`
    EnvVariable(env::Variable),
    /// `process.host`
    ProcessHost(process::ProcessHost),
    /// `terminal.host`
    TerminalHost(process::TerminalHost),
    /// `process.service`
    ProcessService(process::ProcessService),
    /// `http.service`
    HttpService(http::Service),
    /// `http.router`
    HttpRouter(http::Router),
    /// `http.endpoint`
    HttpEndpoint(http::Endpoint),
    /// `http.static`
    HttpStatic(http::Static),
    /// `security.policy`, `security.policy.expr`
    Policy(security::Policy),
    /// `security.token_store`
    TokenStore(security::TokenStore),
    /// `store.memory`
    MemoryStore(store::MemoryStore),
}

impl Config {
    /// How the entry starts and stops, for kinds that do.
    pub fn lifecycle(&self) -> Option<&lifecycle::Lifecycle> {
        match self {
            Self::ProcessHost(host) => Some(&host.lifecycle),
            Self::TerminalHost(host) => Some(&host.lifecycle),
            Self::ProcessService(service) => Some(&service.lifecycle),
            Self::HttpService(service) => Some(&service.lifecycle),
            Self::MemoryStore(store) => Some(&store.lifecycle),
            Self::WasmFunction(_)
            | Self::WasmProcess(_)
            | Self::LuaFunction(_)
            | Self::LuaProcess(_)
            | Self::LuaLibrary(_)
            | Self::RegistryEntry(_)
            | Self::Directory(_)
            | Self::EnvStorage(_)
            | Self::EnvVariable(_)
            | Self::HttpRouter(_)
            | Self::HttpEndpoint(_)
            | Self::HttpStatic(_)
            | Self::Policy(_)
            | Self::TokenStore(_) => None,
        }
    }
}

/// What [`decode_all`] finds out about an entry.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The settings; `None` when there are errors.
    pub config: Option<Config>,
    /// Other entries that this one needs, resolved but not looked up.
    pub references: Vec<Reference>,
    /// Errors and warnings.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads the settings of an entry.
///
/// # Errors
/// Every problem of the entry. Warnings alone are no error; [`decode_all`] returns them too.
pub fn decode(entry: &Entry, env: &dyn EnvLookup) -> Result<Config, Vec<Diagnostic>> {
    let decoded = decode_all(entry, env);
    decoded.config.ok_or(decoded.diagnostics)
}

/// Reads the settings of an entry together with its references and warnings.
pub fn decode_all(entry: &Entry, env: &dyn EnvLookup) -> Decoded {
    let mut decoder = Decoder::new(entry, env);
    let config = by_kind(&mut decoder);
    decoder.finish(config)
}

/// The entries that an entry needs, as far as they can be told without the environment.
pub fn references(entry: &Entry) -> Vec<Reference> {
    decode_all(entry, &|_: &str| None).references
}

fn by_kind(decoder: &mut Decoder<'_>) -> Option<Config> {
    match decoder.entry().kind.as_str() {
        "function.wat" => wasm::text_function(decoder).map(Config::WasmFunction),
        "function.wasm" => wasm::binary_function(decoder).map(Config::WasmFunction),
        "process.wasm" => wasm::process(decoder).map(Config::WasmProcess),
        "function.lua" => lua::function(decoder).map(Config::LuaFunction),
        "process.lua" => lua::process(decoder).map(Config::LuaProcess),
        "library.lua" => lua::library(decoder).map(Config::LuaLibrary),
        "registry.entry" => Some(Config::RegistryEntry(data::entry(decoder))),
        "fs.directory" => fs::directory(decoder).map(Config::Directory),
        "env.storage.memory" => Some(Config::EnvStorage(env::memory(decoder))),
        "env.storage.os" => Some(Config::EnvStorage(env::os(decoder))),
        "env.storage.static" => Some(Config::EnvStorage(env::fixed(decoder))),
        "env.storage.file" => env::file(decoder).map(Config::EnvStorage),
        "env.storage.router" => env::router(decoder).map(Config::EnvStorage),
        "env.variable" => env::variable(decoder).map(Config::EnvVariable),
        "process.host" => Some(Config::ProcessHost(process::host(decoder))),
        "terminal.host" => Some(Config::TerminalHost(process::terminal(decoder))),
        "process.service" => process::service(decoder).map(Config::ProcessService),
        "http.service" => http::service(decoder).map(Config::HttpService),
        "http.router" => http::router(decoder).map(Config::HttpRouter),
        "http.endpoint" => http::endpoint(decoder).map(Config::HttpEndpoint),
        "http.static" => http::static_files(decoder).map(Config::HttpStatic),
        "security.policy" => security::policy(decoder).map(Config::Policy),
        "security.policy.expr" => security::expression_policy(decoder).map(Config::Policy),
        "security.token_store" => security::token_store(decoder).map(Config::TokenStore),
        "store.memory" => Some(Config::MemoryStore(store::memory(decoder))),
        _ => {
            decoder.report(unsupported_kind(decoder.entry()));
            None
        }
    }
}

fn unsupported_kind(entry: &Entry) -> Diagnostic {
    let kind = &entry.kind;
    match kind.out_of_scope() {
        Some(feature) => Diagnostic::error(
            "unsupported-kind",
            format!(
                "kind `{kind}` of entry `{}` belongs to {feature}, which this runtime does not have",
                entry.id
            ),
        )
        .primary(entry.kind_span, "")
        .note("the kind is part of the public Wippy documentation and left out here on purpose"),
        None => Diagnostic::error(
            "unknown-kind",
            format!("unknown kind `{kind}` of entry `{}`", entry.id),
        )
        .primary(entry.kind_span, "")
        .did_you_mean(suggest::closest(kind.as_str(), Kind::KNOWN.iter().copied()))
        .note(format!("the kinds are `{}`", Kind::KNOWN.join("`, `"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_kind_has_a_schema() {
        for kind in Kind::KNOWN {
            let entry = Entry::new("app:x".parse().unwrap(), *kind);
            let decoded = decode_all(&entry, &|_: &str| None);
            let unknown = decoded
                .diagnostics
                .iter()
                .any(|problem| problem.code == "unknown-kind");
            assert!(!unknown, "{kind}");
        }
    }
}
