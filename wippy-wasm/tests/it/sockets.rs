//! TCP, UDP and names: over real sockets on loopback, and as far as policies allow.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
};
use wippy_security::{CallError, Context, Effect};
use wippy_wit::Value;

use crate::{
    identity::{Allow, Deny, Log, under},
    support::{Wants, call, context, prepare},
};

/// A policy: effect, action, resource.
type Rule<'a> = (Effect, &'a str, &'a str);

pub fn guest(method: &str) -> Context {
    let wants = Wants::imports(&["wasi:sockets", "wasi:io"]);
    context(prepare("network", &format!("sockets#{method}"), wants).unwrap())
}

pub fn address(d: i64) -> Value {
    Value::array([127, 0, 0, d].map(Value::Integer))
}

fn port(port: u16) -> Value {
    Value::Integer(port.into())
}

/// What a refused call says: the guest's own word for it.
fn message(outcome: Result<Value, CallError>) -> String {
    outcome.unwrap_err().message().to_owned()
}

#[tokio::test]
async fn a_tcp_client_speaks_with_a_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        stream.write_all(text.to_uppercase().as_bytes()).await.unwrap();
    });
    let text = "a longer text, ".repeat(10_000);
    let answer = call(&guest("tcp-ask"), &[port(at), Value::from(text.as_str())]).await;
    assert_eq!(answer, Ok(Value::from(text.to_uppercase())));
    server.await.unwrap();
}

#[tokio::test]
async fn a_guest_listens_and_connects_to_itself() {
    let answer = call(&guest("tcp-loopback"), &[Value::from("round")]).await;
    assert_eq!(answer, Ok(Value::from("round")));
}

#[tokio::test]
async fn a_udp_client_speaks_with_a_server() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let mut buffer = [0; 100];
        for _ in 0..2 {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            socket.send_to(&buffer[..length], from).await.unwrap();
        }
    });
    for connected in [false, true] {
        let arguments = [port(at), Value::from("ping"), Value::Boolean(connected)];
        assert_eq!(call(&guest("udp-ask"), &arguments).await, Ok(Value::from("ping")));
    }
    server.await.unwrap();
    let answer = call(&guest("udp-loopback"), &[Value::from("round")]).await;
    assert_eq!(answer, Ok(Value::from("round")));
}

#[tokio::test]
async fn names_are_looked_up() {
    let found = call(&guest("resolve"), &[Value::from("localhost")])
        .await
        .unwrap();
    let Value::Table(addresses) = found else {
        panic!("expected a list")
    };
    assert!(
        addresses.array.contains(&Value::from("127.0.0.1")),
        "{addresses:?}"
    );
    let outcome = call(&guest("resolve"), &[Value::from("no such name")]).await;
    assert_eq!(message(outcome), "resolve: invalid-argument");
}

#[tokio::test]
async fn without_the_import_there_are_no_sockets() {
    let errors = prepare("network", "sockets#resolve", Wants::imports(&["wasi:io"])).unwrap_err();
    let missing: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(missing.len(), 7, "{missing:?}");
    assert!(missing[0].contains("wasi:sockets/"), "{missing:?}");
    assert_eq!(
        errors[0].help().as_deref(),
        Some("add `- wasi:sockets` to the entry's `imports`")
    );
}

/// Everything that a guest may ask the network for, each with what it says when it may not.
#[tokio::test]
async fn policies_decide_about_every_use() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = listener.local_addr().unwrap().port();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let udp = socket.local_addr().unwrap().port();
    let (call_any, bind) = ((Allow, "funcs.call", "*"), (Allow, "wasi.sockets.bind", "*"));
    let datagram = |connected| vec![port(udp), Value::from("ping"), Value::Boolean(connected)];
    let cases: [(_, _, &[Rule], _); 8] = [
        (
            "tcp-connect",
            vec![address(1), port(tcp)],
            &[],
            "connect: access-denied",
        ),
        (
            "tcp-connect",
            vec![address(1), port(tcp)],
            &[bind],
            "connect: access-denied",
        ),
        (
            "tcp-listen",
            vec![address(1), port(0)],
            &[],
            "bind: access-denied",
        ),
        (
            "tcp-loopback",
            vec![Value::from("x")],
            &[bind],
            "connect: access-denied",
        ),
        ("udp-ask", datagram(false), &[], "bind: access-denied"),
        ("udp-ask", datagram(false), &[bind], "send: access-denied"),
        ("udp-ask", datagram(true), &[bind], "stream: access-denied"),
        (
            "resolve",
            vec![Value::from("localhost")],
            &[bind],
            "resolve: access-denied",
        ),
    ];
    for (method, arguments, policies, expected) in cases {
        let policies = [&[call_any], policies].concat();
        let outcome = call(&under(&guest(method), &policies), &arguments).await;
        assert_eq!(message(outcome), expected, "{method}");
    }
}

