//! [`Volume`]: a folder that scripts may use, and nothing outside of it.
//!
//! Paths are opened below the folder's own handle, step by step: neither `..` nor an absolute path nor a link leads out,
//! by construction and not by looking at the text. Everything here blocks and is called where that does not matter.

mod file;
mod scanner;

use std::{
    io::{self, Read as _},
    sync::Arc,
    time::UNIX_EPOCH,
};

use cap_std::fs::{Dir, DirBuilder, Metadata, OpenOptions};
use wippy_security::{CallError, ErrorKind};
use wippy_wit::Value;

pub(crate) use self::{
    file::{File, Mode},
    scanner::{Scanner, Split},
};

/// Larger files are not read at once.
const READ_MAX: u64 = 64 << 20;

/// A folder with more entries is not listed.
const ENTRIES_MAX: usize = 100_000;

/// A folder that scripts may use.
#[derive(Debug, Clone)]
pub struct Volume {
    folder: Arc<Dir>,
    mode: u32,
}

/// A path in a volume.
#[derive(Debug, Clone)]
pub(crate) struct VolumePath {
    /// As it was written, for messages.
    shown: String,
    /// From the folder.
    inside: String,
}

impl VolumePath {
    /// A path as scripts write it: `/` is the folder itself, anything else starts from `working`.
    ///
    /// # Errors
    /// When it is empty or cannot be the name of a file.
    pub(crate) fn parse(working: &str, text: &str) -> Result<Self, CallError> {
        if text.is_empty() {
            return Err(CallError::invalid("the path is empty"));
        }
        if text.contains('\0') {
            return Err(CallError::invalid("the path contains a null byte"));
        }
        let inside = match text.strip_prefix('/') {
            Some(rest) => rest.trim_start_matches('/').to_owned(),
            None => format!("{working}/{text}").trim_start_matches('/').to_owned(),
        };
        Ok(Self {
            shown: text.to_owned(),
            inside: if inside.is_empty() { ".".to_owned() } else { inside },
        })
    }

    fn name(&self) -> &str {
        let path = self.inside.trim_end_matches('/');
        path.rsplit('/').next().filter(|name| *name != ".").unwrap_or("/")
    }

    /// What went wrong at this path, without a word about where the folder is.
    fn failed(&self, error: &io::Error) -> CallError {
        failed(&self.shown, error)
    }

    fn invalid(&self, reason: &str) -> CallError {
        CallError::invalid(format!("`{}`: {reason}", self.shown))
    }
}

/// What went wrong with a file.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "everything else is the system's own trouble"
)]
fn failed(shown: &str, error: &io::Error) -> CallError {
    let (kind, reason) = match error.kind() {
        io::ErrorKind::NotFound => (ErrorKind::NotFound, "there is no such file or directory"),
        io::ErrorKind::AlreadyExists => (ErrorKind::AlreadyExists, "it exists already"),
        io::ErrorKind::PermissionDenied => (
            ErrorKind::PermissionDenied,
            "it is outside of the volume, or not permitted",
        ),
        io::ErrorKind::IsADirectory => (ErrorKind::Invalid, "it is a directory"),
        io::ErrorKind::NotADirectory => (ErrorKind::Invalid, "a part of the path is no directory"),
        io::ErrorKind::DirectoryNotEmpty => (ErrorKind::Invalid, "the directory is not empty"),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => {
            (ErrorKind::Invalid, "it is no name for a file")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::Unavailable, "there is no space left")
        }
        _ if is_loop(error) => (
            ErrorKind::Invalid,
            "a link leads back to itself, or through too many others",
        ),
        _ => (ErrorKind::Internal, "reading or writing failed"),
    };
    tracing::debug!(target: "wippy::fs", path = shown, %error, "a file operation failed");
    CallError::new(kind, format!("`{shown}`: {reason}"))
}

/// Whether following links came to no end. The standard library has no stable name for it.
#[cfg(unix)]
fn is_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ELOOP)
}

#[cfg(not(unix))]
fn is_loop(_error: &io::Error) -> bool {
    false
}

impl Volume {
    /// A volume of a folder; what is made in it gets the permissions of `mode`.
    pub fn new(folder: Dir, mode: u32) -> Self {
        Self {
            folder: Arc::new(folder),
            mode,
        }
    }

    /// The whole content of a file.
    pub(crate) fn read(&self, path: &VolumePath) -> Result<Vec<u8>, CallError> {
        let file = self.open_with(path, OpenOptions::new().read(true))?;
        let mut content = Vec::new();
        let mut bounded = file.take(READ_MAX + 1);
        bounded
            .read_to_end(&mut content)
            .map_err(|error| path.failed(&error))?;
        if content.len() as u64 > READ_MAX {
            return Err(path.invalid("it is larger than 64 MiB; open it and read it in parts"));
        }
        Ok(content)
    }

    /// Opens a file.
    pub(crate) fn open(&self, path: &VolumePath, mode: Mode) -> Result<File, CallError> {
        if mode.writes() {
            self.check_writable(path)?;
        }
        let file = self.open_with(path, &mut mode.options())?;
        Ok(File::new(file, path.shown.clone(), path.name().to_owned()))
    }

