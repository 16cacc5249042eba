//! What a request costs: an endpoint in Lua, and a mapped WebAssembly function, against a bare hyper handler.
//!
//! All of them serve in this process, and are loaded in turns over loopback by clients that wait for each answer.
//! `cargo bench -p wippy-cli --bench http`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark is a program that prints, and stops at the first problem"
)]

mod load;

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};
use wippy_cli::{App, Config};

use load::Subject;

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

fn main() {
    let servers = Builder::new_multi_thread().enable_all().build().unwrap();
    load::compare(&subjects(&servers));
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
    let ours = runtime.block_on(app.listen()).unwrap().remove(0).address();
    let subject = |name, address: SocketAddr, path, expected| Subject {
        name,
        address,
        path,
        expected,
    };
    vec![
        subject("hyper", floor, "/", "Hello, world!"),
        subject("lua", ours, "/lua", "Hello, world!"),
        subject("wasm", ours, "/wasm", "42"),
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
