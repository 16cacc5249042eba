//! Every folder of `fixtures/cases/load`, loaded and linked.

use std::fmt::Write as _;
use std::path::Path;

use wippy_registry::{Linked, link, load};

fn env(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("9000".to_owned()),
        "SECRET" => Some("s3cret".to_owned()),
        _ => None,
    }
}

#[test]
fn cases() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::glob!("../../../fixtures/cases/load", "*/case.md", check));
}

fn check(description: &Path) {
    let project = description.parent().unwrap();
    let name = project.file_name().unwrap().to_str().unwrap();
    let linked = link::link(load::load(project), &env);
    assert_eq!(
        linked.is_ok(),
        !name.starts_with("reject-"),
        "{name}: {:#?}",
        linked.diagnostics
    );
    let input = std::fs::read_to_string(description).unwrap();
    assert!(!diagnostics(&linked).contains("s3cret"), "{name} shows a secret");
    insta::with_settings!({ description => input.trim(), omit_expression => true }, {
        insta::assert_snapshot!("project", format!("{}{}{}", sources(&linked), diagnostics(&linked), entries(&linked)));
    });
}

fn sources(linked: &Linked) -> String {
    let mut text = String::new();
    for (_, source) in linked.sources.iter() {
        writeln!(text, "--- {}", source.path()).unwrap();
        for (number, line) in (1..).zip(source.text().lines()) {
            writeln!(text, "{number:3} {line}").unwrap();
        }
    }
    text
}

fn diagnostics(linked: &Linked) -> String {
    let mut text = String::new();
    for diagnostic in &linked.diagnostics {
        writeln!(text, "\n{}", diagnostic.to_text(&linked.sources)).unwrap();
        for label in &diagnostic.labels {
            if let Some(snippet) = linked.sources.snippet(label.span) {
                writeln!(text, "  text: {snippet}").unwrap();
            }
        }
    }
    text
}

fn entries(linked: &Linked) -> String {
    let mut text = String::new();
    if !linked.is_ok() {
        return text;
    }
    writeln!(text, "\n=== boot order").unwrap();
    for linked in &linked.entries {
        let needs: Vec<String> = linked
            .references
            .iter()
            .map(|need| format!("{} ({})", need.id, need.field))
            .collect();
        writeln!(
            text,
            "{} {} needs [{}]",
            linked.entry.id,
            linked.entry.kind,
            needs.join(", ")
        )
        .unwrap();
    }
    writeln!(text, "\n=== settings").unwrap();
    for linked in &linked.entries {
        writeln!(text, "{}: {:#?}", linked.entry.id, linked.config).unwrap();
    }
    text
}
