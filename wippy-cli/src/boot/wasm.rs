//! WebAssembly entries: from settings to compiled, checked and linked modules.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    env, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cap_std::fs::Dir;
use wippy_registry::{
    Diagnostic, EntryId, Linked, LinkedEntry, SourceMap,
    schema::{
        self,
        wasm::{Code, Guest},
    },
};
use wippy_wasm::{
    Allocator, Binary, CacheConfig, Content, EngineConfig, EnvironmentVariable, Error, Limits, Module, Mount,
    Spec, WasiConfig, WasmFunction, WasmProcess,
};

use super::{Directories, blame, pools, ready::Ground};
use crate::config::{self, Config};

/// Everything that compiling an entry needs besides the entry.
pub(super) struct Compiler<'a> {
    linked: &'a Linked,
    directories: &'a Directories,
    ground: &'a Ground,
    files: Files,
}

/// The files of guests. Entries that name the same one share it, so that it is read and hashed once.
#[derive(Default)]
struct Files {
    folders: Mutex<HashMap<EntryId, Arc<Dir>>>,
    files: Mutex<HashMap<(EntryId, String), Read>>,
}

/// A file that was read, once it was.
type Read = Arc<Mutex<Option<Arc<Content<'static>>>>>;

impl<'a> Compiler<'a> {
    pub(super) fn new(linked: &'a Linked, directories: &'a Directories, ground: &'a Ground) -> Self {
        Self {
            linked,
            directories,
            ground,
            files: Files::default(),
        }
    }

    /// Reads files of entries ahead, for as long as the engine is not there, which whoever needs it has to wait for.
    pub(super) fn read_ahead<'e>(&self, entries: impl Iterator<Item = &'e LinkedEntry>) {
        for entry in entries.take_while(|_| self.ground.engine.is_being_made()) {
            if let Some(guest) = guest_of(entry) {
                // What is wrong is said when the entry is prepared.
                let _ = self.files.of(entry, &guest.code, self.directories);
            }
        }
    }

    pub(super) fn function(
        &self,
        entry: &LinkedEntry,
        config: &schema::wasm::WasmFunction,
    ) -> Result<super::Ready, Vec<Diagnostic>> {
        let mut module = self.module(entry, &config.guest)?;
        let classes = &self.ground.classes;
        if let Some(class) = classes.of(&config.pool, self.linked) {
            module = module.on(class);
        }
        let retained = config.guest.limits.max_retained_memory_bytes;
        let pool = pools::config(&config.pool, retained, classes);
        let function = WasmFunction::new(module, pool);
        Ok(super::Ready::WasmFunction(Arc::new(function)))
    }

    pub(super) fn process(
        &self,
        entry: &LinkedEntry,
        config: &schema::wasm::WasmProcess,
    ) -> Result<super::Ready, Vec<Diagnostic>> {
        let process = WasmProcess::new(self.module(entry, &config.guest)?);
        Ok(super::Ready::WasmProcess(Arc::new(process)))
    }

    fn module(&self, entry: &LinkedEntry, guest: &Guest) -> Result<Module, Vec<Diagnostic>> {
        let blame = |error: &Error| blame::wasm(&entry.entry, guest, error, &self.linked.sources);
        let file = self.files.of(entry, &guest.code, self.directories)?;
        let engine = self.ground.engine.get(&self.ground.settings);
        let engine = engine.map_err(|error| vec![blame(error)])?;
        let spec = Spec {
            id: entry.entry.id.clone(),
            binary: file.binary(),
            wit: guest.wit.as_ref().map(|wit| wit.text.as_ref()),
            method: &guest.method,
            imports: &guest.imports,
            wasi: self.wasi(guest),
            limits: self.limits(guest),
        };
        engine
            .prepare(spec)
            .map_err(|errors| errors.iter().map(blame).collect())
    }

    fn wasi(&self, guest: &Guest) -> WasiConfig {
        let environment = Arc::clone(&self.ground.environment);
        let variables = guest.wasi.env.iter();
        let mounts = guest.wasi.mounts.iter();
        WasiConfig {
            args: guest.wasi.args.clone(),
            cwd: guest.wasi.cwd.clone(),
            env: variables
                .map(|binding| EnvironmentVariable {
                    id: binding.id.clone(),
                    name: binding.name.clone(),
                    required: binding.required,
                })
                .collect(),
            mounts: mounts
                .filter_map(|mount| {
                    Some(Mount {
                        host: self.directories.path(&mount.fs)?.to_owned(),
                        guest: mount.guest.clone(),
                        read_only: mount.read_only,
                        id: mount.fs.clone(),
                    })
                })
                .collect(),
            lookup: Some(Arc::new(move |id| environment.value(id))),
        }
    }

    fn limits(&self, guest: &Guest) -> Limits {
        let own = &guest.limits;
        let defaults = Limits::default();
        let size = |own, name, default| {
            let value = self.limit(own, name);
            value.map_or(default, |value| usize::try_from(value).unwrap_or(usize::MAX))
        };
        Limits {
            execution: self
                .limit(own.max_execution_ms, "max_execution_ms")
                .map(Duration::from_millis),
            memory_bytes: size(own.max_memory_bytes, "max_memory_bytes", defaults.memory_bytes),
            table_elements: size(
                own.max_table_elements,
                "max_table_elements",
                defaults.table_elements,
            ),
            resources: size(
                own.max_resources.map(u64::from),
                "max_resources",
                defaults.resources,
            ),
            host_bytes: size(own.max_host_bytes, "max_host_bytes", defaults.host_bytes),
            output_bytes: size(own.max_stdout_bytes, "max_stdout_bytes", defaults.output_bytes),
            fuel: self.limit(own.max_fuel, "max_fuel"),
            // The configuration's holds for all calls, those between scripts too: the dispatcher knows it.
            call_depth: own.max_call_depth,
            http_header_bytes: size(
                own.max_http_header_bytes,
                "max_http_header_bytes",
                defaults.http_header_bytes,
            ),
            http_body_bytes: self
                .limit(own.max_http_body_bytes, "max_http_body_bytes")
                .unwrap_or(defaults.http_body_bytes),
        }
    }

    /// The entry's own limit, else the configuration's.
    fn limit(&self, own: Option<u64>, name: &str) -> Option<u64> {
        own.or_else(|| self.ground.settings.wasm.limits.get(name).copied())
    }
}

