//! The example application with members: policies, tokens and acting for others, from the command line.

use crate::shell::{assert_transcript, transcript};

#[test]
fn members_do_what_their_policies_say() {
    let members = fixtures::app("members");
    for about in [r#"{"role":"author"}"#, r#"{"role":"reader","clearance":4}"#] {
        assert_transcript!(transcript(&members, &["-s", "run", "visit", "ada", about]));
    }
    assert_transcript!(transcript(
        &members,
        &["-s", "run", "visit", "bob", r#"{"role":"editor"}"#]
    ));
}

#[test]
fn its_policies_are_explained() {
    let words = [
        "policy",
        "explain",
        "bob",
        "docs.write",
        "docs:secret.plan",
        "--scope",
        "members:members",
    ];
    let about = [
        "--actor-meta",
        r#"{"role":"editor","clearance":3}"#,
        "--meta",
        r#"{"owner":"ada"}"#,
    ];
    assert_transcript!(transcript(
        &fixtures::app("members"),
        &[&words[..], &about].concat()
    ));
}
