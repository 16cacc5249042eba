//! [`Cache`]: compiled code on disk, so that the next start need not compile again.
//!
//! An artifact is named by everything that it follows from: the component's bytes, the engine's settings and version.
//! It is written aside and moved into place, so several runtimes share a folder, and any of it may be deleted at any
//! time. Whatever is wrong with the folder costs time and never correctness: the component is compiled.
//!
//! # Safety
//!
//! What is loaded here is machine code that will run with all rights of this process, and the engine cannot check
//! code: loading is `unsafe` because it trusts the bytes. Bytes from the folder are trusted for four reasons, each of them
//! checked; those that [`copy`] loads come from the engine of this process and never leave it:
//!
//! * **Nobody else could have written them.** The folder and every file that is loaded belong to the user that this
//!   process runs as, and neither its group nor others may write to them. That is read from the open files, not from
//!   their paths, and files are opened relative to the open folder: nothing can be exchanged between the look and the
//!   use. Who can act as this user can replace the program itself.
//! * **This user's runtime wrote them.** What comes with a project belongs to whoever unpacked it, and a project may
//!   say where the folder is. So a file is sealed with a secret that lies elsewhere and that only the user can read.
//! * **They are what was written.** The seal covers the name and the code, so a file that was cut, garbled by a disk or
//!   renamed is not loaded.
//! * **They were made for this engine.** The engine's compatibility hash is a part of the name, and the engine compares
//!   version and settings again when it loads.
#![expect(
    unsafe_code,
    reason = "compiled code is loaded on trust; see the module's argument for why it is deserved"
)]

mod access;
mod seal;

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File},
    hash::{Hash, Hasher},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use cap_std::fs::{Dir, OpenOptions};
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use self::seal::{SEAL, Secret};

/// Where compiled code is kept, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// The folder. It is made if it is not there; its parents too.
    pub dir: PathBuf,
    /// How much it may hold; what was used longest ago goes first.
    pub max_bytes: u64,
    /// A file with a secret of the user's, which is made if it is not there. It must lie where nobody but the user puts
    /// files, in particular not in a project: artifacts that come with one are told from the user's own by it.
    pub secret: PathBuf,
}

impl CacheConfig {
    /// What a cache holds unless something else is said.
    pub const MAX_BYTES: u64 = 1 << 30;
}

/// Bumped when the form of the files changes.
const FORM: &[u8] = b"wippy 1";

/// How long a file that somebody is writing may take before it is taken for abandoned.
const WRITING_MAX: Duration = Duration::from_hours(1);

/// A folder of compiled components.
pub(crate) struct Cache {
    folder: Dir,
    secret: Secret,
    /// Whom the folder belongs to, which is who we are.
    owner: u32,
    max_bytes: u64,
    /// Whether it was said already that something cannot be written.
    warned: AtomicBool,
}

impl Cache {
    /// Opens the folder that `config` names. Without one that can be trusted and written there is no cache, and the
    /// log says why.
    pub(crate) fn open(config: &CacheConfig) -> Option<Self> {
        match Self::try_open(config) {
            Ok(cache) => Some(cache),
            Err(error) => {
                let folder = config.dir.display();
                tracing::warn!(target: "wippy", %folder, "compiled code is not cached: {error}");
                None
            }
        }
    }

    fn try_open(config: &CacheConfig) -> io::Result<Self> {
        make(&config.dir)?;
        let folder = File::open(&config.dir)?;
        let trusted = folder.metadata()?;
        let folder = Dir::from_std_file(folder);
        let owner = owner_of_new_files(&folder)?;
        access::trusted(&trusted, owner)?;
        Ok(Self {
            folder,
            secret: Secret::of_user(&config.secret, owner)?,
            owner,
            max_bytes: config.max_bytes,
            warned: AtomicBool::new(false),
        })
    }

