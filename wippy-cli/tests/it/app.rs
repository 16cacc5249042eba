//! The library's own face, as an embedder uses it.

use tokio::runtime::Runtime;
use wippy_cli::{App, Config};
use wippy_security::ErrorKind;
use wippy_wit::Value;

fn id(text: &str) -> wippy_registry::EntryId {
    text.parse().unwrap()
}

#[test]
fn functions_and_commands_of_a_loaded_application() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let app = App::load(&fixtures::app("quickstart"), &Config::default()).unwrap();
        let product = app
            .call(
                &id("quickstart:compute"),
                vec![Value::Integer(6), Value::Integer(7)],
            )
            .await
            .unwrap();
        assert_eq!(product, Value::Integer(42));

        let missing = app.call(&id("quickstart:nothing"), Vec::new()).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);

        let exit = app.run_command("greet", &["Ada".to_owned()]).await.unwrap();
        assert_eq!((exit.value, exit.code), (Some(Value::from("Hello, Ada!")), 0));
    });
}

#[test]
fn a_broken_application_does_not_load() {
    let problems = App::load(&fixtures::cases("cli/broken/unknown-field"), &Config::default())
        .err()
        .unwrap();
    assert_eq!(problems.diagnostics.len(), 2);
    assert!(problems.has_errors());
}

#[test]
fn serving_ends_when_it_is_told_to() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let app = App::load(&fixtures::app("quickstart"), &Config::default()).unwrap();
        app.serve(std::future::ready(())).await;
    });
}
