//! Memory of a server in a process of its own: of connections that do nothing, `WIPPY_CONNECTIONS` of them, and of what
//! passes through.
#![cfg(target_os = "linux")]

use tokio::net::TcpStream;

use super::{
    program::Program,
    site::{Client, index, script},
};
use crate::shell::project;

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
async fn idle_connections_cost_little() {
    let project = project(&index(
        "    timeouts: { read: 10m, idle: 10m }\n",
        &script("main", "GET /", "res:write('here')"),
    ));
    let program = Program::serve(project.path(), &[]);
    let address = program.address;
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.1", "").await;
    assert_eq!(client.reply(false).await.text(), "here");
    let before = memory(program.id());
    // Half of them silent, half of them after a request.
    let wanted = std::env::var("WIPPY_CONNECTIONS").ok();
    let wanted = wanted.map_or(2000, |number| number.parse().unwrap());
    let most = descriptors().saturating_sub(200);
    assert!(wanted <= most, "only {most} files may be open: `ulimit -n`");
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
    let each = memory(program.id()).saturating_sub(before) / connections.len().max(1) as u64;
    println!("{} connections, {each} bytes each", connections.len());
    assert!(
        each < 32 << 10,
        "{each} bytes for each of {} connections",
        connections.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_through_is_not_kept() {
    let entries = [
        script(
            "endless",
            "GET /endless",
            "local piece = ('x'):rep(10000) while true do local err = res:write(piece) if err then return nil, err end end",
        ),
        script(
            "measure",
            "PUT /measure",
            "local stream, bytes = req:stream(), 0
local piece = stream:read()
while piece do bytes = bytes + #piece piece = stream:read() end
res:write(bytes)",
        ),
    ];
    let project = project(&index("", &entries.concat()));
    let program = Program::serve(project.path(), &[]);
    let mut client = Client::connect(program.address).await;
    client.send("PUT /measure HTTP/1.1", "warm").await;
    assert_eq!(client.reply(false).await.text(), "4");
    let before = memory(program.id());

    let mut deaf = Vec::new();
    for _ in 0..8 {
        let mut client = Client::connect(program.address).await;
        client.send("GET /endless HTTP/1.1", "").await;
        client.until("\r\n\r\n").await;
        deaf.push(client);
    }
    let size = 100 << 20;
    let piece = "x".repeat(1 << 20);
    client
        .write(&format!(
            "PUT /measure HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n"
        ))
        .await;
    for _ in 0..100 {
        client.write(&piece).await;
    }
    assert_eq!(client.reply(false).await.text(), size.to_string());
    let grown = memory(program.id()).saturating_sub(before);
    assert!(
        grown < 32 << 20,
        "{grown} bytes are kept for eight deaf clients and one large body"
    );
}
