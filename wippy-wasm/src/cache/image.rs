//! [`Image`]: code in a file that has no name and that nobody can change any more, not even this process.
//!
//! The engine maps code from files and copies it from memory. What was copied has to be made unwritable, for which every
//! processor that runs this process is interrupted; several threads that load code at the same time then take as long as
//! one. Mapping the artifact itself would be as fast, but whoever cuts it short would take the code away under guests that
//! run it.

use std::io;

#[cfg(target_os = "linux")]
pub(super) use self::linux::Image;
#[cfg(not(target_os = "linux"))]
pub(super) use self::unknown::Image;

#[cfg(target_os = "linux")]
mod linux {
    use std::{fs::File, io::Write as _, os::fd::AsRawFd as _, path::PathBuf};

    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

    use super::io;

    /// A file in memory that has the content that it was made with, for ever.
    pub(in crate::cache) struct Image(File);

    impl Image {
        /// Makes one of `content`.
        ///
        /// # Errors
        /// When the system has no such files, or no more of them.
        pub(in crate::cache) fn new(content: &[u8]) -> io::Result<Self> {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let mut file = File::from(memfd_create("wippy-code", flags)?);
            file.write_all(content)?;
            let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
            fcntl_add_seals(&file, seals)?;
            Ok(Self(file))
        }

        /// Where it can be opened as long as this is held, by this process.
        pub(in crate::cache) fn path(&self) -> PathBuf {
            PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod unknown {
    use std::path::PathBuf;

    use super::io;

    pub(in crate::cache) enum Image {}

    impl Image {
        pub(in crate::cache) fn new(_: &[u8]) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(in crate::cache) fn path(&self) -> PathBuf {
            match *self {}
        }
    }
}
