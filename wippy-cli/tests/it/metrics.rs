//! The endpoint that Prometheus reads.

use std::collections::BTreeMap;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use wippy_cli::{App, Config, MetricsEndpoint, config::PrometheusConfig};
use wippy_wit::Value;

use crate::{
    http::site::{Client, index, script},
    shell::{assert_transcript, project, transcript, write},
};

const INDEX: &str = r#"namespace: app
entries:
  - name: answer
    kind: function.wat
    source: |
      (module
        (memory 2)
        (func (export "answer") (param i32) (result i32)
          (if (i32.eqz (local.get 0)) (then unreachable))
          (local.get 0)))
    wit: "answer: func(x: s32) -> s32;"
    method: answer
  - name: script
    kind: function.lua
    method: main
    modules: [funcs]
    # What a call leaves is there for the next one, so that there is a state to be counted.
    pool: { reuse: always }
    source: |
      local funcs = require("funcs")
      return { main = function(x)
        for _ = 1, 3 do funcs.call("app:answer", x) end
        return x
      end }
"#;

/// An application whose metrics can be read.
struct Measured {
    app: App,
    endpoint: MetricsEndpoint,
    _project: tempfile::TempDir,
}

impl Measured {
    async fn new(index: &str) -> Self {
        let project = project(index);
        let config = Config {
            prometheus: Some(PrometheusConfig {
                address: Some("127.0.0.1:0".to_owned()),
            }),
            ..Config::default()
        };
        let app =
            App::load(project.path(), &config).unwrap_or_else(|problems| panic!("{}", problems.render()));
        let endpoint = app.serve_metrics().await.unwrap().unwrap();
        Self {
            app,
            endpoint,
            _project: project,
        }
    }

    async fn call(&self, name: &str, argument: i64) -> bool {
        let arguments = vec![Value::Integer(argument)];
        self.app.call(&name.parse().unwrap(), arguments).await.is_ok()
    }

