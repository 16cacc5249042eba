//! Finding YAML files under the source directory, in an order that is the same everywhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostic;
use crate::load::{Loader, ProjectPaths};

const DEPTH_MAX: usize = 64;
const FILES_MAX: usize = 20_000;

/// Every `*.yaml` and `*.yml` below the source directory. Hidden directories are left out; links are followed
/// while they stay inside the project.
pub(super) fn index_files(project: &ProjectPaths, loader: &mut Loader) -> Vec<PathBuf> {
    if !project.src.is_dir() {
        let message = format!(
            "the source directory `{}` does not exist",
            project.display(&project.src)
        );
        loader.report(
            Diagnostic::error("no-sources", message)
                .help("make it with an `_index.yaml` inside, or set `directories.src` in `wippy.lock`"),
        );
        return Vec::new();
    }
    let mut walk = Walk {
        project,
        loader,
        seen: BTreeSet::new(),
        files: Vec::new(),
    };
    walk.directory(&project.src, 0);
    walk.files
}

struct Walk<'w> {
    project: &'w ProjectPaths,
    loader: &'w mut Loader,
    /// Real paths of directories, since links may lead in circles.
    seen: BTreeSet<PathBuf>,
    files: Vec<PathBuf>,
}

impl Walk<'_> {
    fn directory(&mut self, directory: &Path, depth: usize) {
        let Some(real) = self.real(directory) else { return };
        if !self.seen.insert(real.clone()) {
            return;
        }
        let children = match std::fs::read_dir(&real) {
            Ok(children) if depth < DEPTH_MAX => children,
            Ok(_) => return self.too_much(directory),
            Err(error) => {
                let message = format!(
                    "cannot read `{}`: {}",
                    self.project.display(directory),
                    super::words(&error)
                );
                return self
                    .loader
                    .report(Diagnostic::error("unreadable-directory", message));
            }
        };
        let mut paths: Vec<PathBuf> = children.filter_map(|child| Some(child.ok()?.path())).collect();
        paths.sort();
        // Files first, so that an index comes before those of the folders below it.
        let (directories, files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
        for file in files {
            self.file(&file);
        }
        for directory in directories {
            if !hidden(&directory) {
                self.directory(&directory, depth + 1);
            }
        }
    }

    fn file(&mut self, file: &Path) {
        let is_yaml = file
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        if !is_yaml || hidden(file) {
            return;
        }
        if self.files.len() == FILES_MAX {
            return self.too_much(file);
        }
        if let Some(real) = self.real(file) {
            self.files.push(real);
        }
    }

    /// The path without links, if it is inside the project.
    fn real(&mut self, path: &Path) -> Option<PathBuf> {
        let real = path.canonicalize().ok()?;
        if real.starts_with(&self.project.root) {
            return Some(real);
        }
        let message = format!(
            "`{}` is a link out of the project and left out",
            self.project.display(path)
        );
        self.loader
            .report(Diagnostic::warning("outside-project", message));
        None
    }

    fn too_much(&mut self, path: &Path) {
        let message = format!(
            "`{}` and what follows is left out: more than {FILES_MAX} files or {DEPTH_MAX} levels",
            self.project.display(path)
        );
        self.loader
            .report(Diagnostic::error("project-too-large", message));
    }
}

fn hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with('.'))
}
