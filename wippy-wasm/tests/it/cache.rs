//! Compiled code on disk: used where it can be trusted, and never missed where it cannot.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use wippy_wasm::{Allocator, CacheConfig, Engine, EngineConfig, Error, Limits, Module, Prepared, import_for};
use wippy_wit::Value;

use crate::{
    identity::Log,
    support::{Wants, call, context, prepare_on},
};

const COMPILED: Prepared = Prepared {
    compiled: 1,
    loaded: 0,
};
const LOADED: Prepared = Prepared {
    compiled: 0,
    loaded: 1,
};

/// A folder that nobody has used yet.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("made/on/demand")
    }

    fn engine(&self) -> Arc<Engine> {
        engine(&self.path(), CacheConfig::MAX_BYTES)
    }

    /// The artifacts, the one that was used last at the end.
    fn artifacts(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut artifacts: Vec<PathBuf> = entries.filter(|path| path.extension().is_none()).collect();
        artifacts.sort_by_key(|path| path.metadata().unwrap().modified().unwrap());
        artifacts
    }

    fn artifact(&self) -> PathBuf {
        let artifacts = self.artifacts();
        assert_eq!(artifacts.len(), 1, "{artifacts:?}");
        artifacts.into_iter().next().unwrap()
    }
}

/// The secret of whoever runs the tests.
fn secret() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("seal")
}

fn engine(folder: &Path, max_bytes: u64) -> Arc<Engine> {
    engine_with(folder, max_bytes, secret())
}

fn engine_with(folder: &Path, max_bytes: u64, secret: PathBuf) -> Arc<Engine> {
    Engine::new(EngineConfig {
        instances_max: 16,
        allocator: Allocator::OnDemand,
        cache: Some(CacheConfig {
            dir: folder.to_owned(),
            max_bytes,
            secret,
        }),
        ..EngineConfig::default()
    })
    .unwrap()
}

fn prepare(engine: &Engine, guest: &str, method: &str) -> Module {
    prepare_on(engine, guest, method, Wants::default()).unwrap()
}

/// Prepares a guest and calls it; how it was made ready.
fn add(engine: &Engine) -> Prepared {
    let module = prepare(engine, "bench", "add");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let arguments = [Value::Integer(1), Value::Integer(2)];
    let sum = runtime.block_on(async { call(&context(module), &arguments).await });
    assert_eq!(sum, Ok(Value::Integer(3)));
    engine.prepared()
}

#[test]
fn what_was_compiled_is_loaded_the_next_time() {
    let folder = Folder::new();
    assert_eq!(add(&folder.engine()), COMPILED);
    assert_eq!(add(&folder.engine()), LOADED);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder.path()), mode(&folder.artifact())), (0o700, 0o600));
}

#[test]
fn other_settings_have_other_code() {
    let folder = Folder::new();
    assert_eq!(add(&folder.engine()), COMPILED);
    let counting = Wants {
        limits: Limits {
            fuel: Some(1_000_000),
            ..Limits::default()
        },
        ..Wants::default()
    };
    let engine = folder.engine();
    prepare_on(&engine, "bench", "add", counting).unwrap();
    assert_eq!(engine.prepared(), COMPILED);
    assert_eq!(folder.artifacts().len(), 2);
}

