//! The `security` module: who acts, what is allowed, tokens; and each permission that it takes.

mod rights;

use std::sync::Arc;

use serde_json::{Value as Json, json};
use wippy_registry::schema::security::{self as declared, Effect, Rule};
use wippy_security::{Actor, CallError, Context, MemoryStore, Policies, TokenStore, TokenStores, authorize};
use wippy_wit::json as values;

use crate::support::{App, id};

/// An application with the policies `app:all`, which allows everything, `app:add`, `app:noadd` and `app:least`, which
/// allows what a script needs to act for others; the group `app:members`, and the token store `app:tokens`.
fn app() -> App {
    let app = App::new();
    let policies = [
        ("app:all", Effect::Allow, "*", "*", "app:admins"),
        ("app:add", Effect::Allow, "funcs.call", "test:add", "app:members"),
        ("app:noadd", Effect::Deny, "funcs.call", "test:add", "app:others"),
        ("app:calls", Effect::Allow, "funcs.call", "test:*", "app:callers"),
    ];
    let policies: Vec<_> = policies.map(policy).into();
    app.dispatcher
        .set_policies(Policies::compile(policies.iter().map(|(id, policy)| (id, policy))).unwrap());
    let settings = declared::TokenStore {
        store: id("app:kept"),
        token_length: 32,
        default_expiration: std::time::Duration::from_hours(24),
        token_key: Some("key".to_owned()),
    };
    let tokens = TokenStore::new(id("app:tokens"), &settings, Arc::new(MemoryStore::new(100))).unwrap();
    app.dispatcher
        .set_token_stores([tokens].into_iter().collect::<TokenStores>());
    app
}

fn policy(
    (name, effect, action, resource, group): (&str, Effect, &str, &str, &str),
) -> (wippy_registry::EntryId, declared::Policy) {
    let policy = declared::Policy {
        actions: vec![action.to_owned()],
        resources: vec![resource.to_owned()],
        effect,
        rule: Rule::Conditions(Vec::new()),
        groups: vec![id(group)],
    };
    (id(name), policy)
}

/// A context in which `actor` acts under `policies`.
fn acting(app: &App, actor: &str, policies: &[&str]) -> Context {
    let policies: Vec<_> = policies.iter().map(|name| id(name)).collect();
    let scope = app.dispatcher.policies().gather([], &policies).unwrap();
    let actor = Actor {
        id: actor.into(),
        meta: values::to_value(&json!({"role": "editor"})).unwrap(),
    };
    app.context()
        .with_identity(Some(Arc::new(actor)), Some(Arc::new(scope)))
}

