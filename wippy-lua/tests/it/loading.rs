//! Compiling, requiring and libraries.

use std::collections::BTreeMap;

use wippy_lua::{Error, LuaFunction, Required, check, required};
use wippy_wit::Value;

use crate::support::{App, id, library, source, text};

#[test]
fn a_syntax_error_has_its_place() {
    let error = check(
        Some(&id("app:report")),
        "src/report.lua",
        "local x = 1\nlocal y = = 2\n",
    )
    .unwrap_err();
    let Error::Syntax {
        id: entry,
        name,
        line,
        message,
        near,
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(entry, Some(id("app:report")));
    assert_eq!((&*name, line), ("src/report.lua", 2));
    assert_eq!(message, "unexpected symbol near '='");
    assert_eq!(near.as_deref(), Some("="));
}

#[test]
fn a_syntax_error_behind_a_long_name_has_its_line() {
    let name = format!("src/{}/report.lua", "deep/".repeat(30));
    let Error::Syntax { line, .. } = check(None, &name, "\n\n\nif then").unwrap_err() else {
        panic!()
    };
    assert_eq!(line, 4);
}

#[test]
fn required_names_are_found_in_code_only() {
    let text = r#"
        local json = require("json")
        -- require("not_this")
        --[==[ require("nor_this") ]==]
        local s = "require('nor_that')" .. [[require("x")]]
        local lib = require 'lib'
        local computed = require(name)
        local prequire = myrequire("y")
    "#;
    let found = required(text);
    assert_eq!(
        found,
        [
            Required {
                name: "json".into(),
                line: 2,
                column: 31
            },
            Required {
                name: "lib".into(),
                line: 6,
                column: 30
            },
        ]
    );
}

#[test]
fn an_unknown_module_in_the_index_is_an_error() {
    let app = App::new();
    let mut source = source("test:modules", "return {}");
    source.modules = ["jsno".to_owned()].into();
    let error = LuaFunction::new(source, app.services, app.config)
        .map(drop)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`test:modules` lists the module `jsno`, which does not exist: did you mean `json`?"
    );
}

async fn refused(text: &str) -> String {
    let app = App::new();
    let mut source = source("test:requires", text);
    source.modules.remove("json");
    source.imports = BTreeMap::from([
        (
            "greets".to_owned(),
            library("test:greets", "return require('json')", &["json"]),
        ),
        ("loops".to_owned(), library("test:loops", "return 1", &[])),
    ]);
    let function = LuaFunction::new(source, app.services.clone(), app.config.clone()).unwrap();
    app.dispatcher.insert(id("test:requires"), function);
    app.call("test:requires", &[])
        .await
        .unwrap_err()
        .message()
        .to_owned()
}

#[tokio::test(start_paused = true)]
async fn what_is_not_declared_says_what_to_add() {
    let messages = [
        refused("require('json')").await,
        refused("require('greets')").await,
        refused("require('jsn')").await,
        refused("require('grets')").await,
        refused("require('test:greets')").await,
    ];
    insta::assert_snapshot!(messages.join("\n"), @r#"
    src/script.lua:1: the module `json` is not declared: add "json" to `modules` of `test:requires`
    src/script.lua:1: src/library.lua:1: the library `test:greets` needs the module `json`: add "json" to `modules` of `test:requires`
    src/script.lua:1: there is no module `jsn` (did you mean `json`?); for a library, add `jsn: namespace:name` to `imports` of `test:requires`
    src/script.lua:1: there is no module `grets` (did you mean `greets`?); for a library, add `grets: namespace:name` to `imports` of `test:requires`
    src/script.lua:1: libraries are required by a short name: add `lib: test:greets` to `imports` of `test:requires`
    "#);
}

#[tokio::test(start_paused = true)]
async fn libraries_have_globals_of_their_own_and_run_once() {
    let app = App::new();
    let mut source = source(
        "test:imports",
        "local a, b = require('lib'), require('lib')
        return { main = function() return { a == b, a.add(1, 2), leaked == nil } end }",
    );
    let text = "leaked = 1 local json = require('json') return { add = function(a, b) return json.encode(a + b) end }";
    source.imports = BTreeMap::from([("lib".to_owned(), library("test:lib", text, &["json"]))]);
    let function = LuaFunction::new(source, app.services.clone(), app.config.clone()).unwrap();
    app.dispatcher.insert(id("test:imports"), function);
    let expected = Value::array([true.into(), "3".into(), true.into()]);
    assert_eq!(app.call("test:imports", &[]).await.unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_chunk_may_block_while_it_loads() {
    let app = App::new();
    app.add(
        "test:loads",
        "require('time').sleep('5ms') local at = 'loaded' return { main = function() return at end }",
    );
    assert_eq!(text(&app.call("test:loads", &[]).await.unwrap()), "loaded");
}

#[tokio::test(start_paused = true)]
async fn type_annotations_are_erased() {
    let app = App::new();
    app.add(
        "test:typed",
        r#"type User = {name: string, age?: number @min(0)}
        export type Map<K, V> = {[K]: V} | nil
        local limit <const>: integer = 3
        local function greet<T>(user: User, times: number?, ...: any): (string, error?)
            local names: {[string]: number}, other: string[] = {}, {}
            for i: integer, name: string in ipairs({ "x", "y" } :: {string}) do names[name] = i end
            local handler: (a: number, b: string) -> boolean = function(a: number, b): boolean, string return a > 1 end
            local five = (2 :: number) < 5 and 5 or 0
            goto done
            ::done::
            return user.name! .. names.y .. tostring(handler(2)) .. five .. type(user) .. limit
        end
        local object = { value = 1 }
        function object:method<T>(x: fun(a: string): nil, y: Map<string, {number}> | "a" | 5): T return self.value end
        return { main = function(): string
            return greet({ name = "Ada" } :: User, nil) .. object:method(nil, 5)
        end }"#,
    );
    assert_eq!(
        text(&app.call("test:typed", &[]).await.unwrap()),
        "Ada2true5table31"
    );
}

#[test]
fn annotations_keep_the_places_of_everything_else() {
    let text = "local a: number = 1\ntype T = {\n  x: number,\n}\nlocal b: string = = 2";
    let Error::Syntax { line, .. } = check(None, "a.lua", text).unwrap_err() else {
        panic!()
    };
    assert_eq!(line, 5);
    // What is no type stays, and Lua says what is wrong with it.
    let Error::Syntax { message, .. } = check(None, "a.lua", "local a: = 1").unwrap_err() else {
        panic!()
    };
    assert_eq!(message, "unexpected symbol near ':'");
}
