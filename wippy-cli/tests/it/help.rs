//! The help texts, word for word: they are the first documentation that people see.

use crate::shell::{assert_transcript, transcript};

#[test]
fn help_of_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 12] = [
        &[],
        &["init"],
        &["run"],
        &["run", "list"],
        &["call"],
        &["test"],
        &["lint"],
        &["registry"],
        &["registry", "list"],
        &["policy", "explain"],
        &["wasm", "inspect"],
        &["wasm", "stub"],
    ];
    for command in commands {
        let words: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
        let name = if command.is_empty() {
            "wippy".to_owned()
        } else {
            command.join("_")
        };
        insta::with_settings!({snapshot_suffix => name}, {
            assert_transcript!(transcript(directory.path(), &words));
        });
    }
}

#[test]
fn the_version_is_the_crates() {
    let directory = tempfile::tempdir().unwrap();
    let expected = format!(
        "$ wippy version\n--- stdout\nwippy {}\n--- exit code 0",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(transcript(directory.path(), &["version"]), expected);
}

#[test]
fn completions_name_the_commands() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = transcript(directory.path(), &["completions", shell]);
        assert!(
            script.contains("registry") && script.ends_with("--- exit code 0"),
            "{shell}: {script}"
        );
    }
}

#[test]
fn a_word_that_is_no_command() {
    let directory = tempfile::tempdir().unwrap();
    assert_transcript!(transcript(directory.path(), &["rnu"]));
}
