//! `wippy init`: what it writes runs.

use crate::shell::{assert_transcript, transcript};

#[test]
fn the_template_runs() {
    let directory = tempfile::tempdir().unwrap();
    assert_transcript!(transcript(directory.path(), &["init", "--template", "wasm"]));
    for (words, expected) in [
        (
            &["call", "app:add", "20", "22"][..],
            "--- stdout\n42\n--- exit code 0",
        ),
        (
            &["run", "hello", "20", "22"],
            "--- stdout\nThe sum is 42\n--- exit code 0",
        ),
        (&["lint"], "--- stderr\nno problems in 2 entries\n--- exit code 0"),
    ] {
        let said = transcript(directory.path(), words);
        assert!(said.ends_with(expected), "{said}");
    }
}

#[test]
fn nothing_is_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    transcript(directory.path(), &["init"]);
    assert_transcript!(transcript(directory.path(), &["init", "--template", "wasm"]));
    assert!(!directory.path().join("src/_index.yaml").exists());
}

#[test]
fn folders_can_be_chosen() {
    let directory = tempfile::tempdir().unwrap();
    transcript(
        directory.path(),
        &[
            "init",
            "--src-dir",
            "./entries",
            "--modules-dir",
            "vendor",
            "--template",
            "wasm",
        ],
    );
    let lock = std::fs::read_to_string(directory.path().join("wippy.lock")).unwrap();
    insta::assert_snapshot!(lock, @r#"
    directories:
      src: "./entries"
      modules: "vendor"
    "#);
    let said = transcript(directory.path(), &["call", "app:add", "1", "2"]);
    assert!(said.contains("--- stdout\n3\n"), "{said}");
}
