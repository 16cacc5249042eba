//! Traces as a collector gets them: over a real socket, in the form of OTLP.
//!
//! `cargo test -p wippy-cli --features otel-test --test it -- otel`

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value as Attribute,
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message as _;
use tokio::{net::TcpListener, task::JoinHandle};
use wippy_cli::{App, Config, config::OtelConfig};

use crate::{
    http::site::{Client, index, script},
    shell::{FILES, guest, project, write},
};

/// Takes traces in and keeps them.
struct Collector {
    address: SocketAddr,
    received: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    accepting: JoinHandle<()>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = received.clone();
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let kept = kept.clone();
                tokio::spawn(async move {
                    let take = service_fn(|request| take(request, &kept));
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), take)
                        .await;
                });
            }
        });
        Self {
            address,
            received,
            accepting,
        }
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let resources = received.iter().flat_map(|request| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn take(
    request: Request<Incoming>,
    kept: &Mutex<Vec<ExportTraceServiceRequest>>,
) -> Result<Response<Empty<bytes::Bytes>>, Infallible> {
    assert_eq!(request.uri().path(), "/v1/traces");
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    kept.lock()
        .unwrap()
        .push(ExportTraceServiceRequest::decode(body).unwrap());
    Ok(Response::new(Empty::new()))
}

fn attribute<'s>(span: &'s Span, name: &str) -> Option<&'s str> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Attribute::StringValue(text) => Some(text),
        _ => None,
    }
}

/// A script that calls a guest, and another endpoint of the same service.
fn application() -> tempfile::TempDir {
    let folder = project("");
    let code = guest(folder.path(), "bench");
    let outer = script(
        "outer",
        "GET /outer/{port}",
        "local client = require(\"http_client\")\n\
         local port = req:param(\"port\")\n\
         local sum = funcs.call(\"app:add\", 1, 2)\n\
         local answer, err = client.get(\"http://127.0.0.1:\" .. port .. \"/inner\")\n\
         if err then error(err) end\n\
         res:write(tostring(sum) .. \" \" .. answer.body)",
    );
    let outer = outer.replace("funcs, json]", "funcs, json, http_client]");
    let inner = script(
        "inner",
        "GET /inner",
        "res:write(req:header(\"traceparent\") or \"none\")",
    );
    let add = format!("{FILES}  - name: add\n    kind: function.wasm\n{code}    method: add\n");
    write(
        folder.path(),
        "src/_index.yaml",
        &index("", &format!("{outer}{inner}{add}")),
    );
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_one_trace_from_its_client_to_the_guest_and_on() {
    let collector = Collector::start().await;
    let folder = application();
    let config = Config {
        otel: Some(OtelConfig {
            endpoint: Some(format!("http://{}", collector.address)),
            service_name: Some("shop".to_owned()),
            ..OtelConfig::default()
        }),
        ..Config::default()
    };
    let app = App::load(folder.path(), &config).unwrap_or_else(|problems| panic!("{}", problems.render()));
    let running = app.listen().await.unwrap().remove(0);
    let port = running.address().port();

    let mut client = Client::connect(running.address()).await;
    let head = format!(
        "GET /outer/{port} HTTP/1.1\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    );
    client.send(&head, "").await;
    let reply = client.reply(false).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let handed_on = reply.text().strip_prefix("3 ").unwrap().to_owned();

    let tracer = app.dispatcher().tracer().unwrap().clone();
    tokio::task::spawn_blocking(move || tracer.finish())
        .await
        .unwrap();
    let spans = collector.spans();
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    assert!(spans.iter().all(|span| span.trace_id == trace), "{spans:#?}");
    assert!(
        spans
            .iter()
            .all(|span| span.end_time_unix_nano >= span.start_time_unix_nano)
    );

    let named = |name: &str, entry: Option<&str>| {
        let mut found = spans
            .iter()
            .filter(|span| span.name == name && attribute(span, "wippy.entry") == entry);
        let span = found
            .next()
            .unwrap_or_else(|| panic!("no {name} {entry:?}: {spans:#?}"));
        assert!(found.next().is_none(), "one {name} {entry:?}: {spans:#?}");
        span
    };
    let outer = named("GET /outer/{port}", None);
    assert_eq!(outer.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    assert_eq!(outer.kind, SpanKind::Server as i32);
    assert_eq!(attribute(outer, "http.response.status_code"), Some("200"));
    let script = named("call", Some("app:outer"));
    assert_eq!(script.parent_span_id, outer.span_id);
    let guest = named("call", Some("app:add"));
    assert_eq!(guest.parent_span_id, script.span_id);
    for part in ["instantiate", "lower", "run", "lift"] {
        let part = named(part, None);
        assert_eq!(part.parent_span_id, guest.span_id, "{}", part.name);
        assert!(part.start_time_unix_nano >= guest.start_time_unix_nano);
        assert!(part.end_time_unix_nano <= guest.end_time_unix_nano);
    }
    // The request that the script made is a part of its call, on the other side of a socket.
    let inner = named("GET /inner", None);
    assert_eq!(inner.parent_span_id, script.span_id);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        handed_on,
        format!("00-{}-{}-01", hex(&trace), hex(&script.span_id))
    );
    assert!(spans.iter().all(|span| {
        let status = span.status.as_ref().map_or(0, |status| status.code);
        status == StatusCode::Unset as i32
    }));
    let received = collector.received.lock().unwrap();
    let resource = received[0].resource_spans[0].resource.as_ref().unwrap();
    let service = resource
        .attributes
        .iter()
        .find(|attribute| attribute.key == "service.name");
    let name = service.unwrap().value.as_ref().unwrap().value.as_ref().unwrap();
    assert_eq!(*name, Attribute::StringValue("shop".to_owned()));
}
