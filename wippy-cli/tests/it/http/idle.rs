//! Ten thousand connections that do nothing, against a server in a process of its own.
#![cfg(target_os = "linux")]

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use tokio::net::TcpStream;

use super::site::{Client, index, script};
use crate::shell::project;

/// The server, ended with the test.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the program; its log is read on, so that it never waits for its reader.
fn serve(directory: &std::path::Path) -> (Served, SocketAddr) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wippy"));
    command
        .current_dir(directory)
        .args(["run"])
        .env_remove("WIPPY_LOG")
        .env("NO_COLOR", "1");
    let mut child = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let served = Served(child);
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert!(
            log.read_line(&mut line).unwrap() > 0,
            "it ended before it listened"
        );
        if let Some((_, rest)) = line.split_once("url=\"http://") {
            break rest.split('"').next().unwrap().parse().unwrap();
        }
    };
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    (served, address)
}

/// How much memory a process really has, in bytes.
fn memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// How many files this process may have open.
fn descriptors() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .unwrap();
    line.split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap_or(usize::MAX)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_cost_little() {
    let project = project(&index(
        "    timeouts: { read: 10m, idle: 10m }\n",
        &script("main", "GET /", "res:write('here')"),
    ));
    let (server, address) = serve(project.path());
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.1", "").await;
    assert_eq!(client.reply(false).await.text(), "here");
    let before = memory(server.0.id());
    // Half of them silent, half of them after a request.
    let wanted = descriptors().saturating_sub(200).min(10_000);
    let mut connections = Vec::with_capacity(wanted);
    for number in 0..wanted {
        if number % 2 == 0 {
            connections.push(TcpStream::connect(address).await.unwrap());
        } else {
            let mut client = Client::connect(address).await;
            client.send("GET / HTTP/1.1", "").await;
            assert_eq!(client.reply(false).await.status, 200);
            connections.push(client.stream);
        }
    }
    client.send("GET / HTTP/1.1", "").await;
    assert_eq!(client.reply(false).await.text(), "here");
    let each = memory(server.0.id()).saturating_sub(before) / connections.len().max(1) as u64;
    println!("{} connections, {each} bytes each", connections.len());
    assert!(
        each < 32 << 10,
        "{each} bytes for each of {} connections",
        connections.len()
    );
}
