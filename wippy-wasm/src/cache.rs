//! [`Cache`]: compiled code on disk, so that the next start need not compile again, and the [`Facts`] about the component
//! beside it, so that it need not be read again either.
//!
//! An artifact is named by everything that it follows from: the component's bytes, the engine's settings and version,
//! ours.
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
//! * **They are what was written.** The name, the facts and the code are sealed, so a file that was cut, garbled by a disk or
//!   renamed is not loaded.
//! * **They were made for this engine.** The engine's compatibility hash is a part of the name, and the engine compares
//!   version and settings again when it loads.
//!
//! The facts are trusted for the same reasons, and have to be: which functions run without a stack to be interrupted on is
//! one of them.
#![expect(
    unsafe_code,
    reason = "compiled code is loaded on trust; see the module's argument for why it is deserved"
)]

mod access;
mod image;
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

use self::{image::Image, seal::Secret};
use crate::{artifact, engine::Counting, facts::Facts};

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

/// Bumped when the form of the files changes, or what is found out about components. A file is, sealed, the length of the
/// facts in four bytes, the facts, the code.
const FORM: &str = concat!("wippy 5 ", env!("CARGO_PKG_VERSION"));

/// What was used in this time need not be marked as used again.
const YOUNG: Duration = Duration::from_mins(10);

/// How long a file that somebody is writing may take before it is taken for abandoned.
const WRITING_MAX: Duration = Duration::from_hours(1);

/// A folder of compiled components.
pub(crate) struct Cache {
    folder: Dir,
    secret: Secret,
    /// What all names begin with: our form and the engine's settings.
    names: Key,
    /// Whom the folder belongs to, which is who we are.
    owner: u32,
    max_bytes: u64,
    /// How much may be written before it is looked whether there is room.
    room: AtomicU64,
    /// Whether it was said already that something cannot be written.
    warned: AtomicBool,
}

impl Cache {
    /// Opens the folder that `config` names, for what `engine` compiles and others with settings that follow from its.
    /// Without a folder that can be trusted and written there is no cache, and the log says why.
    pub(crate) fn open(config: &CacheConfig, engine: &wasmtime::Engine) -> Option<Self> {
        match Self::try_open(config, engine) {
            Ok(cache) => Some(cache),
            Err(error) => {
                let folder = config.dir.display();
                tracing::warn!(target: "wippy", %folder, "compiled code is not cached: {error}");
                None
            }
        }
    }

    fn try_open(config: &CacheConfig, engine: &wasmtime::Engine) -> io::Result<Self> {
        make(&config.dir)?;
        let folder = File::open(&config.dir)?;
        let trusted = folder.metadata()?;
        if !trusted.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let folder = Dir::from_std_file(folder);
        // What a folder of our own holds is our own. Elsewhere systems may say that others own what we write.
        let owner = if access::is_own(&trusted) {
            access::owner(&trusted)?
        } else {
            owner_of_new_files(&folder)?
        };
        access::trusted(&trusted, owner)?;
        Ok(Self {
            folder,
            secret: Secret::of_user(&config.secret, owner)?,
            names: Key::of(engine),
            owner,
            max_bytes: config.max_bytes,
            room: AtomicU64::new(0),
            warned: AtomicBool::new(false),
        })
    }

    /// Names what a component of this digest becomes on an engine with or without counting. Which engine else it needs
    /// follows from the component.
    pub(crate) fn name(&self, digest: &[u8; 32], counting: Counting) -> Name {
        let mut key = self.names.clone();
        key.0.update(digest);
        key.0.update([u8::from(counting == Counting::Fuel)]);
        Name(artifact::hex(&key.0.finalize().into()))
    }

