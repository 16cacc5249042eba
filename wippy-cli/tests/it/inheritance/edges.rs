//! What calls begin with where they come from outside: whom and what `lifecycle.security` names reaches the end of the
//! path, and what the outside ends is ended there.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use wippy_cli::http::Running;
use wippy_security::Context;

use super::{
    COLUMNS,
    way::{SECURITY, SHORT, Way},
};
use crate::http::site::Client;

/// A request that begins a path, and the path itself is what it sends.
const REQUESTS: &[(&str, &str, &str)] = &[
    ("HTTP to a Lua handler", "/lua", "app:wasm|app:lua|test:probe"),
    (
        "HTTP to a WebAssembly handler",
        "/wasm",
        "app:lua|app:wasm|test:probe",
    ),
];

/// An application that serves, with so much time for each request.
struct Site {
    way: Way,
    running: Running,
}

impl Site {
    fn new(write: Duration) -> Self {
        let way = Way::with("", &gateway(write));
        let running = way
            .stage
            .runtime
            .block_on(way.stage.app.listen())
            .unwrap()
            .remove(0);
        Self { way, running }
    }

    /// Sends a path to where it is walked.
    async fn send(&self, at: &str, path: &str) -> Client {
        let mut client = Client::connect(self.running.address()).await;
        client.send(&format!("POST {at} HTTP/1.1"), path).await;
        client
    }
}

fn gateway(write: Duration) -> String {
    let write = write.as_millis();
    format!(
        "  - name: gateway
    kind: http.service
    addr: 127.0.0.1:0
    timeouts: {{ write: {write}ms }}
    lifecycle: {{ auto_start: true, {SECURITY} }}
  - {{ name: routes, kind: http.router, meta: {{ server: gateway }} }}
  - {{ name: to_lua, kind: http.endpoint, meta: {{ router: routes }}, method: POST, path: /lua, func: handler }}
  - {{ name: to_wasm, kind: http.endpoint, meta: {{ router: routes }}, method: POST, path: /wasm, func: wasm }}
  - name: handler
    kind: function.lua
    method: main
    modules: [funcs, http]
    source: |
      local funcs, http = require('funcs'), require('http')
      local function main()
        local target, rest = http.request():body():match('^([^|]*)|(.*)$')
        return funcs.call(target, rest)
      end
      return {{ main = main }}
"
    )
}

/// Every column that does not hold, of those that stay what they were at the edge. A process begins a depth of its own.
fn wrong<'a>(began: &'a Context, seen: &'a Context) -> impl Iterator<Item = &'static str> + 'a {
    let lasting = COLUMNS
        .iter()
        .filter(|(column, _)| !matches!(*column, "deadline" | "call id" | "depth"));
    lasting
        .filter(|(_, holds)| !holds(began, seen))
        .map(|(column, _)| *column)
}

#[test]
fn requests_have_the_identity_of_their_service_and_its_deadline() {
    let time = Duration::from_mins(20);
    let site = Site::new(time);
    for (name, at, path) in REQUESTS {
        site.way.stage.runtime.block_on(async {
            let before = Instant::now();
            let reply = site.send(at, path).await.reply(false).await;
            assert_eq!((reply.status, reply.text()), (200, "seen"), "{name}");
            let seen = site.way.seen().await;
            let wrong: Vec<_> = wrong(&site.way.identity(), &seen).collect();
            assert!(wrong.is_empty(), "{name}: {wrong:?}");
            assert_eq!(seen.call_id(), reply.header("x-request-id"), "{name}");
            assert!(seen.depth() >= 3, "{name}");
            let deadline = seen.deadline().expect("the service has one").into_std();
            assert!(
                (before + time..=Instant::now() + time).contains(&deadline),
                "{name}"
            );
        });
    }
}

#[test]
fn a_client_that_goes_ends_what_is_done_for_it() {
    let site = Site::new(Duration::from_mins(20));
    for (name, at, path) in REQUESTS {
        site.way.stage.runtime.block_on(async {
            let client = site.send(at, &format!("{path}|wait")).await;
            site.way.is_waited_in().await;
            drop(client);
            assert!(site.way.has_ended().await, "{name}");
        });
    }
}

#[test]
fn the_deadline_of_a_request_ends_what_is_done_for_it() {
    for (name, at, path) in REQUESTS {
        let has_met = SHORT.iter().any(|timeout| {
            let site = Site::new(*timeout);
            site.way.stage.runtime.block_on(async {
                let reply = site.send(at, &format!("{path}|wait")).await.reply(false).await;
                assert_eq!(reply.status, 504, "{name}: {}", reply.text());
                site.way.probe.waiting.load(Ordering::SeqCst) > 0 && site.way.has_ended().await
            })
        });
        assert!(has_met, "{name}");
    }
}

fn service(path: &str) -> String {
    format!(
        "  - name: service
    kind: process.service
    process: worker
    host: host
    input: ['app:wasm', '{path}']
    lifecycle: {{ auto_start: true, stop_timeout: 100ms, {SECURITY} }}
"
    )
}

#[test]
fn a_service_starts_with_its_own_identity() {
    let way = Way::with("", &service("app:lua|test:probe"));
    way.stage.runtime.block_on(async {
        let services = way.stage.app.start_services();
        let seen = way.seen().await;
        let wrong: Vec<_> = wrong(&way.identity(), &seen).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(seen.deadline(), None);
        assert!(seen.call_id().is_some() && seen.process().is_some());
        services.stop().await;
    });
}

#[test]
fn a_service_that_is_stopped_ends_what_it_does() {
    let way = Way::with("", &service("app:lua|test:probe|wait"));
    way.stage.runtime.block_on(async {
        let services = way.stage.app.start_services();
        way.is_waited_in().await;
        services.stop().await;
        assert!(way.has_ended().await);
    });
}

#[test]
fn a_command_has_the_identity_of_its_terminal() {
    let terminal = format!("  - name: terminal\n    kind: terminal.host\n    lifecycle: {{ {SECURITY} }}\n");
    let way = Way::with("", &terminal);
    let words = |path: &str| ["app:wasm", path].map(str::to_owned);
    way.stage.runtime.block_on(async {
        let command = way
            .stage
            .app
            .process(&"app:worker".parse().unwrap(), None)
            .unwrap();
        let run = |path| command.run(command.input(&words(path), "").unwrap());
        run("app:lua|test:probe").await.unwrap();
        let seen = way.seen().await;
        let wrong: Vec<_> = wrong(&way.identity(), &seen).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(seen.deadline(), None);

        tokio::select! {
            exit = run("app:lua|test:probe|wait") => panic!("{exit:?}"),
            () = way.is_waited_in() => {}
        }
        assert!(way.has_ended().await);
    });
}