    /// What the endpoint answers to a request line.
    async fn ask(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(self.endpoint.address()).await.unwrap();
        let request = format!("{line}\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Every sample, by its name and labels.
    async fn samples(&self) -> BTreeMap<String, f64> {
        let answer = self.ask("GET /metrics HTTP/1.1").await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(
            head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
            "{head}"
        );
        samples(body)
    }
}

/// Reads the text format, and insists on it: each sample belongs to the family that was announced last.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let (mut help, mut family) = ("", "");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split(' ').next().unwrap();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, help, "a family has a help text");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            family = name;
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let base = name.split('{').next().unwrap();
            let part = base
                .strip_prefix(family)
                .unwrap_or_else(|| panic!("{line} in {family}"));
            assert!(["", "_bucket", "_sum", "_count"].contains(&part), "{line}");
            let former = samples.insert(name.to_owned(), value.parse().unwrap());
            assert_eq!(former, None, "{name} is there once");
        }
    }
    samples
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_counted_by_entry() {
    let measured = Measured::new(INDEX).await;
    let before = measured.samples().await;
    assert_eq!(before.get("wippy_calls_total{entry=\"app:answer\"}"), Some(&0.0));
    assert!(measured.call("app:answer", 7).await);
    assert!(measured.call("app:script", 7).await);
    assert!(!measured.call("app:answer", 0).await);

    let after = measured.samples().await;
    let expected = [
        ("wippy_calls_total{entry=\"app:answer\"}", 5.0),
        ("wippy_calls_total{entry=\"app:script\"}", 1.0),
        (
            "wippy_call_errors_total{entry=\"app:answer\",kind=\"INTERNAL\"}",
            1.0,
        ),
        ("wippy_call_duration_seconds_count{entry=\"app:answer\"}", 5.0),
        (
            "wippy_call_duration_seconds_bucket{entry=\"app:answer\",le=\"+Inf\"}",
            5.0,
        ),
        ("wippy_calls_waiting{entry=\"app:answer\"}", 0.0),
        ("wippy_instances{entry=\"app:answer\",state=\"active\"}", 0.0),
        ("wippy_instances{entry=\"app:script\",state=\"idle\"}", 1.0),
        // From outside twice, and one that the script kept for its three calls.
        ("wippy_instances_created_total{entry=\"app:answer\"}", 3.0),
        ("wippy_instances_created_total{entry=\"app:script\"}", 1.0),
        (
            "wippy_module_source{entry=\"app:answer\",source=\"compiled\"}",
            1.0,
        ),
        ("wippy_compilations_total", 1.0),
        ("wippy_compilation_cache_hits_total", 0.0),
        ("wippy_scheduler_threads", 2.0),
    ];
    for (name, value) in expected {
        assert_eq!(after.get(name), Some(&value), "{name} in {after:#?}");
    }
    assert!(after["wippy_call_duration_seconds_sum{entry=\"app:answer\"}"] > 0.0);
    assert!(after["wippy_instance_memory_bytes{entry=\"app:script\"}"] > 0.0);
    // A counter that is not one that never falls would not be one.
    for (name, value) in before.iter().filter(|(name, _)| name.contains("_total")) {
        assert!(after[name] >= *value, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_one_entry_has_goes_with_it() {
    let measured = Measured::new(INDEX).await;
    assert!(measured.call("app:script", 1).await);
    let labels: Vec<String> = measured.samples().await.into_keys().collect();
    let entries: std::collections::BTreeSet<&str> = labels
        .iter()
        .filter_map(|name| name.split("entry=\"").nth(1)?.split('"').next())
        .collect();
    assert_eq!(
        entries.into_iter().collect::<Vec<_>>(),
        ["app:answer", "app:script"]
    );
    // A call of what is not there makes no series.
    let missing = "app:nobody".parse().unwrap();
    assert!(measured.app.call(&missing, vec![]).await.is_err());
    assert!(!measured.ask("GET /metrics HTTP/1.1").await.contains("app:nobody"));
}

/// What the service answered, and how its function fared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_counted_by_service() {
    let index = index(
        "",
        &script(
            "main",
            "GET /{what}",
            "if req:param(\"what\") == \"bad\" then error(\"bad\") end res:write(\"fine\")",
        ),
    );
    let measured = Measured::new(&index).await;
    let running = measured.app.listen().await.unwrap().remove(0);
    for (path, status) in [("/good", 200), ("/good", 200), ("/bad", 500), ("/a/b", 404)] {
        let mut client = Client::connect(running.address()).await;
        client
            .send(&format!("GET {path} HTTP/1.1\nconnection: close"), "")
            .await;
        assert_eq!(client.reply(false).await.status, status, "{path}");
        // The request is over when its connection is.
        client.rest().await;
    }
    let samples = measured.samples().await;
    for (name, value) in [
        (
            "wippy_http_requests_total{service=\"app:gateway\",code=\"2xx\"}",
            2.0,
        ),
        (
            "wippy_http_requests_total{service=\"app:gateway\",code=\"4xx\"}",
            1.0,
        ),
        (
            "wippy_http_requests_total{service=\"app:gateway\",code=\"5xx\"}",
            1.0,
        ),
        (
            "wippy_http_requests_total{service=\"app:gateway\",code=\"none\"}",
            0.0,
        ),
        (
            "wippy_http_request_duration_seconds_count{service=\"app:gateway\"}",
            4.0,
        ),
        ("wippy_http_requests_running{service=\"app:gateway\"}", 0.0),
        ("wippy_calls_total{entry=\"app:main\"}", 3.0),
        (
            "wippy_call_errors_total{entry=\"app:main\",kind=\"INTERNAL\"}",
            1.0,
        ),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name} in {samples:#?}");
    }
}

#[tokio::test]
async fn there_is_nothing_else_at_the_address() {
    let measured = Measured::new(INDEX).await;
    let answer = measured.ask("GET / HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let answer = measured.ask("POST /metrics HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    let answer = measured.ask("HEAD /metrics HTTP/1.1").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn without_the_section_there_is_no_endpoint() {
    let project = project(INDEX);
    let app = App::load(project.path(), &Config::default()).unwrap();
    assert!(app.serve_metrics().await.unwrap().is_none());
}

#[test]
fn an_address_that_is_none_is_reported() {
    let project = project(INDEX);
    write(
        project.path(),
        ".wippy.yaml",
        "prometheus: { enabled: true, address: \"9090\", adress: x }\n",
    );
    assert_transcript!(transcript(project.path(), &["lint"]));
}

#[test]
fn an_address_that_is_taken_keeps_the_run_from_starting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let project = project(INDEX);
    write(
        project.path(),
        ".wippy.yaml",
        &format!("prometheus: {{ enabled: true, address: \"{address}\" }}\n"),
    );
    let said = transcript(project.path(), &["run"]);
    assert!(said.ends_with("exit code 1"), "{said}");
    assert!(said.contains("(`prometheus.address`)"), "{said}");
}
