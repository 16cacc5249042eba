//! Lua entries: what boot finds wrong with them, and what their results mean to a shell.

use crate::shell::{assert_transcript, project, transcript, transcript_with_input, write};

#[test]
fn every_mistake_in_a_script_is_reported_at_once() {
    let project = project(
        r#"namespace: app
entries:
  - name: syntax
    kind: function.lua
    source: |
      local function run()
        return 1 +
      end
      return { run = run }
    method: run
  - name: undeclared
    kind: process.lua
    source: |
      local time = require("time")
      local near = require("jsn")
      return { main = function() end }
    method: main
    modules: [io]
  - name: module
    kind: function.lua
    source: return { run = function() end }
    method: run
    modules: [fucns]
  - name: file
    kind: function.lua
    source: file://file.lua
    method: run
"#,
    );
    write(project.path(), "src/file.lua", "return {\n");
    assert_transcript!(transcript(project.path(), &["lint"]));
}

#[test]
fn an_integer_is_the_exit_code() {
    let project = project(
        r#"namespace: app
entries:
  - name: exit
    kind: process.lua
    meta: { command: { name: exit } }
    source: |
      local io = require("io")
      return { main = function() return tonumber(io.args()[1]) end }
    method: main
    modules: [io]
"#,
    );
    for (word, code) in [("0", 0), ("3", 3), ("255", 255), ("256", 1), ("-1", 1)] {
        let said = transcript(project.path(), &["run", "exit", word]);
        assert!(said.ends_with(&format!("--- exit code {code}")), "{said}");
    }
}

#[test]
fn an_error_is_a_failure() {
    let project = project(
        r#"namespace: app
entries:
  - name: fail
    kind: process.lua
    meta: { command: { name: fail } }
    source: |
      return { main = function() return nil, errors.new({ kind = errors.NOT_FOUND, message = "no such ship" }) end }
    method: main
"#,
    );
    assert_transcript!(transcript(project.path(), &["run", "fail"]));
}

#[test]
fn a_script_reads_its_input() {
    let project = project(
        r#"namespace: app
entries:
  - name: echo
    kind: process.lua
    meta: { command: { name: echo } }
    source: |
      local io = require("io")
      local function main()
        local line = io.readline()
        io.print("read: " .. tostring(line))
        io.eprint("done")
      end
      return { main = main }
    method: main
    modules: [io]
"#,
    );
    assert_transcript!(transcript_with_input(
        project.path(),
        &["run", "echo"],
        "one\ntwo\n"
    ));
}

#[test]
fn words_for_a_function_without_signature_are_json_or_text() {
    let project = project(
        r##"namespace: app
entries:
  - name: kinds
    kind: function.lua
    source: |
      local function run(...)
        local kinds = {}
        for index = 1, select("#", ...) do kinds[index] = math.type(select(index, ...)) or type(select(index, ...)) end
        return kinds
      end
      return { run = run }
    method: run
"##,
    );
    let words = [
        "call",
        "app:kinds",
        "1",
        "-1.5",
        "true",
        "word",
        "\"1\"",
        "[1]",
        "{\"a\": 1}",
    ];
    assert_transcript!(transcript(project.path(), &words));
}

#[test]
fn an_entry_may_have_its_calls_tried_again() {
    let index = r#"namespace: app
entries:
  - name: flaky
    kind: function.lua
    meta: { options: { retry: { max_attempts: 3, initial_delay: 1 } } }
    source: |
      count = 0
      return { run = function()
        count = count + 1
        if count < 3 then return nil, errors.new{ message = "not yet", kind = errors.UNAVAILABLE } end
        return count
      end }
    method: run
"#;
    let retried = project(index);
    assert_transcript!(transcript(retried.path(), &["call", "app:flaky"]));
    let wrong = project(&index.replace("initial_delay: 1", "delay: 1"));
    assert_transcript!(transcript(wrong.path(), &["lint"]));
}
