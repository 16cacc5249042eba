//! What SIGINT and SIGTERM do to an application that serves and to a command that runs.
#![cfg(unix)]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
};

use crate::shell::project;

const INDEX: &str = r#"namespace: app
entries:
  - name: first
    kind: process.host
    lifecycle: { auto_start: true, requires: [second] }
  - name: second
    kind: process.host
    lifecycle: { auto_start: true }
  - name: wait
    kind: process.lua
    meta: { command: { name: wait } }
    source: |
      local io = require("io")
      local time = require("time")
      return { main = function() io.eprint("waiting") time.sleep("1h") end }
    method: main
    modules: [io, time]
"#;

fn start(directory: &std::path::Path, words: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wippy"));
    command
        .current_dir(directory)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
        .env_remove("WIPPY_LOG")
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .spawn()
        .unwrap()
}

/// Waits until standard error says `word`, sends the signal, and returns the rest with the exit code.
fn interrupt(mut child: Child, word: &str, signal: &str) -> (String, Option<i32>) {
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert!(
            stderr.read_line(&mut line).unwrap() > 0,
            "it ended before it said `{word}`"
        );
    }
    let sent = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    (rest, child.wait().unwrap().code())
}

#[test]
fn serving_ends_gracefully_in_reverse_order() {
    let project = project(INDEX);
    for signal in ["-INT", "-TERM"] {
        let (rest, code) = interrupt(start(project.path(), &["run"]), "serving", signal);
        let stopped: Vec<&str> = rest
            .lines()
            .filter_map(|line| line.split_once("stopped id="))
            .map(|(_, id)| id)
            .collect();
        assert_eq!(
            (stopped, code),
            (vec!["app:first", "app:second"], Some(0)),
            "{rest}"
        );
    }
}

#[test]
fn an_interrupted_command_says_so_by_its_exit_code() {
    let project = project(INDEX);
    let (_, code) = interrupt(start(project.path(), &["run", "wait"]), "waiting", "-INT");
    assert_eq!(code, Some(130));
}
