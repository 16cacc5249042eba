//! `errors`, `ctx` and tracebacks.

use std::collections::BTreeMap;

use wippy_lua::LuaFunction;
use wippy_wit::{Value, json};

use crate::support::{App, id, library, source};

#[tokio::test]
async fn error_objects() {
    let prelude = "
        local plain = errors.new('just text')
        local full = errors.new({ message = 'missing', kind = errors.NOT_FOUND, retryable = true, details = { id = 7 } })
        local function all(err) return { err:kind(), err:message(), err:retryable(), err:details() or 'no details', tostring(err) } end
        local function wrapped(err, message) return all(errors.wrap(err, message)) end";
    let expressions = "
        all(plain), all(full)
        wrapped(full, 'loading'), wrapped('text', 'loading'), wrapped(plain, 'loading')
        errors.wrap(nil, 'loading')
        errors.is(full, errors.NOT_FOUND), errors.is(full, errors.INVALID), errors.is(nil, errors.INVALID), errors.is('text', errors.INTERNAL)
        errors.is(errors.wrap(full, 'x'), errors.NOT_FOUND)
        errors.new('bad input'):kind(errors.INVALID), all(full:kind(errors.CONFLICT))
        errors.new({ message = 'm', kind = 'nonsense' }):kind(), errors.new({ message = 'm', kind = errors.TIMEOUT }):retryable()
        errors.new({ message = 'm', kind = errors.TIMEOUT, retryable = false }):retryable()
        errors.NOT_FOUND, errors.ALREADY_EXISTS, errors.INVALID, errors.PERMISSION_DENIED, errors.UNAVAILABLE, errors.INTERNAL
        errors.CANCELED, errors.CONFLICT, errors.TIMEOUT, errors.RATE_LIMITED, errors.UNKNOWN
        plain:stack():match('^[^\\n]+'), plain:stack():match('src/script.lua:%d+: in[^\\n]*')
        errors.call_stack(plain).thread, errors.call_stack(plain).frames[1], errors.call_stack('text')
        select(2, pcall(error, full)) == full, select(2, pcall(function() local x = nil; return x.y end))
        errors.new(), errors.new(7)
        plain:kind('nonsense')
    ";
    insta::assert_snapshot!(App::new().transcript(prelude, expressions).await);
}

#[tokio::test]
async fn values_of_the_context() {
    let app = App::new();
    app.add(
        "test:inner",
        "local ctx = require('ctx')
        return { main = function()
            local missing, why = ctx.get('missing')
            local empty, wrong = ctx.get('')
            return { ctx.get('tenant'), ctx.all(), why:kind(), wrong:kind(), select(2, ctx.get(7)):kind() }
        end }",
    );
    let body = "
        local funcs = require('funcs')
        assert(next(require('ctx').all()) == nil)
        return funcs.new():with_context({ tenant = 'acme', level = 3 }):call('test:inner')";
    let shown = json::from_value(&app.run(body).await.unwrap()).unwrap();
    insta::assert_snapshot!(shown, @r#"["acme",{"level":3,"tenant":"acme"},"NOT_FOUND","INVALID","INVALID"]"#);
}

#[tokio::test]
async fn tracebacks_name_entry_file_and_line() {
    let app = App::new();
    let text = "
local lib = require('lib')
local function inner()
    lib.fail()
end
return { main = function(how)
    if how == 'returned' then return nil, lib.make() end
    inner()
end }";
    let mut source = source("test:report", text);
    source.name = "src/report.lua".into();
    source.imports = BTreeMap::from([(
        "lib".to_owned(),
        library(
            "test:lib",
            "local lib = {}
function lib.fail() error('boom') end
function lib.make() return errors.new('made') end
return lib",
            &[],
        ),
    )]);
    let function = LuaFunction::new(source, app.services.clone(), app.config.clone()).unwrap();
    app.dispatcher.insert(id("test:report"), function);
    let mut shown = Vec::new();
    for how in ["raised", "returned"] {
        let error = app.call("test:report", &[Value::from(how)]).await.unwrap_err();
        shown.push(format!("{error}\n{}", error.stack().unwrap()));
    }
    insta::assert_snapshot!(shown.join("\n\n"));
}
