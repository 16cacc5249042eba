//! Entries that change while the application runs: from a script, under load, back again, and not at all when something is
//! wrong.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use wippy_cli::{App, Config};
use wippy_registry::{ChangeSet, Entry, EntryId};
use wippy_security::{CallError, ErrorKind};
use wippy_wit::{Value, json};

use crate::shell::{project, write};

/// `app:change` runs a piece of Lua with the module `registry`; `app:value` answers 1 and waits before it does if asked to.
const INDEX: &str = r#"namespace: app
entries:
  - name: change
    kind: function.lua
    modules: [registry, funcs, events, env, store]
    method: run
    source: |
      local registry, funcs = require("registry"), require("funcs")
      local function create(id, text, extra)
        local data = { source = text, method = "run" }
        for name, value in pairs(extra or {}) do data[name] = value end
        return { id = id, kind = "function.lua", data = data }
      end
      local steps = {
        create = function(id, text)
          local version, err = registry.snapshot():changes():create(create(id, text)):apply()
          if err then return nil, err end
          return version:id()
        end,
        update = function(id, text)
          local version, err = registry.snapshot():changes():update(create(id, text)):apply()
          if err then return nil, err end
          return version:id()
        end,
        delete = function(id)
          local version, err = registry.snapshot():changes():delete(id):apply()
          if err then return nil, err end
          return version:id()
        end,
        back = function(version)
          local ok, err = registry.apply_version(version)
          if err then return nil, err end
          return registry.current_version():id()
        end,
        source = function(id) return registry.get(id).data.source end,
        wrong = function()
          local changes = registry.snapshot():changes()
          changes:update(create("app:value", "return { run = function() return 2 end }"))
          changes:create(create("app:broken", "return {\n  run = function( return 2 end\n}"))
          changes:create(create("app:nowhere", "return { run = print }", { imports = { lib = "app:none" } }))
          local version, err = changes:apply()
          return { version == nil, err:kind(), err:message(), err:details() }
        end,
      }
      return { run = function(step, ...) return steps[step](...) end }
  - name: value
    kind: function.lua
    modules: [time]
    method: run
    source: |
      return { run = function(wait)
        if wait then require("time").sleep(wait) end
        return 1
      end }
"#;

fn id(text: &str) -> EntryId {
    text.parse().unwrap()
}

fn load(folder: &Path) -> App {
    App::load(folder, &Config::default()).unwrap_or_else(|problems| panic!("{}", problems.render()))
}

fn app() -> (Arc<App>, TempDir) {
    let folder = project(INDEX);
    (Arc::new(load(folder.path())), folder)
}

async fn step(app: &App, words: &[Value]) -> Result<Value, CallError> {
    app.call(&id("app:change"), words.to_vec()).await
}

fn answering(value: i64) -> Value {
    format!("return {{ run = function() return {value} end }}").into()
}

async fn value(app: &App, name: &str) -> Result<Value, CallError> {
    app.call(&id(name), Vec::new()).await
}

#[test]
fn functions_come_change_go_and_come_back() {
    Runtime::new().unwrap().block_on(async {
        let (app, _folder) = app();
        let created = step(&app, &["create".into(), "app:new".into(), answering(10)]).await;
        assert_eq!(created.unwrap(), Value::Integer(2));
        assert_eq!(value(&app, "app:new").await.unwrap(), Value::Integer(10));

        step(&app, &["update".into(), "app:new".into(), answering(20)])
            .await
            .unwrap();
        assert_eq!(value(&app, "app:new").await.unwrap(), Value::Integer(20));

        step(&app, &["delete".into(), "app:new".into()]).await.unwrap();
        let gone = value(&app, "app:new").await.unwrap_err();
        assert_eq!(
            (gone.kind(), gone.message()),
            (ErrorKind::NotFound, "there is no function `app:new`")
        );

        let back = step(&app, &["back".into(), Value::Integer(2)]).await.unwrap();
        assert_eq!(back, Value::Integer(5));
        assert_eq!(value(&app, "app:new").await.unwrap(), Value::Integer(10));
        let twice = step(&app, &["create".into(), "app:new".into(), answering(0)])
            .await
            .unwrap_err();
        assert_eq!(twice.kind(), ErrorKind::AlreadyExists);
    });
}

