//! A secret that entries get through placeholders, and everything wippy can be made to say about them.

use std::process::Command as Process;

use crate::shell::{project, write};

const SECRET: &str = "hunter2-correct-horse";

/// What wippy says with the secret in its environment, on both outputs.
fn said(directory: &std::path::Path, words: &[&str]) -> String {
    let mut command = assert_cmd::Command::from(Process::new(env!("CARGO_BIN_EXE_wippy")));
    command.current_dir(directory).args(words);
    command
        .env_remove("WIPPY_LOG")
        .env("NO_COLOR", "1")
        .env("THE_SECRET", SECRET);
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    format!("$ wippy {}\n{}", words.join(" "), String::from_utf8_lossy(&text))
}

fn assert_hidden(text: &str, expected: &str) {
    assert!(text.contains(expected), "it says nothing of the matter: {text}");
    let parts = [SECRET, "hunter2", "correct-horse"];
    assert!(
        !parts.iter().any(|part| text.contains(part)),
        "the secret is shown: {text}"
    );
}

/// Secrets where entries have them: a key, conditions, an environment of a guest, plain data.
const APPLICATION: &str = r#"namespace: app
entries:
  - { name: os, kind: env.storage.os }
  - { name: secret, kind: env.variable, variable: THE_SECRET, storage: os }
  - { name: kept, kind: store.memory }
  - name: tokens
    kind: security.token_store
    store: kept
    token_key: "${env:THE_SECRET}"
  - { name: notes, kind: registry.entry, note: "key=${THE_SECRET}" }
  - name: knows
    kind: security.policy
    policy:
      actions: [open, funcs.call]
      resources: "app:*"
      effect: allow
      conditions:
        - { field: meta.key, operator: eq, value: "${env:THE_SECRET}" }
        - { field: meta.keys, operator: contains, value: "${THE_SECRET|none}" }
  - name: compares
    kind: security.policy
    policy:
      actions: "*"
      resources: "app:*"
      effect: deny
      conditions:
        - { field: meta.level, operator: lt, value: "x-${env:THE_SECRET}" }
  - name: lists
    kind: security.policy
    policy:
      actions: open
      resources: "app:*"
      effect: allow
      conditions:
        - { field: actor.meta.names, operator: in, value: ["${env:THE_SECRET}"] }
  - name: matches
    kind: security.policy
    policy:
      actions: open
      resources: "app:*"
      effect: deny
      conditions:
        - { field: actor.id, operator: matches, value: "^${env:THE_SECRET}$" }
  - name: terminal
    kind: terminal.host
    lifecycle:
      security: { actor: { id: eve }, policies: [knows, compares, lists, matches, tokens_only] }
  - name: tokens_only
    kind: security.policy
    policy: { actions: "security.*", resources: "*", effect: allow }
  - name: use
    kind: process.lua
    meta: { command: { name: use } }
    modules: [security, funcs, io]
    method: main
    source: |
      local security, funcs, io = require("security"), require("funcs"), require("io")
      local function main()
        io.print(security.can("open", "app:x", { key = "no", level = 3 }))
        io.print(funcs.call("app:use"))
        for _, policy in ipairs(security.scope():policies()) do io.print(policy, policy:evaluate(security.actor(), "open", "app:x", { level = 1 })) end
        local tokens = security.token_store("app:tokens")
        io.print(tokens, tokens:validate("nothing"))
        local token = tokens:create(security.actor(), security.new_scope())
        io.print(tokens:validate(token))
        io.print(tokens:revoke(token .. "x"), select(3, tokens:validate(token .. "x")))
        io.print(#token, pcall(error, tokens))
        error(tokens)
      end
      return { main = main }
"#;

#[test]
fn nothing_that_wippy_says_has_a_secret_in_it() {
    let project = project(APPLICATION);
    let directory = project.path();
    for (words, expected) in [
        (vec!["registry", "list"], "app:tokens"),
        (vec!["registry", "list", "--json"], "app:tokens"),
        (vec!["registry", "show", "--json"], "${env:THE_SECRET}"),
        (vec!["registry", "show", "--yaml"], "${env:THE_SECRET}"),
        (vec!["registry", "show", "app:notes"], "key=${THE_SECRET}"),
        (vec!["lint"], "no problems"),
        (vec!["lint", "--json", "-vvv"], "[]"),
        (vec!["run", "use", "-vvv", "--json-logs"], "wippy::audit"),
        (vec!["run", "use", "-vvv"], "a policy failed"),
        (vec!["call", "app:tokens", "-vvv"], "cannot be called"),
    ] {
        assert_hidden(&said(directory, &words), expected);
    }
    for meta in [r#"{"key": "no", "level": 3}"#, r#"{"keys": 5}"#, "{}"] {
        for json in [vec![], vec!["--json"]] {
            let words = [
                "policy", "explain", "eve", "open", "app:x", "--meta", meta, "-vvv",
            ];
            let words = [&words[..], &json].concat();
            assert_hidden(&said(directory, &words), "app:compares");
        }
    }
}

#[test]
fn a_token_is_only_seen_by_who_made_it() {
    let shown = APPLICATION.replace("io.print(#token, ", "io.print('made ' .. token) io.print(");
    let project = project(&shown);
    let said = said(project.path(), &["run", "use", "-vvv", "--json-logs"]);
    let token = said
        .lines()
        .find_map(|line| line.strip_prefix("made "))
        .unwrap_or_else(|| panic!("{said}"));
    let (secret, signature) = token.split_once('.').unwrap();
    assert_eq!(said.matches(secret).count(), 1, "{said}");
    assert_eq!(said.matches(signature).count(), 1, "{said}");
}

#[test]
fn what_is_wrong_with_a_secret_is_said_without_it() {
    // In the place of every value that is checked, with what is said about it.
    let value = "${env:THE_SECRET}(";
    let policy = |condition: &str| {
        format!(
            "  - name: policy\n    kind: security.policy\n    policy:\n      actions: '*'\n      resources: '*'\n      \
             effect: allow\n      conditions:\n        - {condition}\n"
        )
    };
    let mistakes = [
        policy(&format!(
            "{{ field: resource, operator: matches, value: '{value}' }}"
        )),
        policy(&format!("{{ field: resource, operator: in, value: '{value}' }}")),
        policy(&format!(
            "{{ field: resource, operator: exists, value: '{value}' }}"
        )),
        policy(&format!("{{ field: '{value}', operator: exists }}")),
        policy(&format!("{{ field: resource, operator: '{value}', value: 1 }}")),
        format!("  - {{ name: tokens, kind: security.token_store, store: kept, token_length: '{value}' }}\n"),
        format!(
            "  - {{ name: tokens, kind: security.token_store, store: kept, default_expiration: '{value}' }}\n"
        ),
        format!("  - {{ name: memory, kind: store.memory, max_size: '{value}' }}\n"),
        format!("  - {{ name: host, kind: terminal.host, lifecycle: {{ auto_start: '{value}' }} }}\n"),
        format!("  - {{ name: web, kind: http.service, addr: '{value}' }}\n"),
    ];
    let project = project("namespace: app\nentries: []\n");
    for mistake in mistakes {
        let index = format!("namespace: app\nentries:\n  - {{ name: kept, kind: store.memory }}\n{mistake}");
        write(project.path(), "src/_index.yaml", &index);
        for words in [vec!["lint"], vec!["lint", "--json"], vec!["run", "-vvv"]] {
            assert_hidden(&said(project.path(), &words), "error");
        }
    }
}
