//! `wippy wasm inspect`: size, hash, exports with their signatures, imports with the words that grant them.

use std::{path::Path, process::ExitCode};

use serde_json::{Value as Json, json};
use wippy_registry::EntryId;
use wippy_wasm::{Binary, Engine, Surface, import_for, sha256};

use crate::{
    Failure,
    args::Shared,
    boot,
    commands::configured,
    output,
    report::Problems,
    telemetry::Occasion,
};

pub(super) fn run(shared: &Shared, target: &str, json: bool) -> Result<ExitCode, Failure> {
    let bytes = read(shared, target)?;
    let surface = Engine::inspect(&bytes).map_err(|error| wrong(target, &error))?;
    let inspected = Inspected { size: bytes.len(), hash: sha256(&bytes), surface };
    if json {
        output::json(&inspected.to_json());
    } else {
        output::line(&inspected.to_text());
    }
    Ok(ExitCode::SUCCESS)
}

fn wrong(target: &str, error: &wippy_wasm::Error) -> Failure {
    let failure = Failure::usage(format!("`{target}` cannot be inspected: {error}"));
    match error.help() {
        Some(help) => failure.help(help),
        None => failure,
    }
}

/// The bytes of a file, or of the module of an entry.
fn read(shared: &Shared, target: &str) -> Result<Vec<u8>, Failure> {
    let file = Path::new(target);
    if !file.exists()
        && let Ok(id) = EntryId::parse(target)
    {
        return read_entry(shared, &id);
    }
    let bytes = std::fs::read(file).map_err(|error| Failure::usage(format!("`{target}` cannot be read: {error}")))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) if file.extension().is_some_and(|extension| extension == "wat") => {
            Ok(Binary::Wat(text).bytes().map_err(|error| wrong(target, &error))?.into_owned())
        }
        Ok(_) | Err(_) => Ok(bytes),
    }
}

fn read_entry(shared: &Shared, id: &EntryId) -> Result<Vec<u8>, Failure> {
    let (directory, config) = configured(shared, Occasion::Command)?;
    let linked = boot::read(&directory, &config);
    if !linked.is_ok() {
        return Err(Problems::new(linked.sources, linked.diagnostics).into());
    }
    match boot::component(&linked, id) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(Failure::usage(format!("`{id}` is no WebAssembly entry of this application"))),
        Err(diagnostics) => Err(Problems::new(linked.sources, diagnostics).into()),
    }
}

/// What is known about a binary.
struct Inspected {
    size: usize,
    hash: String,
    surface: Surface,
}

impl Inspected {
    fn to_text(&self) -> String {
        let mut lines = vec![format!("size: {} bytes", self.size), format!("hash: {}", self.hash)];
        lines.push("exports:".to_owned());
        for export in &self.surface.exports {
            lines.push(format!("  {}", export.path()));
            lines.push(format!("    WIT  {}", export.signature));
            lines.push(format!("    Lua  {}", export.signature.to_lua()));
        }
        if !self.surface.imports.is_empty() {
            lines.push("imports:".to_owned());
            lines.extend(self.surface.imports.iter().map(|interface| match import_for(interface) {
                Some(import) => format!("  {interface} (granted by `{import}`)"),
                None => format!("  {interface} (not provided by this runtime)"),
            }));
            lines.push(format!("an entry needs: imports: [{}]", self.grants().join(", ")));
        }
        lines.join("\n")
    }

    /// The `imports` that an entry needs, each once.
    fn grants(&self) -> Vec<&'static str> {
        let mut grants: Vec<&'static str> = Vec::new();
        for import in self.surface.imports.iter().filter_map(|interface| import_for(interface)) {
            if !grants.contains(&import) {
                grants.push(import);
            }
        }
        grants
    }

    fn to_json(&self) -> Json {
        let exports = self.surface.exports.iter().map(|export| {
            json!({
                "name": export.path(),
                "wit": export.signature.to_string(),
                "lua": export.signature.to_lua(),
            })
        });
        json!({
            "size": self.size,
            "hash": self.hash,
            "exports": exports.collect::<Vec<_>>(),
            "interfaces": self.surface.imports,
            "imports": self.grants(),
        })
    }
}
