//! `hash`, against values that other implementations gave.

use std::time::Duration;

use wippy_security::ErrorKind;

use crate::support::App;

const PRELUDE: &str = "local hash = require('hash')
    local function hex(bytes) return (bytes:gsub('.', function(c) return ('%02x'):format(c:byte()) end)) end";

#[tokio::test]
async fn digests_and_codes() {
    let expressions = "
        hash.md5('data')
        hash.sha1('data')
        hash.sha256('data')
        hash.sha512('data')
        hex(hash.sha256('data', true)) == hash.sha256('data')
        hash.hmac_md5('message', 'secret')
        hash.hmac_sha1('message', 'secret')
        hash.hmac_sha256('message', 'secret')
        hash.hmac_sha512('message', 'secret')
        #hash.hmac_sha512('message', 'secret', true)
        hash.fnv32('data')
        hash.fnv64('data')
        hash.fnv64('') % 16
        tostring(hash.fnv64(''))
        hash.sha256(42)
        hash.sha256()
        hash.hmac_sha256('message')
    ";
    insta::assert_snapshot!(App::new().transcript(PRELUDE, expressions).await);
}

#[tokio::test]
async fn keys_are_derived() {
    let expressions = "
        hex(hash.pbkdf2('password', 'salt', 4096, 40))
        hex(hash.pbkdf2('password', 'salt', 3, 65, 'sha512'))
        hash.pbkdf2('', 'salt', 1, 32)
        hash.pbkdf2('password', '', 1, 32)
        hash.pbkdf2('password', 'salt', 0, 32)
        hash.pbkdf2('password', 'salt', 10000001, 32)
        hash.pbkdf2('password', 'salt', 1.5, 32)
        hash.pbkdf2('password', 'salt', 1, 0)
        hash.pbkdf2('password', 'salt', 1, 32, 'md5')
    ";
    insta::assert_snapshot!(App::new().transcript(PRELUDE, expressions).await);
}

#[tokio::test]
async fn deriving_a_key_ends_by_the_deadline() {
    let app = App::new();
    let script =
        "return { main = function() return require('hash').pbkdf2('password', 'salt', 10000000, 1024) end }";
    app.add("test:slow", script);
    let context = app.context().with_timeout(Duration::from_millis(50));
    let error = app.call_in(&context, "test:slow", &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}
