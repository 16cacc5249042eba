//! The application that the documentation begins with, command by command.

use crate::shell::{assert_transcript, transcript, transcript_with_input};

fn quickstart(words: &[&str]) -> String {
    transcript(&fixtures::app("quickstart"), words)
}

const USERS: &str = r#"[
  {"id": 1, "name": "Ada", "email": "ada@example.org", "tags": ["b", "a"], "active": true},
  {"id": 2, "name": "Bob", "email": "bob@example.com", "tags": [], "active": false}
]"#;

#[test]
fn commands_are_listed() {
    assert_transcript!(quickstart(&["run", "list"]));
    assert_transcript!(quickstart(&["run", "list", "--json"]));
}

#[test]
fn the_demo_runs() {
    insta::assert_snapshot!(quickstart(&["run", "demo"]));
}

#[test]
fn a_component_is_a_command() {
    assert_transcript!(quickstart(&["run", "greet", "Ada"]), @"
    $ wippy run greet Ada
    --- stdout
    Hello, Ada!
    --- exit code 0
    ");
}

#[test]
fn words_that_do_not_fit_show_the_usage() {
    assert_transcript!(quickstart(&["run", "greet"]));
    assert_transcript!(quickstart(&["call", "quickstart:compute", "6", "x"]));
    assert_transcript!(quickstart(&["call", "quickstart:compute", "6", "7", "8"]));
}

#[test]
fn names_that_do_not_exist_get_a_suggestion() {
    assert_transcript!(quickstart(&["run", "gret"]));
    assert_transcript!(quickstart(&["call", "quickstart:comput", "6", "7"]));
    assert_transcript!(quickstart(&["run", "-x", "quickstart:answer"]));
    assert_transcript!(quickstart(&["call", "quickstart:greet", "Ada"]));
}

#[test]
fn functions_are_called_with_numbers_of_any_sign() {
    for (words, expected) in [(["6", "7"], "42"), (["-6", "7"], "-42"), (["-6", "-7"], "42")] {
        let said = quickstart(&["call", "quickstart:compute", words[0], words[1]]);
        assert!(
            said.ends_with(&format!("--- stdout\n{expected}\n--- exit code 0")),
            "{said}"
        );
    }
}

#[test]
fn time_is_told_on_request() {
    assert_transcript!(quickstart(&["call", "quickstart:answer", "--time"]));
}

#[test]
fn an_error_that_a_function_returns_is_a_failure() {
    assert_transcript!(quickstart(&["call", "quickstart:divide", "1", "0"]));
}

#[test]
fn json_comes_from_standard_input() {
    let project = fixtures::app("quickstart");
    let call = |input| transcript_with_input(&project, &["call", "quickstart:transform_users", "-"], input);
    assert_transcript!(call(USERS));
    assert_transcript!(call(
        r#"[{"id": 1, "name": "Ada", "email": 3, "tags": [], "active": true}]"#
    ));
    assert_transcript!(call("[{"));
}

#[test]
fn a_process_runs_on_the_host_that_is_named() {
    let said = quickstart(&[
        "run",
        "-x",
        "quickstart:greet",
        "Bob",
        "--host",
        "quickstart:terminal",
    ]);
    assert!(said.contains("--- stdout\nHello, Bob!\n"), "{said}");
    assert_transcript!(quickstart(&[
        "run",
        "-x",
        "quickstart:greet",
        "--host",
        "quickstart:answer",
        "Bob"
    ]));
}

#[test]
fn entries_are_shown() {
    assert_transcript!(quickstart(&["registry", "list"]));
    assert_transcript!(quickstart(&["registry", "list", "--meta", "command", "--json"]));
    assert_transcript!(quickstart(&["registry", "show", "quickstart:answer"]));
    assert_transcript!(quickstart(&["registry", "show", "quickstart:nothing"]));
}

#[test]
fn binaries_are_inspected() {
    assert_transcript!(quickstart(&["wasm", "inspect", "quickstart:compute"]));
    assert_transcript!(quickstart(&[
        "wasm",
        "inspect",
        "components/users.wasm",
        "--json"
    ]));
    assert_transcript!(quickstart(&["wasm", "stub"]));
    assert_transcript!(quickstart(&["wasm", "inspect", "quickstart:answer"]));
    assert_transcript!(quickstart(&["wasm", "inspect", "quickstart:report"]));
    assert_transcript!(quickstart(&["wasm", "inspect", "components/lost.wasm"]));
}

#[test]
fn it_has_no_problems_and_no_tests() {
    assert_transcript!(quickstart(&["lint"]));
    assert_transcript!(quickstart(&["test"]));
}
