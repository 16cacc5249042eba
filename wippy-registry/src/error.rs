//! [`Error`]: what the functions of this crate fail with at run time.
//!
//! Problems in project files are [`Diagnostic`](crate::Diagnostic)s instead.

use crate::id::EntryId;
use crate::store::Rejection;
use crate::version::Version;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A namespace is not made of dot-separated identifiers.
    #[error("`{text}` is not a namespace: {reason}")]
    InvalidNamespace {
        /// What was written.
        text: String,
        /// Why it was refused.
        reason: &'static str,
    },
    /// An entry's name is not made of dot-separated identifiers.
    #[error("`{text}` is not an entry name: {reason}")]
    InvalidName {
        /// What was written.
        text: String,
        /// Why it was refused.
        reason: &'static str,
    },
    /// A full id was needed.
    #[error("`{text}` is not an entry id: expected `namespace:name`")]
    MissingNamespace {
        /// What was written.
        text: String,
    },
    /// A changeset creates what exists.
    #[error("entry `{0}` already exists")]
    AlreadyExists(EntryId),
    /// A changeset updates or deletes what does not exist.
    #[error("entry `{0}` does not exist")]
    NotFound(EntryId),
    /// A changeset has more than one operation for an entry.
    #[error("the changeset has two operations for entry `{0}`")]
    DuplicateOperation(EntryId),
    /// Validators refused a changeset; nothing changed.
    #[error("{}", rejections(.0))]
    Rejected(Vec<Rejection>),
    /// History does not have the version, or no longer.
    #[error("version {0} is not in the history")]
    UnknownVersion(Version),
    /// History could not take the version; nothing changed.
    #[error("version {version} could not be recorded: {reason}")]
    History {
        /// The version that was about to become current.
        version: Version,
        /// What the history said.
        reason: String,
    },
    /// A listener or validator changed the registry that is calling it.
    #[error("a registry listener or validator must not apply changes itself")]
    Reentrant,
    /// A query cannot be read.
    #[error("`{text}` is not a filter: {reason}")]
    InvalidFilter {
        /// What was written.
        text: String,
        /// Why it was refused.
        reason: String,
    },
}

fn rejections(rejections: &[Rejection]) -> String {
    let each: Vec<String> = rejections.iter().map(ToString::to_string).collect();
    format!("the changeset was rejected: {}", each.join("; "))
}
