//! `uuid`.

use crate::support::App;

#[tokio::test]
async fn ids_are_read_and_shown() {
    let expressions = "
        uuid.v3(URL, 'https://example.com/resource')
        uuid.v5(URL, 'https://example.com/resource')
        uuid.v5('nonsense', 'name')
        uuid.v5(URL)
        uuid.validate(URL)
        uuid.validate('nonsense')
        uuid.validate(7)
        uuid.version(URL)
        uuid.variant(URL)
        uuid.version('nonsense')
        uuid.parse('2ed6657d-e927-568b-95e1-2665a8aea6a2')
        uuid.parse('c232ab00-9414-11ec-b3c8-9f6bdeced846')
        uuid.parse('017f22e2-79b0-7cc3-98c4-dc0c0c07398f')
        uuid.parse(nil)
        uuid.format(URL)
        uuid.format(URL, 'simple')
        uuid.format(URL, 'urn')
        uuid.format(URL, 'braces')
    ";
    let prelude = "local uuid = require('uuid') local URL = '6ba7b811-9dad-11d1-80b4-00c04fd430c8'";
    insta::assert_snapshot!(App::new().transcript(prelude, expressions).await);
}

#[tokio::test]
async fn made_ids_differ_and_say_their_version() {
    let body = "
        local uuid = require('uuid')
        for name, version in pairs({ v1 = 1, v4 = 4, v7 = 7 }) do
            local a, b = uuid[name](), uuid[name]()
            assert(a ~= b and uuid.version(a) == version and uuid.variant(a) == 'RFC4122', a)
        end
        local before = os.time()
        local made = uuid.parse(uuid.v7()).timestamp
        assert(made >= before - 1 and made <= os.time() + 1, made)
        assert(math.abs(uuid.parse(uuid.v1()).timestamp - before) <= 2)
        local node = uuid.parse(uuid.v1()).node
        assert(#node == 12 and tonumber(node:sub(2, 2), 16) % 2 == 1, node)
        return true";
    assert_eq!(App::new().run(body).await.unwrap(), true.into());
}
