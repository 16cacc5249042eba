//! An application that serves, and a client that shows every byte.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use wippy_cli::{
    App, Config,
    http::{HttpServer, Running},
};

use crate::shell::project;

/// A test that waits longer than this for bytes has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// An application with its first service listening.
pub(crate) struct Site {
    pub(crate) app: App,
    pub(crate) running: Running,
    /// Where its files are.
    pub(crate) directory: Option<TempDir>,
}

/// What stands at the top of every index here: a service with these fields, and a router without a prefix.
pub(crate) fn index(service: &str, entries: &str) -> String {
    format!(
        "namespace: app\nentries:\n  - name: gateway\n    kind: http.service\n    addr: 127.0.0.1:0\n    \
         lifecycle: {{ auto_start: true }}\n{service}  - name: all\n    kind: http.router\n    \
         meta: {{ server: gateway }}\n{entries}"
    )
}

/// Lines at a depth of a YAML file.
pub(crate) fn indented(depth: usize, text: &str) -> String {
    let margin = " ".repeat(depth);
    format!(
        "{margin}{}\n",
        text.trim_end().replace('\n', &format!("\n{margin}"))
    )
}

/// A script behind an endpoint; `body` sees `req` and `res`.
pub(crate) fn script(name: &str, route: &str, body: &str) -> String {
    let (method, path) = route.split_once(' ').unwrap();
    let body = indented(6, body);
    format!(
        "  - name: {name}\n    kind: function.lua\n    method: main\n    modules: [http, time, funcs, json]\n    source: |\n      \
         local http, time, funcs, json = require(\"http\"), require(\"time\"), require(\"funcs\"), require(\"json\")\n      \
         return {{ main = function()\n      local req, res = http.request(), http.response()\n{body}      end }}\n  \
         - name: {name}.endpoint\n    kind: http.endpoint\n    meta: {{ router: all }}\n    method: \"{method}\"\n    path: {path}\n    func: {name}\n"
    )
}

impl Site {
    /// Serves the entries, the first service of which is `app:gateway`.
    pub(crate) async fn new(index: &str) -> Self {
        let directory = project(index);
        let mut site = Self::open(directory.path()).await;
        site.directory = Some(directory);
        site
    }

    /// Serves one script at `GET /`.
    pub(crate) async fn of_script(body: &str) -> Self {
        Self::new(&index("", &script("main", "* /", body))).await
    }

    /// Serves a project.
    pub(crate) async fn open(directory: &std::path::Path) -> Self {
        let app = App::load(directory, &Config::default())
            .unwrap_or_else(|problems| panic!("{}", problems.render()));
        let running = app.listen().await.unwrap().remove(0);
        Self {
            app,
            running,
            directory: None,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address()
    }

    pub(crate) fn server(&self) -> Arc<HttpServer> {
        Arc::clone(self.running.server())
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.address()).await
    }

    /// Sends one request on a connection of its own, `head` without its last line.
    pub(crate) async fn send(&self, head: &str, body: &str) -> Reply {
        let mut client = self.connect().await;
        client.send(head, body).await;
        client.reply(head.starts_with("HEAD")).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(&format!("GET {path} HTTP/1.1"), "").await
    }
}

/// A connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            received: Vec::new(),
        }
    }

    /// Sends a request with the headers that it needs.
    pub(crate) async fn send(&mut self, head: &str, body: &str) {
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("content-length: {}\r\n", body.len())
        };
        let head = head.replace('\n', "\r\n");
        self.write(&format!("{head}\r\nhost: test\r\n{length}\r\n{body}"))
            .await;
    }

    pub(crate) async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Receives more; false at the end.
    pub(crate) async fn receive(&mut self) -> bool {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.received));
        let read = read.await.expect("the server answers in time");
        read.is_ok_and(|bytes| bytes > 0)
    }

    /// Receives until the server closes; everything that came.
    pub(crate) async fn rest(&mut self) -> String {
        while self.receive().await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.received)).into_owned()
    }

    /// Receives until `mark` has come; everything up to it.
    pub(crate) async fn until(&mut self, mark: &str) -> String {
        loop {
            if let Some(at) = find(&self.received, mark.as_bytes()) {
                let rest = self.received.split_off(at + mark.len());
                let text = std::mem::replace(&mut self.received, rest);
                return String::from_utf8_lossy(&text).into_owned();
            }
            assert!(
                self.receive().await,
                "no `{mark}` in `{}`",
                String::from_utf8_lossy(&self.received)
            );
        }
    }

    /// Receives one response.
    pub(crate) async fn reply(&mut self, is_head: bool) -> Reply {
        let head = self.until("\r\n\r\n").await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply {
            status,
            head,
            body: Vec::new(),
        };
        if is_head || matches!(status, 204 | 304) {
            return reply;
        }
        if reply.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = self.until("\r\n").await;
                let size = usize::from_str_radix(size.trim(), 16).unwrap();
                reply.body.extend(self.exactly(size).await);
                self.until("\r\n").await;
                if size == 0 {
                    return reply;
                }
            }
        }
        match reply
            .header("content-length")
            .map(|length| length.parse().unwrap())
        {
            Some(length) => reply.body = self.exactly(length).await,
            None => reply.body = self.rest().await.into_bytes(),
        }
        reply
    }

    async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.received.len() < length {
            assert!(self.receive().await, "the body ended too early");
        }
        let rest = self.received.split_off(length);
        std::mem::replace(&mut self.received, rest)
    }
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The kind and the message of an error.
    pub(crate) fn error(&self) -> (u16, String, String) {
        let document = self.json();
        let text = |name: &str| {
            let field = document.pointer(&format!("/error/{name}"));
            field.and_then(serde_json::Value::as_str).unwrap().to_owned()
        };
        assert_eq!(Some(text("call_id").as_str()), self.header("x-request-id"));
        (self.status, text("kind"), text("message"))
    }
}
