//! `http_client` against a real server on this machine: what is sent, what comes back, and who may connect to where.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use wippy_lua::HttpClients;
use wippy_registry::schema::security::{Condition, Operand, Operator, Rule};
use wippy_security::{Actor, CallError, Context, Effect, Resolver};
use wippy_wit::Value;

use crate::{
    support::App,
    world::{compiled, denying, only, shown},
};

/// Answers by path, until the test ends.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = serve(stream, address.port()).await;
            });
        }
    });
    address
}

async fn serve(mut stream: TcpStream, port: u16) -> std::io::Result<()> {
    let mut read = Vec::new();
    loop {
        let Some((head, body)) = request(&mut stream, &mut read).await? else {
            return Ok(());
        };
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let answer = |status: &str, headers: &str, body: &str| {
            format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}",
                body.len()
            )
        };
        let reply = match path.split('?').next().unwrap_or_default() {
            "/echo" => answer(
                "200 OK",
                "X-Kind: echo\r\nSet-Cookie: a=1; Path=/\r\n",
                &format!("{head}\n\n{body}"),
            ),
            "/missing" => answer("404 Not Found", "", "nothing here"),
            "/again" => answer("302 Found", "Location: /echo?from=again\r\n", ""),
            "/loop" => answer("307 Temporary Redirect", "Location: /loop\r\n", ""),
            "/same-name" => answer(
                "302 Found",
                &format!("Location: http://rebound.example:{port}/echo\r\nConnection: close\r\n"),
                "",
            ),
            "/name" => answer(
                "302 Found",
                &format!("Location: http://localhost:{port}/echo\r\n"),
                "",
            ),
            "/other" => answer(
                "302 Found",
                &format!("Location: http://127.0.0.2:{port}/echo\r\n"),
                "",
            ),
            "/file" => answer("302 Found", "Location: file:///etc/passwd\r\n", ""),
            "/large" => answer("200 OK", "", &"x".repeat(100_000)),
            "/endless" => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                    .await?;
                loop {
                    stream.write_all(b"400\r\n").await?;
                    stream.write_all(&[b'x'; 1024]).await?;
                    stream.write_all(b"\r\n").await?;
                }
            }
            "/slow" => {
                tokio::time::sleep(Duration::from_mins(10)).await;
                String::new()
            }
            _ => return Ok(()),
        };
        let is_head = head.starts_with("HEAD");
        let end = reply.find("\r\n\r\n").map_or(reply.len(), |end| end + 4);
        let sent = if is_head { &reply[..end] } else { &reply[..] };
        stream.write_all(sent.as_bytes()).await?;
    }
}

/// The next request: its head and its body.
async fn request(stream: &mut TcpStream, read: &mut Vec<u8>) -> std::io::Result<Option<(String, String)>> {
    loop {
        let text = String::from_utf8_lossy(read).into_owned();
        if let Some(end) = text.find("\r\n\r\n") {
            let head = text[..end].to_owned();
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse()
                        .ok()
                })
                .unwrap_or(0);
            if text.len() >= end + 4 + length {
                let body = text[end + 4..end + 4 + length].to_owned();
                read.drain(..end + 4 + length);
                return Ok(Some((head, body)));
            }
        }
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(None);
        }
        read.extend(chunk.iter().take(count));
    }
}

async fn run_as(app: &App, context: &Context, address: SocketAddr, body: &str) -> Result<Value, CallError> {
    app.add(
        "test:script",
        &format!(
            "return {{ main = function()
            local http = require('http_client')
            local base = 'http://{address}'
            local port = {port}
            {body}
            end }}",
            port = address.port()
        ),
    );
    app.call_in(context, "test:script", &[]).await
}

async fn run(body: &str) -> Value {
    let app = App::new();
    let address = server().await;
    run_as(&app, &app.context(), address, body).await.unwrap()
}

