//! Filters over a snapshot.

use serde_json::json;
use wippy_registry::{ChangeSet, Entry, Error, Query, Registry};

fn found(build: impl FnOnce(Query) -> Result<Query, Error>) -> Vec<String> {
    let entry = |id: &str, kind: &str, meta| Entry::new(id.parse().unwrap(), kind).with_meta(&meta);
    let registry = Registry::new();
    let set = ChangeSet::new()
        .create(entry(
            "app:greet",
            "function.lua",
            json!({"title": "Greet", "tags": ["public", "demo"]}),
        ))
        .create(entry(
            "app.api:greet.endpoint",
            "http.endpoint",
            json!({"router": "app:api", "level": 3}),
        ))
        .create(entry(
            "lib:text",
            "library.lua",
            json!({"title": "text (a+b)", "cors.allow": true}),
        ));
    registry.apply(set).unwrap();
    let snapshot = registry.snapshot();
    let query = build(Query::new()).unwrap();
    query.find(&snapshot).map(|entry| entry.id.to_string()).collect()
}

#[test]
fn filters() {
    const ALL: [&str; 3] = ["app.api:greet.endpoint", "app:greet", "lib:text"];
    let [endpoint, greet, text] = ALL;
    assert_eq!(found(Ok), ALL);
    assert_eq!(found(|query| query.kind("*.lua")), [greet, text]);
    assert_eq!(found(|query| query.kind("{http,library}.*")), [endpoint, text]);
    assert_eq!(found(|query| query.kind("~^f.*lua$")), [greet]);
    assert_eq!(found(|query| query.namespace("app*")), [endpoint, greet]);
    assert_eq!(found(|query| query.namespace("=app")), [greet]);
    assert_eq!(found(|query| query.namespace("^app.")), [endpoint]);
    assert_eq!(found(|query| query.name("$endpoint")), [endpoint]);
    assert_eq!(found(|query| query.meta("title")), [greet, text]);
    assert_eq!(found(|query| query.meta("title=Greet")), [greet]);
    assert_eq!(found(|query| query.meta("title=t*")), [text]);
    assert_eq!(found(|query| query.meta("title*a+b")), [text]);
    assert_eq!(found(|query| query.meta("title~^[A-Z]")), [greet]);
    assert_eq!(found(|query| query.meta("title^tex")), [text]);
    assert_eq!(found(|query| query.meta("title$)")), [text]);
    assert_eq!(found(|query| query.meta("tags=demo")), [greet]);
    assert_eq!(found(|query| query.meta("tags.0=demo")), Vec::<String>::new());
    assert_eq!(found(|query| query.meta("level=3")), [endpoint]);
    assert_eq!(found(|query| query.meta("cors.allow=true")), [text]);
    assert_eq!(found(|query| query.kind("*.lua")?.meta("tags*pub")), [greet]);
}

#[test]
fn bad_filters_say_why() {
    insta::assert_snapshot!(Query::new().kind("~(").unwrap_err(), @"`~(` is not a filter: unclosed group");
    insta::assert_snapshot!(Query::new().name("[a").unwrap_err(), @"`[a` is not a filter: unclosed character class; missing ']'");
    insta::assert_snapshot!(Query::new().meta("=x").unwrap_err(), @"`=x` is not a filter: it does not start with a path in `meta`");
}
