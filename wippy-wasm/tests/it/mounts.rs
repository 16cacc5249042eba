//! Directories that a guest was given: what lies outside cannot be reached by any path, and what is read-only stays
//! as it is.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    sync::Arc,
};

use tempfile::TempDir;
use wippy_security::{CallError, Context};
use wippy_wasm::{Mount, WasiConfig};
use wippy_wit::Value;

use crate::support::{Wants, call, call_named, context, id, prepare};

/// How often each is tried.
const RUNS: usize = 100;

const IMPORTS: &[&str] = &[
    "wasi:filesystem",
    "wasi:cli",
    "wasi:io",
    "wasi:clocks",
    "wasi:random",
];

/// A folder with two mounts and something beside them that nobody may see or change.
struct Place {
    root: TempDir,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let place = Self { root };
        for folder in ["data/inner", "fixed/inner", "outside"] {
            fs::create_dir_all(place.path(folder)).unwrap();
        }
        for (file, text) in [
            ("data/file", "mine"),
            ("data/inner/file", "mine too"),
            ("fixed/file", "fixed"),
            ("fixed/inner/file", "fixed too"),
            ("outside/secret", "secret"),
        ] {
            fs::write(place.path(file), text).unwrap();
        }
        // What somebody on the host left lying about.
        let secret = place.path("outside/secret");
        symlink(&secret, place.path("data/absolute-link")).unwrap();
        symlink("../outside/secret", place.path("data/relative-link")).unwrap();
        symlink("../outside", place.path("data/folder-link")).unwrap();
        symlink("/", place.path("data/root-link")).unwrap();
        symlink("folder-link/secret", place.path("data/chained-link")).unwrap();
        symlink("loop-link", place.path("data/loop-link")).unwrap();
        symlink("../data/file", place.path("fixed/writable-link")).unwrap();
        place
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.root.path().join(path)
    }

    fn wants(&self) -> Wants {
        let mount = |name: &str, read_only| Mount {
            host: self.path(name),
            guest: format!("/{name}"),
            read_only,
            id: id(name),
        };
        Wants {
            wasi: WasiConfig {
                mounts: vec![mount("data", false), mount("fixed", true)],
                ..WasiConfig::default()
            },
            ..Wants::imports(IMPORTS)
        }
    }

    /// A context with the guest that does one thing to a file.
    fn guest(&self) -> Context {
        context(prepare("files", "attempt", self.wants()).unwrap())
    }

    /// Every path with what is there, to see whether anything changed.
    fn content(&self, folder: &str) -> String {
        let mut text = String::new();
        describe(&self.path(folder), &mut text);
        text
    }
}

fn describe(path: &Path, text: &mut String) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let modified = metadata.modified().unwrap();
    let mode = metadata.permissions().mode();
    writeln!(text, "{} {mode:o} {modified:?}", path.display()).unwrap();
    if metadata.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        for entry in entries {
            describe(&entry, text);
        }
    } else if metadata.is_file() {
        writeln!(text, "{}", fs::read_to_string(path).unwrap()).unwrap();
    } else {
        writeln!(text, "{}", fs::read_link(path).unwrap().display()).unwrap();
    }
}

async fn attempt(context: &Context, action: &str, path: &str, other: &str) -> String {
    let arguments = [Value::from(action), Value::from(path), Value::from(other)];
    match call(context, &arguments).await {
        Ok(value) => format!("= {}", value.as_str().unwrap_or("no text")),
        Err(error) => error.message().to_owned(),
    }
}

/// Tries everything in `attempts` so many times, and shows what each gave.
async fn table(context: &Context, attempts: &[(&str, &str, &str)]) -> String {
    let mut table = String::new();
    for (action, path, other) in attempts {
        let outcome = attempt(context, action, path, other).await;
        assert!(!outcome.contains("secret"), "{action} {path}: {outcome}");
        for _ in 1..RUNS {
            assert_eq!(
                attempt(context, action, path, other).await,
                outcome,
                "{action} {path}"
            );
        }
        writeln!(table, "{action:17} {path:36} {other:24} {outcome}").unwrap();
    }
    table
}

