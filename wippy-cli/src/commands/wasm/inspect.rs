//! `wippy wasm inspect`: size, hash, exports with their signatures, imports with the words that grant them.

use std::{fmt, path::Path, process::ExitCode};

use serde_json::{Value as Json, json};
use wippy_registry::EntryId;
use wippy_wasm::{Binary, Engine, Error, ExportedFunction, Surface, import_for, sha256};
use wippy_wit::Signature;

use crate::{
    Failure, args::Shared, boot, commands::configured, output, report::Problems, telemetry::Occasion,
};

pub(super) fn run(shared: &Shared, target: &str, json: bool) -> Result<ExitCode, Failure> {
    let binary = read(shared, target)?;
    let surface = surface(&binary).map_err(|error| wrong(target, &error))?;
    let inspected = Inspected {
        size: binary.bytes.len(),
        hash: sha256(&binary.bytes),
        surface,
    };
    if json {
        output::json(&inspected.to_json());
    } else {
        output::line(&inspected.to_text());
    }
    Ok(ExitCode::SUCCESS)
}

/// What a component says about itself, or what an entry says about its core module.
fn surface(binary: &boot::Binary) -> Result<Surface, Error> {
    match (Engine::inspect(&binary.bytes), &binary.wit) {
        (Err(Error::WitMissing { .. }), Some(wit)) => {
            let functions = wippy_wit::document::parse(wit)?.functions;
            let export = |signature: Signature| ExportedFunction {
                interface: None,
                signature: signature.into(),
            };
            Ok(Surface {
                exports: functions.into_iter().map(export).collect(),
                ..Surface::default()
            })
        }
        (surface, _) => surface,
    }
}

fn wrong(target: &str, error: &Error) -> Failure {
    if matches!(error, Error::WitMissing { .. }) {
        let message = format!("`{target}` is a core module, which does not say what its functions take");
        return Failure::usage(message)
            .help("an entry with a `wit` field does; inspect that: `wippy wasm inspect namespace:name`");
    }
    Failure::usage(format!("`{target}` cannot be inspected: {error}"))
}

/// A file, or the module of an entry.
fn read(shared: &Shared, target: &str) -> Result<boot::Binary, Failure> {
    let file = Path::new(target);
    if !file.exists()
        && let Ok(id) = EntryId::parse(target)
    {
        return read_entry(shared, &id);
    }
    let unreadable =
        |reason: &dyn fmt::Display| Failure::usage(format!("`{target}` cannot be read: {reason}"));
    let metadata = std::fs::metadata(file).map_err(|error| unreadable(&error))?;
    if !metadata.is_file() {
        return Err(unreadable(&"it is no regular file"));
    }
    let bytes = std::fs::read(file).map_err(|error| unreadable(&error))?;
    let is_text = file.extension().is_some_and(|extension| extension == "wat");
    let bytes = match std::str::from_utf8(&bytes) {
        Ok(text) if is_text => Binary::Wat(text)
            .bytes()
            .map_err(|error| wrong(target, &error))?
            .into_owned(),
        Ok(_) | Err(_) => bytes,
    };
    Ok(boot::Binary { bytes, wit: None })
}

fn read_entry(shared: &Shared, id: &EntryId) -> Result<boot::Binary, Failure> {
    let (directory, config) = configured(shared, Occasion::Command)?;
    let linked = boot::read(&directory, &config);
    if !linked.is_ok() {
        return Err(Problems::new(linked.sources, linked.diagnostics).into());
    }
    match boot::binary(&linked, id) {
        Ok(Some(binary)) => Ok(binary),
        Ok(None) => Err(
            Failure::usage(format!("`{id}` is no WebAssembly entry of this application"))
                .help("`wippy registry list --kind '*.wa*'` lists them"),
        ),
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
        let mut lines = vec![
            format!("size: {} bytes", self.size),
            format!("hash: {}", self.hash),
        ];
        lines.push("exports:".to_owned());
        for export in &self.surface.exports {
            lines.push(format!("  {}", export.path()));
            lines.push(format!("    WIT  {}", export.signature));
            lines.push(format!("    Lua  {}", export.signature.to_lua()));
        }
        if !self.surface.imports.is_empty() {
            lines.push("imports:".to_owned());
            lines.extend(
                self.surface
                    .imports
                    .iter()
                    .map(|interface| match import_for(interface) {
                        Some(import) => format!("  {interface} (granted by `{import}`)"),
                        None => format!("  {interface} (not provided by this runtime)"),
                    }),
            );
            lines.push(format!("an entry needs: imports: [{}]", self.grants().join(", ")));
        }
        lines.join("\n")
    }

    /// The `imports` that an entry needs, each once.
    fn grants(&self) -> Vec<&'static str> {
        let mut grants: Vec<&'static str> = Vec::new();
        for import in self
            .surface
            .imports
            .iter()
            .filter_map(|interface| import_for(interface))
        {
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
