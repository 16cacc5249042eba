//! `registry`: reading entries, collecting changes, versions. What changes do to a running application is tested where
//! applications run.

use std::sync::{Arc, Weak};

use serde_json::json;
use wippy_lua::LiveRegistry;
use wippy_registry::{ChangeSet, Entry};

use crate::{
    support::{App, id},
    world::{Plain, only, shown},
};

fn app() -> (App, Arc<Plain>) {
    let plain = Arc::new(Plain::default());
    let entry = |name: &str, meta: serde_json::Value| {
        Entry::new(id(name), "registry.entry")
            .with_meta(&meta)
            .with_data(&json!({ "name": name, "secret": "${env:SECRET}" }))
    };
    let changes = ChangeSet::new()
        .create(entry(
            "app:one",
            json!({ "type": "test", "tags": ["a", "b"], "deep": { "n": 1 } }),
        ))
        .create(entry("app.sub:two", json!({ "type": "test*" })))
        .create(Entry::new(id("app:three"), "process.host"));
    plain.0.apply(changes).unwrap();
    let shared: Arc<dyn LiveRegistry> = plain.clone();
    let mut app = App::new();
    app.services.world.registry = Some(Arc::downgrade(&shared));
    (app, plain)
}

#[tokio::test]
async fn entries_are_read_as_they_are_written() {
    let (app, _plain) = app();
    let body = "
        local registry = require('registry')
        local missing, why = registry.get('app:none')
        local bad, odd = registry.get('none')
        local id = registry.parse_id('app.sub:two')
        return { registry.get('app:one'), missing == nil, why:kind(), odd:kind(), id.ns, id.name }";
    insta::assert_snapshot!(shown(&app.run(body).await.unwrap()), @r#"[{"data":{"name":"app:one","secret":"${env:SECRET}"},"id":"app:one","kind":"registry.entry","meta":{"deep":{"n":1},"tags":["a","b"],"type":"test"}},true,"NOT_FOUND","INVALID","app.sub","two"]"#);
}

#[tokio::test]
async fn entries_are_found_by_kind_namespace_and_meta() {
    let (app, _plain) = app();
    let body = "
        local registry = require('registry')
        local function ids(filter)
            local entries, err = registry.find(filter)
            if err then return err:kind() end
            local found = {}
            for _, entry in ipairs(entries) do found[#found + 1] = entry.id end
            return table.concat(found, ' ')
        end
        local snap = registry.snapshot()
        return { ids(), ids{ ['.kind'] = 'registry.entry' }, ids{ ['.kind'] = 'registry.*', ['.ns'] = 'app' },
            ids{ ['.name'] = 'two' }, ids{ type = 'test' }, ids{ ['meta.type'] = 'test*' }, ids{ ['meta.tags'] = 'b' },
            ids{ ['meta.deep.n'] = 1 }, ids{ ['~meta.type'] = '^te' }, ids{ ['^type'] = 'test' }, ids{ type = 'none' },
            ids{ ['.sort'] = 'x' }, ids{ ['~type'] = '(' }, #snap:entries(), #snap:namespace('app'), snap:get('app:one').id }";
    insta::assert_snapshot!(shown(&app.run(body).await.unwrap()), @r#"["app.sub:two app:one app:three","app.sub:two app:one","app:one","app.sub:two","app:one","app.sub:two","app:one","app:one","app.sub:two app:one","app.sub:two app:one","","INVALID","INVALID",3,2,"app:one"]"#);
}

#[tokio::test]
async fn changes_make_versions_that_can_be_applied_again() {
    let (app, plain) = app();
    let body = "
        local registry = require('registry')
        local before = registry.current_version()
        local old = registry.snapshot()
        local changes = old:changes()
        changes:create({ id = 'app:new', kind = 'registry.entry', meta = { type = 'new' }, data = { list = { 1, 2 } } })
            :update({ id = { ns = 'app', name = 'one' }, kind = 'registry.entry' })
            :delete('app:three')
        local ops = {}
        for _, op in ipairs(changes:ops()) do ops[#ops + 1] = op.kind .. ' ' .. op.entry.id end
        local version = assert(changes:apply())
        local now = { registry.get('app:new').data.list[2], registry.get('app:three') == nil, old:get('app:three').id }
        assert(registry.apply_version(before))
        local history = registry.history()
        local versions = {}
        for _, each in ipairs(history:versions()) do versions[#versions + 1] = each:id() end
        local none, unknown = registry.snapshot_at(99)
        local nothing, empty = registry.snapshot():changes():apply()
        local twice, conflict = registry.snapshot():changes():delete('app:nothing'):apply()
        local odd, invalid = registry.snapshot():changes():create({ id = 'app:x' })
        return { ops, before:id(), version:id(), version:string(), tostring(version), version:previous():id(), version:next():id(), now,
            registry.get('app:new') == nil, registry.get('app:three').kind, versions, registry.snapshot_at(version):get('app:new').id,
            history:get_version(2):id(), history:snapshot_at(2):version():id(), registry.versions()[1]:previous() == nil,
            unknown:kind(), empty:kind(), conflict:kind(), invalid:message() }";
    insta::assert_snapshot!(shown(&app.run(body).await.unwrap()), @r#"[["entry.create app:new","entry.update app:one","entry.delete app:three"],1,2,"v2","v2",1,3,[2,true,"app:three"],true,"process.host",[0,1,2,3],"app:new",2,2,true,"NOT_FOUND","INVALID","NOT_FOUND","app:x: `kind` is missing, or no string"]"#);
    assert_eq!(plain.0.version().0, 3);
}

#[tokio::test]
async fn a_delta_leads_from_some_entries_to_others() {
    let (app, _plain) = app();
    let body = "
        local registry = require('registry')
        local entry = function(id, value) return { id = id, kind = 'test', meta = {}, data = { value = value } } end
        local ops = registry.build_delta({ entry('a:gone', 1), entry('a:same', 1), entry('a:other', 1) },
            { entry('a:same', 1), entry('a:other', 2), entry('a:new', 1) })
        local found = {}
        for _, op in ipairs(ops) do found[#found + 1] = op.kind .. ' ' .. op.entry.id .. ' ' .. op.entry.data.value end
        return found";
    insta::assert_snapshot!(shown(&app.run(body).await.unwrap()), @r#"["entry.delete a:gone 1","entry.create a:new 1","entry.update a:other 2"]"#);
}

#[tokio::test]
async fn only_what_is_permitted_is_seen_and_changed() {
    let (app, plain) = app();
    app.add(
        "test:script",
        "return { main = function()
            local registry = require('registry')
            local _, get = registry.get('app.sub:two')
            local snap = registry.snapshot()
            local mine, theirs = snap:changes(), snap:changes()
            mine:delete('app:one')
            theirs:delete('app:one'):delete('app.sub:two')
            local _, refused = theirs:apply()
            local _, version = registry.apply_version(0)
            return { get:message(), #registry.find(), #snap:entries(), refused:message(), version:message(), mine:apply():id() }
        end }",
    );
    let context = only(&app, &[("registry.get", "app:*"), ("registry.apply", "app:one")]);
    let value = app.call_in(&context, "test:script", &[]).await.unwrap();
    insta::assert_snapshot!(shown(&value), @r#"["actor `ada` may not do `registry.get` on `app.sub:two`",2,2,"actor `ada` may not do `registry.apply` on `app.sub:two`","actor `ada` may not do `registry.apply_version` on `0`",2]"#);
    assert_eq!(plain.0.snapshot().len(), 2);
}

#[tokio::test]
async fn a_program_that_stops_has_no_entries() {
    let mut app = App::new();
    let gone: Weak<Plain> = Weak::new();
    app.services.world.registry = Some(gone);
    let error = app
        .run("return require('registry').get('app:one')")
        .await
        .unwrap_err();
    assert_eq!(error.message(), "the application is stopping");
}
