//! A project folder to entries: finds index files, reads them, brings in `file://` texts.
//!
//! Loading never stops at the first problem: it returns what it understood and every diagnostic. It reads nothing
//! outside the project and bounds what it reads inside.

mod include;
mod index;
mod project;
mod walk;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use self::include::Includes;
pub use self::project::{ProjectPaths, Replacement};
use crate::diagnostic::Diagnostic;
use crate::entry::Entry;
use crate::source::{SourceId, SourceMap};

const INDEX_BYTES_MAX: u64 = 4 << 20;
const INCLUDE_BYTES_MAX: u64 = 16 << 20;

/// What a project folder holds.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Every file that was read.
    pub sources: SourceMap,
    /// Entries in the order of files and lines; ids may repeat, linking finds that out.
    pub entries: Vec<Entry>,
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
    /// Where things are.
    pub project: ProjectPaths,
}

/// Reads the project in a folder.
pub fn load(project_dir: &Path) -> Loaded {
    let mut loader = Loader::default();
    let project = project::read(project_dir, &mut loader);
    for file in walk::index_files(&project, &mut loader) {
        loader.load_index(&file, &project);
    }
    Loaded {
        sources: loader.sources,
        entries: loader.entries,
        diagnostics: loader.diagnostics,
        project,
    }
}

#[derive(Default)]
struct Loader {
    sources: SourceMap,
    entries: Vec<Entry>,
    diagnostics: Vec<Diagnostic>,
    /// Included files that were read already.
    included: HashMap<PathBuf, SourceId>,
}

impl Loader {
    fn load_index(&mut self, file: &Path, project: &ProjectPaths) {
        let Some(id) = self.read_yaml(file, project) else {
            return;
        };
        let Some(mut index) = index::read(self, id, file) else {
            return;
        };
        let includes = Includes {
            project,
            directory: file.parent().unwrap_or(&project.root).to_owned(),
        };
        for entry in &mut index {
            includes.resolve(&mut entry.meta, self);
            includes.resolve(&mut entry.data, self);
        }
        self.entries.append(&mut index);
    }

    /// Takes a YAML file into the sources, unless it is too large or not text.
    fn read_yaml(&mut self, file: &Path, project: &ProjectPaths) -> Option<SourceId> {
        let path = project.display(file);
        match read_text(file, INDEX_BYTES_MAX) {
            Ok(text) => Some(self.sources.add(path, text)),
            Err(reason) => {
                self.report(Diagnostic::error(
                    "unreadable-file",
                    format!("cannot read `{path}`: {reason}"),
                ));
                None
            }
        }
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }
}

/// A whole file as text; the error is the reason in words.
fn read_text(file: &Path, bytes_max: u64) -> Result<String, String> {
    let metadata = std::fs::metadata(file).map_err(|error| words(&error))?;
    if !metadata.is_file() {
        return Err("it is not a file".to_owned());
    }
    if metadata.len() > bytes_max {
        return Err(format!("it has {} bytes, more than {bytes_max}", metadata.len()));
    }
    let bytes = std::fs::read(file).map_err(|error| words(&error))?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

/// The reason in words that are the same on every system.
fn words(error: &std::io::Error) -> String {
    let kind = error.kind();
    if kind == std::io::ErrorKind::NotFound {
        "no such file".to_owned()
    } else {
        kind.to_string()
    }
}