    /// The compiled form of `bytes`, if it was kept.
    pub(crate) fn load(&self, engine: &wasmtime::Engine, bytes: &[u8]) -> Option<Component> {
        let name = name(engine, bytes);
        let found = match self.read(&name) {
            Ok(code) => self.deserialize(engine, &name, &code),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(target: "wippy", file = name, "compiled code is not used: {error}");
                None
            }
        };
        if found.is_none() {
            // What is there is of no use, and a better one is about to be made. Nobody minds if there is nothing.
            let _ = self.folder.remove_file(&name);
        }
        found
    }

    /// Reads an artifact that can be trusted.
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut options = OpenOptions::new();
        let mut file = self.folder.open_with(name, options.read(true))?.into_std();
        access::trusted(&file.metadata()?, self.owner)?;
        let (mut written, mut code) = ([0; SEAL], Vec::new());
        let complete = file
            .read_exact(&mut written)
            .and_then(|()| file.read_to_end(&mut code));
        if complete.is_err() || written != self.secret.seal(name, &code) {
            let why = "it is damaged, or not of this user's making";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        // It is young again, which keeps it from being dropped. Where that cannot be said it is merely dropped sooner.
        let _ = file.set_modified(SystemTime::now());
        Ok(code)
    }

    fn deserialize(&self, engine: &wasmtime::Engine, name: &str, code: &[u8]) -> Option<Component> {
        // SAFETY: `read` returns only what this user's own runtime wrote, whole; see the module's argument.
        let loaded = unsafe { Component::deserialize(engine, code) };
        loaded
            .map_err(|error| {
                let error = crate::engine::first_line(&error);
                tracing::debug!(target: "wippy", file = name, owner = self.owner, "compiled code does not fit: {error}");
            })
            .ok()
    }

    /// Keeps `component`, which was compiled from `bytes`. If that cannot be done, it is not.
    pub(crate) fn store(&self, engine: &wasmtime::Engine, bytes: &[u8], component: &Component) {
        let Ok(code) = component.serialize() else {
            return;
        };
        let kept = self
            .write(&name(engine, bytes), &code)
            .and_then(|()| self.prune());
        if let Err(error) = kept
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(target: "wippy", "compiled code cannot be kept: {error}");
        }
    }

    fn write(&self, name: &str, code: &[u8]) -> io::Result<()> {
        if u64::try_from(code.len()).is_ok_and(|bytes| bytes > self.max_bytes) {
            return Ok(());
        }
        let aside = Aside::new(&self.folder)?;
        let mut file = &aside.file;
        file.write_all(&self.secret.seal(name, code))?;
        file.write_all(code)?;
        self.folder.rename(&aside.name, &self.folder, name)
    }

    /// Drops what was used longest ago until the rest is small enough.
    fn prune(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in self.folder.entries()? {
            let entry = entry?;
            // Another runtime may drop files at the same time.
            let Ok(metadata) = entry.metadata() else { continue };
            let Ok(modified) = metadata.modified() else {
                continue;
            };
            let (name, modified) = (entry.file_name(), modified.into_std());
            let is_abandoned = || modified.elapsed().is_ok_and(|age| age > WRITING_MAX);
            match Held::of(&name) {
                Some(Held::Artifact) => files.push((modified, metadata.len(), name)),
                Some(Held::Aside) if is_abandoned() => self.folder.remove_file(name)?,
                Some(Held::Aside) | None => {}
            }
        }
        files.sort();
        let mut held: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, name) in files {
            if held <= self.max_bytes {
                break;
            }
            let _ = self.folder.remove_file(name);
            held = held.saturating_sub(bytes);
        }
        Ok(())
    }
}

/// The same code on another engine of the same settings.
///
/// # Errors
/// When the engines differ after all.
pub(crate) fn copy(component: &Component, engine: &wasmtime::Engine) -> wasmtime::Result<Component> {
    let code = component.serialize()?;
    // SAFETY: these are the bytes that the engine itself gave a line before, and nobody else has seen them.
    unsafe { Component::deserialize(engine, code) }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

/// How files end that are being written.
const ASIDE: &str = "new";
/// And how they begin.
const ASIDE_PREFIX: &str = "compiled-";

/// What of ours a file is. The folder may hold files of others, which are never touched.
enum Held {
    Artifact,
    Aside,
}

impl Held {
    fn of(name: &OsStr) -> Option<Self> {
        let name = Path::new(name);
        let is_digest = |stem: &str| stem.len() == 64 && stem.bytes().all(|digit| digit.is_ascii_hexdigit());
        match (name.file_stem()?.to_str()?, name.extension()) {
            (stem, None) if is_digest(stem) => Some(Self::Artifact),
            (stem, Some(extension)) if extension == ASIDE && stem.starts_with(ASIDE_PREFIX) => {
                Some(Self::Aside)
            }
            _ => None,
        }
    }
}

/// A file that is written beside the others until it is whole; dropped halfway it is removed.
struct Aside<'a> {
    folder: &'a Dir,
    name: String,
    file: File,
}

impl<'a> Aside<'a> {
    fn new(folder: &'a Dir) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        // Processes of different machines or containers may have the same number.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_nanos();
        let (process, count) = (process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let name = format!("{ASIDE_PREFIX}{process}-{count}-{now}.{ASIDE}");
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        access::for_owner_only(&mut options);
        let file = folder.open_with(&name, &options)?.into_std();
        Ok(Self { folder, name, file })
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        // After the file was moved into place there is nothing of this name any more.
        let _ = self.folder.remove_file(&self.name);
    }
}

/// Makes the folder for this user only, unless it is there.
fn make(folder: &Path) -> io::Result<()> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut builder = DirBuilder::new();
    access::folder_for_owner_only(&mut builder);
    match builder.create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}

/// Who owns what this process writes; fails where it cannot write.
fn owner_of_new_files(folder: &Dir) -> io::Result<u32> {
    access::owner(&Aside::new(folder)?.file.metadata()?)
}

/// Names what `bytes` become on `engine`.
fn name(engine: &wasmtime::Engine, bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut key = Key(Sha256::new_with_prefix(FORM));
    key.0.update(Sha256::digest(bytes));
    engine.precompile_compatibility_hash().hash(&mut key);
    let mut name = String::new();
    for byte in key.0.finalize() {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// Takes all of what is hashed into a digest that is long enough to be a name.
struct Key(Sha256);

impl Hasher for Key {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // Only what was written counts.
        0
    }
}
