//! Whom things act for when they start, and what the audit trail says of it.

use crate::shell::{FILES, assert_transcript, guest, project, transcript, write};

/// A command that calls two functions, and policies that allow one of them.
const CALLER: &str = r#"namespace: app
entries:
  - name: caller
    kind: process.lua
    meta: { command: { name: caller } }
    source: |
      local funcs, io = require("funcs"), require("io")
      local function main()
        for _, id in ipairs({ "app:open", "app:closed" }) do
          local value, err = funcs.call(id)
          io.print(id, value, err and err:kind(), err)
        end
      end
      return { main = main }
    method: main
    modules: [funcs, io]
  - name: open
    kind: function.lua
    source: return { main = function() return "came in" end }
    method: main
  - name: closed
    kind: function.lua
    source: return { main = function() return "came in" end }
    method: main
  - name: callers
    kind: security.policy
    policy: { actions: funcs.call, resources: "app:open", effect: allow }
    groups: [operators]
  - name: everybody
    kind: security.policy
    policy: { actions: funcs.call, resources: "*", effect: allow }
"#;

/// A terminal whose commands act for somebody.
const TERMINAL: &str = "  - name: terminal
    kind: terminal.host
    lifecycle:
      security:
        actor: { id: operator, meta: { team: night } }
        groups: [operators]
";

#[test]
fn a_command_acts_for_whom_its_terminal_says() {
    let project = project(&format!("{CALLER}{TERMINAL}"));
    assert_transcript!(transcript(project.path(), &["-s", "run", "caller"]));
}

#[test]
fn a_process_acts_for_whom_the_host_that_is_named_says() {
    let hosts = "  - name: named
    kind: terminal.host
    lifecycle: { security: { actor: { id: auditor }, policies: [everybody] } }
";
    let project = project(&format!("{CALLER}{TERMINAL}{hosts}"));
    let named = transcript(
        project.path(),
        &["-s", "run", "-x", "app:caller", "--host", "app:named"],
    );
    assert!(!named.contains("PERMISSION_DENIED"), "{named}");
}

#[test]
fn a_guest_that_runs_as_a_process_acts_for_its_host_too() {
    let project = project("namespace: app\nentries: []\n");
    let fields = guest(project.path(), "passes-on");
    let index = format!(
        "{CALLER}{TERMINAL}{FILES}  - name: guest\n    kind: process.wasm\n    method: pass-on\n    imports: [funcs]\n{fields}"
    );
    write(project.path(), "src/_index.yaml", &index);
    let run = |path: &str| transcript(project.path(), &["-s", "run", "-x", "app:guest", path]);
    assert!(run("app:open").contains("came in"), "{}", run("app:open"));
    let refused = run("app:closed");
    let expected = "PERMISSION_DENIED: actor `operator` may not do `funcs.call` on `app:closed`";
    assert!(refused.contains(expected), "{refused}");
}

#[test]
fn without_an_identity_strict_mode_refuses_and_else_nothing_is_limited() {
    let project = project(CALLER);
    let relaxed = transcript(project.path(), &["-s", "run", "caller"]);
    assert!(!relaxed.contains("PERMISSION_DENIED"), "{relaxed}");
    write(project.path(), ".wippy.yaml", "security: { strict_mode: true }\n");
    assert_transcript!(transcript(project.path(), &["-s", "run", "caller"]));
    let called = transcript(project.path(), &["-s", "call", "app:open"]);
    assert!(called.ends_with("--- exit code 1"), "{called}");
}

#[test]
fn a_function_with_an_identity_of_its_own_acts_for_that() {
    // Its policies join those of its caller: `closed` is open to it, though not to the operator.
    let own = "  - name: through
    kind: function.lua
    source: |
      local funcs = require('funcs')
      return { main = function() return funcs.call('app:closed') end }
    method: main
    modules: [funcs]
    security: { actor: { id: 'service:through' }, policies: [everybody] }
  - name: through_only
    kind: security.policy
    policy: { actions: funcs.call, resources: 'app:through', effect: allow }
    groups: [operators]
";
    let index = format!("{CALLER}{TERMINAL}{own}").replace("\"app:open\", ", "\"app:through\", ");
    let project = project(&index);
    assert_transcript!(transcript(project.path(), &["-s", "run", "caller"]));
}

#[test]
fn every_refusal_is_a_record_with_its_request() {
    let project = project(&format!("{CALLER}{TERMINAL}"));
    let said = transcript(project.path(), &["--json-logs", "run", "caller"]);
    let line = said.lines().find(|line| line.starts_with('{')).unwrap();
    let record: serde_json::Value = serde_json::from_str(line).unwrap();
    for (field, expected) in [
        ("target", "wippy::audit"),
        ("actor", "operator"),
        ("action", "funcs.call"),
        ("resource", "app:closed"),
        ("decision", "refused"),
    ] {
        assert_eq!(record[field], expected, "{record}");
    }
    assert!(
        record["call_id"].as_str().is_some_and(|id| id.len() == 36),
        "{record}"
    );
}