#[tokio::test]
async fn requests_say_what_they_are_told_to() {
    let body = "
        local function lines(resp)
            local seen = {}
            for line in (resp.body .. '\\n'):gmatch('(.-)\\r?\\n') do
                local name = line:match('^(%S+):')
                if not name or name == 'x-one' or name == 'authorization' or name == 'content-type' or name == 'cookie' then
                    seen[#seen + 1] = line
                end
            end
            return table.concat(seen, '|')
        end
        local get = http.get(base .. '/echo?a=1', { query = { q = 'two words', r = 'ä&=' }, headers = { ['X-One'] = '1' },
            cookies = { c = 'd' }, auth = { user = 'Aladdin', pass = 'open sesame' } })
        local head = http.head(base .. '/echo')
        local missing = http.get(base .. '/missing')
        return { get.status_code, lines(get), get.headers['X-Kind'], get.headers['Content-Length'] == tostring(get.body_size),
            get.cookies.a, get.url == base .. '/echo?a=1&q=two+words&r=%C3%A4%26%3D',
            lines(http.post(base .. '/echo', { body = 'text' })), lines(http.put(base .. '/echo', { form = { a = '1', b = 'x y' } })),
            lines(http.patch(base .. '/echo')), lines(http.delete(base .. '/echo')), lines(http.request('PROPFIND', base .. '/echo')),
            head.status_code, head.body, missing.status_code, missing.body }";
    insta::assert_snapshot!(shown(&run(body).await), @r#"[200,"GET /echo?a=1&q=two+words&r=%C3%A4%26%3D HTTP/1.1|x-one: 1|cookie: c=d|authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==||","echo",true,"1",true,"POST /echo HTTP/1.1||text","PUT /echo HTTP/1.1|content-type: application/x-www-form-urlencoded||a=1&b=x+y","PATCH /echo HTTP/1.1||","DELETE /echo HTTP/1.1||","PROPFIND /echo HTTP/1.1||",200,"",404,"nothing here"]"#);
}

#[tokio::test]
async fn files_are_sent_as_a_form() {
    let body = "
        local resp = http.post(base .. '/echo', { form = { title = 'T' }, files = { { name = 'f', filename = 'a.txt', content = 'data' } } })
        return { resp.body:match('boundary=(%S+)'), resp.body:match('\\n\\n(.*)$') }";
    let value = run(body).await;
    let Value::Table(table) = value else {
        panic!("no table");
    };
    let texts: Vec<&str> = table.array.iter().filter_map(Value::as_str).collect();
    let sent = texts[1].replace(texts[0], "BOUNDARY").replace('\r', "");
    insta::assert_snapshot!(sent, @r#"
    --BOUNDARY
    Content-Disposition: form-data; name="title"

    T
    --BOUNDARY
    Content-Disposition: form-data; name="f"; filename="a.txt"
    Content-Type: application/octet-stream

    data
    --BOUNDARY--
    "#);
}

#[tokio::test]
async fn redirects_are_followed_and_end() {
    let body = "
        local again = http.post(base .. '/again', { body = 'lost', headers = { ['Content-Type'] = 'text/plain' } })
        local _, endless = http.get(base .. '/loop')
        local _, file = http.get(base .. '/file')
        return { again.status_code, again.url == base .. '/echo?from=again', again.body:match('^%u+'), again.body:match('content%-type'),
            endless:kind(), file:kind(), file:message() }";
    insta::assert_snapshot!(shown(&run(body).await), @r#"[200,true,"GET",null,"INVALID","INVALID","a URL begins with http:// or https://, not file:"]"#);
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    let body = "
        local function kind(...) local value, err = http.get(...) return err and err:kind() .. ' ' .. tostring(err:retryable()) or value.status_code end
        local free = 'http://127.0.0.1:1/'
        return { kind('not a url'), kind('ftp://127.0.0.1/'), kind(free), kind('http://no-such-host.invalid/'),
            kind(base .. '/slow', { timeout = 0.05 }), kind(base .. '/slow', { timeout = '50ms' }), kind(base .. '/echo', { timeout = 'soon' }), kind(base .. '/echo', { timeout = 30 }),
            kind(base .. '/echo', { unix_socket = '/run/x' }), kind(base .. '/echo', { headers = { ['bad name'] = 'x' } }),
            select(2, http.request('BAD METHOD', base)):kind() }";
    insta::assert_snapshot!(shown(&run(body).await), @r#"["INVALID false","INVALID false","INTERNAL true","INTERNAL true","INTERNAL true","INTERNAL true","INVALID false",200,"INVALID false","INVALID false","INVALID"]"#);
}

#[tokio::test]
async fn responses_are_bounded_and_may_be_streams() {
    let body = "
        local _, large = http.get(base .. '/large', { max_response_body = 99999 })
        local _, endless = http.get(base .. '/endless', { max_response_body = 100000 })
        local fits = http.get(base .. '/large', { max_response_body = 100000 })
        local resp = http.get(base .. '/large', { stream = true })
        local count, reads = 0, 0
        while true do
            local chunk, err = resp.stream:read(1000)
            if err or not chunk then break end
            count, reads = count + #chunk, reads + 1
        end
        resp.stream:close()
        local _, closed = resp.stream:read()
        local flow = http.get(base .. '/endless', { stream = true, max_response_body = 5000 }).stream
        local got, over = 0, nil
        while not over do
            local chunk
            chunk, over = flow:read(100000)
            got = got + #(chunk or '')
        end
        return { large:kind(), endless:kind(), #fits.body, resp.body_size, count, reads >= 100, closed:kind(), got <= 5000, over:kind() }";
    insta::assert_snapshot!(shown(&run(body).await), @r#"["INVALID","INVALID",100000,-1,100000,true,"INVALID",true,"INVALID"]"#);
}

#[tokio::test]
async fn batches_keep_their_order() {
    let body = "
        local responses, failures = http.request_batch({ { 'GET', base .. '/echo?n=1' }, { 'POST', base .. '/echo?n=2', { body = 'b' } } })
        local some, errs = http.request_batch({ { 'GET', base .. '/missing' }, { 'GET', 'nowhere' }, { 'GET', base .. '/echo', { stream = true } } })
        return { responses[1].url == base .. '/echo?n=1', responses[2].body:match('^%u+'), failures == nil,
            some[1].status_code, some[2] == nil, errs[1] == nil, errs[2]:kind(), errs[3]:message() }";
    insta::assert_snapshot!(shown(&run(body).await), @r#"[true,"POST",true,404,true,true,"INVALID","a request of a batch cannot be streamed"]"#);
}

#[tokio::test]
async fn addresses_that_are_not_public_need_a_permission() {
    let app = App::new();
    let address = server().await;
    let body = "
        local function try(url)
            local resp, err = http.get(url)
            return err and err:message() or resp.status_code
        end
        -- Which of its addresses a name is refused for differs between machines.
        local function kind(url)
            local resp, err = http.get(url)
            return err and err:kind() or resp.status_code
        end
        return { try(base .. '/echo'), kind('http://localhost:' .. port .. '/echo'), try('http://[::1]:' .. port .. '/echo'),
            try('http://[::ffff:127.0.0.1]:' .. port .. '/echo'), try('http://0.0.0.0:' .. port .. '/echo'), try('http://2130706433:' .. port .. '/echo'),
            try('http://10.0.0.1/'), try('http://169.254.169.254/latest/meta-data'), try('http://[fd00::1]/'), try('http://[64:ff9b::7f00:1]/'),
            kind(base .. '/name'), try(base .. '/other') }";
    let may_request = ("http_client.request", "*");
    let none = run_as(&app, &only(&app, &[may_request]), address, body)
        .await
        .unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&wippy_wit::json::from_value(&none).unwrap()).unwrap(), @r#"
    [
      "actor `ada` may not do `http_client.private_ip` on `127.0.0.1`",
      "PERMISSION_DENIED",
      "actor `ada` may not do `http_client.private_ip` on `::1`",
      "actor `ada` may not do `http_client.private_ip` on `127.0.0.1`",
      "actor `ada` may not do `http_client.private_ip` on `0.0.0.0`",
      "actor `ada` may not do `http_client.private_ip` on `127.0.0.1`",
      "actor `ada` may not do `http_client.private_ip` on `10.0.0.1`",
      "actor `ada` may not do `http_client.private_ip` on `169.254.169.254`",
      "actor `ada` may not do `http_client.private_ip` on `fd00::1`",
      "actor `ada` may not do `http_client.private_ip` on `64:ff9b::7f00:1`",
      "PERMISSION_DENIED",
      "actor `ada` may not do `http_client.private_ip` on `127.0.0.1`"
    ]
    "#);
    // With one address permitted, a redirect to another is refused all the same; a name is worth its addresses.
    let one = only(&app, &[may_request, ("http_client.private_ip", "127.0.0.1")]);
    let one = run_as(&app, &one, address, body).await.unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&wippy_wit::json::from_value(&one).unwrap()).unwrap(), @r#"
    [
      200,
      200,
      "actor `ada` may not do `http_client.private_ip` on `::1`",
      200,
      "actor `ada` may not do `http_client.private_ip` on `0.0.0.0`",
      200,
      "actor `ada` may not do `http_client.private_ip` on `10.0.0.1`",
      "actor `ada` may not do `http_client.private_ip` on `169.254.169.254`",
      "actor `ada` may not do `http_client.private_ip` on `fd00::1`",
      "actor `ada` may not do `http_client.private_ip` on `64:ff9b::7f00:1`",
      200,
      "actor `ada` may not do `http_client.private_ip` on `127.0.0.2`"
    ]
    "#);
    // Each URL is asked for, also where a redirect leads.
    let base = format!("http://{address}/again");
    let url = only(
        &app,
        &[("http_client.request", &base), ("http_client.private_ip", "*")],
    );
    let error = run_as(&app, &url, address, "return http.get(base .. '/again')")
        .await
        .unwrap_err();
    assert_eq!(
        error.message(),
        format!("actor `ada` may not do `http_client.request` on `http://{address}/echo?from=again`")
    );
}

fn pem(name: &str) -> String {
    std::fs::read_to_string(fixtures::root().join("tls").join(name)).unwrap()
}

/// A server that answers `hello` over TLS or `known` to whoever shows its certificate.
async fn secure_server() -> SocketAddr {
    use tokio_rustls::{
        TlsAcceptor,
        rustls::{
            self,
            pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        },
    };

    let certificate = CertificateDer::from_pem_slice(pem("localhost.pem").as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pem("localhost.key").as_bytes()).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder(roots.into())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.ok()?;
                let mut buffer = [0; 4096];
                let _head = stream.read(&mut buffer).await.ok()?;
                let known = stream.get_ref().1.peer_certificates().is_some();
                let body = if known { "known" } else { "hello" };
                let reply =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n{body}");
                stream.write_all(reply.as_bytes()).await.ok()?;
                stream.shutdown().await.ok()
            });
        }
    });
    address
}

#[tokio::test]
async fn certificates_are_shown_and_believed() {
    let app = App::new();
    let address = secure_server().await;
    let prelude = format!(
        "local url, pem, key = 'https://{address}/', [[{}]], [[{}]]
        local function try(tls, at)
            local resp, err = http.get(at or url, {{ tls = tls }})
            return err and err:message() or resp.body
        end\n",
        pem("localhost.pem"),
        pem("localhost.key")
    );
    let body = prelude.clone()
        + "return { try(nil):match('cannot be connected to') ~= nil, try({ ca = pem }), try({ ca = pem, cert = pem, key = key }),
            try({ insecure_skip_verify = true }), try({ ca = pem }), try({ ca = 'none' }), try({ cert = pem }),
            try({ cert = 'none', key = 'none' }), try({ server_name = 'localhost' }), try({ sni = 'localhost' }) }";
    let all = only(&app, &[("*", "*")]);
    let shown = run_as(&app, &all, address, &body).await.unwrap();
    insta::assert_snapshot!(
        serde_json::to_string_pretty(&wippy_wit::json::from_value(&shown).unwrap()).unwrap()
    );
    // Believing anything takes a permission of its own.
    let some = only(
        &app,
        &[("http_client.request", "*"), ("http_client.private_ip", "*")],
    );
    let body = prelude
        + "return { try({ ca = pem }), try({ insecure_skip_verify = true }):gsub(':%d+/', ':PORT/') }";
    let shown = run_as(&app, &some, address, &body).await.unwrap();
    insta::assert_snapshot!(
        serde_json::to_string_pretty(&wippy_wit::json::from_value(&shown).unwrap()).unwrap()
    );
}

