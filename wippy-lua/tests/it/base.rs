//! Lua's own libraries and globals, as far as scripts have them.

use crate::support::App;

async fn transcript(expressions: &str) -> String {
    App::new().transcript("", expressions).await
}

#[tokio::test]
async fn globals() {
    insta::assert_snapshot!(
        transcript(
            r"
        type(nil), type(1), type(''), type(true), type({}), type(print), type(coroutine.create(print))
        tonumber('0x10'), tonumber('z', 36), tonumber('1e2'), tonumber('x')
        tostring(1), tostring(1.0), tostring(nil), tostring(setmetatable({}, { __tostring = function() return 'T' end }))
        assert(1, 'no')
        assert(false, 'no')
        select(2, pcall(error, { code = 1 })).code
        pcall(error, 'plain', 0)
        xpcall(function(x) error('bad ' .. x, 0) end, function(e) return 'handled ' .. e end, 'x')
        (function() local s = 0 for _, v in pairs({ 1, 2, x = 3 }) do s = s + v end return s end)()
        (function() local s = 0 for i, v in ipairs({ 5, 6, nil, 7 }) do s = s + i * v end return s end)()
        next({}), next({ 'a' })
        getmetatable(setmetatable({}, { __metatable = 'mine' })), getmetatable({})
        rawget(setmetatable({}, { __index = { x = 1 } }), 'x'), rawset({}, 'a', 2).a, rawequal('a', 'a'), rawlen({ 1, 2 })
        select('#', 1, nil, nil), select(-1, 1, 2, 3)
        unpack({ 1, 2, 3 }, 2), unpack({})
        _VERSION, _G._G == _G, require('json') == require('json')
        debug.traceback('message'):match('^message\nstack traceback:\n') ~= nil
    "
        )
        .await
    );
}

