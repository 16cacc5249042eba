//! `fs.directory` entries: which folders of the machine they are.

use std::{
    collections::BTreeMap,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use cap_std::{ambient_authority, fs::Dir};
use wippy_registry::{
    Diagnostic, EntryId, Linked, LinkedEntry, schema,
    schema::fs::{Base, Directory},
    suggest,
};

/// The folders that entries name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Directories {
    paths: BTreeMap<EntryId, Folder>,
}

#[derive(Debug, Clone)]
struct Folder {
    path: PathBuf,
    config: Directory,
    /// Whether it is missing and not to be made.
    is_missing: bool,
}

impl Directories {
    /// Finds the folders of all `fs.directory` entries. One that is missing and is not to be made is reported.
    pub(super) fn find(linked: &Linked, diagnostics: &mut Vec<Diagnostic>) -> Self {
        let mut directories = Self::default();
        for entry in &linked.entries {
            let schema::Config::Directory(config) = &entry.config else {
                continue;
            };
            let path = base(linked, entry, config).join(&config.directory);
            let is_missing = !config.auto_init && !path.is_dir();
            if is_missing {
                diagnostics.push(missing(entry, config));
            }
            directories.paths.insert(
                entry.entry.id.clone(),
                Folder {
                    path,
                    config: config.clone(),
                    is_missing,
                },
            );
        }
        directories
    }

    /// Makes the folders that are to be made.
    pub(crate) fn make(&self) -> io::Result<()> {
        for folder in self
            .paths
            .values()
            .filter(|folder| folder.config.auto_init && !folder.path.is_dir())
        {
            make(&folder.path, folder.config.mode)?;
        }
        Ok(())
    }

    /// Whether the folder of `id` cannot be used, which was reported already.
    pub(super) fn is_unusable(&self, id: &EntryId) -> bool {
        // What no entry declares was reported by linking.
        self.paths.get(id).is_none_or(|folder| folder.is_missing)
    }

    /// The folder of an entry.
    pub(crate) fn path(&self, id: &EntryId) -> Option<&Path> {
        self.paths.get(id).map(|folder| folder.path.as_path())
    }

    /// The folder of an entry, and the mode of what is made in it.
    pub(super) fn place(&self, id: &EntryId) -> Option<(&Path, u32)> {
        let folder = self.paths.get(id)?;
        Some((&folder.path, folder.config.mode))
    }

    /// A file of the folder whose path is near to `path`.
    pub(super) fn nearest(&self, id: &EntryId, path: &str) -> Option<String> {
        let (parent, _) = path.rsplit_once('/').unwrap_or((".", path));
        let folder = Dir::open_ambient_dir(self.path(id)?, ambient_authority()).ok()?;
        let entries = folder.read_dir(parent).ok()?;
        let name = |entry: cap_std::fs::DirEntry| entry.file_name().into_string().ok();
        let prefix = path
            .rsplit_once('/')
            .map_or_else(String::new, |(parent, _)| format!("{parent}/"));
        let paths: Vec<String> = entries
            .filter_map(|entry| Some(format!("{prefix}{}", name(entry.ok()?)?)))
            .collect();
        suggest::closest(path, paths.iter().map(String::as_str)).map(ToOwned::to_owned)
    }

    /// Opens the folder of `id`.
    pub(super) fn open(&self, id: &EntryId) -> io::Result<Dir> {
        let folder = self.path(id).ok_or(io::ErrorKind::NotFound)?;
        Dir::open_ambient_dir(folder, ambient_authority())
    }

    /// Reads a file in a folder; neither `..` nor links lead out of it.
    pub(super) fn read(folder: &Dir, path: &str) -> io::Result<Vec<u8>> {
        let metadata = folder.metadata(path)?;
        // A pipe would be waited for, and a device read, for ever. A folder says itself what it is.
        if !metadata.is_file() && !metadata.is_dir() {
            return Err(io::Error::other("it is no regular file"));
        }
        let file = folder.open(path)?;
        // One byte more, so that the end is seen without asking how long the file is again.
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0).saturating_add(1));
        file.take(u64::MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

fn base(linked: &Linked, entry: &LinkedEntry, config: &Directory) -> PathBuf {
    let project = &linked.project;
    match config.base {
        Base::Project => project.root.clone(),
        Base::Module => {
            let file = linked
                .sources
                .path(entry.entry.origin)
                .map(|path| project.root.join(path))
                .unwrap_or_default();
            module(&file, &project.modules).unwrap_or_else(|| project.root.clone())
        }
    }
}

/// The module that a file belongs to: `<modules>/<organisation>/<name>`.
fn module(file: &Path, modules: &Path) -> Option<PathBuf> {
    let parts: Vec<_> = file.strip_prefix(modules).ok()?.components().take(2).collect();
    (parts.len() == 2).then(|| modules.join(parts.iter().collect::<PathBuf>()))
}

fn missing(entry: &LinkedEntry, config: &Directory) -> Diagnostic {
    let id = &entry.entry.id;
    Diagnostic::error(
        "missing-directory",
        format!("`{id}`: there is no folder `{}`", config.directory),
    )
    .primary(entry.entry.span_at("directory"), "")
    .help("make it, or write `auto_init: true` to have it made")
}

#[cfg(unix)]
fn make(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path)
}

#[cfg(not(unix))]
fn make(path: &Path, _mode: u32) -> io::Result<()> {
    std::fs::create_dir_all(path)
}
