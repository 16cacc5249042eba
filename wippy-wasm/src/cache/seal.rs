//! [`Secret`]: what tells artifacts that this user's own runtime wrote from those that came from elsewhere.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::Path,
    process,
};

use sha2::{Digest, Sha256};

use super::access;

/// Bytes of a seal.
pub(super) const SEAL: usize = 32;

/// Bytes of a secret.
const SECRET: usize = 32;

/// A user's secret.
pub(super) struct Secret([u8; SECRET]);

impl Secret {
    /// The secret in `path`, made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or others could know or have chosen it.
    pub(super) fn of_user(path: &Path, owner: u32) -> io::Result<Self> {
        match Self::read(path, owner) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make(path)?;
                // Whoever was first made the one that counts.
                Self::read(path, owner)
            }
            outcome => outcome,
        }
    }

    fn read(path: &Path, owner: u32) -> io::Result<Self> {
        let mut file = File::open(path)?;
        access::secret(&file.metadata()?, owner)?;
        let mut secret = [0; SECRET];
        file.read_exact(&mut secret)?;
        Ok(Self(secret))
    }

    /// What a file of this name and content is sealed with.
    pub(super) fn seal(&self, name: &str, content: &[u8]) -> [u8; SEAL] {
        // Two steps, so that nobody can go on from one seal to that of a longer content.
        let inner = Sha256::new_with_prefix(name).chain_update(content).finalize();
        Sha256::new_with_prefix(self.0)
            .chain_update(inner)
            .finalize()
            .into()
    }
}

/// Makes a secret: aside, so that nobody ever reads half of one.
fn make(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut secret = [0; SECRET];
    access::random(&mut secret)?;
    let aside = path.with_extension(process::id().to_string());
    // One that an earlier process of this number left.
    let _ = fs::remove_file(&aside);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    access::std_for_owner_only(&mut options);
    let written = options.open(&aside).and_then(|mut file| file.write_all(&secret));
    // Not over one that somebody else has put there meanwhile.
    let linked = written.and_then(|()| fs::hard_link(&aside, path));
    let _ = fs::remove_file(&aside);
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}
