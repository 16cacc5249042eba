//! A project folder to entries: finds index files, reads them, brings in `file://` texts.
//!
//! Loading never stops at the first problem: it returns what it understood and every diagnostic. It reads nothing
//! outside the project and bounds what it reads inside.

mod include;
mod index;
mod project;
mod walk;

use std::collections::HashMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use self::include::Includes;
pub use self::project::{ProjectPaths, Replacement};
use crate::diagnostic::Diagnostic;
use crate::entry::Entry;
use crate::source::{Source, SourceId, SourceMap};
use crate::yaml::{self, Node};

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

/// The YAML files of a project as they were read, before anything is made of them.
pub struct Files {
    loader: Loader,
    project: ProjectPaths,
    /// The index files, each with its path, in the order of paths.
    indexes: Vec<(SourceId, PathBuf)>,
}

/// Reads the project in a folder.
pub fn load(project_dir: &Path) -> Loaded {
    read(project_dir).parse()
}

/// Reads the files of the project in a folder.
pub fn read(project_dir: &Path) -> Files {
    let mut loader = Loader::default();
    let project = project::read(project_dir, &mut loader);
    let paths = walk::index_files(&project, &mut loader);
    let indexes = paths
        .into_iter()
        .filter_map(|path| Some((loader.read_yaml(&path, &project)?, path)))
        .collect();
    Files {
        loader,
        project,
        indexes,
    }
}

impl Files {
    /// Whether any of these words stands anywhere in the files, be it in a comment: a quick look at what is to come.
    pub fn mention(&self, words: &[&str]) -> bool {
        let texts = self
            .indexes
            .iter()
            .filter_map(|(id, _)| self.loader.sources.get(*id));
        texts
            .map(Source::text)
            .any(|text| words.iter().any(|word| text.contains(word)))
    }

    /// Makes entries of the files.
    pub fn parse(self) -> Loaded {
        let Self {
            mut loader,
            project,
            indexes,
        } = self;
        let nodes = parse_all(&indexes, &loader.sources);
        for ((id, file), node) in indexes.into_iter().zip(nodes) {
            loader.load_index(id, &file, node, &project);
        }
        Loaded {
            sources: loader.sources,
            entries: loader.entries,
            diagnostics: loader.diagnostics,
            project,
        }
    }
}

/// What a file is, or why it cannot be read.
type Parsed = Result<Node, Box<Diagnostic>>;

/// Files with less text than this are parsed before another thread has begun.
const SMALL: usize = 32 << 10;

/// Parses files, on several threads if that pays.
fn parse_all(files: &[(SourceId, PathBuf)], sources: &SourceMap) -> Vec<Parsed> {
    let parse = |(id, _): &(SourceId, PathBuf)| yaml::parse(sources, *id);
    let text = files.iter().filter_map(|(id, _)| sources.get(*id));
    let bytes: usize = text.map(|source| source.text().len()).sum();
    let most = files.len().min(bytes / SMALL);
    // The system is only asked where it matters, since that takes as long as parsing a small file.
    let threads = || thread::available_parallelism().map_or(1, NonZero::get).min(most);
    let threads = if most < 2 { 1 } else { threads() };
    if threads < 2 {
        return files.iter().map(parse).collect();
    }
    let parsed: Vec<Mutex<Option<Parsed>>> = files.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((file, parsed)) = next_of(&next, files, &parsed) {
            *parsed.lock().unwrap_or_else(PoisonError::into_inner) = Some(parse(file));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // Where there is no other thread, this one does it all.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let parsed = parsed.into_iter();
    parsed
        .filter_map(|parsed| parsed.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

fn next_of<'a, T, R>(next: &AtomicUsize, items: &'a [T], results: &'a [R]) -> Option<(&'a T, &'a R)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    items.get(index).zip(results.get(index))
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
    fn load_index(&mut self, id: SourceId, file: &Path, node: Parsed, project: &ProjectPaths) {
        let Some(mut index) = index::read(self, id, file, node) else {
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
