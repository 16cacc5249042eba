//! Runs `wippy` and writes down what happened, in a form that is the same on every machine.

use std::{fmt::Write as _, path::Path};

use assert_cmd::Command;

/// What `wippy` with these words says in a folder: the line, both outputs, the exit code.
pub(crate) fn transcript(directory: &Path, words: &[&str]) -> String {
    transcript_with_input(directory, words, "")
}

/// As [`transcript`], with a standard input.
pub(crate) fn transcript_with_input(directory: &Path, words: &[&str], input: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wippy"));
    command.current_dir(directory).args(words).write_stdin(input);
    command.env_remove("WIPPY_LOG").env("NO_COLOR", "1").env("COLUMNS", "100");
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
pub(crate) const FILTERS: [(&str, &str); 2] =
    [(r"\d+\.\d{3} ms", "[time]"), (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "[timestamp]")];

pub(crate) use assert_transcript;
