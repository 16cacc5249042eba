//! Globals and libraries that are made when they are first looked at: a script cannot tell.

use wippy_lua::LuaFunction;
use wippy_wit::Value;

use crate::support::{App, id, library, source, text};

async fn run(body: &str) -> String {
    let outcome = App::new().run(body).await;
    outcome.map_or_else(|error| error.to_string(), |value| text(&value).to_owned())
}

#[tokio::test]
async fn whoever_looks_at_all_fields_sees_all() {
    let counted = run(
        "local function count(t) local n = 0 for _ in pairs(t) do n = n + 1 end return n end
        local function walk(t) local n, key = 0, next(t) while key do n = n + 1 key = next(t, key) end return n end
        local names = {}
        for name, value in pairs(_G) do
            assert(type(name) == 'string' and value ~= nil)
            names[#names + 1] = name
        end
        table.sort(names)
        return table.concat(names, ' ') .. '; ' .. table.concat({
            walk(string), count(math), walk(table), count(utf8), count(os), count(coroutine), count(debug),
            count(process), count(channel)
        }, ' ')",
    )
    .await;
    assert_eq!(
        counted,
        "_G _VERSION assert channel coroutine debug error errors getmetatable ipairs math next os pairs payload pcall \
         print process rawequal rawget rawlen rawset require select setmetatable string table tonumber tostring type \
         unpack utf8 xpcall; 16 35 8 6 5 9 1 25 2"
    );
}

#[tokio::test]
async fn a_field_that_was_set_stays_as_it_was_set() {
    let said = run("local said = {}
        local function say(...) for i = 1, select('#', ...) do said[#said + 1] = tostring((select(i, ...))) end end
        say(os ~= nil) os = nil say(os)
        utf8 = nil say(utf8, rawget(_G, 'utf8'))
        rawset(_G, 'math', nil) say(math)
        string.upper = function() return 'mine' end say(('a'):upper())
        table.insert = nil say(table.insert)
        debug = 7 say(debug)
        say(rawget(_G, 'coroutine') == coroutine, rawget(_G, 'nothing'), _G.nothing, _G._G == _G)
        return table.concat(said, ' ')")
    .await;
    assert_eq!(said, "true nil nil nil nil mine nil 7 true nil nil true");
}

#[tokio::test]
async fn the_machinery_is_seen_by_nobody() {
    let said = run(
        "local said = { tostring(getmetatable(_G)), tostring(getmetatable(string)), getmetatable('') }
        -- A script may give its globals a metatable, and everything is there as before.
        setmetatable(_G, { __index = function(_, name) return 'no ' .. name end, __metatable = 'mine' })
        said[#said + 1] = nonsense
        said[#said + 1] = getmetatable(_G)
        said[#said + 1] = type(coroutine.wrap)
        said[#said + 1] = ('%d'):format(math.random(3, 3))
        said[#said + 1] = select(2, pcall(setmetatable, _G, nil))
        return table.concat(said, ' ')",
    )
    .await;
    assert_eq!(
        said,
        "nil nil string no nonsense mine function 3 cannot change a protected metatable"
    );
}

#[tokio::test]
async fn a_seed_gives_the_same_numbers() {
    let said = run("math.randomseed(7)
        local first = math.random(1 << 30)
        math.randomseed(7)
        return tostring(first == math.random(1 << 30))")
    .await;
    assert_eq!(said, "true");
}

/// A library has globals of its own, the same libraries behind them, and its own `require`.
#[tokio::test]
async fn libraries_share_values_and_not_names() {
    let app = App::new();
    let mut source = source(
        "test:script",
        "local lib = require('lib')
        answer = 42
        return { main = function()
            string.shared = 'seen'
            require('time')
            return table.concat({ lib(), tostring(missing), tostring(require == nil) }, ' ')
        end }",
    );
    let library = library(
        "test:lib",
        "missing = 1
        return function()
            local ok = pcall(require, 'time')
            require = nil
            return table.concat({ tostring(answer), string.shared, tostring(ok), tostring(require) }, ' ')
        end",
        &[],
    );
    source.imports.insert("lib".to_owned(), library);
    let function = LuaFunction::new(source, app.services.clone(), app.config.clone()).unwrap();
    app.dispatcher.insert(id("test:script"), function);
    let said = app.call("test:script", &[]).await.unwrap();
    assert_eq!(said, Value::from("nil seen false nil nil false"));
}
