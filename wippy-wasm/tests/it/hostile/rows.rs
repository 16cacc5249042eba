//! The hostile guests: what each does, and the limits under which it does it.

use std::time::Duration;

use wippy_wasm::{Limits, WasiConfig};
use wippy_wit::Value;

use crate::mounts::{self, Attempt, ESCAPES, LINKED, Place, WRITES};

/// One hostile guest.
pub struct Row {
    pub name: String,
    pub guest: &'static str,
    pub method: &'static str,
    pub imports: &'static [&'static str],
    pub limits: Limits,
    pub wasi: WasiConfig,
    pub arguments: Vec<Value>,
    pub how: How,
    /// What its outcome has one of; those that have none are in the table that the test shows.
    pub says: &'static [&'static str],
}

/// How a guest is let loose.
pub enum How {
    /// It is called.
    Call,
    /// It runs as a process that owns the terminal, where nobody ever types anything.
    Process,
    /// It reads and writes by a name that two others rename.
    Race,
    /// It is made ready: these bytes are no component.
    Prepare(Vec<u8>),
}

impl Row {
    fn new(name: impl Into<String>, guest: &'static str, method: &'static str) -> Self {
        Self {
            name: name.into(),
            guest,
            method,
            imports: &[],
            limits: limits(),
            wasi: WasiConfig::default(),
            arguments: Vec::new(),
            how: How::Call,
            says: &[],
        }
    }

    fn imports(self, imports: &'static [&'static str]) -> Self {
        Self { imports, ..self }
    }

    fn given(self, argument: impl Into<Value>) -> Self {
        let arguments = vec![argument.into()];
        Self { arguments, ..self }
    }

    /// Ends soon: it would never end by itself.
    fn briefly(mut self) -> Self {
        self.limits.execution = Some(Duration::from_millis(10));
        self
    }
}

/// Small, so that a table of guests at their limits stays quick.
fn limits() -> Limits {
    Limits {
        execution: Some(Duration::from_mins(1)),
        memory_bytes: 4 << 20,
        table_elements: 10_000,
        host_bytes: 1 << 20,
        resources: 1_000,
        output_bytes: 64 << 10,
        ..Limits::default()
    }
}

const FUNCS: &[&str] = &["funcs"];
const CLOCK: &[&str] = &["wasi:clocks", "wasi:poll"];
const STDIO: &[&str] = &["wasi:cli", "wasi:io", "wasi:random"];
const SOCKETS: &[&str] = &["wasi:sockets", "wasi:io"];
const HTTP: &[&str] = &["wasi:http", "wasi:io"];