    fn open_with(
        &self,
        path: &VolumePath,
        options: &mut OpenOptions,
    ) -> Result<cap_std::fs::File, CallError> {
        // Opening a pipe would wait for its other end.
        if let Ok(metadata) = self.folder.metadata(&path.inside)
            && !metadata.is_file()
        {
            let is_folder = metadata.is_dir();
            let what = if is_folder {
                "it is a directory"
            } else {
                "it is no regular file"
            };
            return Err(path.invalid(what));
        }
        set_file_mode(options, self.mode);
        self.folder
            .open_with(&path.inside, options)
            .map_err(|error| path.failed(&error))
    }

    /// Whether there is something.
    pub(crate) fn exists(&self, path: &VolumePath) -> Result<bool, CallError> {
        match self.metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether there is a directory.
    pub(crate) fn is_directory(&self, path: &VolumePath) -> Result<bool, CallError> {
        match self.metadata(path) {
            Ok(metadata) => Ok(metadata.is_dir()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What there is.
    pub(crate) fn stat(&self, path: &VolumePath) -> Result<Value, CallError> {
        Ok(described(path.name(), &self.metadata(path)?))
    }

    fn metadata(&self, path: &VolumePath) -> Result<Metadata, CallError> {
        self.folder
            .metadata(&path.inside)
            .map_err(|error| path.failed(&error))
    }

    /// Makes a directory.
    pub(crate) fn make_directory(&self, path: &VolumePath) -> Result<(), CallError> {
        self.check_writable(path)?;
        let mut builder = DirBuilder::new();
        set_directory_mode(&mut builder, self.mode);
        self.folder
            .create_dir_with(&path.inside, &builder)
            .map_err(|error| path.failed(&error))
    }

    /// Removes a file or an empty directory. A link is removed, not what it leads to.
    pub(crate) fn remove(&self, path: &VolumePath) -> Result<(), CallError> {
        self.check_writable(path)?;
        if path.inside == "." {
            return Err(path.invalid("it is the volume itself"));
        }
        let metadata = self.folder.symlink_metadata(&path.inside);
        let removed = match metadata {
            Ok(metadata) if metadata.is_dir() => self.folder.remove_dir(&path.inside),
            Ok(_) => self.folder.remove_file(&path.inside),
            Err(error) => Err(error),
        };
        removed.map_err(|error| path.failed(&error))
    }

    /// The names in a directory, in order, each with whether it is a directory itself.
    pub(crate) fn list(&self, path: &VolumePath) -> Result<Vec<(String, bool)>, CallError> {
        let entries = self
            .folder
            .read_dir(&path.inside)
            .map_err(|error| path.failed(&error))?;
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| path.failed(&error))?;
            if listed.len() >= ENTRIES_MAX {
                return Err(path.invalid("it has more than 100000 entries"));
            }
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            listed.push((entry.file_name().to_string_lossy().into_owned(), is_directory));
        }
        listed.sort();
        Ok(listed)
    }

    /// The path of a directory from the folder, without links or dots; empty for the folder.
    pub(crate) fn directory(&self, path: &VolumePath) -> Result<String, CallError> {
        let found = self
            .folder
            .canonicalize(&path.inside)
            .map_err(|error| path.failed(&error))?;
        if !self.metadata(path)?.is_dir() {
            return Err(path.invalid("it is no directory"));
        }
        let found = found.to_string_lossy().into_owned();
        Ok(if found == "." { String::new() } else { found })
    }

    fn check_writable(&self, path: &VolumePath) -> Result<(), CallError> {
        if self.mode & 0o222 != 0 {
            return Ok(());
        }
        Err(CallError::new(
            ErrorKind::PermissionDenied,
            format!(
                "`{}`: the volume's mode does not let it be written to",
                path.shown
            ),
        ))
    }
}

/// What `stat` answers.
fn described(name: &str, metadata: &Metadata) -> Value {
    let is_directory = metadata.is_dir();
    let modified = metadata
        .modified()
        .ok()
        .and_then(|time| time.into_std().duration_since(UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_secs()).ok());
    Value::record([
        ("name", Value::from(name)),
        ("size", metadata.len().into()),
        ("mode", i64::from(permissions(metadata)).into()),
        ("modified", modified.map_or(Value::Nil, Value::from)),
        ("is_dir", is_directory.into()),
        ("type", type_name(is_directory).into()),
    ])
}

/// What `type` says of an entry.
pub(crate) fn type_name(is_directory: bool) -> &'static str {
    if is_directory { "directory" } else { "file" }
}

#[cfg(unix)]
fn permissions(metadata: &Metadata) -> u32 {
    use cap_std::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o7777
}

#[cfg(not(unix))]
fn permissions(metadata: &Metadata) -> u32 {
    if metadata.permissions().readonly() {
        0o444
    } else {
        0o644
    }
}

#[cfg(unix)]
fn set_file_mode(options: &mut OpenOptions, mode: u32) {
    use cap_std::fs::OpenOptionsExt as _;
    options.mode(mode & 0o666);
}

#[cfg(not(unix))]
fn set_file_mode(_options: &mut OpenOptions, _mode: u32) {}

#[cfg(unix)]
fn set_directory_mode(builder: &mut DirBuilder, mode: u32) {
    use cap_std::fs::DirBuilderExt as _;
    // Who may read everything in a directory may also enter it.
    let entering = if mode & 0o444 == 0o444 && mode & 0o111 == 0 {
        0o111
    } else {
        0
    };
    builder.mode(mode | entering);
}

#[cfg(not(unix))]
fn set_directory_mode(_builder: &mut DirBuilder, _mode: u32) {}
