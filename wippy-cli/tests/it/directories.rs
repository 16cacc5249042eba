//! `fs.directory` entries: where they are, which of them are made, and that nothing leads out of them.

use std::fs;

use crate::shell::{self, assert_transcript, transcript};

#[test]
fn a_missing_folder_is_made_only_when_asked_for_and_not_by_lint() {
    let index = "namespace: app\nentries:\n  - { name: made, kind: fs.directory, directory: data/made, auto_init: true }\n";
    let project = shell::project(index);
    let said = transcript(project.path(), &["lint"]);
    assert!(
        said.ends_with("no problems in 1 entry\n--- exit code 0"),
        "{said}"
    );
    assert!(!project.path().join("data").exists());
    transcript(project.path(), &["run", "list"]);
    assert!(project.path().join("data/made").is_dir());

    shell::write(
        project.path(),
        "src/_index.yaml",
        &index.replace(", auto_init: true", "").replace("made", "lost"),
    );
    assert_transcript!(transcript(project.path(), &["lint"]));
}

#[test]
fn files_are_inside_of_their_folder() {
    let project = tempfile::tempdir().unwrap();
    let fields = shell::guest(project.path(), "answer");
    fs::create_dir(project.path().join("inner")).unwrap();
    std::os::unix::fs::symlink("../answer.wasm", project.path().join("inner/link.wasm")).unwrap();
    let entry = |name: &str, path: &str| {
        let fields = fields
            .replace("path: answer.wasm", &format!("path: {path}"))
            .replace("fs: files", "fs: inner");
        format!(
            "  - name: {name}\n    kind: function.wasm\n{fields}    method: answer\n    wit: \"answer: func() -> s32;\"\n"
        )
    };
    fs::copy(fixtures::wasm("answer"), project.path().join("inner/answer.wasm")).unwrap();
    let index = format!(
        "namespace: app\nentries:\n  - {{ name: inner, kind: fs.directory, directory: inner }}\n{}{}{}{}",
        entry("parent", "../answer.wasm"),
        entry("link", "link.wasm"),
        entry("missing", "answr.wasm"),
        entry("folder", "."),
    );
    shell::write(project.path(), "src/_index.yaml", &index);
    assert_transcript!(transcript(project.path(), &["lint"]));
}

/// Nobody ever writes to the pipe, and the device never ends.
#[test]
fn what_is_no_file_is_not_read() {
    let project = tempfile::tempdir().unwrap();
    let fields = shell::guest(project.path(), "answer").replace("path: answer.wasm", "path: pipe");
    let made = std::process::Command::new("mkfifo")
        .arg(project.path().join("pipe"))
        .status();
    assert!(made.unwrap().success());
    let index = format!(
        "namespace: app\nentries:\n{}  - name: pipe\n    kind: function.wasm\n{fields}    method: answer\n    wit: \"answer: func() -> s32;\"\n",
        shell::FILES
    );
    shell::write(project.path(), "src/_index.yaml", &index);
    let said = transcript(project.path(), &["lint"]);
    assert!(
        said.contains("error[unreadable-file]: `app:pipe`: `pipe` cannot be read"),
        "{said}"
    );
    for file in ["pipe", "/dev/zero"] {
        let said = transcript(project.path(), &["wasm", "inspect", file]);
        assert!(said.contains("cannot be read: it is no regular file"), "{said}");
    }
}
