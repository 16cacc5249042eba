//! `wippy dev`: files change, the application follows; what is broken is reported, and the old version goes on.
#![cfg(unix)]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
};

use crate::shell::{project, write};

const INDEX: &str = "namespace: app
entries:
  - name: function
    kind: function.lua
    method: run
    source: file://function.lua
";

struct Dev {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Dev {
    fn start(directory: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wippy"));
        command
            .current_dir(directory)
            .args(["dev"])
            .env_remove("WIPPY_LOG")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        Self { child, said }
    }

    /// Reads what it says until it says `word`.
    fn until(&mut self, word: &str) -> String {
        let mut text = String::new();
        while !text.contains(word) {
            let read = self.said.read_line(&mut text).unwrap();
            assert!(read > 0, "it ended before it said `{word}`:\n{text}");
        }
        text
    }

    fn stop(mut self) -> (String, Option<i32>) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &pid])
                .status()
                .unwrap()
                .success()
        );
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        (rest, self.child.wait().unwrap().code())
    }
}

#[test]
fn files_change_and_the_application_follows() {
    let project = project(INDEX);
    let script = |text: &str| write(project.path(), "src/function.lua", text);
    script("return { run = function() return 1 end }\n");
    let mut dev = Dev::start(project.path());
    dev.until("serving");

    script("return { run = function() return 2 end }\n");
    assert!(dev.until("reloaded").contains("version=2"));

    script("return { run = function() return + end }\n");
    let broken = dev.until("what was there goes on");
    assert!(broken.contains("src/function.lua:1"), "{broken}");

    // What is no part of the application is not looked at; what is, is.
    write(project.path(), "notes.txt", "nothing\n");
    let second = format!("{INDEX}  - {{ name: plain, kind: registry.entry }}\n");
    script("return { run = function() return 3 end }\n");
    write(project.path(), "src/_index.yaml", &second);
    let reloaded = dev.until("reloaded");
    assert!(reloaded.contains("version=3"), "{reloaded}");

    let (rest, code) = dev.stop();
    assert_eq!(code, Some(0), "{rest}");
}
