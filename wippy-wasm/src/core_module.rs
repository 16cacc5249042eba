//! Core modules become components at load time, so that both kinds share one path.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{ExternalKind, Parser, Payload};
use wippy_wit::{document::Document, names};
use wit_component::{ComponentEncoder, StringEncoding};

use crate::Error;

/// Makes a component of a core module with the WIT given.
///
/// # Errors
/// [`Error::Wit`] when the text is no WIT, [`Error::WitMismatch`] when the module does not fit it.
pub(crate) fn componentize(module: &[u8], wit: &str) -> Result<Vec<u8>, Error> {
    let document = wippy_wit::document::parse(wit)?;
    let outline = Outline::read(module)?;
    check_exports(&document, &outline)?;
    let mut module = rename_exports(module, &document, &outline)?;
    let mismatch = |message: String| Error::WitMismatch {
        message: message.lines().next().unwrap_or_default().to_owned(),
        exports: outline.functions(),
    };
    wit_component::embed_component_metadata(
        &mut module,
        &document.resolve,
        document.world,
        StringEncoding::UTF8,
    )
    .map_err(|error| mismatch(error.root_cause().to_string()))?;
    let mut encoder = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .map_err(|error| mismatch(error.root_cause().to_string()))?;
    if outline.imports_preview1 {
        encoder = encoder
            .adapter(
                WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
            )
            .map_err(|error| mismatch(error.root_cause().to_string()))?;
    }
    encoder
        .encode()
        .map_err(|error| mismatch(error.root_cause().to_string()))
}

/// What a module exports and imports, as far as it matters here.
#[derive(Default)]
struct Outline {
    exports: Vec<(String, ExternalKind)>,
    imports_preview1: bool,
}

impl Outline {
    fn read(module: &[u8]) -> Result<Self, Error> {
        let invalid = |error: wasmparser::BinaryReaderError| Error::Invalid {
            message: error.message().to_owned(),
        };
        let mut outline = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload.map_err(invalid)? {
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export.map_err(invalid)?;
                        outline.exports.push((export.name.to_owned(), export.kind));
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import.map_err(invalid)?;
                        outline.imports_preview1 |= import.module == WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
                    }
                }
                _ => {}
            }
        }
        Ok(outline)
    }

    fn functions(&self) -> Vec<String> {
        let functions = self
            .exports
            .iter()
            .filter(|(_, kind)| *kind == ExternalKind::Func);
        functions
            .map(|(name, _)| name.clone())
            .filter(|name| !is_abi_name(name))
            .collect()
    }

    fn has(&self, wanted: &str, kind: ExternalKind) -> bool {
        self.exports
            .iter()
            .any(|(name, found)| name == wanted && *found == kind)
    }

    /// The export that stands for the WIT name `wanted`, in either case convention.
    fn find(&self, wanted: &str) -> Option<&str> {
        self.exports
            .iter()
            .find(|(name, kind)| *kind == ExternalKind::Func && names::same(name, wanted))
            .map(|(name, _)| name.as_str())
    }
}

/// Functions that the canonical ABI itself calls.
fn is_abi_name(name: &str) -> bool {
    name == "cabi_realloc" || name == "_initialize" || name.starts_with("cabi_post_")
}

/// Says what is missing in the user's words, before the encoder says it in its own.
fn check_exports(document: &Document, outline: &Outline) -> Result<(), Error> {
    let mismatch = |message: String| Error::WitMismatch {
        message,
        exports: outline.functions(),
    };
    for signature in &document.functions {
        if outline.find(&signature.name).is_none() {
            return Err(mismatch(format!("it has no export `{}`", signature.name)));
        }
        let plan = wippy_wit::Plan::new(signature.clone());
        let indirect = plan.params_flat > wippy_wit::MAX_FLAT_PARAMS;
        let takes_memory = indirect || plan.params.iter().any(|param| needs_memory(&param.node));
        let gives_memory = plan
            .result
            .as_ref()
            .is_some_and(|node| node.flat > 1 || needs_memory(node));
        if (takes_memory || gives_memory) && !outline.has("memory", ExternalKind::Memory) {
            return Err(mismatch(format!(
                "`{}` passes values through memory, but there is no export `memory`",
                signature.name
            )));
        }
        if takes_memory && !outline.has("cabi_realloc", ExternalKind::Func) {
            return Err(mismatch(format!(
                "`{}` takes strings or lists, but there is no export `cabi_realloc: func(i32, i32, i32, i32) -> i32`",
                signature.name
            )));
        }
    }
    Ok(())
}

/// Whether values of this type have parts in memory.
fn needs_memory(node: &wippy_wit::Node) -> bool {
    use wippy_wit::Kind;
    match &node.kind {
        Kind::String | Kind::Bytes | Kind::List(_) | Kind::Map(_) => true,
        Kind::FixedList(node, _) | Kind::Option { some: node, .. } => needs_memory(node),
        Kind::Record(fields) | Kind::Tuple(fields) => fields.iter().any(|field| needs_memory(&field.node)),
        Kind::Result { ok, err, .. } => [ok, err].into_iter().flatten().any(|node| needs_memory(node)),
        Kind::Variant { cases, .. } => cases
            .iter()
            .filter_map(|case| case.payload.as_ref())
            .any(needs_memory),
        _ => false,
    }
}

/// Gives functions exported in `snake_case` the `kebab-case` names that components have.
fn rename_exports(module: &[u8], document: &Document, outline: &Outline) -> Result<Vec<u8>, Error> {
    let renamed = |name: &str| {
        let signature = document
            .functions
            .iter()
            .find(|signature| names::same(&signature.name, name));
        signature
            .filter(|signature| *signature.name != *name)
            .map(|signature| signature.name.to_string())
    };
    if !outline.exports.iter().any(|(name, _)| renamed(name).is_some()) {
        return Ok(module.to_vec());
    }
    let invalid = |error: wasmparser::BinaryReaderError| Error::Invalid {
        message: error.message().to_owned(),
    };
    let mut out = wasm_encoder::Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(invalid)?;
        if let Payload::ExportSection(exports) = &payload {
            let mut section = wasm_encoder::ExportSection::new();
            for export in exports.clone() {
                let export = export.map_err(invalid)?;
                let kind = wasm_encoder::ExportKind::from(export.kind);
                let name = renamed(export.name).filter(|_| export.kind == ExternalKind::Func);
                section.export(name.as_deref().unwrap_or(export.name), kind, export.index);
            }
            out.section(&section);
        } else if let Some((id, range)) = payload.as_section() {
            let data = module.get(range).unwrap_or_default();
            out.section(&wasm_encoder::RawSection { id, data });
        }
    }
    Ok(out.finish())
}
