//! What exists: YAML project files in, versioned immutable snapshots of entries out.
//!
//! The crate is synchronous and executes nothing. Data flows through it once at boot,
//! `load` → `link` → [`Registry::apply`], and every problem on the way is a [`Diagnostic`] with a place in a
//! file; no stage stops at the first one. Afterwards the [`Registry`] hands out [`Snapshot`]s that never change
//! and takes [`ChangeSet`]s that apply entirely or not at all.
//!
//! ```
//! use wippy_registry::{Registry, link, load};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let project = tempfile::tempdir()?;
//! # std::fs::create_dir(project.path().join("src"))?;
//! std::fs::write(
//!     project.path().join("src/_index.yaml"),
//!     "namespace: app\nentries:\n  - name: files\n    kind: fs.directory\n    directory: ./data\n",
//! )?;
//! let loaded = load::load(project.path());
//! let linked = link::link(loaded, &|name: &str| std::env::var(name).ok());
//! assert!(linked.diagnostics.is_empty());
//!
//! let registry = Registry::new();
//! registry.apply(linked.change_set())?;
//! let files = registry.snapshot().get(&"app:files".parse()?).cloned();
//! assert_eq!(files.unwrap().kind.as_str(), "fs.directory");
//! # Ok(())
//! # }
//! ```

pub mod diagnostic;
pub mod entry;
pub mod env;
pub mod error;
pub mod history;
pub mod id;
pub mod kind;
pub mod link;
pub mod load;
pub mod query;
pub mod schema;
pub mod source;
pub mod store;
pub mod suggest;
pub mod version;
pub mod yaml;

pub use crate::diagnostic::{Diagnostic, Label, Severity};
pub use crate::entry::Entry;
pub use crate::env::EnvLookup;
pub use crate::error::Error;
pub use crate::history::{History, MemoryHistory};
pub use crate::id::{EntryId, Namespace};
pub use crate::kind::Kind;
pub use crate::link::{Linked, LinkedEntry};
pub use crate::load::{Loaded, ProjectPaths};
pub use crate::query::Query;
pub use crate::schema::{Config, Reference, Target};
pub use crate::source::{Position, SourceId, SourceMap, SourceText, Span};
pub use crate::store::{Listener, Registry, Rejection, Snapshot, Validator};
pub use crate::version::{Change, ChangeSet, Op, Version};
pub use crate::yaml::Node;
