//! [`Error`]: what can be wrong with a module before it runs.

use wippy_wit::SignatureError;

/// A module cannot be made ready to run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The machine does not give what the engine needs.
    #[error("the WebAssembly engine cannot start: {message}")]
    Engine {
        /// What it lacks.
        message: String,
    },
    /// The text of a module cannot be read.
    #[error("{message}")]
    Wat {
        /// What is wrong.
        message: String,
        /// Bytes from the start of the text.
        offset: Option<usize>,
    },
    /// The binary is no valid module or component.
    #[error("the module is not valid: {message}")]
    Invalid {
        /// What is wrong.
        message: String,
    },
    /// The file is not the one that the entry names.
    #[error("the file has the hash `{actual}`, the entry says `{expected}`")]
    HashMismatch {
        /// What the entry says.
        expected: String,
        /// What the file has.
        actual: String,
    },
    /// The signature cannot be read.
    #[error("the signature is not valid WIT: {0}")]
    Wit(#[from] SignatureError),
    /// A core module comes without a signature.
    #[error("a core module needs a `wit` field with the signature of `{method}`")]
    WitMissing {
        /// The method that the entry names.
        method: String,
    },
    /// The signature and the module do not fit.
    #[error("the module does not match its `wit`: {message}")]
    WitMismatch {
        /// What does not fit.
        message: String,
        /// What the module exports.
        exports: Vec<String>,
    },
    /// The module has no such function.
    #[error("the module has no function `{method}`")]
    UnknownMethod {
        /// What the entry names.
        method: String,
        /// What the module exports.
        exports: Vec<String>,
    },
    /// Several functions go by that name.
    #[error("`{method}` names several functions: {}", candidates.join(", "))]
    AmbiguousMethod {
        /// What the entry names.
        method: String,
        /// Which it could mean.
        candidates: Vec<String>,
    },
    /// The module needs an interface that the entry does not grant.
    #[error("the module imports `{interface}`, which the entry does not grant")]
    UndeclaredImport {
        /// What it imports.
        interface: String,
        /// The import that grants it.
        import: String,
    },
    /// The module needs an interface that nothing here provides.
    #[error("the module imports `{interface}`, which this runtime does not provide")]
    UnknownInterface {
        /// What it imports.
        interface: String,
    },
    /// The entry asks for an import that does not exist.
    #[error("there is no import `{import}`")]
    UnknownImport {
        /// What the entry asks for.
        import: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The method does not answer HTTP requests.
    #[error("`{method}` does not answer HTTP requests: it is no `wasi:http/incoming-handler#handle`")]
    NotHttpHandler {
        /// What the entry names.
        method: String,
        /// What the module exports.
        exports: Vec<String>,
    },
    /// An interface of the module and the host's do not fit.
    #[error("the module's imports do not fit this runtime: {message}")]
    Link {
        /// What does not fit.
        message: String,
    },
    /// Something that the engine cannot do yet.
    #[error("{message}")]
    Unsupported {
        /// What it is.
        message: String,
    },
}

impl Error {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::HashMismatch { actual, .. } => {
                Some(format!("if the file is the right one, write `hash: {actual}`"))
            }
            Self::WitMissing { method } => Some(format!(
                "for example `wit: \"{}: func() -> s32;\"`",
                wippy_wit::names::kebab(method)
            )),
            Self::UnknownMethod { exports, .. }
            | Self::WitMismatch { exports, .. }
            | Self::NotHttpHandler { exports, .. } => Some(if exports.is_empty() {
                "the module exports no functions".to_owned()
            } else {
                format!("it exports {}", quoted(exports))
            }),
            Self::AmbiguousMethod { candidates, .. } => candidates
                .first()
                .map(|first| format!("write it in full, for example `method: {first}`")),
            Self::UndeclaredImport { import, .. } => {
                Some(format!("add `- {import}` to the entry's `imports`"))
            }
            Self::UnknownImport { known, .. } => Some(format!("there are {}", quoted(known))),
            Self::Engine { .. }
            | Self::Wat { .. }
            | Self::Invalid { .. }
            | Self::Wit(_)
            | Self::UnknownInterface { .. }
            | Self::Link { .. }
            | Self::Unsupported { .. } => None,
        }
    }
}

fn quoted(names: &[String]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
