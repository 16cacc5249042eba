//! Who may read and write a file, where systems say so. Where they do not, no file is trusted.

#[cfg(unix)]
pub(super) use self::unix::*;
#[cfg(not(unix))]
pub(super) use self::unknown::*;

#[cfg(unix)]
mod unix {
    use std::{
        fs::{self, DirBuilder, File, Metadata},
        io::{self, Read as _},
        os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    };

    use cap_std::fs::{OpenOptions, OpenOptionsExt as _};

    /// Permission to write for the group and for others.
    const OTHERS_WRITE: u32 = 0o022;

    /// Any permission for them.
    const OTHERS: u32 = 0o077;

    /// Fails unless only `owner` can have written it.
    pub(in crate::cache) fn trusted(metadata: &Metadata, owner: u32) -> io::Result<()> {
        let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        if metadata.uid() != owner {
            return refuse("it belongs to another user");
        }
        if metadata.mode() & OTHERS_WRITE != 0 {
            return refuse("others may write to it; `chmod go-w` it, or delete it");
        }
        Ok(())
    }

    /// Fails unless only `owner` can have written it, or read it.
    pub(in crate::cache) fn secret(metadata: &Metadata, owner: u32) -> io::Result<()> {
        trusted(metadata, owner)?;
        if metadata.mode() & OTHERS != 0 {
            let why = "others may read the secret that code is sealed with; delete it";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        Ok(())
    }

    /// Whether it is of the user that this process runs as.
    pub(in crate::cache) fn is_own(metadata: &Metadata) -> bool {
        metadata.uid() == rustix::process::geteuid().as_raw()
    }

    /// Fills `bytes` from the system's source of randomness.
    pub(in crate::cache) fn random(bytes: &mut [u8]) -> io::Result<()> {
        File::open("/dev/urandom")?.read_exact(bytes)
    }

    pub(in crate::cache) fn std_for_owner_only(options: &mut fs::OpenOptions) {
        std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    }

    #[expect(clippy::unnecessary_wraps, reason = "not every system can tell")]
    pub(in crate::cache) fn owner(metadata: &Metadata) -> io::Result<u32> {
        Ok(metadata.uid())
    }

    pub(in crate::cache) fn for_owner_only(options: &mut OpenOptions) {
        options.mode(0o600);
    }

    pub(in crate::cache) fn folder_for_owner_only(builder: &mut DirBuilder) {
        builder.mode(0o700);
    }
}

#[cfg(not(unix))]
mod unknown {
    use std::{
        fs::{self, DirBuilder, Metadata},
        io,
    };

    use cap_std::fs::OpenOptions;

    fn unknown<T>() -> io::Result<T> {
        let why = "this system does not say who may write to a file";
        Err(io::Error::new(io::ErrorKind::Unsupported, why))
    }

    pub(in crate::cache) fn trusted(_: &Metadata, _: u32) -> io::Result<()> {
        unknown()
    }

    pub(in crate::cache) fn secret(_: &Metadata, _: u32) -> io::Result<()> {
        unknown()
    }

    pub(in crate::cache) fn is_own(_: &Metadata) -> bool {
        false
    }

    pub(in crate::cache) fn random(_: &mut [u8]) -> io::Result<()> {
        unknown()
    }

    pub(in crate::cache) fn std_for_owner_only(_: &mut fs::OpenOptions) {}

    pub(in crate::cache) fn owner(_: &Metadata) -> io::Result<u32> {
        unknown()
    }

    pub(in crate::cache) fn for_owner_only(_: &mut OpenOptions) {}

    pub(in crate::cache) fn folder_for_owner_only(_: &mut DirBuilder) {}
}
