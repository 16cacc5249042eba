//! `*` in the names of actions and resources.

use wippy_registry::EntryId;
use wippy_security::{Actor, Decision, Effect, Scope};
use wippy_wit::Value;

use crate::support::policy;

fn matches(patterns: &[&str], name: &str) -> bool {
    let as_resource = Scope::new([policy("app:p", Effect::Allow, &["*"], patterns)]);
    let as_action = Scope::new([policy("app:p", Effect::Allow, patterns, &["*"])]);
    let decide = |scope: &Scope, action, resource| {
        let verdict = scope.evaluate(&Actor::new("ada"), action, resource, &Value::Nil);
        assert_eq!(
            verdict.policy.map(EntryId::as_str),
            (verdict.decision == Decision::Allow).then_some("app:p")
        );
        verdict.decision == Decision::Allow
    };
    let matches = decide(&as_resource, "funcs.call", name);
    assert_eq!(matches, decide(&as_action, name, "app:x"));
    matches
}

#[test]
fn patterns_match_whole_names() {
    for (pattern, name, expected) in [
        ("*", "", true),
        ("*", "app:sum", true),
        ("**", "app:sum", true),
        ("app:sum", "app:sum", true),
        ("app:sum", "app:sums", false),
        ("app:sum", "App:sum", false),
        ("app:sum", "", false),
        ("app.api:*", "app.api:", true),
        ("app.api:*", "app.api:sum", true),
        ("app.api:*", "app.apis:sum", false),
        ("app.api:*", "x.app.api:sum", false),
        ("*.read", "docs.read", true),
        ("*.read", "docs.reads", false),
        ("*.read", "read", false),
        ("app:*:x", "app:x", false),
        ("app:*x", "app:x", true),
        ("a*b", "ab", true),
        ("a*a", "a", false),
        ("ab*ba", "aba", false),
        ("a*b*c", "a-b-c", true),
        ("a*b*c", "a-c-b", false),
        ("a*b*b", "ab", false),
        ("a*b*b", "abb", true),
        ("*ab*", "aab", true),
        ("*ab*cd*", "cdab", false),
        ("*ab**cd*", "xabycdz", true),
        (
            "https://*.example.com/v1/*",
            "https://api.example.com/v1/a/b?c=[d]",
            true,
        ),
        ("https://*.example.com/v1/*", "https://example.com/v1/a", false),
        // Nothing else is special.
        ("a?c", "abc", false),
        ("a?c", "a?c", true),
        ("[ab]", "a", false),
        ("{a,b}", "a", false),
        ("a.c", "abc", false),
        ("\\*", "\\x", true),
        ("é*", "été", true),
        ("e*", "été", false),
        ("é*é", "été", true),
    ] {
        assert_eq!(matches(&[pattern], name), expected, "`{pattern}` and `{name}`");
    }
}

#[test]
fn one_of_a_list_is_enough() {
    assert!(matches(&["app:a", "app.api:*"], "app.api:x"));
    assert!(matches(&["app:a", "app.api:*"], "app:a"));
    assert!(!matches(&["app:a", "app.api:*"], "app:b"));
    assert!(!matches(&[], "app:b"));
}

#[test]
fn many_stars_take_linear_time() {
    let pattern = "*a".repeat(5_000) + "*b";
    let name = "a".repeat(100_000);
    assert!(!matches(&[&pattern], &name));
    assert!(matches(&[&pattern], &(name + "b")));
}
