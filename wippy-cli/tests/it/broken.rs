//! Projects with one mistake each: what `wippy run` says about it. Nothing of them is ever started.

use crate::shell::{assert_transcript, transcript};

#[test]
fn every_broken_project_is_explained() {
    insta::glob!(
        "../../../fixtures/cases/cli/broken",
        "*/src/_index.yaml",
        |index| {
            let project = index.ancestors().nth(2).unwrap();
            let said = transcript(project, &["run"]);
            assert!(said.ends_with("; nothing was started\n--- exit code 2"), "{said}");
            assert_transcript!(said);
        }
    );
}

#[test]
fn lint_says_the_same_and_fails_with_1() {
    let project = fixtures::cases("cli/broken/unknown-field");
    let (run, lint) = (transcript(&project, &["run"]), transcript(&project, &["lint"]));
    let body = |text: &str| {
        text.split_once("--- stderr\n")
            .unwrap()
            .1
            .split_once("\nerror: ")
            .unwrap()
            .0
            .to_owned()
    };
    assert_eq!(body(&run), body(&lint));
    assert!(
        lint.ends_with("error: 2 problems in 1 file\n--- exit code 1"),
        "{lint}"
    );
}

#[test]
fn lint_speaks_json() {
    let project = fixtures::cases("cli/broken/unknown-method");
    assert_transcript!(transcript(&project, &["lint", "--json"]));
}
