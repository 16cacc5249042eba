//! What scripts of a whole application reach: folders and stores by their entries, events between functions.

use std::fs;

use tokio::runtime::Runtime;
use wippy_cli::{App, Config};
use wippy_wit::{Value, json};

use crate::shell::project;

const INDEX: &str = r#"namespace: app
entries:
  - { name: files, kind: fs.directory, directory: data, auto_init: true, mode: "0750" }
  - { name: cache, kind: store.memory, max_size: 2 }
  - name: run
    kind: function.lua
    modules: [fs, store, events, registry]
    method: run
    source: |
      local fs, store, events, registry = require("fs"), require("store"), require("events"), require("registry")
      return { run = function()
        local seen = events.subscribe("registry", "entry.*")
        local volume = fs.get("app:files")
        volume:writefile("note.txt", "hello")
        local cache = store.get("app:cache")
        cache:set("k", { 1, 2 })
        local changes = registry.snapshot():changes()
        changes:create({ id = "app:plain", kind = "registry.entry", data = { text = "${env:NAME|none}" } })
        changes:create({ id = "app:later", kind = "store.memory" })
        assert(changes:apply())
        -- A store that stays as it was keeps what it holds, and a new one is there.
        store.get("app:later"):set("x", 1)
        local first, second = seen:channel():receive(), seen:channel():receive()
        assert(registry.snapshot():changes():delete("app:files"):apply())
        local gone, why = volume:readfile("note.txt")
        return { cache:get("k"), first.kind .. " " .. first.path, second.path, registry.get("app:plain").data.text,
          gone == nil, why:message() }
      end }
"#;

#[test]
fn folders_stores_and_events_by_their_entries() {
    let folder = project(INDEX);
    let app = App::load(folder.path(), &Config::default())
        .unwrap_or_else(|problems| panic!("{}", problems.render()));
    let said: Value = Runtime::new()
        .unwrap()
        .block_on(app.call(&"app:run".parse().unwrap(), Vec::new()))
        .unwrap();
    insta::assert_snapshot!(json::from_value(&said).unwrap().to_string(), @r#"[[1,2],"entry.create app:plain","app:later","${env:NAME|none}",true,"there is no volume `app:files`"]"#);
    assert_eq!(
        fs::read_to_string(folder.path().join("data/note.txt")).unwrap(),
        "hello"
    );
}