#[tokio::test]
async fn texts_are_encoded_for_urls() {
    let body = "
        local _, bad = http.decode_uri('100%')
        return { http.encode_uri('hello world&ä~'), http.decode_uri('hello+world%26%c3%A4'), bad:kind() }";
    insta::assert_snapshot!(shown(&run(body).await), @r#"["hello+world%26%C3%A4~","hello world&ä","INVALID"]"#);
}

/// Answers with one address at first, and with another one after so many questions.
#[derive(Debug)]
struct Rebinding {
    after: usize,
    asked: AtomicUsize,
}

#[async_trait]
impl Resolver for Rebinding {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        assert_eq!(host, "rebound.example");
        let is_rebound = self.asked.fetch_add(1, Ordering::SeqCst) >= self.after;
        let address = if is_rebound { "127.0.0.2" } else { "127.0.0.1" };
        Ok(vec![SocketAddr::new(address.parse().unwrap(), port)])
    }
}

/// DNS rebinding: a name that is where a script may go while that is checked, and elsewhere a moment later.
#[tokio::test]
async fn an_answer_that_changes_after_the_check_changes_nothing() {
    let address = server().await;
    let other = TcpListener::bind(("127.0.0.2", address.port())).await.unwrap();
    let attempt = async |after: usize, path: &str| {
        let resolver = Arc::new(Rebinding {
            after,
            asked: AtomicUsize::new(0),
        });
        let mut app = App::new();
        app.services.world.http = HttpClients::with_resolver(resolver.clone());
        let may = [
            ("http_client.request", "*"),
            ("http_client.private_ip", "127.0.0.1"),
        ];
        let context = only(&app, &may);
        let body = format!("return http.get('http://rebound.example:' .. port .. '{path}')");
        let outcome = run_as(&app, &context, address, &body).await;
        let status = outcome.map(|response| response.get("status_code").cloned());
        (
            status.map_err(|error| error.message().to_owned()),
            resolver.asked.load(Ordering::SeqCst),
        )
    };
    let refused = Err("actor `ada` may not do `http_client.private_ip` on `127.0.0.2`".to_owned());
    // What was checked is what is connected to: the name is not looked up again in between.
    assert_eq!(attempt(1, "/echo").await, (Ok(Some(Value::Integer(200))), 1));
    // Where a redirect leads is checked anew, be it the same name.
    assert_eq!(attempt(2, "/same-name").await, (Ok(Some(Value::Integer(200))), 2));
    assert_eq!(attempt(1, "/same-name").await, (refused.clone(), 2));
    assert_eq!(attempt(0, "/echo").await, (refused, 1));
    let nobody = tokio::time::timeout(Duration::from_millis(50), other.accept()).await;
    assert!(nobody.is_err(), "somebody came to where they may not go");
}

