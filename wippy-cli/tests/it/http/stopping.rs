//! SIGTERM while requests are under way: those that were begun are answered, services stop in their order, the exit code is 0.
#![cfg(unix)]

use std::{io::Write as _, net::TcpStream, process::Command, time::Duration};

use super::program::Program;
use crate::shell;

const INDEX: &str = r#"namespace: app
entries:
  - name: host
    kind: process.host
    lifecycle: { auto_start: true }
  - name: gateway
    kind: http.service
    addr: 127.0.0.1:0
    lifecycle: { auto_start: true, requires: [worker], stop_timeout: 60s }
  - { name: all, kind: http.router, meta: { server: gateway } }
  - name: slow
    kind: function.lua
    method: main
    modules: [http, time]
    source: |
      local http, time = require("http"), require("time")
      return { main = function()
        process.send("worker", "begun")
        time.sleep("1s")
        local pid, err = process.registry.lookup("worker")
        http.response():write(pid and "the worker is there" or err:message())
      end }
  - { name: slow.endpoint, kind: http.endpoint, meta: { router: all }, method: GET, path: /slow, func: slow }
  - name: work
    kind: process.lua
    method: main
    modules: [logger]
    source: |
      local logger = require("logger")
      return { main = function()
        process.registry.register("worker")
        local inbox, events, begun = process.inbox(), process.events(), 0
        while true do
          local it = channel.select({ inbox:case_receive(), events:case_receive() })
          if it.channel == events then return end
          begun = begun + 1
          logger:info("begun " .. begun)
        end
      end }
  - name: worker
    kind: process.service
    process: work
    host: host
    lifecycle: { auto_start: true }
"#;

const REQUESTS: usize = 8;

#[test]
fn requests_in_flight_are_answered_before_everything_stops() {
    let project = shell::project(INDEX);
    let program = Program::serve(project.path(), &[]);
    let clients: Vec<TcpStream> = (0..REQUESTS)
        .map(|_| {
            let mut client = TcpStream::connect(program.address).unwrap();
            client.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
            client
                .write_all(b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n")
                .unwrap();
            client
        })
        .collect();
    // All of them are under way.
    let all = format!("begun {REQUESTS}");
    let said = |word: &str| {
        program
            .log
            .iter()
            .find(|line| line.contains(word))
            .unwrap_or_else(|| panic!("it ended before it said `{word}`"))
    };
    said(&all);
    let pid = program.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    for mut client in clients {
        let answer = std::io::read_to_string(&mut client).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("the worker is there"), "{answer}");
    }
    let (rest, code) = program.rest();
    let stopped: Vec<&str> = rest
        .iter()
        .filter_map(|line| line.split_once("stopped id="))
        .map(|(_, id)| id)
        .collect();
    assert_eq!(
        (stopped, code),
        (vec!["app:gateway", "app:worker", "app:host"], Some(0)),
        "{rest:#?}"
    );
}
