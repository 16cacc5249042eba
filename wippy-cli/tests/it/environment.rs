//! Environment variables: where their values are, and what scripts and guests see of them.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use tokio::runtime::Runtime;
use wippy_cli::{App, Config};
use wippy_security::ErrorKind;
use wippy_wit::{Value, json};

use crate::shell::{project, write};

const INDEX: &str = r#"namespace: app
entries:
  - { name: memory, kind: env.storage.memory }
  - { name: os, kind: env.storage.os }
  - { name: fixed, kind: env.storage.static, values: { FIXED: fixed, SHADOWED: below } }
  - { name: file, kind: env.storage.file, file_path: conf/app.env, auto_create: true, file_mode: "0600", dir_mode: "0700" }
  - { name: absent, kind: env.storage.file, file_path: conf/absent.env }
  - { name: router, kind: env.storage.router, storages: [memory, file, fixed, os] }
  - { name: outer, kind: env.storage.router, storages: [router] }
  - { name: one, kind: env.variable, variable: ONE, storage: memory, default: one }
  - { name: two, kind: env.variable, variable: TWO, storage: file }
  - { name: three, kind: env.variable, variable: FIXED, storage: fixed }
  - { name: four, kind: env.variable, variable: SHADOWED, storage: outer }
  - { name: five, kind: env.variable, variable: LOCKED, storage: memory, default: locked, readonly: true }
  - { name: six, kind: env.variable, variable: WIPPY_TEST_OUTSIDE, storage: os }
  - { name: private, kind: env.variable, storage: memory }
  - { name: lost, kind: env.variable, variable: LOST, storage: absent }
  - name: get
    kind: function.lua
    modules: [env]
    method: run
    source: |
      return { run = function(name) return require("env").get(name) end }
  - name: set
    kind: function.lua
    modules: [env]
    method: run
    source: |
      return { run = function(name, value) return require("env").set(name, value) end }
  - name: all
    kind: function.lua
    modules: [env]
    method: run
    source: |
      return { run = function() return require("env").get_all() end }
"#;

struct Running {
    app: App,
    runtime: Runtime,
}

impl Running {
    fn new(folder: &Path) -> Self {
        let app = App::load(folder, &Config::default());
        Self {
            app: app.unwrap_or_else(|problems| panic!("{}", problems.render())),
            runtime: Runtime::new().unwrap(),
        }
    }

    fn call(&self, name: &str, words: &[&str]) -> Result<Value, (ErrorKind, String)> {
        let id = format!("app:{name}").parse().unwrap();
        let words = words.iter().map(|word| Value::from(*word)).collect();
        self.runtime
            .block_on(self.app.call(&id, words))
            .map_err(|error| (error.kind(), error.message().to_owned()))
    }

    fn get(&self, name: &str) -> Option<String> {
        let value = self.call("get", &[name]).ok()?;
        value.as_str().map(str::to_owned)
    }

    fn set(&self, name: &str, value: &str) -> Result<Value, (ErrorKind, String)> {
        self.call("set", &[name, value])
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn every_storage_answers_and_takes_what_it_may() {
    let folder = project(INDEX);
    let running = Running::new(folder.path());
    assert_eq!(running.get("ONE").as_deref(), Some("one"));
    running.set("ONE", "1").unwrap();
    assert_eq!(running.get("ONE").as_deref(), Some("1"));
    // A router reads in order and writes to the first.
    assert_eq!(running.get("SHADOWED").as_deref(), Some("below"));
    running.set("SHADOWED", "above").unwrap();
    assert_eq!(running.get("SHADOWED").as_deref(), Some("above"));
    running.set("app:private", "by id").unwrap();
    assert_eq!(running.get("app:private").as_deref(), Some("by id"));
    for (name, kind, message) in [
        (
            "FIXED",
            ErrorKind::PermissionDenied,
            "the storage `app:fixed` is read-only",
        ),
        (
            "WIPPY_TEST_OUTSIDE",
            ErrorKind::PermissionDenied,
            "the storage `app:os` is read-only",
        ),
        (
            "LOCKED",
            ErrorKind::PermissionDenied,
            "the variable `LOCKED` is read-only",
        ),
        ("NONE", ErrorKind::NotFound, "there is no variable `NONE`"),
        (
            "LOST",
            ErrorKind::Unavailable,
            "the storage `app:absent` did not take the value: its file does not exist, and `auto_create` is not set",
        ),
    ] {
        assert_eq!(running.set(name, "x"), Err((kind, message.to_owned())));
    }
    let missing = running.call("get", &["WIPPY_TEST_OUTSIDE"]).unwrap_err();
    assert_eq!(missing.0, ErrorKind::NotFound);
    let all = running.call("all", &[]).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&json::from_value(&all).unwrap()).unwrap(), @r#"
    {
      "FIXED": "fixed",
      "LOCKED": "locked",
      "ONE": "1",
      "SHADOWED": "above",
      "app:private": "by id"
    }
    "#);
}

#[test]
fn a_file_keeps_values_and_what_people_wrote() {
    let folder = project(INDEX);
    let file = folder.path().join("conf/app.env");
    let running = Running::new(folder.path());
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    assert_eq!(running.get("TWO"), None);
    write(
        folder.path(),
        "conf/app.env",
        "# settings\n\nOTHER=x # kept\nTWO = two # a comment\n",
    );
    assert_eq!(running.get("TWO").as_deref(), Some("two"));
    for value in ["2", "with # and = in it", " spaces ", "\"quoted\"", "", "a'b"] {
        running.set("TWO", value).unwrap();
        assert_eq!(running.get("TWO").as_deref(), Some(value));
        // Another process would read the same.
        assert_eq!(Running::new(folder.path()).get("TWO").as_deref(), Some(value));
    }
    running.set("TWO", "last").unwrap();
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "# settings\n\nOTHER=x # kept\nTWO=last\n"
    );
    let (kind, message) = running.set("TWO", "two\nlines").unwrap_err();
    assert_eq!(kind, ErrorKind::Invalid, "{message}");
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    assert_eq!(mode(&file), 0o600);
}

#[test]
fn lint_makes_no_files() {
    let folder = project(INDEX);
    let (problems, _) = App::check(folder.path(), &Config::default());
    assert!(!problems.has_errors());
    assert!(!folder.path().join("conf").exists());
}
