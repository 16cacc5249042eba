//! [`File`]: an open file of a volume. Its operations block; two at once wait for each other.

use std::{
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    str::FromStr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use cap_std::fs::OpenOptions;
use wippy_security::{CallError, ErrorKind};
use wippy_wit::Value;

use super::{described, failed};

/// What one read gives at most, whatever is asked for.
const READ_MAX: usize = 1 << 20;

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Read,
    ReadWrite,
    Write,
    WriteRead,
    WriteNew,
    Append,
    AppendRead,
}

impl FromStr for Mode {
    type Err = CallError;

    fn from_str(text: &str) -> Result<Self, CallError> {
        Ok(match text {
            "r" => Self::Read,
            "r+" => Self::ReadWrite,
            "w" => Self::Write,
            "w+" => Self::WriteRead,
            "wx" => Self::WriteNew,
            "a" => Self::Append,
            "a+" => Self::AppendRead,
            _ => {
                return Err(CallError::invalid(format!(
                    "`{text}` is no mode for a file: the modes are r, r+, w, w+, wx, a, a+"
                )));
            }
        })
    }
}

impl Mode {
    pub(super) fn writes(self) -> bool {
        self != Self::Read
    }

    pub(super) fn options(self) -> OpenOptions {
        let mut options = OpenOptions::new();
        match self {
            Self::Read => options.read(true),
            Self::ReadWrite => options.read(true).write(true),
            Self::Write => options.write(true).create(true).truncate(true),
            Self::WriteRead => options.read(true).write(true).create(true).truncate(true),
            Self::WriteNew => options.write(true).create_new(true),
            Self::Append => options.append(true).create(true),
            Self::AppendRead => options.read(true).append(true).create(true),
        };
        options
    }
}

/// An open file.
#[derive(Debug)]
pub(crate) struct File {
    /// Nothing once it is closed.
    handle: Mutex<Option<cap_std::fs::File>>,
    /// Its path as it was written.
    shown: String,
    name: String,
}

impl File {
    pub(super) fn new(file: cap_std::fs::File, shown: String, name: String) -> Self {
        Self {
            handle: Mutex::new(Some(file)),
            shown,
            name,
        }
    }

    /// At most `len` bytes from where it stands; none at its end.
    pub(crate) fn read(&self, len: usize) -> Result<Vec<u8>, CallError> {
        let mut bytes = vec![0; len.min(READ_MAX)];
        let read = self.with(|file| file.read(&mut bytes))?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Writes everything.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), CallError> {
        self.with(|file| file.write_all(bytes))
    }

    /// Writes what is left of another file now: one that grows meanwhile, maybe by this, comes to an end too.
    pub(crate) fn write_from(&self, source: &Self) -> Result<(), CallError> {
        let mut left = source.with(|file| {
            let length = file.metadata()?.len();
            Ok(length.saturating_sub(file.stream_position()?))
        })?;
        while left > 0 {
            let bytes = source.read(usize::try_from(left).unwrap_or(READ_MAX))?;
            if bytes.is_empty() {
                break;
            }
            self.write(&bytes)?;
            left = left.saturating_sub(bytes.len() as u64);
        }
        Ok(())
    }

    /// Moves to another place, and answers which it is.
    pub(crate) fn seek(&self, to: SeekFrom) -> Result<u64, CallError> {
        self.with(|file| file.seek(to))
    }

    /// What it is.
    pub(crate) fn stat(&self) -> Result<Value, CallError> {
        let metadata = self.with(|file| file.metadata())?;
        Ok(described(&self.name, &metadata))
    }

    /// Waits until what was written is stored.
    pub(crate) fn sync(&self) -> Result<(), CallError> {
        self.with(|file| file.sync_all())
    }

    /// Gives it up. Doing it again does nothing.
    pub(crate) fn close(&self) {
        self.handle().take();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.handle().is_none()
    }

    fn handle(&self) -> MutexGuard<'_, Option<cap_std::fs::File>> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, work: impl FnOnce(&mut cap_std::fs::File) -> io::Result<T>) -> Result<T, CallError> {
        let mut handle = self.handle();
        let Some(file) = handle.as_mut() else {
            return Err(CallError::internal(format!(
                "`{}`: the file is closed",
                self.shown
            )));
        };
        work(file).map_err(|error| match failed(&self.shown, &error) {
            // What it was not opened for is told apart from what the system does not do.
            error if error.kind() == ErrorKind::Internal => {
                error.context("the file may have been opened for something else")
            }
            error => error,
        })
    }
}
