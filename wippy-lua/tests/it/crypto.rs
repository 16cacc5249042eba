//! `crypto`, against published vectors and what OpenSSL makes of the same keys.

use crate::support::App;

const PRELUDE: &str = "local crypto = require('crypto')
    local function bytes(hex) return (hex:gsub('%x%x', function(d) return string.char(tonumber(d, 16)) end)) end
    local function hex(bytes) return (bytes:gsub('.', function(c) return ('%02x'):format(c:byte()) end)) end
    local zero = ('\\0'):rep(64)
    local K16, K24, K32 = zero:sub(1, 16), zero:sub(1, 24), zero:sub(1, 32)";

#[tokio::test]
async fn ciphers_open_what_others_sealed() {
    // The first three are the vectors of the GCM specification for a message of sixteen zeros.
    let expressions = "
        hex(crypto.decrypt.aes(bytes(('00'):rep(12) .. '0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf'), K16))
        hex(crypto.decrypt.aes(bytes(('00'):rep(12) .. '98e7247c07f0fe411c267e4384b0f6002ff58d80033927ab8ef4d4587514f0fb'), K24))
        hex(crypto.decrypt.aes(bytes(('00'):rep(12) .. 'cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919'), K32))
        crypto.decrypt.chacha20(bytes('000102030405060708090a0b' .. 'e19e646c46808b3e0576182d42cbedebdfacc9c016'), bytes('000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'), 'aad')
        crypto.decrypt.aes(crypto.encrypt.aes('secret', K24, 'aad'), K24, 'aad')
        crypto.decrypt.chacha20(crypto.encrypt.chacha20('', K32), K32)
        #crypto.encrypt.aes('secret', K16)
        crypto.encrypt.aes('same', K16) == crypto.encrypt.aes('same', K16)
        crypto.decrypt.aes(crypto.encrypt.aes('secret', K24, 'aad'), K24, 'other')
        crypto.decrypt.aes(crypto.encrypt.aes('secret', K24), K16)
        crypto.decrypt.aes('short', K16)
        crypto.encrypt.aes('secret', 'short')
        crypto.encrypt.chacha20('secret', K16)
        crypto.encrypt.aes(nil, K16)
    ";
    insta::assert_snapshot!(App::new().transcript(PRELUDE, expressions).await);
}

#[tokio::test]
async fn random_values_codes_and_comparison() {
    let expressions = "
        #crypto.random.bytes(32)
        crypto.random.bytes(16) == crypto.random.bytes(16)
        crypto.random.string(64):match('^%w+$') ~= nil
        crypto.random.string(1000, 'ab'):gsub('[ab]', '')
        crypto.random.string(3, 'x')
        #crypto.random.uuid()
        crypto.random.bytes(0)
        crypto.random.bytes(1048577)
        crypto.random.bytes('many')
        crypto.random.string(8, '')
        crypto.hmac.sha256('secret', 'message')
        crypto.hmac.sha512('secret', 'message')
        crypto.hmac.sha256('', 'message')
        crypto.constant_time_compare('same', 'same')
        crypto.constant_time_compare('same', 'sama')
        crypto.constant_time_compare('same', 'longer')
        hex(crypto.pbkdf2('password', 'salt', 4096, 40))
        crypto.pbkdf2('password', 'salt', 4096, 40, 'md5')
    ";
    insta::assert_snapshot!(App::new().transcript(PRELUDE, expressions).await);
}

#[tokio::test]
async fn random_letters_are_spread_evenly() {
    // Ten letters do not divide 256: taking remainders would give the first six of them four percent more.
    let body = "
        local counts = {}
        for letter in require('crypto').random.string(200000, '0123456789'):gmatch('.') do
            counts[letter] = (counts[letter] or 0) + 1
        end
        for letter, count in pairs(counts) do
            assert(count > 19000 and count < 21000, letter .. ' ' .. count)
        end
        return true";
    assert_eq!(App::new().run(body).await.unwrap(), true.into());
}

#[tokio::test]
async fn tokens() {
    let prelude = format!(
        "{PRELUDE}
        local jwt = crypto.jwt
        local PRIVATE, PRIVATE1 = [[{}]], [[{}]]
        local PUBLIC, PUBLIC1 = [[{}]], [[{}]]
        local FOREIGN = '{}'
        local OPENSSL = '{}'
        local function claims(alg, key, other)
            local token = assert(jwt.encode({{ sub = 'ada', exp = 4102444800 }}, key, alg))
            return jwt.verify(token, other or key, alg)
        end
        local function swapped(token, header)
            return require('base64').encode(header):gsub('=', '') .. token:match('%..*')
        end",
        include_str!("keys/private.pem"),
        include_str!("keys/private-pkcs1.pem"),
        include_str!("keys/public.pem"),
        include_str!("keys/public-pkcs1.pem"),
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjQxMDI0NDQ4MDB9.QUMQHIKstvv14tJ35T1WmU09EraswkMJLlcOLsR75HI",
        include_str!("keys/signed-by-openssl.txt").trim(),
    );
    let expressions = "
        jwt.verify(FOREIGN, 'secret')
        jwt.verify(OPENSSL, PUBLIC, 'RS256', false)
        jwt.verify(OPENSSL, PUBLIC1, 'RS256', false)
        claims('HS256', 'secret')
        claims('HS384', 'secret')
        claims('HS512', 'secret')
        claims('RS256', PRIVATE, PUBLIC)
        claims('RS256', PRIVATE1, PUBLIC1)
        require('base64').decode(jwt.encode({ _header = { kid = 'k1', alg = 'none' } }, 'secret'):match('^[^.]+') .. '=')
        jwt.verify(jwt.encode({ sub = 'ada' }, 'secret'), 'secret')
        jwt.verify(jwt.encode({ sub = 'ada' }, 'secret'), 'secret', 'HS256', false)
        jwt.verify(jwt.encode({ exp = 1 }, 'secret'), 'secret', 'HS256', false)
        jwt.verify(jwt.encode({ nbf = 4102444800, exp = 4102444801 }, 'secret'), 'secret')
        jwt.verify(jwt.encode({ exp = 'soon' }, 'secret'), 'secret')
        jwt.verify(FOREIGN, 'other')
        jwt.verify(FOREIGN, 'secret', 'HS512')
        jwt.verify(FOREIGN, PUBLIC, 'RS256')
        jwt.verify(swapped(FOREIGN, '{\"alg\":\"none\"}'), 'secret')
        jwt.verify('nonsense', 'secret')
        jwt.verify('a.b.c', 'secret')
        jwt.verify(FOREIGN, '')
        jwt.encode({}, '')
        jwt.encode({ sub = 'ada' }, 'secret', 'ES256')
        jwt.encode({ sub = 'ada' }, 'no key', 'RS256')
        jwt.verify(OPENSSL, PRIVATE, 'RS256', false)
        jwt.encode('text', 'secret')
        jwt.encode({ f = print }, 'secret')
    ";
    insta::assert_snapshot!(App::new().transcript(&prelude, expressions).await);
}
