//! `.wippy.yaml` and the flags that stand beside it.

use tempfile::TempDir;

use crate::shell::{self, assert_transcript, transcript};

const INDEX: &str = r#"namespace: app
entries:
  - name: answer
    kind: function.wat
    source: |
      (module
        (func (export "answer") (result i32) i32.const 42)
        (func (export "other") (result i32) i32.const 43)
        (func (export "third") (result i32) i32.const 44))
    wit: |
      answer: func() -> s32;
      other: func() -> s32;
      third: func() -> s32;
    method: ${METHOD|answer}
"#;

/// A project with one function and this configuration.
fn project(configuration: &str) -> TempDir {
    let project = shell::project(INDEX);
    shell::write(project.path(), ".wippy.yaml", configuration);
    project
}

#[test]
fn every_mistake_is_reported_at_once() {
    let project = project(
        "loger:\n  encoding: json\nwasm:\n  limits: { max_memory: 5 }\n  cache: { enabled: yes, max_bytes: 10XB }\n\
         workers: 3\nprofiles:\n  dev:\n    lua: { memory_limt: 64MB }\n",
    );
    assert_transcript!(transcript(project.path(), &["lint"]));
}

#[test]
fn a_document_of_another_form() {
    assert_transcript!(transcript(project("- a\n- b\n").path(), &["lint"]));
}

#[test]
fn flags_are_checked_like_files() {
    let words = [
        "--set",
        "wasm.cache.enabled=maybe",
        "--set",
        "a.b=1",
        "--profile",
        "dev",
        "lint",
    ];
    assert_transcript!(transcript(project("").path(), &words));
}

#[test]
fn variables_come_from_the_configuration_before_the_default() {
    let project = project("vars:\n  METHOD: other\nprofiles:\n  plain:\n    vars: { METHOD: answer }\n");
    for (words, expected) in [
        (&["call", "app:answer"][..], "43"),
        (&["--profile", "plain", "call", "app:answer"], "42"),
        (
            &[
                "--profile",
                "plain",
                "--set",
                "vars.METHOD=third",
                "call",
                "app:answer",
            ],
            "44",
        ),
    ] {
        let said = transcript(project.path(), words);
        assert!(said.contains(&format!("--- stdout\n{expected}\n")), "{said}");
    }
}

#[test]
fn fields_are_overridden_by_file_and_by_flag() {
    let project = project("override:\n  \"app:answer:method\": nothing\n");
    assert_transcript!(transcript(project.path(), &["call", "app:answer"]));
    let said = transcript(
        project.path(),
        &["call", "-o", "app:answer:method=answer", "app:answer"],
    );
    assert!(said.contains("--- stdout\n42\n"), "{said}");
    assert_transcript!(transcript(
        project.path(),
        &["call", "-o", "app:anwser:method=answer", "app:answer"]
    ));
}

#[test]
fn overrides_that_mean_nothing() {
    let project = project("override:\n  \"app:answer\": nothing\n  \"app:anwser:method\": other\n");
    assert_transcript!(transcript(project.path(), &["lint"]));
    let project = self::project("override:\n  \"app:anwser:method\": other\n");
    assert_transcript!(transcript(
        project.path(),
        &["lint", "-o", "app:answer:pool.max_sise=4"]
    ));
    assert_transcript!(transcript(project.path(), &["lint", "-o", "app:answer=4"]));
}

#[test]
fn disabled_entries_are_not_there() {
    let project = project("disable: [\"app:ans*\"]\n");
    assert_transcript!(transcript(project.path(), &["registry", "list"]));
}

#[test]
fn a_configuration_that_is_named_must_exist() {
    assert_transcript!(transcript(
        project("").path(),
        &["--config", "production.yaml", "lint"]
    ));
}

#[test]
fn a_folder_that_is_named_must_exist() {
    assert_transcript!(transcript(project("").path(), &["-C", "nowhere", "run"]));
}