/// Entries with their places, in an order in which those that are prepared at the same time have different binaries, as
/// far as there are: whoever wants one that is being made has to wait for it.
pub(super) fn spread(entries: Vec<&LinkedEntry>) -> Vec<(usize, &LinkedEntry)> {
    let mut seen = HashSet::new();
    let (mut firsts, mut others) = (Vec::with_capacity(entries.len()), Vec::new());
    for (place, entry) in entries.into_iter().enumerate() {
        let is_first = guest_of(entry).is_none_or(|guest| seen.insert(binary_of(guest)));
        let list = if is_first { &mut firsts } else { &mut others };
        list.push((place, entry));
    }
    firsts.extend(others);
    firsts
}

/// The guest of an entry, if it has one.
fn guest_of(entry: &LinkedEntry) -> Option<&Guest> {
    if let schema::Config::WasmFunction(function) = &entry.config {
        Some(&function.guest)
    } else if let schema::Config::WasmProcess(process) = &entry.config {
        Some(&process.guest)
    } else {
        None
    }
}

/// What tells the code of guests apart before it is read.
fn binary_of(guest: &Guest) -> (&str, &str) {
    match &guest.code {
        Code::Text(text) => ("", &text.text),
        Code::Binary { fs, path, .. } => (fs.as_str(), path),
    }
}

pub(super) fn engine_config(settings: &Config) -> EngineConfig {
    let config = &settings.wasm;
    EngineConfig {
        counts_instances: settings.prometheus.is_some(),
        allocator: match config.allocator.as_deref() {
            Some("on_demand") => Allocator::OnDemand,
            Some(_) | None => Allocator::Pooling,
        },
        cache: cache(&config.cache),
        ..EngineConfig::default()
    }
}

fn cache(config: &config::CacheConfig) -> Option<CacheConfig> {
    if !config.enabled {
        return None;
    }
    let own = user_folder()?;
    Some(CacheConfig {
        dir: config.dir.clone().unwrap_or_else(|| own.join("components")),
        max_bytes: config.max_bytes.unwrap_or(CacheConfig::MAX_BYTES),
        // Not beside the artifacts: a project may say where those are, and bring some.
        secret: own.join("seal"),
    })
}

/// What is ours among the user's caches. Without a home nothing is kept.
fn user_folder() -> Option<PathBuf> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("wippy"))
}

/// The binary of a guest, after its hash was checked.
pub(super) fn bytes(
    entry: &LinkedEntry,
    guest: &Guest,
    directories: &Directories,
    sources: &SourceMap,
) -> Result<Vec<u8>, Vec<Diagnostic>> {
    let file = Files::default().of(entry, &guest.code, directories)?;
    let bytes = file.binary().bytes();
    bytes
        .map(Cow::into_owned)
        .map_err(|error| vec![blame::wasm(&entry.entry, guest, &error, sources)])
}

/// The code of one guest, and the hash that its entry gives.
enum File<'a> {
    Text(&'a str),
    Binary(Arc<Content<'static>>, String),
}

impl File<'_> {
    fn binary(&self) -> Binary<'_> {
        match self {
            Self::Text(text) => Binary::Wat(text),
            Self::Binary(content, hash) => Binary::Wasm {
                content: content.as_ref(),
                hash,
            },
        }
    }
}

impl Files {
    /// The code of `entry`.
    fn of<'c>(
        &self,
        entry: &LinkedEntry,
        code: &'c Code,
        directories: &Directories,
    ) -> Result<File<'c>, Vec<Diagnostic>> {
        let (fs, path, hash) = match code {
            Code::Text(text) => return Ok(File::Text(&text.text)),
            Code::Binary { fs, path, hash } => (fs, path, hash),
        };
        if directories.is_unusable(fs) {
            return Err(Vec::new());
        }
        match self.read(fs, path, directories) {
            Ok(content) => Ok(File::Binary(content, hash.to_string())),
            Err(error) => {
                let missing = error.kind() == io::ErrorKind::NotFound;
                let near = directories.nearest(fs, path).filter(|_| missing);
                let diagnostic = blame::unreadable(&entry.entry, fs, path, &error);
                Err(vec![diagnostic.did_you_mean(near.as_deref())])
            }
        }
    }

    fn read(&self, fs: &EntryId, path: &str, directories: &Directories) -> io::Result<Arc<Content<'static>>> {
        let read = {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(files.entry((fs.clone(), path.to_owned())).or_default())
        };
        // Whoever wants the same file waits here, others do not.
        let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(content) = &*read {
            return Ok(Arc::clone(content));
        }
        let folder = self.folder(fs, directories)?;
        let content = Arc::new(Content::new(Directories::read(&folder, path)?));
        *read = Some(Arc::clone(&content));
        Ok(content)
    }

    /// A folder, opened once.
    fn folder(&self, fs: &EntryId, directories: &Directories) -> io::Result<Arc<Dir>> {
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = folders.get(fs) {
            return Ok(Arc::clone(folder));
        }
        let folder = Arc::new(directories.open(fs)?);
        folders.insert(fs.clone(), Arc::clone(&folder));
        Ok(folder)
    }
}
