//! What an entry is granted is its own: the same in whatever order entries stand and load.

use tempfile::TempDir;
use tokio::runtime::Runtime;
use wippy_cli::{App, Config};
use wippy_wit::Value;

use crate::shell::{FILES, guest, project, write};

const ORDERS: usize = 100;

/// Entries that get what they need, with different words for it and different words beside it.
const GRANTED: &[(&str, &str, &str, &str)] = &[
    ("clock", "wants-clock", "probe", "[wasi:clocks]"),
    (
        "clock_and_more",
        "wants-clock",
        "probe",
        "[wasi:random, wasi:clocks, funcs]",
    ),
    ("context", "asks-context", "actor-id", "[wippy:runtime/context]"),
    ("context_too", "asks-context", "call-id", "[logger, context]"),
    ("relay", "calls-funcs", "relay", "[funcs]"),
    ("plain", "bench", "add", "[]"),
    (
        "plain_with_all",
        "bench",
        "add",
        "[wasi:cli, wasi:io, wasi:filesystem, funcs, logger]",
    ),
];

/// The same binaries without what they need; somebody else's grant must not be theirs.
const DENIED: &[(&str, &str, &str, &str)] = &[
    ("no_clock", "wants-clock", "probe", "[]"),
    ("other_clock", "wants-clock", "probe", "[wasi:random, wasi:poll]"),
    ("no_context", "asks-context", "actor-id", "[logger]"),
    ("no_funcs", "calls-funcs", "relay", "[context, wasi:io]"),
];

/// A project folder whose index is written anew for every order.
struct Shuffled {
    folder: TempDir,
    entries: Vec<String>,
    state: u64,
}

impl Shuffled {
    fn new(entries: &[&[(&str, &str, &str, &str)]]) -> Self {
        let folder = project("version: \"1.0\"\nnamespace: app\n");
        let entry = |(name, binary, method, imports): &(&str, &str, &str, &str)| {
            let code = guest(folder.path(), binary);
            format!(
                "  - name: {name}\n    kind: function.wasm\n{code}    method: {method}\n    imports: {imports}\n"
            )
        };
        let entries = entries
            .iter()
            .flat_map(|entries| entries.iter().map(entry))
            .collect();
        Self {
            folder,
            entries,
            state: 0x9e37_79b9_7f4a_7c15,
        }
    }

    fn next(&mut self, below: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state % below as u64).unwrap()
    }

    /// Writes the index in another order.
    fn shuffle(&mut self) {
        for last in (1..self.entries.len()).rev() {
            let other = self.next(last + 1);
            self.entries.swap(last, other);
        }
        let files = self.next(self.entries.len() + 1);
        let (before, after) = self.entries.split_at(files);
        let index = format!(
            "version: \"1.0\"\nnamespace: app\nentries:\n{}{FILES}{}",
            before.concat(),
            after.concat()
        );
        write(self.folder.path(), "src/_index.yaml", &index);
    }
}

#[test]
fn grants_do_not_depend_on_the_order() {
    let mut project = Shuffled::new(&[GRANTED, DENIED]);
    let mut first: Option<Vec<String>> = None;
    for _ in 0..ORDERS {
        project.shuffle();
        let (problems, entries) = App::check(project.folder.path(), &Config::default());
        assert_eq!(entries, GRANTED.len() + DENIED.len() + 1);
        let mut messages: Vec<String> = problems
            .diagnostics
            .iter()
            .map(|problem| problem.message.clone())
            .collect();
        messages.sort();
        assert_eq!(*first.get_or_insert_with(|| messages.clone()), messages);
    }
    insta::assert_snapshot!(first.unwrap().join("\n"));
}

#[test]
fn what_is_granted_works_in_every_order() {
    let runtime = Runtime::new().unwrap();
    let mut project = Shuffled::new(&[GRANTED]);
    for _ in 0..ORDERS / 10 {
        project.shuffle();
        let app = App::load(project.folder.path(), &Config::default()).unwrap();
        runtime.block_on(async {
            for (name, binary, _, _) in GRANTED {
                let arguments = match *binary {
                    "bench" => vec![Value::Integer(1), Value::Integer(2)],
                    "calls-funcs" => vec![Value::from("app:nobody"), Value::from("x")],
                    _ => vec![],
                };
                let outcome = app.call(&format!("app:{name}").parse().unwrap(), arguments).await;
                match *binary {
                    "bench" => assert_eq!(outcome, Ok(Value::Integer(3))),
                    "calls-funcs" => assert_eq!(
                        outcome.unwrap_err().message(),
                        "there is no function `app:nobody`"
                    ),
                    "asks-context" => assert!(
                        matches!(outcome, Ok(Value::Nil | Value::String(_))),
                        "{outcome:?}"
                    ),
                    _ => assert!(matches!(outcome, Ok(Value::Integer(_))), "{name}: {outcome:?}"),
                }
            }
        });
    }
}