#[tokio::test]
async fn no_path_leads_out() {
    let place = Place::new();
    let before = place.content("outside");
    let guest = place.guest();
    let absolute = place.path("outside/secret").display().to_string();
    let attempts = [
        ("read", "data:file", ""),
        ("read", "data:./inner/../file", ""),
        ("read", "data:../outside/secret", ""),
        ("read", "data:inner/../../outside/secret", ""),
        ("read", "data:inner/../../data/file", ""),
        ("read", "data:./././../outside/secret", ""),
        ("read", "data:..", ""),
        ("names", "data:..", ""),
        ("read", "data:/etc/passwd", ""),
        ("read", "data://etc/passwd", ""),
        ("read", "data:absolute-link", ""),
        ("read", "data:relative-link", ""),
        ("read", "data:folder-link/secret", ""),
        ("names", "data:folder-link", ""),
        ("names", "data:root-link", ""),
        ("read", "data:root-link/etc/passwd", ""),
        ("read", "data:chained-link", ""),
        ("read", "data:loop-link", ""),
        ("stat", "data:relative-link", ""),
        ("read", "data:file/../../outside/secret", ""),
        ("read", "data:\0", ""),
        ("read", "data:file\0/../../outside/secret", ""),
        ("read", "data:", ""),
        ("overwrite", "data:../outside/new", "x"),
        ("overwrite", "data:relative-link", "x"),
        ("overwrite", "data:folder-link/new", "x"),
        ("truncate", "data:absolute-link", ""),
        ("append", "data:relative-link", "x"),
        ("make-directory", "data:../outside/new", ""),
        ("make-directory", "data:folder-link/new", ""),
        ("remove-file", "data:../outside/secret", ""),
        ("remove-file", "data:folder-link/secret", ""),
        ("remove-directory", "data:../outside", ""),
        ("rename", "data:../outside/secret", "data:stolen"),
        ("rename", "data:folder-link/secret", "data:stolen"),
        ("rename", "data:file", "data:../outside/new"),
        ("rename", "data:file", "data:folder-link/new"),
        ("hard-link", "data:../outside/secret", "data:stolen"),
        ("hard-link", "data:folder-link/secret", "data:stolen"),
        ("hard-link", "data:file", "data:../outside/new"),
        ("symbolic-link", "data:../outside/new", "secret"),
        ("symbolic-link", "data:new", "/etc/passwd"),
        ("read-link", "data:absolute-link", ""),
        ("set-times-at", "data:relative-link", ""),
        ("set-times-at", "data:../outside/secret", ""),
    ];
    let table = table(&guest, &attempts).await;
    insta::assert_snapshot!(table.replace(&absolute, "OUTSIDE").replace('\0', "\\0"));
    assert_eq!(place.content("outside"), before);
}

#[tokio::test]
async fn links_that_the_guest_makes_lead_nowhere() {
    let place = Place::new();
    let before = place.content("outside");
    let guest = place.guest();
    for (target, path) in [
        ("../outside/secret", "data:out"),
        ("../outside", "data:out-folder"),
        ("inner/../../outside/secret", "data:winding"),
    ] {
        let made = attempt(&guest, "symbolic-link", path, target).await;
        assert_eq!(made, "= done", "{target}");
    }
    // A link that was harmless where it was made, and is moved to where it is not.
    assert!(
        attempt(&guest, "make-directory", "data:inner/deeper", "")
            .await
            .contains("done")
    );
    assert!(
        attempt(
            &guest,
            "symbolic-link",
            "data:inner/deeper/up",
            "../../../outside/secret"
        )
        .await
        .contains("done")
    );
    assert!(
        attempt(&guest, "rename", "data:inner/deeper/up", "data:inner/up")
            .await
            .contains("done")
    );
    let attempts = [
        ("read", "data:out", ""),
        ("read", "data:out-folder/secret", ""),
        ("names", "data:out-folder", ""),
        ("read", "data:winding", ""),
        ("read", "data:inner/up", ""),
        ("overwrite", "data:out", "x"),
        ("truncate", "data:out", ""),
        ("set-times-at", "data:out", ""),
    ];
    insta::assert_snapshot!(table(&guest, &attempts).await);
    assert_eq!(place.content("outside"), before);
}

