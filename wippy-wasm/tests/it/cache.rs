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

use tempfile::TempDir;
use wippy_wasm::{Allocator, CacheConfig, Engine, EngineConfig, Limits, Module, Prepared};
use wippy_wit::Value;

use crate::support::{Wants, call, context, prepare_on};

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

fn engine(folder: &Path, max_bytes: u64) -> Arc<Engine> {
    engine_with(
        folder,
        max_bytes,
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("seal"),
    )
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
        whole[..20].to_vec(),
        whole[..32].to_vec(),
        whole[..whole.len() / 2].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        garbled(0),
        garbled(40),
        garbled(whole.len() - 1),
        renamed,
    ];
    for (index, wrong) in wrongs.iter().enumerate() {
        fs::write(&artifact, wrong).unwrap();
        assert_eq!(add(&folder.engine()), COMPILED, "{index}");
        // It is whole again.
        assert_eq!(add(&folder.engine()), LOADED, "{index}");
    }
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
