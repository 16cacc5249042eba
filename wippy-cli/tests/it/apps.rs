//! The example applications: each prints what it says it does.

use std::fs;

use crate::shell::transcript_with_input;

const APPS: &[&str] = &[
    "echo-service",
    "environment",
    "events",
    "hello-world",
    "key-value",
    "live-registry",
    "ping-pong",
    "pipeline",
    "supervision",
    "words",
    "worker-pool",
];

#[test]
fn every_example_prints_what_it_should() {
    for name in APPS {
        let app = fixtures::app(name);
        let input = fs::read_to_string(app.join("input.txt")).unwrap_or_default();
        insta::assert_snapshot!(*name, transcript_with_input(&app, &["run", "main"], &input));
    }
}

#[test]
fn every_example_is_free_of_mistakes() {
    for name in APPS {
        let said = transcript_with_input(&fixtures::app(name), &["lint"], "");
        assert!(said.ends_with("--- exit code 0"), "{name}: {said}");
    }
}