/// A guest swaps a folder for a link that leads out while another reads through that name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renaming_races_win_nothing() {
    let place = Place::new();
    fs::write(place.path("data/inner/secret"), "decoy").unwrap();
    let before = place.content("outside");
    let guest = place.guest();
    let swap = prepare("files", "swap", place.wants()).unwrap();
    guest.dispatcher().insert(
        id("swap"),
        Arc::new(wippy_wasm::WasmFunction::new(
            swap,
            wippy_wasm::PoolConfig::default(),
        )),
    );
    let swapping = tokio::spawn({
        let guest = guest.clone();
        let other = place.path("data/other");
        symlink("../outside", &other).unwrap();
        async move {
            let mut swapped = 0;
            for _ in 0..40 {
                // inner -> spare, other -> inner: whoever looks sees the folder, the link, or nothing.
                for (a, b) in [("data:inner", "data:spare"), ("data:other", "data:inner")] {
                    swapped += renames(&guest, a, b).await?;
                }
            }
            Ok::<i64, CallError>(swapped)
        }
    });
    let mut seen = std::collections::BTreeSet::new();
    while !swapping.is_finished() {
        seen.insert(attempt(&guest, "read", "data:inner/secret", "").await);
        seen.insert(attempt(&guest, "overwrite", "data:inner/new", "x").await);
    }
    assert!(swapping.await.unwrap().unwrap() > 0);
    assert!(seen.iter().all(|outcome| outcome != "= secret"), "{seen:?}");
    assert_eq!(place.content("outside"), before);
}

async fn renames(guest: &Context, a: &str, b: &str) -> Result<i64, CallError> {
    let arguments = [Value::from(a), Value::from(b), Value::Integer(50)];
    match call_named(guest, "swap", &arguments).await? {
        Value::Integer(renamed) => Ok(renamed),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_read_only_stays_as_it_is() {
    let place = Place::new();
    let before = place.content("fixed");
    let guest = place.guest();
    let attempts = [
        ("read", "fixed:file", ""),
        ("names", "fixed:.", ""),
        ("create", "fixed:new", "x"),
        ("overwrite", "fixed:file", "x"),
        ("overwrite", "fixed:inner/new", "x"),
        ("overwrite", "fixed:writable-link", "x"),
        ("append", "fixed:file", "x"),
        ("truncate", "fixed:file", ""),
        ("make-directory", "fixed:new", ""),
        ("remove-file", "fixed:file", ""),
        ("remove-directory", "fixed:inner", ""),
        ("rename", "fixed:file", "fixed:other"),
        ("rename", "fixed:file", "data:taken"),
        ("rename", "data:file", "fixed:file"),
        ("hard-link", "fixed:file", "fixed:other"),
        // Through a link in the writable mount the file itself could be written.
        ("hard-link", "fixed:file", "data:taken"),
        ("hard-link", "data:file", "fixed:other"),
        ("symbolic-link", "fixed:other", "file"),
        ("set-times", "fixed:file", ""),
        ("set-times-at", "fixed:file", ""),
    ];
    insta::assert_snapshot!(table(&guest, &attempts).await);
    assert_eq!(place.content("fixed"), before);
    assert_eq!(fs::read_to_string(place.path("data/file")).unwrap(), "mine");
}

/// Nobody ever writes to the other end, and a thread that waits for that could not be called back.
#[tokio::test]
async fn pipes_are_not_waited_for() {
    let place = Place::new();
    let fifo = place.path("data/fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let guest = place.guest();
    symlink("fifo", place.path("data/to-fifo")).unwrap();
    for path in ["data:fifo", "data:to-fifo"] {
        for action in ["read", "append", "truncate", "overwrite"] {
            assert_eq!(
                attempt(&guest, action, path, "x").await,
                "unsupported",
                "{action} {path}"
            );
        }
    }
}