#[test]
fn what_was_cut_or_garbled_is_compiled_again() {
    let folder = Folder::new();
    assert_eq!(add(&folder.engine()), COMPILED);
    let artifact = folder.artifact();
    let whole = fs::read(&artifact).unwrap();
    let garbled = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    // Another's code under this name.
    let renamed = {
        let elsewhere = Folder::new();
        prepare(&elsewhere.engine(), "deep", "to");
        fs::read(elsewhere.artifact()).unwrap()
    };
    let wrongs = [
        Vec::new(),
        whole[..SEAL - 1].to_vec(),
        whole[..SEAL].to_vec(),
        // Cut within the facts, and within the code.
        whole[..10].to_vec(),
        whole[..whole.len() / 2].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        whole[1..].to_vec(),
        // The length of the facts, the facts, the code, and the seal.
        garbled(0),
        garbled(4),
        garbled(40),
        garbled(whole.len() / 2),
        garbled(whole.len() - SEAL),
        garbled(whole.len() - 1),
        [&*whole, b"\0"].concat(),
        renamed,
    ];
    for (index, wrong) in wrongs.iter().enumerate() {
        fs::write(&artifact, wrong).unwrap();
        let log = Log::default();
        let collecting = log.collect();
        assert_eq!(add(&folder.engine()), COMPILED, "{index}");
        let warnings = log.lines_with("compiled code is not used: ");
        assert_eq!(warnings.len(), 1, "{index}: {warnings:?}");
        assert!(warnings[0].contains("WARN"), "{warnings:?}");
        drop(collecting);
        // It is whole again.
        assert_eq!(add(&folder.engine()), LOADED, "{index}");
    }
}

/// Bytes that a seal adds: what the content is told by, and what is used once.
const SEAL: usize = 16 + 12;

/// The user's own key for an artifact.
fn key(artifact: &Path) -> LessSafeKey {
    let name = artifact.file_name().unwrap().to_str().unwrap();
    let key = Sha256::new_with_prefix(fs::read(secret()).unwrap()).chain_update(name);
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key.finalize()).unwrap())
}

/// Seals a content as the user's own runtime does.
fn sealed(artifact: &Path, content: &[u8]) -> Vec<u8> {
    let (number, mut sealed) = ([7; 12], content.to_vec());
    let nonce = Nonce::assume_unique_for_key(number);
    key(artifact)
        .seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed)
        .unwrap();
    sealed.extend(number);
    sealed
}

/// The content of an artifact.
fn opened(artifact: &Path) -> Vec<u8> {
    let mut sealed = fs::read(artifact).unwrap();
    let number = sealed.split_off(sealed.len() - 12);
    let nonce = Nonce::try_assume_unique_for_key(&number).unwrap();
    let content = key(artifact).open_in_place(nonce, Aad::empty(), &mut sealed);
    content.unwrap().to_vec()
}

/// Another version may write other things under the same name, by the same secret.
#[test]
fn what_is_sealed_and_not_understood_is_compiled_again() {
    let folder = Folder::new();
    assert_eq!(add(&folder.engine()), COMPILED);
    let artifact = folder.artifact();
    let content = opened(&artifact);
    fs::write(&artifact, sealed(&artifact, &content)).unwrap();
    assert_eq!(add(&folder.engine()), LOADED);

    let (length, rest) = content.split_first_chunk::<4>().unwrap();
    let (facts, code) = rest.split_at(u32::from_le_bytes(*length).try_into().unwrap());
    let with = |facts: &[u8], code: &[u8]| {
        let length = u32::try_from(facts.len()).unwrap().to_le_bytes();
        [&length, facts, code].concat()
    };
    let mut wrongs = vec![
        Vec::new(),
        vec![0; 3],
        // More facts than there are bytes.
        [&u32::MAX.to_le_bytes(), rest].concat(),
        with(b"", code),
        with(&[facts, b"\0"].concat(), code),
        with(&[0xff; 100], code),
        with(facts, b""),
        with(facts, b"no code"),
        with(facts, &code[..code.len() / 2]),
        // The code alone, as it once was.
        code.to_vec(),
    ];
    wrongs.extend((0..facts.len()).map(|end| with(&facts[..end], code)));
    for (index, wrong) in wrongs.iter().enumerate() {
        fs::write(&artifact, sealed(&artifact, wrong)).unwrap();
        assert_eq!(add(&folder.engine()), COMPILED, "{index}");
    }
    assert_eq!(add(&folder.engine()), LOADED);
}

