//! The error of this crate: a script that cannot be loaded.

use std::sync::Arc;

use wippy_registry::EntryId;
use wippy_security::{CallError, ErrorKind};

/// A script cannot be loaded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// It is not Lua.
    #[error("{name}:{line}: {message}")]
    Syntax {
        /// The entry, if the text belongs to one.
        id: Option<EntryId>,
        /// The file, as [`Source::name`](crate::Source::name) calls it.
        name: Arc<str>,
        /// The line, from 1.
        line: usize,
        /// What the parser says, without the place.
        message: String,
        /// The token that it stumbled over, if it names one.
        near: Option<String>,
    },
    /// An entry lists a module that does not exist.
    #[error("`{id}` lists the module `{module}`, which does not exist{}", suggestion.as_ref().map(|name| format!(": did you mean `{name}`?")).unwrap_or_default())]
    UnknownModule {
        /// The entry.
        id: EntryId,
        /// What it lists.
        module: String,
        /// A module of a similar name.
        suggestion: Option<&'static str>,
    },
    /// A state cannot be made, usually because the memory limit is too small for an empty one.
    #[error("a Lua state for `{id}` cannot be made: {reason}")]
    State {
        /// The entry.
        id: EntryId,
        /// What mlua says.
        reason: String,
    },
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Syntax { .. } | Error::UnknownModule { .. } => ErrorKind::Invalid,
            Error::State { .. } => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}