/// Every hostile guest, with the folder that some are given and the port of a server that never says anything.
pub fn rows(place: &Place, silent: u16) -> Vec<Row> {
    [
        time(),
        waits(silent),
        space(),
        crossing(),
        contract(),
        host_calls(),
        paths(place),
        binaries(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// They never end.
fn time() -> Vec<Row> {
    vec![
        Row::new("busy loop", "spin", "spin").briefly(),
        Row::new("loop in the start function", "spin-start", "answer").briefly(),
        Row::new("sleep beyond the deadline", "sleeper", "test-sleep#sleep-ms")
            .imports(CLOCK)
            .given(60_000_i64)
            .briefly(),
        Row::new("wait for ever", "forged", "waits")
            .imports(CLOCK)
            .briefly(),
        Row::new("loop after the result", "bad-post", "spins").briefly(),
        Row::new("loop in a host callback", "wild-calls", "answer-spins")
            .imports(FUNCS)
            .briefly(),
        Row {
            limits: Limits {
                fuel: Some(100_000),
                ..limits()
            },
            ..Row::new("busy loop on fuel", "spin", "spin")
        },
        Row::new("unbounded recursion", "deep", "for-ever"),
        Row::new("recursion through funcs", "recurse", "again")
            .imports(FUNCS)
            .given("x"),
    ]
}

/// They wait in the host for what never comes.
fn waits(silent: u16) -> Vec<Row> {
    let socket = |name, method| Row::new(name, "network", method).imports(SOCKETS).briefly();
    let ask = Row {
        arguments: vec![Value::Integer(silent.into()), Value::from("anybody?")],
        ..socket("read of a silent socket", "sockets#tcp-ask")
    };
    let input = Row {
        how: How::Process,
        ..Row::new("read of a silent terminal", "greedy", "read-input")
            .imports(STDIO)
            .briefly()
    };
    let url = format!("http://127.0.0.1:{silent}/");
    let request = Row {
        arguments: vec![Value::from("GET"), Value::from(url), Value::array([])],
        ..Row::new("wait for a response", "http-client", "client#request")
            .imports(HTTP)
            .briefly()
    };
    let mut rows = vec![
        input,
        ask,
        socket("wait for a connection", "sockets#tcp-accept"),
        socket("wait for a datagram", "sockets#udp-receive"),
        request,
    ];
    for row in &mut rows {
        row.says = &["the limit `max_execution_ms` of 10 was exceeded"];
    }
    rows
}

/// They take more and more.
fn space() -> Vec<Row> {
    let megabyte = "x".repeat(1 << 20);
    vec![
        Row::new("memory growth", "grow", "for-ever"),
        Row::new("growth of several memories", "memories", "for-ever"),
        Row::new("table growth", "tables", "for-ever"),
        Row::new("growth after the result", "bad-post", "grows"),
        Row::new("a million resources", "hoard", "things#fill").given(1_000_000_i64),
        Row::new("a million host resources", "forged", "hoards").imports(CLOCK),
        Row::new("huge string argument", "bench", "echo-string").given(megabyte.repeat(8)),
        Row::new("huge list argument", "nested", "echo").given(Value::array(
            (0..8).map(|_| Value::array([Value::from(megabyte.clone())])),
        )),
        Row::new("standard output flood", "greedy", "flood").imports(STDIO),
        Row::new("one endless line", "greedy", "flood-without-lines").imports(STDIO),
        Row::new("log flood", "logs", "flood").imports(&["logger"]),
    ]
}

/// They make the host copy more than they have.
fn crossing() -> Vec<Row> {
    vec![
        Row::new("huge list result", "bomb", "bytes").given(40_i64),
        Row::new("huge string result", "bomb", "text").given(40_i64),
        Row::new("the same list many times", "bomb", "nested"),
        Row::new("the same string many times", "bomb", "names"),
        Row::new("arguments of many small values", "json", "commas").imports(FUNCS),
        Row::new("random bytes without end", "greedy", "random")
            .imports(STDIO)
            .given(1_u64 << 63),
        flood_of_headers(),
    ]
}

/// A head that no request may have: ten thousand headers of a hundred bytes.
fn flood_of_headers() -> Row {
    let header = |index| {
        let name = Value::from(format!("x-{index}"));
        Value::array([name, Value::from("x".repeat(100))])
    };
    let headers = Value::array((0..10_000).map(header));
    let url = Value::from("http://127.0.0.1:9/");
    let mut row = Row::new("header flood", "http-client", "client#request").imports(HTTP);
    row.arguments = vec![Value::from("GET"), url, headers, Value::Nil];
    row.limits.memory_bytes = 16 << 20;
    row.limits.host_bytes = 16 << 20;
    row
}

/// They break the canonical ABI.
fn contract() -> Vec<Row> {
    let numbers = Value::array([Value::Integer(1), Value::Integer(2)]);
    vec![
        Row::new("invalid utf-8", "bad-utf8", "invalid"),
        Row::new("utf-8 that is cut", "bad-utf8", "cut"),
        Row::new("result past the end", "bad-pointer", "past-the-end"),
        Row::new("result that wraps around", "bad-pointer", "wraps-around"),
        Row::new("misaligned result", "bad-pointer", "misaligned"),
        Row::new("return area outside", "bad-pointer", "area-outside"),
        Row::new("unknown discriminant", "bad-discriminant", "shape"),
        Row::new("allocator points outside", "bad-realloc", "take-string").given("text"),
        Row::new("allocator misaligns", "bad-realloc-misaligned", "take-numbers").given(numbers),
        Row::new("allocator traps", "trap-realloc", "take-string").given("text"),
        Row::new("trap after the result", "bad-post", "traps"),
        Row::new("recursion after the result", "bad-post", "overflows"),
        Row::new("trap", "trap", "unreachable"),
    ]
}

/// They lie to the host that they call.
fn host_calls() -> Vec<Row> {
    let wild = |name, method| Row::new(name, "wild-calls", method).imports(FUNCS);
    let forged = |name, method| Row::new(name, "forged", method).imports(CLOCK);
    vec![
        forged("forged handle", "forged"),
        forged("handle zero", "zero"),
        forged("dropped handle", "dropped"),
        forged("handle dropped twice", "dropped-twice"),
        wild("argument outside", "input-outside"),
        wild("argument without end", "input-too-long"),
        wild("argument that is not UTF-8", "input-not-utf8"),
        wild("answer placed outside", "result-outside"),
        wild("answer placed misaligned", "result-misaligned"),
        wild("trap in a host callback", "answer-trapped"),
        wild("callback points outside", "answer-outside"),
        wild("callback calls the host", "answer-calls-out"),
        Row::new("unknown log level", "logs", "forged-level").imports(&["logger"]),
        Row::new("exit in the middle", "greedy", "leave").imports(STDIO),
        Row::new("exit with a code", "exit-code", "run").imports(&["wasi:cli"]),
    ]
}

/// They look for a way out of the folders that they were given, and write where they may not.
fn paths(place: &Place) -> Vec<Row> {
    let file = |what: String, attempt: &Attempt| Row {
        arguments: mounts::arguments(attempt),
        wasi: place.wasi(),
        // Which of these it is for each attempt is in the snapshots of `mounts`.
        says: &["not-permitted", "not-directory", "no-entry", "invalid", "loop"],
        ..Row::new(what, "files", "attempt").imports(mounts::IMPORTS)
    };
    let described = |why: &str, attempt: &Attempt| {
        let (action, path, other) = attempt;
        let what = format!("{why}: {action} {path} {other}").replace('\0', "\\0");
        file(what.trim_end().to_owned(), attempt)
    };
    let race = Row {
        how: How::Race,
        says: &["saw nothing of what lies outside"],
        ..file("way out: a race of renames".to_owned(), &("read", "", ""))
    };
    let ways_out = ESCAPES.iter().map(|attempt| described("way out", attempt));
    let links = LINKED.iter().map(|attempt| described("own link", attempt));
    let writes = WRITES.iter().map(|attempt| described("read-only", attempt));
    ways_out.chain(links).chain([race]).chain(writes).collect()
}

/// They are no components, or no more.
fn binaries() -> Vec<Row> {
    let whole = std::fs::read(fixtures::wasm("compute")).unwrap();
    let cut = |end: usize| whole[..end].to_vec();
    let changed = |at: usize, bytes: &[u8]| {
        let mut changed = whole.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let header = 8;
    let forms = [
        ("empty", Vec::new()),
        ("a text", b"#!/bin/sh\nexit 0\n".to_vec()),
        ("zeros", vec![0; 4096]),
        ("only a name", cut(4)),
        ("only a header", cut(header)),
        ("cut in a section's head", cut(header + 1)),
        ("cut in the middle", cut(whole.len() / 2)),
        ("without its last byte", cut(whole.len() - 1)),
        ("of an unknown version", changed(4, &[0x7f])),
        ("an unknown section", changed(header, &[0x7e])),
        (
            "a section past the end",
            changed(header + 1, &[0xff, 0xff, 0xff, 0xff, 0x07]),
        ),
        ("a length without end", changed(header + 1, &[0xff; 8])),
        ("noise in the middle", changed(whole.len() / 2, &[0xa5; 16])),
        ("something behind it", [&whole[..], &[0; 3]].concat()),
    ];
    forms
        .into_iter()
        .map(|(what, bytes)| Row {
            how: How::Prepare(bytes),
            says: &["diagnostic: "],
            ..Row::new(format!("no component: {what}"), "compute", "compute")
        })
        .collect()
}