/// Runs a body for `actor` under `policies`; what it returns, as JSON.
async fn run(app: &App, context: &Context, body: &str) -> Result<Json, CallError> {
    let head = "local security, funcs, ctx = require('security'), require('funcs'), require('ctx')";
    app.add(
        "test:script",
        &format!("{head} return {{ main = function(...) {body} end }}"),
    );
    let value = app.call_in(context, "test:script", &[]).await?;
    Ok(values::from_value(&value).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_script_learns_who_acts_and_what_is_allowed() {
    let app = app();
    let body = "
        local actor, scope = security.actor(), security.scope()
        local ids = {}
        for _, policy in ipairs(scope:policies()) do ids[#ids + 1] = policy:id() end
        return { actor:id(), actor:meta(), ids, scope:contains('app:add'), scope:contains('app:all'),
            security.can('funcs.call', 'test:add'), security.can('funcs.call', 'test:echo', { urgent = true }),
            tostring(actor), tostring(scope), type(actor) }";
    let shown = run(&app, &acting(&app, "ada", &["app:add", "app:calls"]), body).await;
    let expected = json!([
        "ada", {"role": "editor"}, ["app:add", "app:calls"], true, false, true, true,
        "actor: ada", "scope: {app:add, app:calls}", "userdata"
    ]);
    assert_eq!(shown.unwrap(), expected);
    let nobody = "return { security.actor() == nil, security.scope() == nil, security.can('a', 'b') }";
    assert_eq!(
        run(&app, &app.context(), nobody).await.unwrap(),
        json!([true, true, true])
    );
}

#[tokio::test(start_paused = true)]
async fn scopes_and_policies_are_values_that_decide() {
    let app = app();
    let body = "
        local ada = security.new_actor('ada', { role = 'editor' })
        local add, noadd = security.policy('app:add'), security.policy('app:noadd')
        local both = security.new_scope({ add }):with(noadd)
        local function ask(scope) return scope:evaluate(ada, 'funcs.call', 'test:add', { a = 1 }) end
        return { ask(security.new_scope()), ask(security.new_scope({ add })), ask(both), ask(both:without('app:noadd')),
            ask(both:without(noadd)), both:contains(add), ask(security.named_scope('app:members')), ask(noadd),
            add:evaluate(ada, 'funcs.call', 'test:echo'), next(security.new_actor('bob'):meta()) == nil,
            both:contains('app:noadd') }";
    let shown = run(&app, &app.context(), body).await.unwrap();
    assert_eq!(
        shown,
        json!([
            "undefined",
            "allow",
            "deny",
            "allow",
            "allow",
            true,
            "allow",
            "deny",
            "undefined",
            true,
            true
        ])
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_an_error() {
    let app = app();
    let body = "
        local kinds = {}
        for _, name in ipairs({ 'policy', 'named_scope', 'token_store' }) do
            for _, id in ipairs({ 'app:none', 'no id', '' }) do
                local value, err = security[name](id)
                kinds[#kinds + 1] = value == nil and err:kind()
            end
        end
        local ok, err = pcall(security.new_actor, '')
        kinds[#kinds + 1] = err:kind()
        return kinds";
    let kinds = run(&app, &app.context(), body).await.unwrap();
    let three = ["NOT_FOUND", "INVALID", "INVALID"];
    let expected: Vec<&str> = three.into_iter().cycle().take(9).chain(["INVALID"]).collect();
    assert_eq!(kinds, json!(expected));
}

#[tokio::test(start_paused = true)]
async fn others_are_acted_for_behind_a_permission() {
    let app = app();
    app.add(
        "test:who",
        "local security = require('security') return { main = function() return security.actor():id() end }",
    );
    let body = "
        local eve = security.new_actor('eve')
        local plain = funcs.new()
        local caller = plain:with_actor(eve):with_scope(security.named_scope('app:callers'))
        local refused, err = caller:with_scope(security.new_scope()):call('test:add', 1, 2)
        local future = caller:async('test:who')
        return { caller:call('test:who'), future:await(), plain:call('test:who'), refused == nil and err:message(),
            caller:call('test:add', 1, 2) }";
    let shown = run(&app, &acting(&app, "ada", &["app:all"]), body).await.unwrap();
    assert_eq!(
        shown,
        json!([
            "eve",
            "eve",
            "ada",
            "actor `eve` may not do `funcs.call` on `test:add`",
            3
        ])
    );
}

/// Every operation that is guarded, the permission it takes, and how it says no.
const GUARDED: [(&str, &str, &str); 12] = [
    (
        "security.policy.get",
        "app:add",
        "return security.policy('app:add')",
    ),
    (
        "security.policy.get",
        "app:none",
        "return security.policy('app:none')",
    ),
    (
        "security.policy_group.get",
        "app:members",
        "return security.named_scope('app:members')",
    ),
    (
        "security.token_store.get",
        "app:tokens",
        "return security.token_store('app:tokens')",
    ),
    (
        "security.actor.create",
        "root",
        "return pcall(security.new_actor, 'root')",
    ),
    (
        "security.scope.create",
        "custom",
        "return pcall(security.new_scope)",
    ),
    (
        "security.scope.create",
        "custom",
        "local s = security.scope() return pcall(s.without, s, 'app:calls')",
    ),
    (
        "security.scope.create",
        "custom",
        "local s = security.scope() return pcall(s.with, s, s:policies()[1])",
    ),
    (
        "funcs.security",
        "security",
        "return funcs.new():with_actor(security.actor())",
    ),
    (
        "funcs.security",
        "security",
        "return funcs.new():with_scope(security.scope())",
    ),
    (
        "funcs.context",
        "context",
        "return funcs.new():with_context({ a = 1 })",
    ),
    ("funcs.context", "context", "return funcs.new():with_context({})"),
];

#[tokio::test(start_paused = true)]
async fn every_guarded_operation_is_refused_without_its_permission() {
    let app = app();
    for (action, resource, body) in GUARDED {
        let context = acting(&app, "eve", &["app:calls"]);
        let script = format!(
            "local answer, err = (function() {body} end)()
             return {{ not answer, err:kind(), err:message() }}"
        );
        let shown = run(&app, &context, &script).await.unwrap();
        let message = format!("actor `eve` may not do `{action}` on `{resource}`");
        assert_eq!(
            (&shown[0], &shown[1]),
            (&json!(true), &json!("PERMISSION_DENIED")),
            "{body}"
        );
        // What is raised says where.
        assert!(shown[2].as_str().unwrap().ends_with(&message), "{body}: {shown}");
        let refusal = authorize(&context, action, resource).unwrap_err();
        assert_eq!(refusal.message(), message);
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_stand_for_an_actor_and_a_scope() {
    let app = app();
    let body = "
        local time = require('time')
        local tokens = security.token_store('app:tokens')
        local scope = security.named_scope('app:members')
        local actor = security.new_actor('user:1', { role = 'reader' })
        local token = tokens:create(actor, scope, { expiration = '7d', meta = { device = 'phone' } })
        local who, may, err, meta = tokens:validate(token)
        local sum = funcs.new():with_actor(who):with_scope(may):call('test:add', 20, 22)
        local revoked, again = tokens:revoke(token), tokens:revoke(token)
        local a, b, gone = tokens:validate(token)
        local short = tokens:create(actor, scope, { expiration = 1000 })
        time.sleep('1001ms')
        local c, d, late = tokens:validate(short)
        local _, soon = tokens:create(actor, scope, { expiration = 'soon' })
        local _, minus = tokens:create(actor, scope, { expiration = -1 })
        local closed = tokens:close()
        local _, _, shut = tokens:validate(token)
        return { who:id(), who:meta().role, may:contains('app:add'), err == nil, meta.device, sum, revoked, again,
            a == nil and b == nil and gone:kind(), c == nil and d == nil and late:message(), soon:kind(), minus:kind(),
            closed, shut:message(), tostring(tokens) }";
    let shown = run(&app, &app.context(), body).await.unwrap();
    let expected = json!([
        "user:1",
        "reader",
        true,
        true,
        "phone",
        42,
        true,
        false,
        "INVALID",
        "the token is not valid: it is unknown, revoked or expired",
        "INVALID",
        "INVALID",
        true,
        "the token store is closed",
        "token store: app:tokens"
    ]);
    assert_eq!(shown, expected);
}

#[tokio::test(start_paused = true)]
async fn token_operations_take_their_permissions() {
    let app = app();
    let context = acting(&app, "ada", &["app:all"]);
    let token = run(
        &app,
        &context,
        "local t = security.token_store('app:tokens') return t:create(security.actor(), security.scope())",
    );
    let token = token.await.unwrap();
    // Whoever may get the store may not use it for that.
    let get = policy((
        "app:get",
        Effect::Allow,
        "security.token_store.get",
        "*",
        "app:getters",
    ));
    let call = policy(("app:calls", Effect::Allow, "funcs.call", "test:*", "app:callers"));
    app.dispatcher
        .set_policies(Policies::compile([(&get.0, &get.1), (&call.0, &call.1)]).unwrap());
    let body = format!(
        "local t = security.token_store('app:tokens')
         local _, create = t:create(security.actor(), security.scope())
         local _, _, validate = t:validate('{token}')
         local _, revoke = t:revoke('{token}')
         return {{ create:message(), validate:message(), revoke:message() }}",
        token = token.as_str().unwrap()
    );
    let shown = run(&app, &acting(&app, "eve", &["app:get", "app:calls"]), &body)
        .await
        .unwrap();
    let refusal = |what| format!("actor `eve` may not do `security.token.{what}` on `app:tokens`");
    assert_eq!(
        shown,
        json!([refusal("create"), refusal("validate"), refusal("revoke")])
    );
}
