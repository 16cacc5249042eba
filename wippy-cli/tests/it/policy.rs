//! `wippy policy explain`: who may do what, and why.

use tempfile::TempDir;

use crate::shell::{assert_transcript, project, transcript};

fn library() -> TempDir {
    project(
        r#"namespace: app.security
entries:
  - name: readers
    kind: security.policy
    policy: { actions: "docs.read", resources: "docs:*", effect: allow }
    groups: [members]
  - name: writers
    kind: security.policy
    policy:
      actions: [docs.read, docs.write]
      resources: "docs:*"
      effect: allow
      conditions:
        - { field: actor.meta.role, operator: in, value: [editor, admin] }
        - { field: meta.owner, operator: eq, value_from: actor.id }
    groups: [members]
  - name: secrets
    kind: security.policy.expr
    policy:
      actions: "*"
      resources: "docs:secret*"
      effect: deny
      expression: '!has(actor.meta.clearance) || actor.meta.clearance < 3'
    groups: [guards]
"#,
    )
}

#[test]
fn policies_that_match_are_shown_with_the_one_that_decides() {
    let project = library();
    let words = |words: &str| words.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>();
    for line in [
        "policy explain ada docs.read docs:guide",
        "policy explain ada docs.read docs:guide --scope app.security:guards",
        r#"policy explain ada docs.write docs:guide --actor-meta {"role":"editor"} --meta {"owner":"ada"}"#,
        r#"policy explain ada docs.read docs:secret.plan --actor-meta {"clearance":1}"#,
        "policy explain ada docs.read docs:secret.plan --scope app.security:members --scope app.security:secrets",
        r#"policy explain ada docs.read docs:secret.plan --actor-meta {"clearance":4} --json"#,
    ] {
        let words = words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_transcript!(transcript(project.path(), &words));
    }
}

#[test]
fn what_makes_no_sense_is_wrong_usage() {
    let project = library();
    let asked = ["policy", "explain", "ada", "docs.read", "docs:guide"];
    for words in [
        ["--scope", "app.security:memers"],
        ["--meta", "owner=ada"],
        ["--scope", "members"],
    ] {
        assert_transcript!(transcript(project.path(), &[&asked[..], &words].concat()));
    }
}
