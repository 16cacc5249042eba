//! A component of the proxy world behind an endpoint, a fresh instance for each request, against `wasmtime serve`.
//!
//! Both programs serve the same component in processes of their own and are loaded in turns. Ours comes twice: with its
//! access log going nowhere, and without it, since `wasmtime serve` has none.
//!
//! ```sh
//! cargo install wasmtime-cli --version =48.0.8 --locked --no-default-features \
//!     --features run,serve,component-model-async,cranelift,pooling-allocator,parallel-compilation --root /tmp/wasmtime-48
//! WASMTIME=/tmp/wasmtime-48/bin/wasmtime cargo bench -p wippy-cli --bench serve
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark is a program that prints, and stops at the first problem"
)]

mod load;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use load::Subject;

const INDEX: &str = "namespace: bench
entries:
  - name: gateway
    kind: http.service
    addr: 127.0.0.1:0
    lifecycle: { auto_start: true }
  - name: all
    kind: http.router
    meta: { server: gateway }
  - name: components
    kind: fs.directory
    directory: ./components
  - name: proxy
    kind: function.wasm
    fs: components
    path: http-proxy.wasm
    hash: HASH
    method: wasi:http/incoming-handler#handle
    imports: [wasi:clocks, wasi:http, wasi:io]
    transport: wasi-http
  - { name: proxy.endpoint, kind: http.endpoint, meta: { router: all }, method: GET, path: /hello, func: proxy }
";

/// A program that serves; it ends with the benchmark.
struct Server {
    child: Child,
    address: SocketAddr,
}

fn main() {
    let wasmtime = std::env::var_os("WASMTIME").unwrap_or_else(|| "wasmtime".into());
    let version = Command::new(&wasmtime).arg("--version").output();
    let Ok(version) = version else {
        println!("there is no `wasmtime`; WASMTIME names it, and the top of this file says how to get one");
        return;
    };
    println!("against {}", String::from_utf8_lossy(&version.stdout).trim());

    let component = fixtures::wasm("http-proxy");
    let mut theirs = Command::new(wasmtime);
    theirs
        .args(["serve", "-S", "cli", "--addr", "127.0.0.1:0"])
        .arg(&component);
    let directory = tempfile::tempdir().unwrap();
    project(directory.path(), &component);
    let ours = |log| {
        let mut ours = Command::new(env!("CARGO_BIN_EXE_wippy"));
        ours.current_dir(directory.path())
            .arg("run")
            .env("WIPPY_LOG", log);
        ours
    };
    let servers = [
        ("wasmtime serve", Server::start(theirs)),
        ("wippy, logging", Server::start(ours("info"))),
        // The line that says where it listens is in the log, too.
        (
            "wippy",
            Server::start(ours("warn,wippy::http=info,wippy::http::access=off")),
        ),
    ];
    let subjects = servers.each_ref().map(|(name, server)| Subject {
        name,
        address: server.address,
        path: "/hello",
        expected: "hello\n",
    });
    load::compare(&subjects);
}

fn project(directory: &Path, component: &Path) {
    let bytes = fs::read(component).unwrap();
    let hash = wippy_wasm::sha256(&bytes);
    fs::create_dir(directory.join("src")).unwrap();
    fs::create_dir(directory.join("components")).unwrap();
    fs::write(directory.join("components/http-proxy.wasm"), bytes).unwrap();
    fs::write(directory.join("src/_index.yaml"), INDEX.replace("HASH", &hash)).unwrap();
}

impl Server {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let address = lines.find_map(|line| address(&line)).expect("it listens");
        // Whoever writes a log must not wait for its reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a line says that its program listens.
fn address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    rest.split(['"', '/']).next()?.parse().ok()
}
