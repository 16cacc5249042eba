//! `pool` as entries write it.

use tokio::runtime::Runtime;
use wippy_cli::{App, Config};
use wippy_wit::Value;

use crate::shell::{FILES, guest, project, transcript, write};

/// A project with a guest that leaves secrets, in a pool.
fn secrets(pool: &str) -> tempfile::TempDir {
    let folder = project("");
    let code = guest(folder.path(), "secrets");
    let index = format!(
        "version: \"1.0\"\nnamespace: app\nentries:\n{FILES}  - name: swap\n    kind: function.wasm\n{code}    method: \
         swap\n    pool: {{ {pool} }}\n"
    );
    write(folder.path(), "src/_index.yaml", &index);
    folder
}

/// What the second of two calls from outside finds of the first.
fn found(pool: &str) -> Value {
    let project = secrets(pool);
    let app = App::load(project.path(), &Config::default()).unwrap();
    let swap = "app:swap".parse().unwrap();
    Runtime::new().unwrap().block_on(async {
        app.call(&swap, vec![Value::Integer(5)]).await.unwrap();
        let Value::Table(found) = app.call(&swap, vec![Value::Integer(6)]).await.unwrap() else {
            panic!("a tuple is a table")
        };
        found.array.first().unwrap().clone()
    })
}

#[test]
fn what_one_call_leaves_only_the_opt_in_shows_to_another() {
    for kind in ["inline", "lazy", "static", "adaptive"] {
        for reuse in ["never", "caller", "actor"] {
            let pool = format!("type: {kind}, reuse: {reuse}");
            assert_eq!(found(&pool), Value::Integer(0), "{pool}");
        }
    }
    for kind in ["lazy", "static", "adaptive"] {
        assert_eq!(
            found(&format!("type: {kind}, reuse: always")),
            Value::Integer(5),
            "{kind}"
        );
    }
    // A fresh instance for every call is what the word says.
    assert_eq!(found("type: inline, reuse: always"), Value::Integer(0));
}

/// A start function that never ends keeps `lint` from nothing, since it runs nothing.
#[test]
fn checking_an_application_starts_no_instances() {
    let folder = project("");
    let code = guest(folder.path(), "spin-start");
    let index = format!(
        "version: \"1.0\"\nnamespace: app\nentries:\n{FILES}  - name: answer\n    kind: function.wasm\n{code}    method: \
         answer\n    pool: {{ type: static, workers: 2 }}\n    limits: {{ max_execution_ms: 100 }}\n"
    );
    write(folder.path(), "src/_index.yaml", &index);
    let said = transcript(folder.path(), &["lint"]);
    assert!(
        said.ends_with("exit code 0") && !said.contains("made ahead"),
        "{said}"
    );
    let said = transcript(folder.path(), &["call", "app:answer"]);
    assert!(said.contains("no instance can be made ahead"), "{said}");
    assert!(said.contains("TIMEOUT"), "{said}");
}
