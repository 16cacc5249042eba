//! WebAssembly processes as commands: what they get from the shell, and what the shell gets from them.

use tempfile::TempDir;

use crate::shell::{self, assert_transcript, transcript, transcript_with_input};

/// A project whose command `hello` is a guest that exports `wasi:cli/run`.
fn command() -> TempDir {
    let project = tempfile::tempdir().unwrap();
    let guest = shell::guest(project.path(), "hello-cli");
    let index = format!(
        "namespace: app\nentries:\n{}  - name: hello\n    kind: process.wasm\n    meta: {{ command: {{ name: hello }} }}\n\
         {guest}    method: run\n    imports: [wasi:cli, wasi:io]\n    wasi:\n      args: [first]\n      \
         env: [{{ id: greeting, name: GREETING }}]\n  - name: vars\n    kind: env.storage.static\n    \
         values: {{ greeting: hi }}\n  - name: greeting\n    kind: env.variable\n    storage: vars\n",
        shell::FILES
    );
    shell::write(project.path(), "src/_index.yaml", &index);
    project
}

#[test]
fn a_command_gets_arguments_environment_and_input() {
    let project = command();
    assert_transcript!(transcript_with_input(
        project.path(),
        &["run", "hello", "-x", "--two"],
        "one\ntwo\n"
    ));
}

#[test]
fn the_exit_code_of_a_command_is_wippys() {
    let project = command();
    assert_transcript!(transcript(project.path(), &["run", "hello", "--fail"]));
    let said = transcript(project.path(), &["run", "hello", "--exit"]);
    assert!(said.ends_with("--- exit code 0"), "{said}");
}

#[test]
fn a_returned_value_is_printed_and_a_returned_error_is_a_failure() {
    let project = tempfile::tempdir().unwrap();
    let guest = shell::guest(project.path(), "compute");
    let index = format!(
        "namespace: app\nentries:\n{}  - name: divide\n    kind: process.wasm\n    \
         meta: {{ command: {{ name: divide, use_case: test }} }}\n{guest}    method: divide\n",
        shell::FILES
    );
    shell::write(project.path(), "src/_index.yaml", &index);
    assert_transcript!(transcript(project.path(), &["run", "divide", "-84", "2"]));
    assert_transcript!(transcript(project.path(), &["run", "divide", "1", "0"]));
    assert_transcript!(transcript(project.path(), &["test", "6", "3"]));
}
