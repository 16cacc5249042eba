//! [`Secret`]: what tells artifacts that this user's own runtime wrote from those that came from elsewhere.
//!
//! What is sealed is encrypted and authenticated by AES-256-GCM, under a key that follows from the secret and the name of the
//! file. Nobody need be kept from reading it; but every start opens every seal, processors have instructions for this, and
//! with them it takes a fraction of the time of a hash.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::Path,
    process,
};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
};
use sha2::{Digest, Sha256};

use super::access;

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

    /// Seals the content of a file of this name, differently each time.
    ///
    /// # Errors
    /// When the system has no randomness, or the content is too large.
    pub(super) fn seal(&self, name: &str, content: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut number = [0; NONCE_LEN];
        access::random(&mut number)?;
        let nonce = Nonce::assume_unique_for_key(number);
        let mut sealed = content;
        self.key(name)
            .and_then(|key| key.seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed))
            .map_err(|_| io::Error::other("it is too large to be sealed"))?;
        // At the end, so that nothing has to be moved.
        sealed.extend(number);
        Ok(sealed)
    }

    /// The content of a file of this name, if whoever has the secret sealed it.
    pub(super) fn open<'s>(&self, name: &str, sealed: &'s mut [u8]) -> Option<&'s [u8]> {
        let (sealed, number) = sealed.split_last_chunk_mut::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*number);
        let opened = self.key(name).ok()?.open_in_place(nonce, Aad::empty(), sealed);
        opened.ok().map(|content| &*content)
    }

    /// The key for the file of a name: what was written under one cannot be passed off under another.
    fn key(&self, name: &str) -> Result<LessSafeKey, Unspecified> {
        let key = Sha256::new_with_prefix(self.0).chain_update(name).finalize();
        UnboundKey::new(&AES_256_GCM, &key).map(LessSafeKey::new)
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
