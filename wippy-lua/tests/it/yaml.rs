//! `yaml`.

use crate::support::App;

const PRELUDE: &str = r#"
    local yaml = require('yaml')
    local entry = { zebra = 1, alpha = 2, name = 'test', kind = 'demo' }
    local recursive = {} recursive.self = recursive
    local aliases = 'a: &a [1,1,1,1,1,1,1,1,1,1]\n'
    for i = 1, 8 do
        local last, next = string.char(96 + i), string.char(97 + i)
        aliases = aliases .. ('%s: &%s [%s]\n'):format(next, next, ('*' .. last .. ','):rep(10))
    end
    local sample = {
        texts = { '', 'yes', 'null', '0755', '1.5', '- x', 'a: b', '# c', ' padded ', 'two\nlines\n', '\u{e9}', "it's", '~', '@x' },
        numbers = { 1, 2.0, 2.5, -7, 9007199254740993 },
        flags = { on = true, off = false },
        nested = { { a = 1, b = { 1, 2 } }, { { 1 }, {} } },
        mixed = { 'one', key = 'two', [7] = 'seven' },
    }
    local function same(a, b)
        if type(a) ~= 'table' then return a == b and math.type(a) == math.type(b) end
        for k, v in pairs(a) do if not same(v, b[k]) then return false end end
        for k in pairs(b) do if a[k] == nil then return false end end
        return true
    end
"#;

#[tokio::test]
async fn tables_become_documents() {
    let expressions = r"
        yaml.encode({ name = 'myapp', port = 8080, debug = true })
        yaml.encode({ 'apple', 'banana', 'cherry' })
        yaml.encode({ http = { address = ':8080', timeout = '30s' }, hosts = { 'a', 'b' }, none = {} })
        yaml.encode(entry, { field_order = { 'name', 'kind' }, sort_unordered = true })
        yaml.encode(entry, { sort_unordered = true })
        yaml.encode({ inner = entry, 1 }, { field_order = { 'zebra' } })
        yaml.encode(sample)
        same(yaml.decode(yaml.encode(sample)), sample)
        yaml.encode('text')
        yaml.encode(entry, 'sorted')
        yaml.encode(entry, { field_order = 'name' })
        yaml.encode(recursive)
        yaml.encode({ print })
    ";
    insta::assert_snapshot!(App::new().transcript(PRELUDE, expressions).await);
}

#[tokio::test]
async fn documents_become_values() {
    let expressions = r"
        yaml.decode('server:\n  host: localhost\n  port: 8080\nfeatures:\n  - auth\n  - logging\n')
        yaml.decode('name: test\ncount: 42\nratio: 3.14\nenabled: true\nnone: null\nanswer: yes\nempty:\n')
        yaml.decode('1: one\ntrue: yes')[1]
        yaml.decode('[1, {a: b}, [c]]')
        yaml.decode('base: &base {a: 1}\nother: *base')
        yaml.decode('just text')
        yaml.decode('|\n  two\n  lines\n')
        yaml.decode('')
        yaml.decode(7)
        yaml.decode('a: [1')
        yaml.decode('a: 1\na: 2')
        yaml.decode('a: *missing')
        yaml.decode('? [a]\n: b')
        yaml.decode('a: 1\n---\nb: 2')
        yaml.decode(('['):rep(100) .. (']'):rep(100))
        yaml.decode(aliases)
        yaml.decode('\255')
    ";
    insta::assert_snapshot!(App::new().transcript(PRELUDE, expressions).await);
}
