//! Where this workspace is, and which versions of other crates it uses.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};

/// The folder of the root manifest.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask
        .parent()
        .expect("a member lies below the workspace's root")
        .to_owned()
}

/// What cargo knows about the workspace: its members, their dependencies, and the versions they resolved to.
pub(crate) fn metadata() -> Result<Metadata> {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .exec()
        .context("cargo metadata failed")
}

/// The version of a direct dependency of `xtask`.
pub(crate) fn dependency_version(metadata: &Metadata, name: &str) -> Result<String> {
    let resolve = metadata
        .resolve
        .as_ref()
        .context("cargo metadata has no dependency graph")?;
    let xtask = metadata
        .workspace_packages()
        .into_iter()
        .find(|package| package.name == "xtask")
        .context("the workspace has no member `xtask`")?;
    let node = resolve
        .nodes
        .iter()
        .find(|node| node.id == xtask.id)
        .context("`xtask` is not in the graph")?;
    node.dependencies
        .iter()
        .filter_map(|id| metadata.packages.iter().find(|package| package.id == *id))
        .find(|package| package.name == name)
        .map(|package| package.version.to_string())
        .with_context(|| format!("`xtask` does not depend on `{name}`"))
}
