//! `wippy.lock`: where a project keeps its sources and modules.

use std::path::{Component, Path, PathBuf};

use crate::diagnostic::Diagnostic;
use crate::load::Loader;
use crate::yaml::{self, Node};

const LOCK_FILE: &str = "wippy.lock";

/// Where the parts of a project are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectPaths {
    /// The project's folder, absolute and without links.
    pub root: PathBuf,
    /// Where index files are searched.
    pub src: PathBuf,
    /// Where modules are.
    pub modules: PathBuf,
    /// Modules that are taken from elsewhere.
    pub replacements: Vec<Replacement>,
}

/// A module that is taken from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The module.
    pub from: String,
    /// The folder it is taken from.
    pub to: String,
}

impl ProjectPaths {
    /// The paths that hold without a lock file.
    pub fn with_defaults(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self {
            src: root.join("src"),
            modules: root.join(".wippy"),
            root,
            replacements: Vec::new(),
        }
    }

    /// A path for people: relative to the project, with `/`.
    pub fn display(&self, path: &Path) -> String {
        let relative = path.strip_prefix(&self.root).unwrap_or(path);
        let parts: Vec<_> = relative
            .components()
            .map(|part| part.as_os_str().to_string_lossy())
            .collect();
        parts.join("/")
    }

    /// The place of a relative path inside the project, before links are followed; `None` when `..` leaves it.
    pub(crate) fn inside(&self, directory: &Path, path: &str) -> Option<PathBuf> {
        let mut place = directory.to_owned();
        for part in Path::new(path).components() {
            match part {
                Component::Normal(name) => place.push(name),
                Component::CurDir => {}
                Component::ParentDir => {
                    place.pop();
                }
                Component::RootDir | Component::Prefix(_) => return None,
            }
            if !place.starts_with(&self.root) {
                return None;
            }
        }
        Some(place)
    }
}

pub(super) fn read(project_dir: &Path, loader: &mut Loader) -> ProjectPaths {
    let Ok(root) = project_dir.canonicalize() else {
        let message = format!("the project folder `{}` does not exist", project_dir.display());
        loader.report(Diagnostic::error("no-project", message));
        return ProjectPaths::with_defaults(project_dir);
    };
    let mut project = ProjectPaths::with_defaults(root);
    let lock = project.root.join(LOCK_FILE);
    if !lock.exists() {
        return project;
    }
    let Some(id) = loader.read_yaml(&lock, &project) else {
        return project;
    };
    match yaml::parse(&loader.sources, id) {
        Ok(node) => apply(&node, &mut project, loader),
        Err(problem) => loader.report(*problem),
    }
    project
}

fn apply(lock: &Node, project: &mut ProjectPaths, loader: &mut Loader) {
    if let Some(src) = directory(lock, "directories.src", project, loader) {
        project.src = src;
    }
    if let Some(modules) = directory(lock, "directories.modules", project, loader) {
        project.modules = modules;
    }
    let replacements = lock
        .at("replacements")
        .and_then(Node::as_list)
        .unwrap_or_default();
    for replacement in replacements {
        let field = |name| replacement.at(name).and_then(Node::as_str).map(str::to_owned);
        match (field("from"), field("to")) {
            (Some(from), Some(to)) => project.replacements.push(Replacement { from, to }),
            (Some(_) | None, _) => loader.report(
                Diagnostic::error("invalid-lock", "a replacement needs `from` and `to`, both text")
                    .primary(replacement.span(), ""),
            ),
        }
    }
}

fn directory(lock: &Node, path: &str, project: &ProjectPaths, loader: &mut Loader) -> Option<PathBuf> {
    let node = lock.at(path).filter(|node| !node.is_null())?;
    let Some(text) = node.as_str() else {
        let message = format!("`{path}`: expected text, found {}", node.describe());
        loader.report(Diagnostic::error("wrong-type", message).primary(node.span(), ""));
        return None;
    };
    let place = project.inside(&project.root, text);
    if place.is_none() {
        let message = format!("`{path}`: `{text}` is outside the project");
        loader.report(Diagnostic::error("outside-project", message).primary(node.span(), ""));
    }
    place
}
