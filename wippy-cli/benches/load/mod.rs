//! A load of HTTP requests over loopback, on connections that are kept, and what came of it.
//!
//! Subjects take turns, so that what the machine does meanwhile is shared by all of them: ratios are of one run. Of all
//! turns of a subject the median counts, for rates and for quantiles alike.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::{Builder, Runtime},
};

/// How long one turn lasts.
const TURN: Duration = Duration::from_millis(700);
/// Turns of each subject.
const TURNS: usize = 7;
/// Connections at once.
const CONNECTIONS: [usize; 3] = [1, 16, 128];

/// Something that answers.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) path: &'static str,
    /// How its answers begin.
    pub(crate) expected: &'static str,
}

/// One turn.
struct Turn {
    requests_per_second: f64,
    p50: Duration,
    p99: Duration,
}

/// Loads the subjects in turns and prints a table; ratios are to the first of them.
pub(crate) fn compare(subjects: &[Subject]) {
    let clients = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    println!(
        "{:<14} {:>12} {:>12} {:>10} {:>10} {:>8}",
        "", "connections", "requests/s", "p50", "p99", "ratio"
    );
    for connections in CONNECTIONS {
        let mut turns: Vec<Vec<Turn>> = subjects.iter().map(|_| Vec::new()).collect();
        for round in 0..=TURNS {
            for (subject, turns) in subjects.iter().zip(&mut turns) {
                let turn = Turn::of(&clients, subject, connections);
                // In the first round everything is still being touched for the first time.
                if round > 0 {
                    turns.push(turn);
                }
            }
        }
        let floor = median(&turns[0], |turn| turn.requests_per_second);
        for (subject, turns) in subjects.iter().zip(&turns) {
            let rate = median(turns, |turn| turn.requests_per_second);
            println!(
                "{:<14} {connections:>12} {rate:>12.0} {:>10.1?} {:>10.1?} {:>8.2}",
                subject.name,
                median(turns, |turn| turn.p50),
                median(turns, |turn| turn.p99),
                rate / floor
            );
        }
    }
}

fn median<T: PartialOrd>(turns: &[Turn], of: impl Fn(&Turn) -> T) -> T {
    let mut values: Vec<T> = turns.iter().map(of).collect();
    values.sort_by(|a, b| a.partial_cmp(b).unwrap());
    values.swap_remove(values.len() / 2)
}

impl Turn {
    fn of(clients: &Runtime, subject: &Subject, connections: usize) -> Self {
        let end = Instant::now() + TURN;
        let mut latencies = clients.block_on(async {
            let request = format!("GET {} HTTP/1.1\r\nhost: bench\r\n\r\n", subject.path);
            let clients: Vec<_> = (0..connections)
                .map(|_| tokio::spawn(client(subject.address, request.clone(), subject.expected, end)))
                .collect();
            let mut latencies = Vec::new();
            for client in clients {
                latencies.extend(client.await.unwrap());
            }
            latencies
        });
        latencies.sort_unstable();
        Self {
            requests_per_second: latencies.len() as f64 / TURN.as_secs_f64(),
            p50: latencies[latencies.len() / 2],
            p99: latencies[latencies.len() * 99 / 100],
        }
    }
}

/// One request after the other on one connection; their latencies.
async fn client(address: SocketAddr, request: String, expected: &str, end: Instant) -> Vec<Duration> {
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
        while !is_whole(&received, expected) {
            assert!(
                stream.read_buf(&mut received).await.unwrap() > 0,
                "the server closed"
            );
        }
        latencies.push(begun.elapsed());
    }
}

/// Whether a response has come, with a length or in chunks.
fn is_whole(received: &[u8], expected: &str) -> bool {
    let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let (head, body) = received.split_at(end + 4);
    let head = std::str::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let length = head
        .split("\r\n")
        .find_map(|line| line.strip_prefix("content-length: "));
    let (is_whole, body) = match length {
        Some(length) => (body.len() >= length.parse().unwrap(), body),
        None => (
            body.ends_with(b"0\r\n\r\n"),
            body.splitn(2, |byte| *byte == b'\n').nth(1).unwrap_or_default(),
        ),
    };
    assert!(
        !is_whole || body.starts_with(expected.as_bytes()),
        "{}",
        String::from_utf8_lossy(received)
    );
    is_whole
}
