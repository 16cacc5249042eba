//! [`ValueFile`]: values in a file of `NAME=value` lines.
//!
//! Lines that are empty or begin with `#` stay where they are; what follows a `#` after a value is a comment, unless the
//! value is quoted. A change replaces the whole file at once, so that nobody ever reads half of it.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use wippy_registry::schema::env::Storage;

/// A larger file is not one of settings.
const BYTES_MAX: u64 = 4 << 20;

/// A file of values.
#[derive(Debug)]
pub(super) struct ValueFile {
    path: PathBuf,
    auto_create: bool,
    file_mode: u32,
    dir_mode: u32,
    /// What was read last; taken for the whole of a change.
    read: Mutex<Read>,
}

#[derive(Debug, Default)]
struct Read {
    text: String,
    /// When the file was changed and how long it was, as it was read.
    stamp: Option<(SystemTime, u64)>,
}

impl ValueFile {
    /// The file of a storage, if it has one.
    pub(super) fn of(storage: &Storage, root: &Path) -> Option<Self> {
        let Storage::File {
            file_path,
            auto_create,
            file_mode,
            dir_mode,
        } = storage
        else {
            return None;
        };
        Some(Self {
            path: root.join(file_path),
            auto_create: *auto_create,
            file_mode: *file_mode,
            dir_mode: *dir_mode,
            read: Mutex::default(),
        })
    }

    /// The value of a name. The file is read again when it has changed.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let mut read = self.read();
        self.refresh(&mut read).ok()?;
        lines(&read.text).find_map(|(key, value)| (key == name).then(|| unquoted(value)))
    }

    /// Gives a name a value.
    pub(super) fn set(&self, name: &str, value: &str) -> io::Result<()> {
        if value.contains(['\n', '\r']) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut read = self.read();
        match self.refresh(&mut read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.auto_create => {
                read.text.clear();
            }
            outcome => outcome?,
        }
        let text = with_value(&read.text, name, value);
        self.replace(&text)?;
        // The next look finds the file changed and reads it.
        read.stamp = None;
        Ok(())
    }

    /// Makes the file if it is to be made and is not there.
    pub(super) fn make(&self) -> io::Result<()> {
        if !self.auto_create || self.path.exists() {
            return Ok(());
        }
        self.replace("")
    }

    fn read(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refresh(&self, read: &mut Read) -> io::Result<()> {
        let metadata = fs::metadata(&self.path)?;
        if !metadata.is_file() || metadata.len() > BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let stamp = Some((metadata.modified()?, metadata.len()));
        if read.stamp != stamp {
            read.text = fs::read_to_string(&self.path)?;
            read.stamp = stamp;
        }
        Ok(())
    }

    /// Writes another file and puts it in the place of this one.
    fn replace(&self, text: &str) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        make_folder(folder, self.dir_mode)?;
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let next = folder.join(name);
        // One that was left behind, by whom ever, is in the way.
        let _ = fs::remove_file(&next);
        let written = write_file(&next, text, self.file_mode).and_then(|()| fs::rename(&next, &self.path));
        if written.is_err() {
            // What cannot even be removed again is one more file that nobody reads.
            let _ = fs::remove_file(&next);
        }
        written
    }
}

/// Names and values, in order.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        Some((name.trim(), value.trim()))
    })
}

/// The value as it is meant: without the quotes around it, or without the comment behind it.
fn unquoted(value: &str) -> String {
    let inner = ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    let plain = || value.split('#').next().unwrap_or_default().trim_end();
    inner.unwrap_or_else(plain).to_owned()
}

/// The text with another value for a name.
fn with_value(text: &str, name: &str, value: &str) -> String {
    let is_plain = value.trim() == value && !value.contains(['#', '"', '\'']);
    let line = if is_plain {
        format!("{name}={value}")
    } else {
        format!("{name}=\"{value}\"")
    };
    let is_named = |line: &str| lines(line).any(|(key, _)| key == name);
    let mut changed = String::with_capacity(text.len() + line.len() + 1);
    let mut is_written = false;
    for known in text.lines() {
        if !is_named(known) {
            let _ = writeln!(changed, "{known}");
        } else if !is_written {
            let _ = writeln!(changed, "{line}");
            is_written = true;
        }
    }
    if !is_written {
        let _ = writeln!(changed, "{line}");
    }
    changed
}

#[cfg(unix)]
fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(mode).create(path)
}

#[cfg(not(unix))]
fn make_folder(path: &Path, _mode: u32) -> io::Result<()> {
    fs::create_dir_all(path)
}

fn write_file(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    use io::Write as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
