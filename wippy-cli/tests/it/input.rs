//! A command that waits for input which does not come.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::shell;

/// Its deadline ends the wait, and the program with it, although nobody ever closes the input.
#[test]
fn a_deadline_ends_a_wait_for_input() {
    let project = tempfile::tempdir().unwrap();
    let guest = shell::guest(project.path(), "hello-cli");
    let index = format!(
        "namespace: app\nentries:\n{}  - name: hello\n    kind: process.wasm\n    \
         meta: {{ command: {{ name: hello }} }}\n{guest}    method: run\n    imports: [wasi:cli, wasi:io]\n    \
         limits: {{ max_execution_ms: 300 }}\n",
        shell::FILES
    );
    shell::write(project.path(), "src/_index.yaml", &index);
    let begun = Instant::now();
    let mut running = Command::new(env!("CARGO_BIN_EXE_wippy"))
        .current_dir(project.path())
        .args(["run", "hello"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input = running.stdin.take();
    while running.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_mins(1) {
            running.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = running.wait_with_output().unwrap();
    drop(input);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("max_execution_ms"), "{said}");
}