#[test]
fn calls_in_flight_finish_on_what_they_began_with() {
    Runtime::new().unwrap().block_on(async {
        let (app, _folder) = app();
        let waiting = tokio::spawn({
            let app = app.clone();
            async move { app.call(&id("app:value"), vec!["300ms".into()]).await }
        });
        // It has begun once it is counted as in flight, which is to say: soon.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        step(&app, &["update".into(), "app:value".into(), answering(2)])
            .await
            .unwrap();
        assert_eq!(value(&app, "app:value").await.unwrap(), Value::Integer(2));
        step(&app, &["delete".into(), "app:value".into()]).await.unwrap();
        assert_eq!(waiting.await.unwrap().unwrap(), Value::Integer(1));
    });
}

#[test]
fn a_broken_change_changes_nothing_and_says_where() {
    Runtime::new().unwrap().block_on(async {
        let (app, _folder) = app();
        let before = app.registry().version();
        let said = step(&app, &["wrong".into()]).await.unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&json::from_value(&said).unwrap()).unwrap(), @r#"
        [
          true,
          "INVALID",
          "the change was rejected: `app:broken`: <name> or '...' expected near 'return' (and 1 more)",
          {
            "diagnostics": [
              {
                "code": "invalid-lua",
                "file": "app:broken",
                "help": [],
                "line": 2,
                "message": "`app:broken`: <name> or '...' expected near 'return'"
              },
              {
                "code": "unknown-reference",
                "file": "app:nowhere",
                "help": [],
                "line": 1,
                "message": "`imports.lib`: there is no entry `app:none`"
              }
            ]
          }
        ]
        "#);
        assert_eq!(app.registry().version(), before);
        assert_eq!(value(&app, "app:value").await.unwrap(), Value::Integer(1));
        assert!(value(&app, "app:broken").await.is_err());
    });
}

#[test]
fn what_others_need_cannot_go() {
    let index = format!(
        "{INDEX}  - name: lib
    kind: library.lua
    source: return {{ answer = 41 }}
  - name: user
    kind: function.lua
    imports: {{ lib: lib }}
    method: run
    source: return {{ run = function() return require(\"lib\").answer end }}
"
    );
    Runtime::new().unwrap().block_on(async {
        let folder = project(&index);
        let app = load(folder.path());
        let refused = step(&app, &["delete".into(), "app:lib".into()])
            .await
            .unwrap_err();
        assert_eq!(
            refused.message(),
            "the change was rejected: src/_index.yaml: `imports.lib`: there is no entry `app:lib`"
        );
        assert_eq!(value(&app, "app:user").await.unwrap(), Value::Integer(41));
        // Who needs a library is made ready again when that changes.
        let library = Entry::new(id("app:lib"), "library.lua")
            .with_data(&serde_json::json!({ "source": "return { answer = 42 }" }));
        app.change(ChangeSet::new().update(library)).await.unwrap();
        assert_eq!(value(&app, "app:user").await.unwrap(), Value::Integer(42));
    });
}

#[test]
fn a_registry_takes_nothing_that_is_not_ready() {
    let (app, _folder) = app();
    let entry = Entry::new(id("app:sneaky"), "registry.entry");
    let refused = app.registry().apply(ChangeSet::new().create(entry)).unwrap_err();
    assert!(
        refused.to_string().contains("are changed through it"),
        "{refused}"
    );
}

#[test]
fn hundred_changes_under_load_lose_no_call() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let (app, _folder) = app();
        let stop = Arc::new(AtomicBool::new(false));
        let calls = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let (app, stop, calls) = (app.clone(), stop.clone(), calls.clone());
                tokio::spawn(async move {
                    let mut seen = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let Value::Integer(number) = value(&app, "app:value").await.unwrap() else {
                            panic!("no number");
                        };
                        // Later calls use the new definition: a caller never sees an older one again.
                        assert!(number >= seen, "{number} after {seen}");
                        seen = number;
                        calls.fetch_add(1, Ordering::Relaxed);
                        tokio::task::yield_now().await;
                    }
                    seen
                })
            })
            .collect();
        for number in 2..=101 {
            step(&app, &["update".into(), "app:value".into(), answering(number)])
                .await
                .unwrap();
            assert_eq!(value(&app, "app:value").await.unwrap(), Value::Integer(number));
        }
        stop.store(true, Ordering::Relaxed);
        for caller in callers {
            assert!(caller.await.unwrap() <= 101);
        }
        assert!(calls.load(Ordering::Relaxed) > 0);
        assert_eq!(app.registry().version().0, 101);
    });
}

