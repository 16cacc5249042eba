//! Clients that are slow, large, gone or deaf, and handlers that do not end: each is met with the right answer, and
//! nobody else notices.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wippy_cli::{App, Config};
use wippy_security::{Call, CallError, Handler, Permit};

use super::site::{Site, index, script};
use crate::shell::project;

/// A site with short limits; `POST /echo` answers, and `/forever` and `/endless` are as they say.
async fn impatient() -> Site {
    let entries = [
        script("echo", "POST /echo", "res:write(req:body())"),
        script(
            "small",
            "POST /small",
            "local body, err = http.request({ max_body = 10 }):body() if err then return nil, err end res:write(body)",
        ),
        script("forever", "GET /forever", "time.sleep('1h')"),
        script("busy", "GET /busy", "while true do end"),
        script(
            "endless",
            "GET /endless",
            "local piece = ('x'):rep(10000) while true do local err = res:write(piece) if err then return nil, err end end",
        ),
    ];
    let service = "    timeouts: { read: 400ms, write: 600ms, idle: 400ms }\n";
    Site::new(&index(service, &entries.concat())).await
}

async fn is_well(site: &Site) {
    let began = Instant::now();
    assert_eq!(site.send("POST /echo HTTP/1.1", "fine").await.text(), "fine");
    assert!(began.elapsed() < Duration::from_secs(10), "others have to wait");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_answered_with_408() {
    let site = impatient().await;
    let mut slow = site.connect().await;
    slow.write("GET / HTTP/1.1\r\nhost: x\r\n").await;
    let mut silent = site.connect().await;
    is_well(&site).await;
    assert!(slow.rest().await.starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    assert_eq!(silent.rest().await, "", "who has asked nothing gets no answer");
}

#[tokio::test]
async fn a_byte_now_and_then_keeps_no_connection() {
    let site = impatient().await;
    let (_, mut writer) = site.connect().await.stream.into_split();
    let mut bytes = 0;
    while writer.write_all(b"a").await.is_ok() {
        bytes += 1;
        assert!(bytes < 3000, "it is still open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_body_that_does_not_end_is_answered_with_408() {
    let site = impatient().await;
    let mut slow = site.connect().await;
    slow.write("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n123")
        .await;
    is_well(&site).await;
    let reply = slow.reply(false).await;
    assert_eq!(reply.error().0, 408);
    assert_eq!(slow.rest().await, "", "the connection is closed");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let site = impatient().await;
    let mut client = site.connect().await;
    client.send("POST /echo HTTP/1.1", "x").await;
    assert_eq!(client.reply(false).await.status, 200);
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_slow_reader_is_not_idle() {
    let large = script("large", "GET /large", "return ('x'):rep(8 << 20)");
    let site = Site::new(&index("    timeouts: { idle: 300ms }\n", &large)).await;
    let mut client = site.connect().await;
    client.send("GET /large HTTP/1.1", "").await;
    client.until("\r\n\r\n").await;
    // The rest is read bit by bit, for longer than a connection may be idle.
    let mut received = 0;
    let mut piece = vec![0; 128 << 10];
    while received < 7 << 20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let bytes = client.stream.read(&mut piece).await.unwrap();
        assert!(bytes > 0, "it was cut off after {received} bytes");
        received += bytes;
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_by_its_kind() {
    let site = impatient().await;
    let long = "x".repeat(10_000);
    assert_eq!(site.get(&format!("/{long}")).await.error().0, 414);
    let many = (0..200).fold(String::new(), |head, number| head + &format!("\nx-{number}: y"));
    assert_eq!(
        site.send(&format!("POST /echo HTTP/1.1{many}"), "x").await.status,
        431
    );
    let mut client = site.connect().await;
    let _ = client
        .stream
        .write_all(format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(70_000)).as_bytes())
        .await;
    assert_eq!(client.reply(false).await.status, 431);

    let mut client = site.connect().await;
    client
        .write("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999999\r\n\r\n")
        .await;
    assert_eq!(client.reply(false).await.error().0, 413);
    // The bound of a script holds for what is announced and for what just comes.
    assert_eq!(
        site.send("POST /small HTTP/1.1", "0123456789").await.text(),
        "0123456789"
    );
    assert_eq!(
        site.send("POST /small HTTP/1.1", "0123456789x").await.error().0,
        413
    );
    let mut client = site.connect().await;
    client
        .write("POST /small HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nb\r\n0123456789x\r\n")
        .await;
    assert_eq!(client.reply(false).await.error().0, 413);
    is_well(&site).await;
}

#[tokio::test]
async fn nonsense_is_a_bad_request() {
    let site = impatient().await;
    for text in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ] {
        let mut client = site.connect().await;
        client.write(text).await;
        let answer = client.rest().await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
            "{text:?}: {answer}"
        );
    }
    is_well(&site).await;
}

#[tokio::test]
async fn a_handler_that_never_answers_is_cut_off() {
    let site = impatient().await;
    let mut waiting = Vec::new();
    for path in ["/forever", "/busy", "/forever", "/busy"] {
        let mut client = site.connect().await;
        client.send(&format!("GET {path} HTTP/1.1"), "").await;
        waiting.push(client);
    }
    is_well(&site).await;
    for mut client in waiting {
        assert_eq!(client.reply(false).await.error().0, 504);
    }
}

#[tokio::test]
async fn a_response_that_never_ends_waits_for_its_reader_and_is_cut_off() {
    let site = impatient().await;
    let mut deaf = site.connect().await;
    deaf.send("GET /endless HTTP/1.1", "").await;
    deaf.until("\r\n\r\n").await;
    is_well(&site).await;
    // Nothing was read for longer than the handler may take. What was sent meanwhile fits into the buffers of sockets.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let rest = deaf.rest().await;
    assert!(
        rest.len() < 64 << 20,
        "{} bytes were written for nobody",
        rest.len()
    );
    assert!(!rest.ends_with("0\r\n\r\n"), "the response looks whole");
    is_well(&site).await;
}

#[tokio::test]
async fn requests_that_wait_leave_their_function_to_others() {
    let body = "if req:query('wait') then time.sleep('1h') end res:write('here')";
    let site = Site::of_script(body).await;
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let mut client = site.connect().await;
        client.send("GET /?wait=1 HTTP/1.1", "").await;
        waiting.push(client);
    }
    assert_eq!(site.get("/").await.text(), "here");
}

/// Waits for ever, and counts how many do.
struct Waiting(Arc<AtomicUsize>);

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Handler for Waiting {
    async fn invoke<'a>(self: Arc<Self>, _permit: Permit, _call: Call<'a>) -> Result<(), CallError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let _counted = Counted(self.0.clone());
        std::future::pending().await
    }
}

async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come to pass");
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_call() {
    let entries = [
        script("main", "GET /", "funcs.call('app:wait')"),
        script("wait", "GET /wait", "return 1"),
        script(
            "begun",
            "GET /begun",
            "res:write('begun') res:flush() funcs.call('app:wait')",
        ),
    ];
    let directory = project(&index("", &entries.concat()));
    let app = App::load(directory.path(), &Config::default())
        .unwrap_or_else(|problems| panic!("{}", problems.render()));
    let waiting = Arc::new(AtomicUsize::new(0));
    let handler = Arc::new(Waiting(waiting.clone()));
    // Before it listens: routes hold the functions that are there when they come into force.
    app.dispatcher().insert("app:wait".parse().unwrap(), handler);
    let running = app.listen().await.unwrap().remove(0);
    let site = Site {
        app,
        running,
        directory: Some(directory),
    };
    for path in ["/", "/begun", "/wait"] {
        let mut client = site.connect().await;
        client.send(&format!("GET {path} HTTP/1.1"), "").await;
        until(|| waiting.load(Ordering::SeqCst) == 1).await;
        drop(client);
        until(|| waiting.load(Ordering::SeqCst) == 0).await;
    }
}
