//! What a request costs: an endpoint in Lua, and a mapped WebAssembly function, against a bare hyper handler.
//!
//! All of them serve in this process, and are loaded in turns over loopback by clients that wait for each answer, so
//! that a ratio is of one run on one machine. `cargo bench -p wippy-cli --bench http`; a word as argument runs only what has
//! it in its name.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark is a program that prints, and stops at the first problem"
)]

use std::{
    convert::Infallible,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};
use wippy_cli::{App, Config};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const INDEX: &str = r#"namespace: bench
entries:
  - name: gateway
    kind: http.service
    addr: 127.0.0.1:0
    lifecycle: { auto_start: true }
  - name: all
    kind: http.router
    meta: { server: gateway }
  - name: lua
    kind: function.lua
    method: main
    modules: [http]
    source: |
      local http = require("http")
      return { main = function()
        local res = http.response()
        res:set_content_type("text/plain")
        res:write("Hello, world!")
      end }
  - { name: lua.endpoint, kind: http.endpoint, meta: { router: all }, method: GET, path: /lua, func: lua }
  - name: wasm
    kind: function.wat
    method: answer
    transport: wasi-http
    wit: "answer: func() -> s32;"
    source: (module (func (export "answer") (result i32) i32.const 42))
  - { name: wasm.endpoint, kind: http.endpoint, meta: { router: all }, method: GET, path: /wasm, func: wasm }
"#;

/// How long one turn lasts.
const TURN: Duration = Duration::from_millis(700);
/// Turns of each subject.
const TURNS: usize = 7;

/// Something that answers.
struct Subject {
    name: &'static str,
    address: SocketAddr,
    request: String,
}

/// What the turns of a subject came to.
#[derive(Default)]
struct Outcome {
    requests_per_second: Vec<f64>,
    latencies: Vec<Duration>,
}

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let servers = Builder::new_multi_thread().enable_all().build().unwrap();
    let clients = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let subjects = subjects(&servers);
    println!(
        "{:<6} {:>12} {:>12} {:>10} {:>10} {:>8}",
        "", "connections", "requests/s", "p50", "p99", "ratio"
    );
    for connections in [1, 16, 128] {
        let mut outcomes: Vec<Outcome> = subjects.iter().map(|_| Outcome::default()).collect();
        for _ in 0..TURNS {
            for (subject, outcome) in subjects.iter().zip(&mut outcomes) {
                if subject.name == "hyper"
                    || wanted.is_empty()
                    || wanted.iter().any(|word| subject.name.contains(word.as_str()))
                {
                    outcome.add(&clients.block_on(turn(subject, connections)));
                }
            }
        }
        let floor = outcomes[0].rate();
        for (subject, outcome) in subjects.iter().zip(&mut outcomes) {
            if !outcome.latencies.is_empty() {
                outcome.latencies.sort_unstable();
                println!(
                    "{:<6} {connections:>12} {:>12.0} {:>10.1?} {:>10.1?} {:>8.2}",
                    subject.name,
                    outcome.rate(),
                    outcome.quantile(0.5),
                    outcome.quantile(0.99),
                    outcome.rate() / floor
                );
            }
        }
    }
}

/// The floor first.
fn subjects(runtime: &Runtime) -> Vec<Subject> {
    let floor = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(bare(listener));
        address
    });
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("src")).unwrap();
    std::fs::write(directory.path().join("src/_index.yaml"), INDEX).unwrap();
    let app = App::load(directory.path(), &Config::default())
        .unwrap_or_else(|problems| panic!("{}", problems.render()));
    let app = Box::leak(Box::new(app));
    let running = runtime.block_on(app.listen()).unwrap().remove(0);
    let ours = running.address();
    let subject = |name, address, path| Subject {
        name,
        address,
        request: format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n"),
    };
    vec![
        subject("hyper", floor, "/"),
        subject("lua", ours, "/lua"),
        subject("wasm", ours, "/wasm"),
    ]
}

/// The least that a server with hyper can be.
async fn bare(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let service = service_fn(|_: Request<Incoming>| async {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"Hello, world!"))))
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Requests on that many connections for one turn; the latencies.
async fn turn(subject: &Subject, connections: usize) -> Vec<Duration> {
    let end = Instant::now() + TURN;
    let clients: Vec<_> = (0..connections)
        .map(|_| tokio::spawn(client(subject.address, subject.request.clone(), end)))
        .collect();
    let mut latencies = Vec::new();
    for client in clients {
        latencies.extend(client.await.unwrap());
    }
    latencies
}

async fn client(address: SocketAddr, request: String, end: Instant) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut latencies = Vec::new();
    let mut received = Vec::with_capacity(1024);
    loop {
        let begun = Instant::now();
        if begun >= end {
            return latencies;
        }
        stream.write_all(request.as_bytes()).await.unwrap();
        received.clear();
        while !is_whole(&received) {
            assert!(
                stream.read_buf(&mut received).await.unwrap() > 0,
                "the server closed"
            );
        }
        latencies.push(begun.elapsed());
    }
}

/// Whether a response with a length has come.
fn is_whole(received: &[u8]) -> bool {
    let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let head = std::str::from_utf8(&received[..end]).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let length = head
        .split("\r\n")
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    received.len() >= end + 4 + length.parse::<usize>().unwrap()
}

impl Outcome {
    fn add(&mut self, latencies: &[Duration]) {
        self.requests_per_second
            .push(latencies.len() as f64 / TURN.as_secs_f64());
        self.latencies.extend(latencies);
    }

    /// The median of the turns.
    fn rate(&mut self) -> f64 {
        self.requests_per_second.sort_by(f64::total_cmp);
        self.requests_per_second[self.requests_per_second.len() / 2]
    }

    fn quantile(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index between nought and the length"
        )]
        let index = ((self.latencies.len() - 1) as f64 * share) as usize;
        self.latencies[index]
    }
}
