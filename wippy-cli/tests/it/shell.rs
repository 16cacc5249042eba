//! Runs `wippy` and writes down what happened, in a form that is the same on every machine.

use std::{fmt::Write as _, fs, path::Path};

use assert_cmd::Command;
use tempfile::TempDir;

/// A project with this index.
pub(crate) fn project(index: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "src/_index.yaml", index);
    directory
}

/// Writes a file of a project.
pub(crate) fn write(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Copies a guest's binary into a project; what is returned are the fields of an entry that name it.
pub(crate) fn guest(directory: &Path, name: &str) -> String {
    let bytes = fs::read(fixtures::wasm(name)).unwrap();
    fs::write(directory.join(format!("{name}.wasm")), &bytes).unwrap();
    format!(
        "    fs: files\n    path: {name}.wasm\n    hash: {}\n",
        wippy_wasm::sha256(&bytes)
    )
}

/// The entry that [`guest`] refers to.
pub(crate) const FILES: &str = "  - { name: files, kind: fs.directory, directory: . }\n";

/// What `wippy` with these words says in a folder: the line, both outputs, the exit code.
pub(crate) fn transcript(directory: &Path, words: &[&str]) -> String {
    transcript_with_input(directory, words, "")
}

/// As [`transcript`], with a standard input.
pub(crate) fn transcript_with_input(directory: &Path, words: &[&str], input: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wippy"));
    command.current_dir(directory).args(words).write_stdin(input);
    command
        .env_remove("WIPPY_LOG")
        // Tests leave the user's own cache alone, and share one of theirs.
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100");
    let output = command.output().unwrap();
    let mut text = format!("$ wippy {}\n", words.join(" "));
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        let shown = String::from_utf8_lossy(bytes);
        if !shown.is_empty() {
            let _ = write!(text, "--- {name}\n{}\n", shown.trim_end());
        }
    }
    let _ = write!(text, "--- exit code {}", output.status.code().unwrap_or(-1));
    text
}

/// Compares a transcript with its snapshot, times taken out.
macro_rules! assert_transcript {
    ($transcript:expr, @$literal:literal) => {
        insta::with_settings!({filters => $crate::shell::FILTERS.to_vec()}, {
            insta::assert_snapshot!($transcript, @$literal);
        })
    };
    ($transcript:expr) => {
        insta::with_settings!({filters => $crate::shell::FILTERS.to_vec(), omit_expression => true}, {
            insta::assert_snapshot!($transcript);
        })
    };
}

/// What differs between runs and machines.
pub(crate) const FILTERS: [(&str, &str); 2] = [
    (r"\d+\.\d{3} ms", "[time]"),
    (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "[timestamp]"),
];

pub(crate) use assert_transcript;