#[tokio::test]
async fn tables() {
    insta::assert_snapshot!(
        transcript(
            r"
        (function() local t = { 'a', 'b' } table.insert(t, 'c') table.insert(t, 1, 'z') return t end)()
        (function() local t = { 1, 2, 3 } return table.remove(t), table.remove(t, 1), t end)()
        table.concat({ 1, 'x', 2.5 }, ', '), table.concat({ 1, 2, 3 }, '-', 2, 3), table.concat({})
        (function() local t = { 3, 1, 2 } table.sort(t) return t end)()
        (function() local t = { 3, 1, 2 } table.sort(t, function(a, b) return a > b end) return t end)()
        table.unpack({ 1, 2, 3 }), table.unpack({ 1, 2, 3 }, 2, 3), table.pack(1, nil, 3).n
        table.move({ 1, 2, 3 }, 1, 3, 2)
        (function() local t = table.create(100, 10) t[1] = 1 t.x = 2 return #t, t.x end)(), table.create()
        table.create(1e9)
        table.freeze, table.isfrozen
    "
        )
        .await
    );
}

#[tokio::test]
async fn strings() {
    insta::assert_snapshot!(
        transcript(
            r"
        string.find('hello world', 'o w'), string.find('a.b', '.', 2, true), ('hello'):find('l+')
        string.match('key=value', '(%w+)=(%w+)'), ('x1'):match('%d')
        (function() local t = {} for w in string.gmatch('one two', '%a+') do t[#t + 1] = w end return t end)()
        string.gsub('hello', 'l', { l = 'L' }), string.gsub('abc', '%w', '%0%0', 2)
        string.upper('aä'), string.lower('ABC'), string.len('abc'), string.reverse('abc')
        string.sub('hello', 2, -2), ('hello'):sub(-3), string.byte('abc', 1, -1), string.char(104, 105)
        string.rep('ab', 3, '-'), string.rep('', 1e9)
        string.format('%5d|%-5s|%05.1f|%q|%x|%%|%i|%g', 42, 'x', 3.14159, 'a\nb', 255, 7, 0.1)
        string.unpack('<i4', string.pack('<i4', -2)), string.packsize('i4i8')
        string.dump
    "
        )
        .await
    );
}

#[tokio::test]
async fn mathematics() {
    insta::assert_snapshot!(
        transcript(
            r"
        math.floor(-1.5), math.ceil(-1.5), math.abs(-3), math.max(1, 3, 2), math.min(1, 3, 2)
        math.modf(3.25), math.modf(-3.25), math.fmod(7, 3), math.fmod(-7, 3)
        math.sqrt(16), math.pow(2, 10), math.exp(0), math.log(8, 2), math.log10(1000), math.frexp(8), math.ldexp(0.5, 4)
        math.sin(0), math.cos(0), math.tan(0), math.asin(0), math.acos(1), math.atan(0), math.atan2(0, 1)
        math.atan2(1, -1) == math.atan(1, -1), math.sinh(0), math.cosh(0), math.tanh(0), math.deg(math.pi), math.rad(180) == math.pi
        math.huge == 1 / 0, math.maxinteger, math.mininteger, math.tointeger(3.0), math.tointeger(3.5)
        math.type(1), math.type(1.0), math.type('1'), math.ult(1, -1)
        (function() for _ = 1, 100 do local r = math.random(3) assert(r >= 1 and r <= 3) end return math.random() < 1 end)()
        (function() math.randomseed(7) local a = math.random(1000) math.randomseed(7) return a == math.random(1000) end)()
    "
        )
        .await
    );
}

#[tokio::test]
async fn coroutines() {
    insta::assert_snapshot!(
        transcript(
            r"
        (function() local co = coroutine.create(function(a) local b = coroutine.yield(a + 1) return b * 2 end)
            return coroutine.resume(co, 1), select(2, coroutine.resume(co, 5)), coroutine.status(co) end)()
        (function() local next = coroutine.wrap(function() for i = 1, 2 do coroutine.yield(i) end end) return next(), next() end)()
        select(2, coroutine.running()), coroutine.isyieldable()
        (function() local co = coroutine.create(print) return coroutine.close(co), coroutine.status(co) end)()
        (function() local done = channel.new() coroutine.spawn(function(x) done:send(x) end, 'spawned') return done:receive() end)()
    "
            .replace(")\n            return", ") return")
            .as_str()
        )
        .await
    );
}

#[tokio::test]
async fn characters() {
    insta::assert_snapshot!(
        transcript(
            r"
        utf8.char(228, 8364), utf8.codepoint('ä'), utf8.len('äb'), utf8.len('\xff'), utf8.offset('äb', 2)
        (function() local t = {} for p, c in utf8.codes('äb') do t[#t + 1] = p .. ':' .. c end return t end)()
        ('äb'):match(utf8.charpattern)
    "
        )
        .await
    );
}

/// The zone is the machine's, so each is compared with what it must be in any.
#[tokio::test]
async fn system_time() {
    insta::assert_snapshot!(
        transcript(
            r"
        math.abs(os.time() - require('time').now():unix()) <= 1, math.type(os.time())
        os.date('%Y-%m-%d %H:%M:%S', os.time({ year = 2024, month = 12, day = 25, hour = 10, min = 30, sec = 5 }))
        os.date('%Y-%m-%d %H:%M:%S', os.time({ year = 2024, month = 6, day = 15 }))
        os.date('%Y-%m-%d', os.time({ year = 2024, month = 14, day = 0 }))
        os.date('%Y-%m') .. '-01 00:00' == os.date('%Y-%m-%d %H:%M', os.time({ day = 1 }))
        os.date('!%Y-%m-%dT%H:%M:%S', 0), os.date('!*t', 86400).day
        os.difftime(os.time({ year = 2024, month = 3, day = 2, hour = 12 }), os.time({ year = 2024, month = 3, day = 1, hour = 12 }))
        (function() local start = os.clock() local now = os.clock() return start >= 0 and now >= start and now < 60 end)()
        os.platform
        os.time({ year = 'soon' })
        os.time({ year = 1e9 })
        os.date('%Ez', 0)
        os.execute, os.getenv, os.exit
    "
        )
        .await
    );
}