#[tokio::test]
async fn policies_name_addresses_and_names() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = listener.local_addr().unwrap().port();
    let here = format!("127.0.0.1:{tcp}");
    let policies = [
        (Allow, "funcs.call", "*"),
        (Allow, "wasi.sockets.connect", here.as_str()),
        (Allow, "wasi.sockets.bind", "127.0.0.1:*"),
        (Allow, "wasi.sockets.resolve", "*"),
        (Deny, "wasi.sockets.resolve", "localhost"),
    ];
    let ask =
        async |method: &str, arguments: &[Value]| call(&under(&guest(method), &policies), arguments).await;

    assert_eq!(
        ask("tcp-connect", &[address(1), port(tcp)]).await,
        Ok(Value::Boolean(true))
    );
    let elsewhere = ask("tcp-connect", &[address(2), port(tcp)]).await;
    assert_eq!(message(elsewhere), "connect: access-denied");
    assert!(matches!(
        ask("tcp-listen", &[address(1), port(0)]).await,
        Ok(Value::Integer(_))
    ));
    let elsewhere = ask("tcp-listen", &[address(2), port(0)]).await;
    assert_eq!(message(elsewhere), "bind: access-denied");
    // No spelling of a name gets past a policy about it.
    for name in ["localhost", "LocalHost", "localhost.", "ｌocalhost"] {
        assert_eq!(
            message(ask("resolve", &[Value::from(name)]).await),
            "resolve: access-denied",
            "{name}"
        );
    }
}

#[tokio::test]
async fn refusals_are_in_the_audit_trail() {
    let log = Log::default();
    let collecting = log.collect();
    let context = under(&guest("tcp-connect"), &[(Allow, "funcs.call", "*")]);
    let outcome = call(&context, &[address(1), port(9)]).await;
    drop(collecting);
    assert_eq!(message(outcome), "connect: access-denied");
    let lines = log.lines_with("wippy::audit");
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["ada", "wasi.sockets.connect", "127.0.0.1:9", "refused"] {
        assert!(lines[0].contains(part), "{lines:?}");
    }
}

/// A kept instance is asked about in the name of each call that it runs.
#[tokio::test]
async fn each_call_has_its_own_permissions() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = listener.local_addr().unwrap().port();
    let plain = guest("tcp-connect");
    let refused = under(&plain, &[(Allow, "funcs.call", "*")]);
    let arguments = [address(1), port(tcp)];
    for _ in 0..2 {
        assert_eq!(call(&plain, &arguments).await, Ok(Value::Boolean(true)));
        assert_eq!(
            message(call(&refused, &arguments).await),
            "connect: access-denied"
        );
    }
}

/// DNS rebinding has nothing to begin with here: a guest connects to addresses, and each is asked about as it is used. That a
/// name may be looked up says nothing about where it leads, whatever it leads to by then.
#[tokio::test]
async fn a_name_gives_no_right_to_its_addresses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = listener.local_addr().unwrap().port();
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let policies = [
        (Allow, "*", "*"),
        (Deny, "wasi.sockets.connect", "127.0.0.1:*"),
        (Deny, "wasi.sockets.connect", "[::1]:*"),
    ];
    let ask =
        async |method: &str, arguments: &[Value]| call(&under(&guest(method), &policies), arguments).await;
    let found = ask("resolve", &[Value::from("localhost")]).await.unwrap();
    assert!(matches!(found, Value::Table(found) if !found.array.is_empty()));
    for _ in 0..3 {
        let outcome = ask("tcp-connect", &[address(1), port(tcp)]).await;
        assert_eq!(message(outcome), "connect: access-denied");
        let datagram = [
            port(udp.local_addr().unwrap().port()),
            Value::from("x"),
            Value::Boolean(false),
        ];
        assert_eq!(message(ask("udp-ask", &datagram).await), "send: access-denied");
    }
}
