//! Attempts of scripts and guests to get rights that nobody gave them, each refused.

use std::fmt::Write as _;

use wippy_security::{Actor, CallError, Context, ErrorKind};
use wippy_wit::Value;

use crate::{
    shell::{FILES, guest, project, transcript, write},
    stage::Stage,
};

/// An application with these entries, the guests `app:wasm` (passes on), `app:counter` (makes a resource), and the policies
/// `app:all` and, for single functions, `app:only_NAME`.
fn stage(entries: &str) -> Stage {
    let project = project("namespace: app\nentries: []\n");
    let (passes_on, counters) = (
        guest(project.path(), "passes-on"),
        guest(project.path(), "counters"),
    );
    let mut index = format!(
        "namespace: app\nentries:\n{FILES}{entries}
  - name: wasm
    kind: function.wasm
    method: pass-on
    imports: [funcs]
{passes_on}
  - name: counter
    kind: function.wasm
    method: 'counters#[constructor]counter'
{counters}
  - name: all
    kind: security.policy
    policy: {{ actions: '*', resources: '*', effect: allow }}
"
    );
    for name in ["wasm", "keep", "use", "login", "enter"] {
        let _ = write!(
            index,
            "  - name: only_{name}
    kind: security.policy
    policy: {{ actions: funcs.call, resources: 'app:{name}', effect: allow }}
"
        );
    }
    write(project.path(), "src/_index.yaml", &index);
    Stage::new(project)
}

fn acting(stage: &Stage, actor: &str, policies: &[&str]) -> Context {
    stage.acting(Actor::new(actor), policies)
}

fn script(name: &str, modules: &str, body: &str) -> String {
    format!(
        "  - name: {name}
    kind: function.lua
    method: main
    modules: [{modules}]
    source: |
      {}
",
        body.trim().replace('\n', "\n      ")
    )
}

#[test]
fn a_guest_calls_only_what_its_caller_may() {
    let stage = stage(&script(
        "closed",
        "",
        "return { main = function() return 'came in' end }",
    ));
    let path = [Value::from("app:closed")];
    let refused = stage
        .call(&acting(&stage, "eve", &["app:only_wasm"]), "app:wasm", &path)
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    let expected = "actor `eve` may not do `funcs.call` on `app:closed`";
    assert_eq!(refused.message(), expected);
    let allowed = stage.call(&acting(&stage, "ada", &["app:all"]), "app:wasm", &path);
    assert_eq!(allowed.unwrap(), Value::from("came in"));
}

#[test]
fn whether_there_is_a_function_is_told_only_to_who_may_call_it() {
    let stage = stage(&script(
        "use",
        "funcs",
        "local funcs = require('funcs')
         return { main = function(id) return funcs.call(id) end }",
    ));
    for path in ["app:use|app:none", "app:wasm|app:none"] {
        let (first, rest) = path.split_once('|').unwrap();
        let ask = |policies: &[&str]| {
            let error = stage.call(&acting(&stage, "eve", policies), first, &[rest.into()]);
            error.unwrap_err().message().to_owned()
        };
        assert!(
            ask(&["app:all"]).contains("there is no function `app:none`"),
            "{path}"
        );
        let refused = ask(&["app:only_use", "app:only_wasm"]);
        assert!(
            refused.contains("may not do `funcs.call` on `app:none`"),
            "{path}: {refused}"
        );
    }
}

#[test]
fn a_guest_without_the_import_does_not_get_the_interface() {
    let project = project("namespace: app\nentries: []\n");
    let fields = guest(project.path(), "passes-on");
    let index = format!(
        "namespace: app\nentries:\n{FILES}  - name: wasm\n    kind: function.wasm\n    method: pass-on\n{fields}"
    );
    write(project.path(), "src/_index.yaml", &index);
    let said = transcript(project.path(), &["call", "app:wasm", "app:closed"]);
    assert!(
        said.contains("wippy:runtime/funcs") && said.ends_with("--- exit code 2"),
        "{said}"
    );
}

#[test]
fn what_a_guest_says_is_no_actor() {
    let stage = stage(&script(
        "enter",
        "security, funcs",
        "local funcs = require('funcs')
         return { main = function(said) return funcs.new():with_actor(said):call('app:wasm', 'app:none') end }",
    ));
    for said in ["root", "actor: root", "{\"id\":\"root\"}"] {
        let path = [Value::from(format!("app:enter|{said}").as_str())];
        let error = stage
            .call(&acting(&stage, "eve", &["app:all"]), "app:wasm", &path)
            .unwrap_err();
        assert!(error.message().contains("an actor is expected"), "{error}");
    }
}

