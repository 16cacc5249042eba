//! Guests that wait in the host: the thread is free meanwhile, and a deadline or a cancellation ends the wait.

use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use wippy_security::{CallError, Context, ErrorKind};
use wippy_wit::Value;

use crate::{
    http_client,
    server::{Body, Server, Step, steps},
    sockets,
    support::{Wants, call, context, prepare},
};

/// A guest that waits for ever, in one way.
struct Waiter {
    how: &'static str,
    context: Context,
    arguments: Vec<Value>,
}

impl Waiter {
    async fn call(&self, context: &Context) -> Result<Value, CallError> {
        call(context, &self.arguments).await
    }
}

/// One guest for each way to wait in the host, and the servers that keep them waiting.
async fn waiters() -> (Vec<Waiter>, (TcpListener, Server, Server)) {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = Value::Integer(silent.local_addr().unwrap().port().into());
    let headless =
        Server::start(async |_: Request<Incoming>| -> Response<Body> { std::future::pending().await }).await;
    let endless = Server::start(async |_: Request<Incoming>| {
        Response::new(steps([
            Step::Data("beginning"),
            Step::Wait(Duration::from_hours(1)),
        ]))
    })
    .await;
    let sleeper = Wants::imports(&["wasi:clocks", "wasi:poll"]);
    let sleeper = context(prepare("sleeper", "test-sleep#sleep-ms", sleeper).unwrap());
    let get = |url: String| {
        let arguments = vec![Value::from("GET"), Value::from(url), Value::array([])];
        (http_client::guest(), arguments)
    };
    let waiter = |how, (context, arguments)| Waiter {
        how,
        context,
        arguments,
    };
    let waiters = vec![
        waiter("sleep", (sleeper, vec![Value::Integer(3_600_000)])),
        waiter(
            "socket read",
            (sockets::guest("tcp-ask"), vec![port, Value::from("x")]),
        ),
        waiter("accept", (sockets::guest("tcp-accept"), vec![])),
        waiter("datagram", (sockets::guest("udp-receive"), vec![])),
        waiter("response head", get(headless.url("/"))),
        waiter("response body", get(endless.url("/"))),
    ];
    (waiters, (silent, headless, endless))
}

#[tokio::test]
async fn a_deadline_ends_every_wait() {
    let (waiters, _servers) = waiters().await;
    for waiter in &waiters {
        let begun = Instant::now();
        let context = waiter.context.with_timeout(Duration::from_millis(100));
        let error = waiter.call(&context).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{}: {error}", waiter.how);
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{}: {:?}",
            waiter.how,
            begun.elapsed()
        );
    }
}

/// All of them at once, on one thread, beside a timer that fires on time.
#[tokio::test]
async fn waiting_guests_leave_their_thread_to_others() {
    let (waiters, _servers) = waiters().await;
    let mut waiting = tokio::task::JoinSet::new();
    for waiter in waiters {
        waiting.spawn(async move { (waiter.how, waiter.call(&waiter.context).await) });
    }
    let begun = Instant::now();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    if let Some(ended) = waiting.try_join_next() {
        panic!("{ended:?}");
    }
    // Cancelling is dropping: each of them goes at once.
    let begun = Instant::now();
    waiting.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