/// Each function of a guest on an engine.
fn functions(engine: &Engine, guest: &str) -> Vec<Result<Module, Vec<Error>>> {
    // What needs a signature of its own is a core module.
    let Ok(surface) = Engine::inspect(&fs::read(fixtures::wasm(guest)).unwrap()) else {
        return Vec::new();
    };
    let imports: Vec<&str> = surface
        .imports
        .iter()
        .filter_map(|name| import_for(name))
        .collect();
    let function = |path: &String| prepare_on(engine, guest, path, Wants::imports(&imports));
    surface.paths().iter().map(function).collect()
}

/// What is known of a function.
fn known(function: &Result<Module, Vec<Error>>) -> Result<String, &[Error]> {
    let module = function.as_ref().map_err(Vec::as_slice)?;
    let is = (
        module.ends_at_once(),
        module.is_http_handler(),
        module.is_command(),
    );
    Ok(format!("{:?} {is:?}", module.signature()))
}

#[test]
fn everything_that_is_known_of_a_component_is_kept_with_its_code() {
    let folder = Folder::new();
    let (making, loading) = (folder.engine(), folder.engine());
    let mut guests: Vec<String> = fs::read_dir(fixtures::wasm("bench").parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    guests.sort();
    let mut count = 0;
    for guest in &guests {
        // While one function is there, the others share its component.
        let (made, loaded) = (functions(&making, guest), functions(&loading, guest));
        assert_eq!(made.len(), loaded.len());
        for (made, loaded) in made.iter().zip(&loaded) {
            assert_eq!(known(loaded), known(made), "{guest}");
            count += usize::from(made.is_ok());
        }
    }
    assert!(count > 100, "{count}");
    assert_eq!((making.prepared().loaded, loading.prepared().compiled), (0, 0));
    assert_eq!(making.prepared().compiled, loading.prepared().loaded);
}

#[test]
fn what_others_could_have_written_is_not_loaded() {
    let folder = Folder::new();
    assert_eq!(add(&folder.engine()), COMPILED);
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(folder.artifact(), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(add(&folder.engine()), COMPILED, "{mode:o}");
        assert_eq!(add(&folder.engine()), LOADED, "{mode:o}");
    }
    for mode in [0o770, 0o707, 0o777] {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(add(&folder.engine()), COMPILED, "{mode:o}");
    }
    // Nothing was written meanwhile, and what was there is still good.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(add(&folder.engine()), LOADED);
}

#[test]
fn what_belongs_to_another_user_is_not_loaded() {
    const NOBODY: u32 = 65_534;
    let folder = Folder::new();
    assert_eq!(add(&folder.engine()), COMPILED);
    // Only the superuser can give files away; anybody else has some that were never theirs.
    if chown(folder.artifact(), Some(NOBODY), None).is_ok() {
        assert_eq!(add(&folder.engine()), COMPILED);
        assert_eq!(add(&folder.engine()), LOADED);
        chown(folder.path(), Some(NOBODY), None).unwrap();
        assert_eq!(add(&folder.engine()), COMPILED);
    } else {
        assert_eq!(
            add(&engine(Path::new("/usr/share"), CacheConfig::MAX_BYTES)),
            COMPILED
        );
    }
}

/// A project brings a folder with artifacts, which belong to whoever unpacked it, and says that this is the cache.
#[test]
fn what_another_users_runtime_wrote_is_not_loaded() {
    let (folder, mine, theirs) = (Folder::new(), Folder::new(), Folder::new());
    let with = |secret: &Folder| engine_with(&folder.path(), CacheConfig::MAX_BYTES, secret.path());
    assert_eq!(add(&with(&theirs)), COMPILED);
    assert_eq!(add(&with(&theirs)), LOADED);
    assert_eq!(add(&with(&mine)), COMPILED);
    assert_eq!(add(&with(&mine)), LOADED);
    assert_eq!(
        mine.path().metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );

    // A secret that others know is none, nor is one that is too short.
    fs::set_permissions(mine.path(), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(add(&with(&mine)), COMPILED);
    fs::set_permissions(mine.path(), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(add(&with(&mine)), LOADED);
    fs::write(mine.path(), "short").unwrap();
    assert_eq!(add(&with(&mine)), COMPILED);
}

#[test]
fn a_folder_that_cannot_be_is_done_without() {
    let folder = Folder::new();
    let file = folder.0.path().join("file");
    fs::write(&file, "").unwrap();
    for impossible in [file.clone(), file.join("below"), PathBuf::from("/proc/none")] {
        assert_eq!(add(&engine(&impossible, CacheConfig::MAX_BYTES)), COMPILED);
    }
}

#[test]
fn it_may_be_deleted_at_any_time() {
    let folder = Folder::new();
    let engine = folder.engine();
    fs::remove_dir_all(folder.path()).unwrap();
    assert_eq!(add(&engine), COMPILED);
    assert_eq!(add(&folder.engine()), COMPILED);
    assert_eq!(add(&folder.engine()), LOADED);
}

#[test]
fn what_was_used_longest_ago_goes_first() {
    let folder = Folder::new();
    add(&folder.engine());
    let first = folder.artifact();
    let size = first.metadata().unwrap().len();
    // Not of the cache, however old.
    let foreign = folder.path().join("notes");
    fs::write(&foreign, vec![0; 100_000]).unwrap();
    let abandoned = folder.path().join("compiled-1-1-1.new");
    fs::write(&abandoned, "").unwrap();
    for path in [&first, &foreign, &abandoned] {
        let old = SystemTime::now() - Duration::from_secs(100_000);
        fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(old)
            .unwrap();
    }
    // Room for about two.
    let small = engine(&folder.path(), size * 5 / 2);
    for method in [("spin", "spin"), ("deep", "to"), ("grow", "by")] {
        prepare(&small, method.0, method.1);
    }
    let left = folder.artifacts();
    assert!(!left.contains(&first), "{left:?}");
    let held: u64 = left
        .iter()
        .filter(|path| **path != foreign)
        .map(|path| path.metadata().unwrap().len())
        .sum();
    assert!(0 < held && held <= size * 5 / 2, "{held}");
    assert!(foreign.exists());
    assert!(!abandoned.exists());
}

const SHARED: &str = "WIPPY_TEST_SHARED_CACHE";

const GUESTS: [(&str, &str); 5] = [
    ("bench", "add"),
    ("deep", "to"),
    ("grow", "by"),
    ("spin", "spin"),
    ("trap", "answer"),
];

/// Two processes, in each of which four engines compile the same guests, while somebody deletes what they keep.
#[test]
fn two_processes_share_a_folder() {
    if let Some(folder) = std::env::var_os(SHARED) {
        share(Path::new(&folder));
        return;
    }
    let folder = Folder::new();
    fs::create_dir_all(folder.path()).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let start = || -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["cache::two_processes_share_a_folder", "--exact"])
            .env(SHARED, folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut children = [start(), start()];
    while children
        .iter_mut()
        .any(|child| child.try_wait().unwrap().is_none())
    {
        for artifact in folder.artifacts_that_may_go() {
            let _ = fs::remove_file(artifact);
        }
        thread::sleep(Duration::from_millis(20));
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    share(&folder.path());
    let engine = folder.engine();
    for (guest, method) in GUESTS {
        prepare(&engine, guest, method);
    }
    assert_eq!(engine.prepared().compiled, 0);
    assert_eq!(folder.artifacts().len(), GUESTS.len());
}

impl Folder {
    fn artifacts_that_may_go(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path()).unwrap();
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .take(2)
            .collect()
    }
}

fn share(folder: &Path) {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let engine = engine(folder, CacheConfig::MAX_BYTES);
                    for (guest, method) in GUESTS {
                        prepare(&engine, guest, method);
                    }
                    add(&engine);
                }
            });
        }
    });
}
