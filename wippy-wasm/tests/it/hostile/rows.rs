//! The hostile guests: what each does, and the limits under which it does it.

use std::time::Duration;

use wippy_wasm::Limits;
use wippy_wit::Value;

/// One hostile guest.
pub struct Row {
    pub name: &'static str,
    pub guest: &'static str,
    pub method: &'static str,
    pub imports: &'static [&'static str],
    pub limits: Limits,
    pub arguments: Vec<Value>,
}

impl Row {
    fn new(name: &'static str, guest: &'static str, method: &'static str) -> Self {
        Self {
            name,
            guest,
            method,
            imports: &[],
            limits: limits(),
            arguments: Vec::new(),
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

/// Every hostile guest.
pub fn rows() -> Vec<Row> {
    [time(), space(), crossing(), contract(), host_calls()]
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
    let mut row =
        Row::new("header flood", "http-client", "client#request").imports(&["wasi:http", "wasi:io"]);
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
