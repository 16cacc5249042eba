//! `store`: values with a time to live, copies, versions, pages.

use std::sync::Arc;

use wippy_lua::Reuse;
use wippy_security::MemoryStore;

use crate::{
    support::App,
    world::{Cache, only, shown},
};

fn app(keys_max: usize) -> App {
    let mut app = App::new();
    app.services.world.stores = Some(Arc::new(Cache(Arc::new(MemoryStore::new(keys_max)))));
    app
}

#[tokio::test(start_paused = true)]
async fn values_are_copies_with_a_time_to_live() {
    let body = "
        local store, time = require('store'), require('time')
        local cache = store.get('test:cache')
        local user = { name = 'Ada', tags = { 'x', 'y' } }
        cache:set('user', user, 2)
        cache:set('always', 7, 0)
        user.name = 'changed'
        local before = cache:get('user')
        before.tags[1] = 'changed'
        local again = cache:get('user')
        time.sleep('1900ms')
        local alive = cache:has('user')
        time.sleep('100ms')
        local gone, why = cache:get('user')
        return { again, alive, gone == nil, why:kind(), cache:has('user'), cache:get('always'),
            cache:delete('always'), cache:delete('always') }";
    let value = app(10).run(body).await.unwrap();
    insta::assert_snapshot!(shown(&value), @r#"[{"name":"Ada","tags":["x","y"]},true,true,"NOT_FOUND",false,7,true,false]"#);
}

#[tokio::test(start_paused = true)]
async fn two_executions_share_a_store_and_conditions_tell_them_apart() {
    let app = app(10);
    app.add(
        "test:lock",
        "return { main = function(owner)
            local cache = require('store').get('test:cache')
            local entry, err = cache:put('lock', owner, { only_if_absent = true })
            if err then return { err:kind(), cache:get('lock') } end
            return { entry.key, entry.value }
        end }",
    );
    let first = app.call("test:lock", &["ada".into()]).await.unwrap();
    let second = app.call("test:lock", &["bob".into()]).await.unwrap();
    insta::assert_snapshot!(shown(&first), @r#"["lock","ada"]"#);
    insta::assert_snapshot!(shown(&second), @r#"["ALREADY_EXISTS","ada"]"#);
    let body = "
        local cache = require('store').get('test:cache')
        local entry = cache:entry('lock')
        cache:put('lock', 'cleo', { if_version = entry.version })
        local _, err = cache:put('lock', 'dan', { if_version = entry.version })
        local _, both = cache:put('lock', 'dan', { if_version = entry.version, only_if_absent = true })
        local _, odd = cache:put('lock', 'dan', { if_version = 'x' })
        return { cache:get('lock'), err:kind(), err:retryable(), both:kind(), odd:kind() }";
    insta::assert_snapshot!(shown(&app.run(body).await.unwrap()), @r#"["cleo","CONFLICT",true,"INVALID","INVALID"]"#);
}

#[tokio::test(start_paused = true)]
async fn a_store_is_listed_in_pages_and_is_bounded() {
    let body = "
        local store = require('store')
        local cache = store.get('test:cache')
        for _, key in ipairs({ 'a:1', 'b:1', 'a:3', 'a:2' }) do assert(cache:set(key, key)) end
        local full, why = cache:set('c', 1)
        local page = cache:list({ prefix = 'a:', limit = 2 })
        local rest = cache:list({ prefix = 'a:', limit = 2, after = page.cursor })
        local info = cache:info()
        cache:release()
        local released, err = cache:get('a:1')
        local unstorable, reason = pcall(store.get('test:cache').set, store.get('test:cache'), 'b:1', print)
        return { full == nil, why:kind(), page.items[2].key, page.has_more, rest.items[1].value, rest.has_more,
            info.backend == store.backend.MEMORY, info.conditional_put, released == nil, err:kind(), unstorable, tostring(reason) }";
    insta::assert_snapshot!(shown(&app(4).run(body).await.unwrap()), @r#"[true,"UNAVAILABLE","a:2",true,"a:3",false,true,true,true,"INVALID",false,"src/script.lua:12: argument 2 (value): a function cannot be sent"]"#);
}

#[tokio::test(start_paused = true)]
async fn each_key_is_asked_for() {
    let mut app = app(4);
    app.config.pool.reuse = Reuse::Always;
    app.add(
        "test:script",
        "local store = require('store')
        -- Kept over calls: what a caller may do is asked for at every use.
        local cache
        return { main = function()
            local err
            if not cache then cache, err = store.get('test:cache') end
            if err then return err:message() end
            local _, get = cache:get('k')
            local _, set = cache:set('k', 1)
            return { get:message(), set == nil }
        end }",
    );
    let writer = only(
        &app,
        &[("store.get", "test:cache"), ("store.key.set", "test:cache")],
    );
    let value = app.call_in(&writer, "test:script", &[]).await.unwrap();
    insta::assert_snapshot!(shown(&value), @r#"["actor `ada` may not do `store.key.get` on `test:cache`",true]"#);
    let value = app.call_in(&only(&app, &[]), "test:script", &[]).await.unwrap();
    insta::assert_snapshot!(shown(&value), @r#"["actor `ada` may not do `store.key.get` on `test:cache`",false]"#);
    let unknown = app
        .run("return require('store').get('test:other')")
        .await
        .unwrap_err();
    assert_eq!(unknown.message(), "there is no store `test:other`");
}
