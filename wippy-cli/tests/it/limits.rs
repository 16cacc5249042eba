//! Every limit of `limits` and of `wasm.limits`: each holds where it is written, and the error names it.

use std::{
    io::Read as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::shell::{FILES, guest, project, transcript, write};

/// A limit, a value that is too little for the guest, the guest and what it is called with.
struct Case {
    limit: &'static str,
    value: u32,
    guest: &'static str,
    method: &'static str,
    imports: &'static str,
    arguments: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case::new("max_execution_ms", 50, "spin", "spin"),
    Case::new("max_memory_bytes", 1_048_576, "grow", "for-ever"),
    Case::new("max_table_elements", 5_000, "tables", "for-ever"),
    Case::new("max_fuel", 10_000, "spin", "spin"),
    Case::new("max_call_depth", 3, "recurse", "again")
        .imports("[funcs]")
        .given(&["x"]),
    Case::new("max_stdout_bytes", 1_000, "greedy", "flood").imports("[wasi:cli, wasi:io, wasi:random]"),
    Case::new("max_resources", 100, "hoard", "things#fill").given(&["1000"]),
    Case::new("max_host_bytes", 100_000, "bomb", "bytes").given(&["4"]),
];

impl Case {
    const fn new(limit: &'static str, value: u32, guest: &'static str, method: &'static str) -> Self {
        Self {
            limit,
            value,
            guest,
            method,
            imports: "[]",
            arguments: &[],
        }
    }

    const fn imports(self, imports: &'static str) -> Self {
        Self { imports, ..self }
    }

    const fn given(self, arguments: &'static [&'static str]) -> Self {
        Self { arguments, ..self }
    }

    /// A project with this guest, its limits and those of the configuration.
    fn project(&self, own: &str, configured: &str) -> TempDir {
        let project = project("");
        let Self {
            guest: name,
            method,
            imports,
            ..
        } = self;
        let code = guest(project.path(), name);
        let index = format!(
            "version: \"1.0\"\nnamespace: test\nentries:\n{FILES}  - name: {name}\n    kind: function.wasm\n{code}    \
             method: {method}\n    imports: {imports}\n    limits: {{ {own} }}\n"
        );
        write(project.path(), "src/_index.yaml", &index);
        write(
            project.path(),
            ".wippy.yaml",
            &format!("wasm: {{ cache: {{ enabled: false }}, limits: {{ {configured} }} }}\n"),
        );
        project
    }

    fn call(&self, own: &str, configured: &str) -> String {
        let project = self.project(own, configured);
        let target = format!("test:{}", self.guest);
        let words = [&["call", &target], self.arguments].concat();
        transcript(project.path(), &words)
    }
}

#[test]
fn each_limit_of_an_entry_holds() {
    for case in CASES {
        let said = case.call(&format!("{}: {}", case.limit, case.value), "");
        assert!(said.contains(&format!("`{}`", case.limit)), "{said}");
        assert!(said.contains(&case.value.to_string()), "{said}");
        assert!(said.ends_with("exit code 1"), "{said}");
    }
}

#[test]
fn each_limit_of_the_configuration_holds_for_entries_that_have_none() {
    for case in CASES {
        let said = case.call("", &format!("{}: {}", case.limit, case.value));
        assert!(said.contains(&format!("`{}`", case.limit)), "{said}");
        assert!(said.contains(&case.value.to_string()), "{said}");
    }
}

#[test]
fn an_entrys_own_limit_comes_before_the_configurations() {
    let case = Case::new("max_host_bytes", 0, "bomb", "bytes").given(&["4"]);
    let said = case.call("max_host_bytes: 10000000", "max_host_bytes: 1000");
    assert!(
        said.ends_with("exit code 0"),
        "{}",
        &said[said.len().saturating_sub(200)..]
    );
}

/// Nobody writes to the other end of standard input, and nobody closes it.
#[test]
fn a_read_that_never_ends_ends_with_its_limit() {
    let project = project("");
    let code = guest(project.path(), "greedy");
    let index = format!(
        "version: \"1.0\"\nnamespace: test\nentries:\n{FILES}  - name: reader\n    kind: process.wasm\n    meta: {{ \
         command: {{ name: read }} }}\n{code}    method: read-input\n    imports: [wasi:cli, wasi:io, wasi:random]\n    \
         limits: {{ max_execution_ms: 200 }}\n"
    );
    write(project.path(), "src/_index.yaml", &index);
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_wippy"))
        .current_dir(project.path())
        .args(["run", "read"])
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input = child.stdin.take();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    drop(input);
    assert!(
        said.contains("TIMEOUT") && said.contains("`max_execution_ms` of 200"),
        "{said}"
    );
    assert_eq!(status.code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(30));
}