#[tokio::test]
async fn a_refused_address_is_refused_in_every_form() {
    let app = App::new();
    let address = server().await;
    let context = app.context();
    let context = context.with_identity(
        Some(Arc::new(Actor::new("ada"))),
        Some(Arc::new(denying(&[
            ("http_client.private_ip", "127.0.0.1"),
            ("http_client.private_ip", "10.*"),
            ("http_client.request", "http://localhost*"),
        ]))),
    );
    let body = "
        local seen = {}
        for _, host in ipairs({ '127.0.0.1', '[::ffff:127.0.0.1]', '[::127.0.0.1]', '2130706433', '[64:ff9b::a00:1]',
            '[2002:a00:1::]', 'localhost', 'localhost.', 'LocalHost.' }) do
            local _, err = http.get('http://' .. host .. ':' .. port .. '/echo')
            seen[#seen + 1] = err and err:kind() or 'reached ' .. host
        end
        return seen";
    let seen = run_as(&app, &context, address, body).await.unwrap();
    let all = vec!["PERMISSION_DENIED"; 9];
    assert_eq!(
        wippy_wit::json::from_value(&seen).unwrap(),
        serde_json::json!(all)
    );
}

/// A request goes where its URL says, which is what the guard was asked about, and it is one request.
#[tokio::test]
async fn headers_do_not_say_where_a_request_goes_or_ends() {
    let body = "
        local seen = {}
        for _, name in ipairs({ 'Host', 'content-length', 'Transfer-Encoding', 'connection', 'Upgrade', 'TE' }) do
            local _, err = http.post(base .. '/echo', { body = 'x', headers = { [name] = 'chunked' } })
            seen[#seen + 1] = err and err:kind() or name
        end
        local _, tunnel = http.request('CONNECT', base)
        local _, split = http.get(base .. '/echo', { headers = { a = 'b\\r\\nhost: c' } })
        return { seen, tunnel:message(), split:kind() }";
    insta::assert_snapshot!(shown(&run(body).await), @r#"[["INVALID","INVALID","INVALID","INVALID","INVALID","INVALID"],"requests cannot be made with the method CONNECT","INVALID"]"#);
}

/// Policies may ask about the request, as they may for a guest's.
#[tokio::test]
async fn policies_see_the_method_and_the_path() {
    let app = App::new();
    let address = server().await;
    let condition = |field: &str, value: &str| Condition {
        field: field.to_owned(),
        operator: Operator::Eq,
        operand: Operand::Value(value.into()),
    };
    let rule = Rule::Conditions(vec![
        condition("meta.method", "DELETE"),
        condition("meta.path", "/echo"),
    ]);
    let scope = denying(&[]).with(compiled(
        "test:no_delete",
        Effect::Deny,
        "http_client.request",
        "*",
        rule,
    ));
    let context = app.context();
    let context = context.with_identity(Some(Arc::new(Actor::new("ada"))), Some(Arc::new(scope)));
    let body = "local _, err = http.delete(base .. '/echo') return { http.get(base .. '/echo').status_code, err:kind() }";
    let seen = run_as(&app, &context, address, body).await.unwrap();
    assert_eq!(shown(&seen), r#"[200,"PERMISSION_DENIED"]"#);
}

#[tokio::test]
async fn a_password_in_a_url_is_sent_and_shown_nowhere() {
    let body = "
        local url = 'http://Aladdin:open%20sesame@127.0.0.1:' .. port
        local sent = http.get(url .. '/echo')
        local _, broken = http.get('http://Aladdin:sesame@:1/')
        local again = http.get(url .. '/again')
        return { sent.body:match('authorization: [^\\r\\n]+'), sent.url == base .. '/echo', broken:message(),
            again.body:match('authorization: [^\\r\\n]+') }";
    insta::assert_snapshot!(shown(&run(body).await), @r#"["authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",true,"`…@:1/` is no URL: empty host","authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]"#);
}

/// What comes counts as it comes, for all requests of a batch together, whatever each of them would take.
#[tokio::test]
async fn responses_count_against_the_memory_of_their_script() {
    let mut app = App::new();
    app.config.memory_limit = 4 << 20;
    let address = server().await;
    let body = "
        local function get(path) return http.get(base .. path, { max_response_body = 1 << 50 }) end
        local endless = select(2, get('/endless')):message()
        local _, several = pcall(function()
            local requests = {}
            for i = 1, 100 do requests[i] = { 'GET', base .. '/endless', { max_response_body = 1 << 50 } } end
            local _, errs = http.request_batch(requests)
            return errs[1]:message()
        end)
        return { endless, several, #get('/large').body }";
    let seen = run_as(&app, &app.context(), address, body).await.unwrap();
    insta::assert_snapshot!(shown(&seen), @r#"["the script needs more memory than its limit allows","the script needs more memory than its limit allows",100000]"#);
}
