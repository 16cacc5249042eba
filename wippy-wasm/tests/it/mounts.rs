//! Directories that a guest was given: what lies outside cannot be reached by any path, and what is read-only stays
//! as it is.
//!
//! What is tried here once is tried a hundred times in the table of hostile guests.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    sync::Arc,
};

use tempfile::TempDir;
use wippy_security::Context;
use wippy_wasm::{Mount, PoolConfig, WasiConfig, WasmFunction};
use wippy_wit::Value;

use crate::support::{Wants, call_named, context, id, prepare};

/// What the guest needs that does one thing to a file.
pub const IMPORTS: &[&str] = &[
    "wasi:filesystem",
    "wasi:cli",
    "wasi:io",
    "wasi:clocks",
    "wasi:random",
];

/// What the guest does, at which path, and with what: another path, or a text.
pub type Attempt = (&'static str, &'static str, &'static str);

/// A folder with two mounts and something beside them that nobody may see or change.
pub struct Place {
    root: TempDir,
}

impl Place {
    pub fn new() -> Self {
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
        // What guests race about.
        fs::create_dir(place.path("data/race")).unwrap();
        fs::write(place.path("data/race/secret"), "decoy").unwrap();
        symlink("../outside", place.path("data/way-out")).unwrap();
        place
    }

    pub fn path(&self, path: &str) -> std::path::PathBuf {
        self.root.path().join(path)
    }

    /// The two mounts, one of them to be read only.
    pub fn wasi(&self) -> WasiConfig {
        let mount = |name: &str, read_only| Mount {
            host: self.path(name),
            guest: format!("/{name}"),
            read_only,
            id: id(name),
        };
        WasiConfig {
            mounts: vec![mount("data", false), mount("fixed", true)],
            ..WasiConfig::default()
        }
    }

    fn wants(&self) -> Wants {
        Wants {
            wasi: self.wasi(),
            ..Wants::imports(IMPORTS)
        }
    }

    /// A context with the guest that does one thing to a file.
    fn guest(&self) -> Context {
        context(prepare("files", "attempt", self.wants()).unwrap())
    }

    /// Every path with what is there, to see whether anything changed.
    pub fn content(&self, folder: &str) -> String {
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
    attempt_by(context, "f", action, path, other).await
}

/// What the guest `files`, called `name` here, says when it does one thing to a file.
async fn attempt_by(context: &Context, name: &str, action: &str, path: &str, other: &str) -> String {
    match call_named(context, name, &arguments(&(action, path, other))).await {
        Ok(value) => format!("= {}", value.as_str().unwrap_or("no text")),
        Err(error) => error.message().to_owned(),
    }
}

/// What `files` is called with.
pub fn arguments((action, path, other): &(&str, &str, &str)) -> Vec<Value> {
    [*action, *path, *other].map(Value::from).to_vec()
}

/// The guest, called `name` here, makes links that lead out; all of them can be made.
pub async fn make_links(context: &Context, name: &str) {
    for (action, path, other) in [
        ("symbolic-link", "data:out", "../outside/secret"),
        ("symbolic-link", "data:out-folder", "../outside"),
        ("symbolic-link", "data:winding", "inner/../../outside/secret"),
        // A link that was harmless where it was made, and is moved to where it is not.
        ("make-directory", "data:inner/deeper", ""),
        ("symbolic-link", "data:inner/deeper/up", "../../../outside/secret"),
        ("rename", "data:inner/deeper/up", "data:inner/up"),
    ] {
        let made = attempt_by(context, name, action, path, other).await;
        assert_eq!(made, "= done", "{path}");
    }
}

/// Two guests swap a folder for a link that leads out and back again, so many times, while `reader` reads and writes
/// through that name. What it was told.
pub async fn race(context: &Context, reader: &str, swapper: &str, times: i64) -> BTreeSet<String> {
    let swaps = |a: &str, b: &str| {
        let (context, swapper) = (context.with_own_execution(), swapper.to_owned());
        let arguments = [Value::from(a), Value::from(b), Value::Integer(times)];
        tokio::spawn(async move { call_named(&context, &swapper, &arguments).await })
    };
    // Whoever looks at `race` sees the folder, the link, or nothing.
    let swapping = [
        swaps("data:race", "data:spare"),
        swaps("data:way-out", "data:race"),
    ];
    let mut told = BTreeSet::new();
    while swapping.iter().any(|swapping| !swapping.is_finished()) {
        for (action, path) in [("read", "data:race/secret"), ("create", "data:race/new")] {
            let answer = attempt_by(context, reader, action, path, "x").await;
            assert_ne!(answer, "= secret");
            told.insert(answer);
        }
    }
    for swapping in swapping {
        swapping.await.unwrap().unwrap();
    }
    told
}

/// Tries everything in `attempts` and shows what each gave.
async fn table(context: &Context, attempts: &[Attempt]) -> String {
    let mut table = String::new();
    for (action, path, other) in attempts {
        let outcome = attempt(context, action, path, other).await;
        assert!(!outcome.contains("secret"), "{action} {path}: {outcome}");
        writeln!(table, "{action:17} {path:36} {other:24} {outcome}").unwrap();
    }
    table
}

/// Ways out, by every kind of path and by links that somebody on the host left.
pub const ESCAPES: &[Attempt] = &[
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

/// Ways out by links that the guest itself made: see [`make_links`].
pub const LINKED: &[Attempt] = &[
    ("read", "data:out", ""),
    ("read", "data:out-folder/secret", ""),
    ("names", "data:out-folder", ""),
    ("read", "data:winding", ""),
    ("read", "data:inner/up", ""),
    ("overwrite", "data:out", "x"),
    ("truncate", "data:out", ""),
    ("set-times-at", "data:out", ""),
];

/// Every way to write, where nothing may be written.
pub const WRITES: &[Attempt] = &[
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

#[tokio::test]
async fn no_path_leads_out() {
    let place = Place::new();
    let before = place.content("outside");
    let guest = place.guest();
    let absolute = place.path("outside/secret").display().to_string();
    let mut attempts = vec![("read", "data:file", ""), ("read", "data:./inner/../file", "")];
    attempts.extend(ESCAPES);
    let table = table(&guest, &attempts).await;
    insta::assert_snapshot!(table.replace(&absolute, "OUTSIDE").replace('\0', "\\0"));
    assert_eq!(place.content("outside"), before);
}

#[tokio::test]
async fn links_that_the_guest_makes_lead_nowhere() {
    let place = Place::new();
    let before = place.content("outside");
    let guest = place.guest();
    make_links(&guest, "f").await;
    insta::assert_snapshot!(table(&guest, LINKED).await);
    assert_eq!(place.content("outside"), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renaming_races_win_nothing() {
    let place = Place::new();
    let before = place.content("outside");
    let guest = place.guest();
    let swap = prepare("files", "swap", place.wants()).unwrap();
    let swap = WasmFunction::new(swap, PoolConfig::default());
    guest.dispatcher().insert(id("swap"), Arc::new(swap));
    let seen = race(&guest, "f", "swap", 1_000).await;
    // The folder was there, and it was away: there was a race.
    assert!(seen.contains("= decoy") && seen.len() > 2, "{seen:?}");
    assert_eq!(place.content("outside"), before);
}

#[tokio::test]
async fn what_is_read_only_stays_as_it_is() {
    let place = Place::new();
    let before = place.content("fixed");
    let guest = place.guest();
    let mut attempts = vec![("read", "fixed:file", ""), ("names", "fixed:.", "")];
    attempts.extend(WRITES);
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
