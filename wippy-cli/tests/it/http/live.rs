//! Routes that change while requests are under way.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use serde_json::json;
use wippy_registry::{ChangeSet, Entry, EntryId};

use super::site::{Client, Site, index, script};
use crate::shell::{project, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_changed_a_hundred_times_under_load_fails_no_request() {
    let one = script("one", "GET /now", "res:write('one')");
    let two = script("two", "GET /later", "res:write('two')");
    let first = Site::new(&index("", &(one.clone() + &two))).await;
    let swapped = (one + &two)
        .replace("path: /now", "path: /x")
        .replace("path: /later", "path: /now");
    let second = Site::new(&index("", &swapped)).await;
    let routes = [
        first.app.routes(first.server().id()),
        second.app.routes(second.server().id()),
    ];

    let (done, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let address = first.address();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (done, served) = (done.clone(), served.clone());
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                let mut seen = [0, 0];
                while !done.load(Ordering::Relaxed) {
                    client.send("GET /now HTTP/1.1", "").await;
                    let reply = client.reply(false).await;
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    seen[usize::from(reply.text() == "two")] += 1;
                    served.fetch_add(1, Ordering::Relaxed);
                }
                seen
            })
        })
        .collect();
    for change in 1..=100 {
        // Some requests between two changes.
        let enough = served.load(Ordering::Relaxed) + 5;
        while served.load(Ordering::Relaxed) < enough {
            tokio::task::yield_now().await;
        }
        first.server().set_routes(routes[change % 2].clone());
    }
    done.store(true, Ordering::Relaxed);
    let mut seen = [0, 0];
    for client in clients {
        let counts = client.await.unwrap();
        seen = [seen[0] + counts[0], seen[1] + counts[1]];
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

/// A script that answers with a number, and the endpoint that leads to it.
fn answering(number: usize) -> (Entry, Entry) {
    let source = format!("return {{ main = function() return \"{number}\" end }}");
    let function =
        Entry::new(answer(number), "function.lua").with_data(&json!({ "source": source, "method": "main" }));
    let endpoint = Entry::new("app:now".parse().unwrap(), "http.endpoint")
        .with_meta(&json!({ "router": "app:all" }))
        .with_data(&json!({ "method": "GET", "path": "/now", "func": answer(number).as_str() }));
    (function, endpoint)
}

fn answer(number: usize) -> EntryId {
    format!("app:answer_{number}").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_whose_function_is_replaced_a_hundred_times_fails_no_request() {
    let site = Site::new(&index("", "")).await;
    let (function, endpoint) = answering(0);
    let first = ChangeSet::new().create(function).create(endpoint);
    site.app.change(first).await.unwrap();
    let (done, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let address = site.address();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (done, served) = (done.clone(), served.clone());
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                let mut latest = 0;
                while !done.load(Ordering::Relaxed) {
                    client.send("GET /now HTTP/1.1", "").await;
                    let reply = client.reply(false).await;
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    let number = reply.text().parse().unwrap();
                    assert!(number >= latest, "{number} after {latest}");
                    latest = number;
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for number in 1..=100 {
        let enough = served.load(Ordering::Relaxed) + 5;
        while served.load(Ordering::Relaxed) < enough {
            tokio::task::yield_now().await;
        }
        // The function that requests under way have is gone at once.
        let (function, endpoint) = answering(number);
        let change = ChangeSet::new()
            .create(function)
            .update(endpoint)
            .delete(answer(number - 1));
        site.app.change(change).await.unwrap();
        assert_eq!(site.get("/now").await.text(), number.to_string());
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test]
async fn a_request_gets_the_function_that_it_began_with() {
    let shouting = |begin: &str, rest: &str| {
        format!(
            "  - name: shout\n    kind: function.wat\n    method: shout\n    transport: wasi-http\n    source: file://text.wat\n    \
             wit: \"shout: func(text: {begin}) -> {rest};\"\n  \
             - {{ name: shout.endpoint, kind: http.endpoint, meta: {{ router: all }}, method: POST, path: /shout, func: shout }}\n"
        )
    };
    let directory = project(&index("", &shouting("string", "string")));
    let text = std::fs::read_to_string(fixtures::app("http").join("src/wasm/text.wat")).unwrap();
    write(directory.path(), "src/text.wat", &text);
    let site = Site::open(directory.path()).await;

    let mut client = site.connect().await;
    client
        .write("POST /shout HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n")
        .await;
    // It asks for the body: the request has its endpoint.
    client.until("HTTP/1.1 100 Continue\r\n\r\n").await;
    write(
        directory.path(),
        "src/_index.yaml",
        &index("", &shouting("list<u8>", "list<u8>")),
    );
    site.app.reload().await.unwrap().unwrap();
    let changed = site.send("POST /shout HTTP/1.1", "hello").await;
    assert_eq!(changed.header("content-type"), Some("application/octet-stream"));
    write(directory.path(), "src/_index.yaml", &index("", ""));
    site.app.reload().await.unwrap().unwrap();
    assert_eq!(site.send("POST /shout HTTP/1.1", "hello").await.status, 404);
    client.write("hello").await;
    let reply = client.reply(false).await;
    assert_eq!((reply.status, reply.text()), (200, "HELLO"));
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
}
