//! `wippy wasm`: what a binary offers and needs, and annotations of what an application's functions take.

use std::{path::Path, process::ExitCode};

use serde_json::{Value as Json, json};
use wippy_registry::EntryId;
use wippy_wasm::{Engine, Surface, import_for, sha256};

use super::{configured, with_app};
use crate::{
    Failure,
    args::{Shared, WasmCommand},
    boot, output,
    report::Problems,
    telemetry::Occasion,
};

pub(super) fn run(shared: &Shared, command: WasmCommand) -> Result<ExitCode, Failure> {
    match command {
        WasmCommand::Inspect { target, json } => inspect(shared, &target, json),
        WasmCommand::Stub { ids } => stub(shared, &ids),
    }
}

/// What is known about a binary.
struct Inspected {
    size: usize,
    hash: String,
    surface: Surface,
}

fn inspect(shared: &Shared, target: &str, json: bool) -> Result<ExitCode, Failure> {
    let bytes = read(shared, target)?;
    let surface = Engine::inspect(&bytes)
        .map_err(|error| Failure::usage(format!("`{target}` cannot be inspected: {error}")))?;
    let inspected = Inspected { size: bytes.len(), hash: sha256(&bytes), surface };
    if json {
        output::json(&inspected.to_json());
    } else {
        output::line(&inspected.to_text());
    }
    Ok(ExitCode::SUCCESS)
}

/// The bytes of a file, or of the module of an entry.
fn read(shared: &Shared, target: &str) -> Result<Vec<u8>, Failure> {
    let file = Path::new(target);
    if let (false, Ok(id)) = (file.exists(), EntryId::parse(target)) {
        return read_entry(shared, &id);
    }
    let bytes = std::fs::read(file).map_err(|error| Failure::usage(format!("`{target}` cannot be read: {error}")))?;
    wippy_wasm::Binary::Wat(&String::from_utf8_lossy(&bytes));
    Ok(bytes)
}

fn read_entry(shared: &Shared, id: &EntryId) -> Result<Vec<u8>, Failure> {
    let (directory, config) = configured(shared, Occasion::Command)?;
    let linked = boot::read(&directory, &config);
    match boot::code(&linked, id) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(Failure::usage(format!("`{id}` is no WebAssembly entry of the application"))),
        Err(diagnostics) => Err(Problems::new(linked.sources, diagnostics).into()),
    }
}

impl Inspected {
    fn to_text(&self) -> String {
        let mut lines = vec![format!("size     {} bytes", self.size), format!("hash     {}", self.hash)];
        lines.push("exports".to_owned());
        for export in &self.surface.exports {
            let path = export.path();
            let signature = export.signature.to_string();
            lines.push(format!("  {path}"));
            lines.push(format!("    wit    {signature}"));
            lines.push(format!("    lua    {}", export.signature.to_lua()));
        }
        lines.push("imports".to_owned());
        for import in &self.surface.imports {
            lines.push(format!("  {import}"));
        }
        let granting = self.granting();
        if !granting.is_empty() {
            lines.push(format!("an entry needs\n  imports: [{}]", granting.join(", ")));
        }
        lines.join("\n")
    }

    /// The `imports` that an entry needs, each once.
    fn granting(&self) -> Vec<&'static str> {
        let mut granting: Vec<&'static str> = Vec::new();
        for import in self.surface.imports.iter().filter_map(|interface| import_for(interface)) {
            if !granting.contains(&import) {
                granting.push(import);
            }
        }
        granting
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
            "imports": self.granting(),
        })
    }
}