    /// The compiled form of a component and what is known of it, if they were kept; `engine` says which engine takes the
    /// code, if one does.
    pub(crate) fn load<'e>(
        &self,
        name: &Name,
        engine: impl FnOnce(&Facts) -> Option<&'e wasmtime::Engine>,
    ) -> Option<(Facts, Component)> {
        let found = match self.read(name) {
            Ok(artifact) => self.deserialize(name, &artifact, engine),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(target: "wippy", file = name.0, "compiled code is not used: {error}");
                None
            }
        };
        if found.is_none() {
            // What is there is of no use, and a better one is about to be made. Nobody minds if there is nothing.
            let _ = self.folder.remove_file(&name.0);
        }
        found
    }

    /// Reads an artifact that can be trusted.
    fn read(&self, name: &Name) -> io::Result<Trusted> {
        let mut options = OpenOptions::new();
        let file = self.folder.open_with(&name.0, options.read(true))?.into_std();
        let metadata = file.metadata()?;
        access::trusted(&metadata, self.owner)?;
        // One byte more, so that the end is seen.
        let mut sealed = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0).saturating_add(1));
        (&file).take(u64::MAX).read_to_end(&mut sealed)?;
        let Some(content) = self.secret.open(&name.0, &mut sealed).map(<[u8]>::len) else {
            let why = "it is damaged, or not of this user's making";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        };
        sealed.truncate(content);
        let age = metadata
            .modified()
            .ok()
            .and_then(|modified| modified.elapsed().ok());
        if age.is_none_or(|age| age > YOUNG) {
            // It is young again, which keeps it from being dropped. Where that cannot be said it is merely dropped sooner.
            let _ = file.set_modified(SystemTime::now());
        }
        Ok(Trusted(sealed))
    }

    fn deserialize<'e>(
        &self,
        name: &Name,
        artifact: &Trusted,
        engine: impl FnOnce(&Facts) -> Option<&'e wasmtime::Engine>,
    ) -> Option<(Facts, Component)> {
        let (facts, code) = artifact.parts()?;
        let facts = Facts::from_bytes(facts)?;
        let engine = engine(&facts)?;
        let loaded = load(engine, code);
        loaded
            .map(|component| (facts, component))
            .map_err(|error| {
                let error = crate::engine::first_line(&error);
                tracing::debug!(target: "wippy", file = name.0, owner = self.owner, "compiled code does not fit: {error}");
            })
            .ok()
    }

    /// Keeps `component` and what is known of it. If that cannot be done, it is not.
    pub(crate) fn store(&self, name: &Name, facts: &Facts, component: &Component) {
        let Ok(code) = component.serialize() else {
            return;
        };
        let kept = self
            .write(name, &facts.to_bytes(), &code)
            .and_then(|bytes| self.make_room(bytes));
        if let Err(error) = kept
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(target: "wippy", "compiled code cannot be kept: {error}");
        }
    }

    /// Writes an artifact, unless there is no room for it at all; how many bytes were written.
    fn write(&self, name: &Name, facts: &[u8], code: &[u8]) -> io::Result<u64> {
        let Ok(length) = u32::try_from(facts.len()) else {
            return Ok(0);
        };
        let sealed = self
            .secret
            .seal(&name.0, [&length.to_le_bytes(), facts, code].concat())?;
        let bytes = u64::try_from(sealed.len()).unwrap_or(u64::MAX);
        if bytes > self.max_bytes {
            return Ok(0);
        }
        let aside = Aside::new(&self.folder)?;
        (&aside.file).write_all(&sealed)?;
        self.folder.rename(&aside.name, &self.folder, &name.0)?;
        Ok(bytes)
    }

    /// Sees to it that the folder does not hold too much after so many bytes were written. Looking at every file each time
    /// would take the longer the more there are, so half of the room that was found is used first; others may use the rest.
    fn make_room(&self, written: u64) -> io::Result<()> {
        let less = |room: u64| room.checked_sub(written);
        let has_room = self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        if has_room.is_ok() {
            return Ok(());
        }
        let held = self.prune()?;
        self.room
            .store(self.max_bytes.saturating_sub(held) / 2, Ordering::Relaxed);
        Ok(())
    }

    /// Drops what was used longest ago until the rest is small enough; how many bytes that has.
    fn prune(&self) -> io::Result<u64> {
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
        Ok(held)
    }
}

/// Loads the code of an artifact that can be trusted.
fn load(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Component> {
    if let Ok(image) = Image::new(code) {
        // SAFETY: `Cache::read` gave the code, which is only what this user's own runtime wrote, whole; see the module's
        // argument. Nobody can change it where it lies now.
        let loaded = unsafe { Component::deserialize_file(engine, image.path()) };
        if loaded.is_ok() {
            return loaded;
        }
    }
    // The system may lack what that takes.
    // SAFETY: as above.
    unsafe { Component::deserialize(engine, code) }
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

/// The name of an artifact: 64 hexadecimal digits.
pub(crate) struct Name(String);

/// An artifact that [`Cache::read`] found no reason not to trust.
struct Trusted(Vec<u8>);

impl Trusted {
    /// The facts and the code.
    fn parts(&self) -> Option<(&[u8], &[u8])> {
        let (length, rest) = self.0.split_first_chunk()?;
        rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
    }
}

/// Takes all of what is hashed into a digest that is long enough to be a name.
#[derive(Clone)]
struct Key(Sha256);

impl Key {
    fn of(engine: &wasmtime::Engine) -> Self {
        let mut key = Self(Sha256::new_with_prefix(FORM));
        engine.precompile_compatibility_hash().hash(&mut key);
        key
    }
}

impl Hasher for Key {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // Only what was written counts.
        0
    }
}
