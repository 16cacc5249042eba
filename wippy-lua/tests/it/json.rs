//! `json`.

use crate::support::App;

const PRELUDE: &str = "local text = json.encode
    local recursive = {} recursive.self = recursive
    local deep = {} for _ = 1, 130 do deep = { deep } end";

#[tokio::test]
async fn values_become_text() {
    let expressions = r"
        text('hello')
        text(42), text(2.5), text(2.0), text(9007199254740993)
        text(true), text(nil), text()
        text({ 1, 2, 3 }), text({}), text({ {} })
        text({ name = 'Alice', age = 30, tags = { 'a' } })
        text({ ['10'] = 1 })
        text({ 0 / 0, 1 / 0, -1 / 0 })
        text('\u{e9}\n\0')
        text('\255')
        text({ 1, 2, name = 'x' })
        text({ 1, nil, 3 })
        text({ [2] = 'x' })
        text({ 1, [1000000] = 2 })
        text({ [true] = 1 })
        text({ [1.5] = 1 })
        text(recursive)
        text(deep)
        text({ f = print })
        text(errors.new('x'))
    ";
    insta::assert_snapshot!(App::new().transcript(PRELUDE, expressions).await);
}

#[tokio::test]
async fn text_becomes_values() {
    let expressions = r#"
        json.decode('{"a": [1, 2.5, "x"], "b": {"c": true}, "n": 9007199254740993}')
        math.type(json.decode('3')), math.type(json.decode('3.0'))
        #json.decode('[1, null, 3]'), json.decode('[1, null, 3]')[2]
        json.decode('null')
        tostring(json.decode('18446744073709551615'))
        json.decode('not json')
        json.decode('{"a": }')
        json.decode('[1] 2')
        json.decode('')
        json.decode(42)
        json.decode(('['):rep(200) .. (']'):rep(200))
        json.decode('"\\ud800"')
    "#;
    insta::assert_snapshot!(App::new().transcript(PRELUDE, expressions).await);
}

#[tokio::test]
async fn schemas_accept_and_refuse() {
    let prelude = "
        local user = {
            type = 'object',
            properties = {
                name = { type = 'string', minLength = 1 },
                email = { type = 'string', format = 'email' },
                age = { type = 'integer', minimum = 0, maximum = 150 },
                tags = { type = 'array', items = { type = 'string' } },
                extra = {},
            },
            required = { 'name', 'email' },
        }
        local nested = [[{\"type\": \"object\", \"properties\": {\"next\": {\"$ref\": \"#\"}}, \"additionalProperties\": false}]]";
    let expressions = r#"
        json.validate(user, { name = 'Alice', email = 'alice@example.com', age = 30, tags = {} })
        json.validate(user, { name = '', email = 'not-an-email' })
        json.validate(user, {})
        json.validate({ type = 'object' }, {}), json.validate({ type = 'array' }, {})
        json.validate('{"type":"number","minimum":0}', 42)
        json.validate('{"type":"number","minimum":0}', -1)
        json.validate({ type = 'string', pattern = '^(a+)+$' }, ('a'):rep(5000) .. '!') == nil
        json.validate({ enum = { 'create', 'update' } }, 'delete')
        json.validate(nested, { next = { next = {} } })
        json.validate(nested, { next = { other = 1 } })
        json.validate_string(user, '{"name": "Bob", "email": "bob@example.com"}')
        json.validate_string(user, '{"name": 1, "email": "bob@example.com"}')
        json.validate_string(user, '{')
        json.validate_string(user, 5)
        json.validate({ type = 'sting' }, 1)
        json.validate('{', 1)
        json.validate(7, 1)
        json.validate({ ['$ref'] = 'http://localhost/schema' }, 1)
        json.validate({ ['$ref'] = 'file:///etc/passwd' }, 1)
        json.validate({ pattern = '(?=a)' }, 'a')
        json.validate({ pattern = '(x{1000}){1000}' }, 'a')
    "#;
    insta::assert_snapshot!(App::new().transcript(prelude, expressions).await);
}

#[tokio::test]
async fn schemas_that_would_not_end_are_refused() {
    let prelude = "
        local doubling = { ['$defs'] = { a0 = { type = 'string' } }, ['$ref'] = '#/$defs/a40' }
        for i = 1, 40 do
            local ref = { ['$ref'] = '#/$defs/a' .. i - 1 }
            doubling['$defs']['a' .. i] = { allOf = { ref, ref } }
        end
        local chain = { ['$defs'] = { a0 = { type = 'string' } }, ['$ref'] = '#/$defs/a99' }
        for i = 1, 99 do chain['$defs']['a' .. i] = { ['$ref'] = '#/$defs/a' .. i - 1 } end
        local patterns = {}
        for i = 1, 300 do patterns[i] = { pattern = 'a' .. i } end
        local function list(depth)
            local list = {}
            for _ = 1, depth do list = { next = list } end
            return list
        end
        local function wrapped()
            local schema = { properties = { next = { ['$ref'] = '#' } } }
            for _ = 1, 8 do schema = { allOf = { schema } } end
            return schema
        end";
    let expressions = r"
        json.validate({ ['$ref'] = '#' }, 1)
        json.validate({ allOf = { { ['$ref'] = '#' } } }, 1)
        json.validate({ ['$defs'] = { a = { ['$ref'] = '#/$defs/b' }, b = { anyOf = { { ['$ref'] = '#/$defs/a' } } } }, ['$ref'] = '#/$defs/a' }, 1)
        json.validate(doubling, 'x')
        json.validate(chain, 'x')
        json.validate({ anyOf = patterns }, 'x')
        json.validate({ ['$id'] = 'http://a/', ['$ref'] = 'http://a/' }, 1)
        json.validate({ ['$anchor'] = 'a', ['$ref'] = '#a' }, 1)
        json.validate({ ['$dynamicAnchor'] = 'a', ['$dynamicRef'] = '#a' }, 1)
        json.validate({ ['$defs'] = { x = { ['$id'] = 'http://b/', ['$ref'] = '#' } }, ['$ref'] = '#/$defs/x' }, 1)
        json.validate({ dependentSchemas = { a = { ['$ref'] = '#' } } }, { a = 1 })
        json.validate({ properties = { default = { ['$ref'] = '#/properties/default' } } }, { default = 1 })
        json.validate({ ['$ref'] = '#/%24defs/a', ['$defs'] = { a = { ['$ref'] = '#/%24defs/a' } } }, 1)
        json.validate(wrapped(), list(60))
        json.validate(wrapped(), list(100))
    ";
    insta::assert_snapshot!(App::new().transcript(prelude, expressions).await);
}