#[test]
fn webassembly_comes_and_changes_too() {
    Runtime::new().unwrap().block_on(async {
        let (app, _folder) = app();
        let entry = |constant: u32| {
            let text = format!("(module (func (export \"answer\") (result i32) i32.const {constant}))");
            Entry::new(id("app:answer"), "function.wat").with_data(&serde_json::json!({
                "source": text, "method": "answer", "wit": "answer: func() -> s32;",
            }))
        };
        app.change(ChangeSet::new().create(entry(1))).await.unwrap();
        assert_eq!(value(&app, "app:answer").await.unwrap(), Value::Integer(1));
        app.change(ChangeSet::new().update(entry(2))).await.unwrap();
        assert_eq!(value(&app, "app:answer").await.unwrap(), Value::Integer(2));
        let broken = Entry::new(id("app:answer"), "function.wat").with_data(&serde_json::json!({
            "source": "(module\n  (func (export \"answer\") (result i32) i32.konst 1))", "method": "answer", "wit": "answer: func() -> s32;",
        }));
        let refused = app.change(ChangeSet::new().update(broken)).await.unwrap_err();
        let line = refused.details().get("diagnostics").cloned().unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&json::from_value(&line).unwrap()).unwrap(), @r#"
        [
          {
            "code": "invalid-wat",
            "file": "app:answer",
            "help": [],
            "line": 2,
            "message": "`app:answer`: unknown operator or unexpected token"
          }
        ]
        "#);
        assert_eq!(value(&app, "app:answer").await.unwrap(), Value::Integer(2));
    });
}

#[test]
fn placeholders_stay_in_what_is_stored() {
    let index = format!(
        "{INDEX}  - {{ name: memory, kind: env.storage.memory }}
  - {{ name: greeting, kind: env.variable, variable: GREETING, storage: memory, default: hello }}
  - {{ name: plain, kind: registry.entry, text: \"${{env:GREETING}}\" }}
"
    );
    let folder = project(&index);
    let app = load(folder.path());
    let snapshot = app.registry().snapshot();
    let stored = snapshot.get(&id("app:plain")).unwrap().to_json();
    assert_eq!(stored["text"], "${env:GREETING}");
}

#[test]
fn files_are_loaded_again() {
    Runtime::new().unwrap().block_on(async {
        let (app, folder) = app();
        assert!(app.reload().await.unwrap().is_none());
        // What a program made stays.
        step(&app, &["create".into(), "app:new".into(), answering(10)])
            .await
            .unwrap();
        write(
            folder.path(),
            "src/_index.yaml",
            &INDEX.replace("return 1", "return 2"),
        );
        app.reload().await.unwrap().unwrap();
        assert_eq!(value(&app, "app:value").await.unwrap(), Value::Integer(2));
        assert_eq!(value(&app, "app:new").await.unwrap(), Value::Integer(10));
        // What is wrong is reported in its place, and what was there goes on.
        write(
            folder.path(),
            "src/_index.yaml",
            &INDEX.replace("return 1", "return +"),
        );
        let problems = app.reload().await.unwrap_err();
        assert!(
            problems.render().contains("src/_index.yaml:53:16"),
            "{}",
            problems.render()
        );
        assert_eq!(value(&app, "app:value").await.unwrap(), Value::Integer(2));
        // Entries that go from the files go from the application.
        let (rest, _) = INDEX.split_at(INDEX.find("  - name: value").unwrap());
        write(folder.path(), "src/_index.yaml", rest);
        app.reload().await.unwrap().unwrap();
        assert!(value(&app, "app:value").await.is_err());
        assert_eq!(value(&app, "app:new").await.unwrap(), Value::Integer(10));
    });
}
