//! `payload`.

use wippy_wit::Value;

use crate::support::{App, text};

const PRELUDE: &str = "
    local value = { items = { 1, 2, 3 }, total = 100, name = 'Alice', ratio = 0.5 }
    local function through(value, ...)
        local p = payload.new(value)
        for _, format in ipairs({ ... }) do p = assert(p:transcode(payload.format[format])) end
        return p
    end";

#[tokio::test]
async fn payloads_change_their_format() {
    let expressions = r"
        payload.format
        payload.new(value):get_format(), payload.new('hello'):get_format(), payload.new(errors.new('x')):get_format()
        payload.new(value):data()
        payload.new(nil):data(), payload.new(42.5):data(), payload.new(true):data(), payload.new('text'):data()
        payload.new(errors.new({ message = 'failed', kind = errors.CONFLICT })):data()
        through(value, 'JSON'):get_format(), through(value, 'JSON'):data()
        through(value, 'MSGPACK'):get_format(), through(value, 'MSGPACK'):unmarshal()
        through(value, 'YAML'):get_format(), through(value, 'YAML'):data()
        through(value, 'JSON', 'MSGPACK', 'YAML', 'LUA'):data()
        through(value, 'GOLANG'):get_format(), through(value, 'GOLANG'):unmarshal()
        through('text', 'BYTES'):data(), through(7, 'STRING'):data(), through('\255\0', 'MSGPACK'):data() == '\255\0'
        payload.new(value):transcode(payload.format.STRING)
        payload.new(value):transcode(payload.format.ERROR)
        payload.new(value):transcode('text/html')
        payload.new(value):transcode(nil)
        payload.new({ 1, x = 2 }):transcode(payload.format.JSON)
        payload.new(errors.new('x')):transcode(payload.format.JSON)
        payload.new(print)
    ";
    insta::assert_snapshot!(App::new().transcript(PRELUDE, expressions).await);
}

#[tokio::test]
async fn methods_of_payloads_say_whom_they_are_for() {
    let expressions = r"
        payload.new(1).data()
        payload.new(1).data('x')
        payload.new(1).unmarshal(channel.new())
        payload.new(1).get_format()
        payload.new(1).get_format(7)
        payload.new(1).get_format(channel.new())
        payload.new(1).transcode()
        payload.new(1).transcode(channel.new(), payload.format.JSON)
        payload.new(1).data(payload.new(2), 3)
        payload.new(1):nothing()
        payload.new(1).nothing, payload.new(1)[1]
        getmetatable(payload.new(1))
        (tostring(payload.new(1)):gsub('0x%x+', 'ADDRESS'))
        pcall(function() payload.new(1).data = 1 end)
        payload.new(1) == payload.new(1), rawequal(payload.new(1), payload.new(1))
        payload.new('{'):data(), payload.new('{'):transcode(payload.format.BYTES):data()
        payload.new(payload.new(1))
        require('json').encode(payload.new(1))
    ";
    insta::assert_snapshot!(App::new().transcript("", expressions).await);
}

#[tokio::test]
async fn a_payload_is_a_copy_that_counts_as_the_scripts_memory() {
    let body = "
        local t = { 1 }
        local p = payload.new(t)
        t[1] = 2
        assert(p:data()[1] == 1)
        local held = {}
        for i = 1, 100000 do held[i] = payload.new(('x'):rep(10000)) end";
    let error = App::new().run(body).await.unwrap_err();
    assert!(error.message().contains("more memory than its limit"), "{error}");
}

/// Whoever is called need not know that its caller had a payload.
#[tokio::test]
async fn given_or_returned_a_payload_is_what_it_stands_for() {
    let app = App::new();
    app.add(
        "test:describe",
        "return { main = function(value, other)
            return { type = type(value), total = type(value) == 'table' and value.total, other = other }
        end }",
    );
    app.add(
        "test:gives",
        "return { main = function(format)
            return payload.new({ total = 7 }):transcode(payload.format[format])
        end }",
    );
    let body = "
        local funcs, json = require('funcs'), require('json')
        for _, format in ipairs({ 'LUA', 'JSON', 'YAML', 'MSGPACK' }) do
            local given = assert(payload.new({ total = 7 }):transcode(payload.format[format]))
            local here = funcs.call('test:describe', given, payload.new('x'))
            assert(here.type == 'table' and here.total == 7 and here.other == 'x', format)
            here = funcs.new():with_options({ timeout = 5000 }):call('test:describe', given)
            assert(here.type == 'table' and here.total == 7, format)

            local future = funcs.async('test:describe', given)
            future:response():receive()
            local answer = future:result()
            assert(answer:data().total == 7, format)
            -- What a future gives can be passed on as it is.
            assert(funcs.call('test:describe', answer).total == 7, format)

            local got = funcs.call('test:gives', format)
            assert(type(got) == 'table' and got.total == 7, format)
        end
        -- Neither errors nor what is in a table is taken for a payload.
        local err = errors.new({ message = 'no', kind = errors.CONFLICT })
        local _, refused = funcs.call('test:describe', { payload.new(1) })
        return funcs.call('test:describe', err).type .. ': ' .. tostring(refused)";
    let found = app.run(body).await.unwrap();
    insta::assert_snapshot!(text(&found));
    // Outside of Lua, too.
    let given = app.call("test:gives", &["JSON".into()]).await.unwrap();
    assert_eq!(given, Value::record([("total", Value::Integer(7))]));
}
