//! Every way to more rights that a script might try, each refused.

use serde_json::json;
use wippy_lua::Reuse;
use wippy_wit::{Value, json as values};

use super::{acting, app, run};
use crate::support::text;

/// Things that look like an actor and are none.
const FORGERIES: [&str; 8] = [
    "{ id = 'root', meta = {} }",
    "setmetatable({}, { __index = { id = function() return 'root' end }, __name = 'actor' })",
    "setmetatable({}, getmetatable(security.actor()) or {})",
    "'root'",
    "funcs.new()",
    "security.scope()",
    "errors.new('root')",
    "nil",
];

#[tokio::test(start_paused = true)]
async fn nothing_that_a_script_makes_is_an_actor_or_a_scope() {
    let app = app();
    let context = acting(&app, "ada", &["app:all"]);
    for forgery in FORGERIES {
        let body = format!(
            "local forged = {forgery}
             local with_actor = function() return funcs.new():with_actor(forged) end
             local evaluate = function() return security.scope():evaluate(forged, 'a', 'b') end
             local create = function()
                 return security.token_store('app:tokens'):create(forged, security.scope())
             end
             local kinds = {{}}
             for _, try in ipairs({{ with_actor, evaluate, create }}) do
                 local ok, err = pcall(try)
                 kinds[#kinds + 1] = not ok and err:kind()
             end
             return kinds"
        );
        let kinds = run(&app, &context, &body).await.unwrap();
        assert_eq!(kinds, json!(["INVALID", "INVALID", "INVALID"]), "{forgery}");
    }
    let scopes = "
        local kinds = {}
        for _, forged in ipairs({ {}, { 'app:all' }, 'app:admins', security.actor(), security.policy('app:all') }) do
            local ok, err = pcall(function() return funcs.new():with_scope(forged) end)
            kinds[#kinds + 1] = not ok and err:kind()
            ok, err = pcall(function() return security.new_scope({ forged }) end)
            kinds[#kinds + 1] = ok or err:kind()
        end
        return kinds";
    let mut expected = vec![json!("INVALID"); 9];
    expected.push(json!(true));
    assert_eq!(run(&app, &context, scopes).await.unwrap(), json!(expected));
}

#[tokio::test(start_paused = true)]
async fn a_userdata_is_sealed() {
    let app = app();
    let body = "
        local actor = security.actor()
        local tries = {
            function() actor.id = function() return 'root' end end,
            function() rawset(actor, 'id', 1) end,
            function() setmetatable(actor, {}) end,
            function() getmetatable(actor).__index = {} end,
            function() actor:meta().role = 'admin' assert(actor:meta().role == 'admin') end,
        }
        local outcomes = {}
        for index, try in ipairs(tries) do outcomes[index] = pcall(try) end
        outcomes[#outcomes + 1] = actor:id() .. ' ' .. actor:meta().role
        return outcomes";
    let shown = run(&app, &acting(&app, "ada", &["app:all"]), body).await.unwrap();
    assert_eq!(shown, json!([false, false, false, false, false, "ada editor"]));
}

#[tokio::test(start_paused = true)]
async fn no_message_takes_a_handle_along() {
    let app = app();
    let context = acting(&app, "ada", &["app:all"]);
    for thing in [
        "security.actor()",
        "security.scope()",
        "security.policy('app:all')",
        "security.token_store('app:tokens')",
        "funcs.new():with_actor(security.actor())",
    ] {
        for way in [
            "return THING",
            "return { inside = { THING } }",
            "return funcs.call('test:echo', THING)",
            "error(THING)",
        ] {
            let body = way.replace("THING", thing);
            let body = format!(
                "local value, err = (function() {body} end)() if err then error(err) end return value"
            );
            let error = run(&app, &context, &body).await.unwrap_err();
            assert!(!error.message().contains("0x"), "{body}: {error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_handle_is_worth_nothing_in_another_call() {
    let mut app = app();
    app.config.pool.reuse = Reuse::Always;
    app.add(
        "test:keeper",
        "local security, funcs = require('security'), require('funcs')
         local kept = {}
         local function keep()
             local tokens = security.token_store('app:tokens')
             kept = { actor = security.actor(), scope = security.scope(), policy = security.policy('app:all'),
                 tokens = tokens, caller = funcs.new():with_actor(security.actor()):with_scope(security.scope()),
                 loose = funcs.new():with_context({ a = 1 }) }
             return tokens:create(kept.actor, kept.scope)
         end
         local function use(token)
             local tries = {
                 function() return kept.actor:id() end,
                 function() return kept.scope:policies() end,
                 function() return kept.scope:evaluate(kept.actor, 'a', 'b') end,
                 function() return kept.policy:id() end,
                 function() return kept.tokens:validate(token) end,
                 function() return kept.caller:call('test:add', 1) end,
                 function() return kept.caller:async('test:add', 1) end,
                 function() return kept.caller:with_options({ timeout = 1 }):call('test:add', 1) end,
                 function() return kept.loose:call('test:echo', 1) end,
                 function() return funcs.new():with_actor(kept.actor) end,
                 function() return funcs.new():with_scope(kept.scope) end,
                 function() return security.new_scope({ kept.policy }) end,
             }
             local kinds = {}
             for index, try in ipairs(tries) do
                 local ok, value, err, third = pcall(try)
                 if not ok then err = value end
                 kinds[index] = (err or third):kind()
             end
             return kinds
         end
         return { main = function(what, token) if what == 'keep' then return keep() end return use(token) end }",
    );
    let token = app
        .call_in(
            &acting(&app, "ada", &["app:all"]),
            "test:keeper",
            &["keep".into()],
        )
        .await
        .unwrap();
    // The same state serves the next call, for somebody who may do the same things, so that only the reuse is refused.
    let arguments = ["use".into(), Value::from(text(&token))];
    let kinds = app
        .call_in(&acting(&app, "eve", &["app:all"]), "test:keeper", &arguments)
        .await
        .unwrap();
    let kinds = values::from_value(&kinds).unwrap();
    assert_eq!(kinds, json!(vec!["PERMISSION_DENIED"; 12]));
}

#[tokio::test(start_paused = true)]
async fn a_running_call_keeps_its_context() {
    let app = app();
    let body = "
        local before = { security.actor():id(), ctx.all().tenant }
        local other = security.new_actor('root')
        funcs.new():with_actor(other):with_context({ tenant = 'theirs' }):call('test:echo', 1)
        ctx.all().tenant = 'theirs'
        security.actor():meta().role = 'admin'
        security.actor = function() return other end
        return { before, security.can('x', 'y'), require('security') == security, ctx.get('tenant'),
            funcs.call('test:inner') }";
    app.add(
        "test:inner",
        "local security, ctx = require('security'), require('ctx')
         return { main = function() return security.actor():id() .. ' ' .. security.actor():meta().role .. ' ' .. ctx.get('tenant') end }",
    );
    let context = acting(&app, "ada", &["app:all"]);
    let context = context.with_values([("tenant".into(), Value::from("ours"))].into());
    let shown = run(&app, &context, body).await.unwrap();
    assert_eq!(
        shown,
        json!([["ada", "ours"], true, true, "ours", "ada editor ours"])
    );
}