#[test]
fn a_resource_of_another_call_takes_the_permission_of_this_one() {
    let keeper = "
local funcs = require('funcs')
local kept
return { main = function()
    if kept then
        local value, err = kept:increment(1)
        return value or nil, err
    end
    kept = funcs.call('app:counter', 5)
    return kept:increment(1)
end }";
    // Its states are everybody's, so that one call finds what another kept.
    let entry =
        script("keep", "funcs", keeper).replace("method: main", "method: main\n    pool: { reuse: always }");
    let stage = stage(&entry);
    let first = stage.call(&acting(&stage, "ada", &["app:all"]), "app:keep", &[]);
    assert_eq!(first.unwrap(), Value::Integer(6));
    // Who may not call the function that made it may not call its methods.
    let error = stage
        .call(&acting(&stage, "eve", &["app:only_keep"]), "app:keep", &[])
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    let third = stage.call(&acting(&stage, "bob", &["app:all"]), "app:keep", &[]);
    assert_eq!(third.unwrap(), Value::Integer(7));
}

#[test]
fn a_library_has_the_modules_of_its_importer_and_no_more() {
    let library = "  - name: powerful
    kind: library.lua
    modules: [funcs, security]
    source: |
      local ok, funcs = pcall(require, 'funcs')
      return { call = function(...)
        if not ok then return nil, tostring(funcs) end
        return funcs.call(...)
      end }
";
    let user = |modules: &str| {
        script(
            "use",
            modules,
            "local lib = require('lib') return { main = function() local v, err = lib.call('app:open') return v or tostring(err) end }",
        )
        .replace("    method: main\n", "    method: main\n    imports: { lib: 'app:powerful' }\n")
    };
    let open = script("open", "", "return { main = function() return 'came in' end }");
    let outcome = |modules: &str, policies: &[&str]| {
        let stage = stage(&format!("{library}{open}{}", user(modules)));
        let outcome = stage.call(&acting(&stage, "eve", policies), "app:use", &[]);
        outcome.unwrap().as_str().unwrap().to_owned()
    };
    assert_eq!(outcome("funcs", &["app:all"]), "came in");
    let missing = outcome("", &["app:all"]);
    assert!(
        missing.contains("the library `app:powerful` needs the module `funcs`"),
        "{missing}"
    );
    let refused = outcome("funcs", &["app:only_use"]);
    assert_eq!(refused, "actor `eve` may not do `funcs.call` on `app:open`");
}

/// A store for tokens, a function that makes one, and one that does something for whoever shows one.
const TOKENS: &str = "  - { name: kept, kind: store.memory }
  - { name: tokens, kind: security.token_store, store: kept, token_key: sesame }
";

#[test]
fn only_a_token_that_is_valid_now_lets_anybody_in() {
    let login = "
local security, time = require('security'), require('time')
return { main = function(expiration)
    local tokens = security.token_store('app:tokens')
    local actor = security.new_actor('user:1')
    return tokens:create(actor, security.new_scope({ security.policy('app:all') }), { expiration = expiration })
end }";
    let enter = "
local security, funcs, time = require('security'), require('funcs'), require('time')
return { main = function(token, also)
    local tokens = security.token_store('app:tokens')
    if also == 'revoke' then return tokens:revoke(token) end
    if also == 'late' then time.sleep('60ms') end
    local actor, scope, err = tokens:validate(token)
    if err then return nil, err end
    return funcs.new():with_actor(actor):with_scope(scope):call('app:who')
end }";
    let who =
        "local security = require('security') return { main = function() return security.actor():id() end }";
    let stage = stage(&format!(
        "{TOKENS}{}{}{}",
        script("login", "security, time", login),
        script("enter", "security, funcs, time", enter),
        script("who", "security", who)
    ));
    let ada = acting(&stage, "ada", &["app:all"]);
    let login = |expiration: &str| stage.call(&ada, "app:login", &[expiration.into()]).unwrap();
    let enter = |token: &Value, also: &str| stage.call(&ada, "app:enter", &[token.clone(), also.into()]);
    let invalid = |outcome: Result<Value, CallError>| {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    };
    let token = login("1h");
    assert_eq!(enter(&token, "").unwrap(), Value::from("user:1"));
    // Guessed.
    let mut guess = token.as_str().unwrap().to_owned();
    guess.replace_range(0..1, if guess.starts_with('A') { "B" } else { "A" });
    invalid(enter(&guess.as_str().into(), ""));
    invalid(enter(&"user:1".into(), ""));
    // Replayed after it was revoked.
    assert_eq!(enter(&token, "revoke").unwrap(), Value::Boolean(true));
    invalid(enter(&token, ""));
    // Used when its time was over.
    invalid(enter(&login("50ms"), "late"));
    // And who may not validate gets nothing out of a valid token.
    let token = login("1h");
    let refused = stage.call(
        &acting(&stage, "eve", &["app:only_enter"]),
        "app:enter",
        &[token, "".into()],
    );
    assert!(refused.is_err(), "{refused:?}");
}
