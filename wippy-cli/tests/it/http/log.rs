//! The access log: what is written about a request.

use std::time::Duration;

use serde_json::Value;

use super::{
    program::Program,
    site::{Client, index, script},
};
use crate::shell::project;

/// The next record of a request.
fn record(program: &Program) -> Value {
    loop {
        let line = program.log.recv_timeout(Duration::from_mins(1)).unwrap();
        let record: Value = serde_json::from_str(&line).unwrap();
        let is = |field: &str, value: &str| record.get(field).is_some_and(|known| known == value);
        if is("target", "wippy::http::access") && is("level", "INFO") {
            return record;
        }
    }
}

#[tokio::test]
async fn every_request_leaves_a_record() {
    let entries = [
        script("main", "GET /things/{id}", "res:write('four')"),
        script(
            "stream",
            "GET /stream",
            "res:write('begun') res:flush() time.sleep('1h')",
        ),
    ];
    let project = project(&index("", &entries.concat()));
    let program = Program::serve(project.path(), &["--json-logs"]);
    let mut client = Client::connect(program.address).await;
    client.send("GET /things/7?token=secret HTTP/1.1", "").await;
    let reply = client.reply(false).await;
    let known = record(&program);
    assert_eq!(known["call_id"].as_str(), reply.header("x-request-id"));
    assert_eq!(known["message"], "request");
    assert_eq!(
        (&known["method"], &known["path"]),
        (&"GET".into(), &"/things/7".into())
    );
    assert_eq!(
        (&known["route"], &known["entry"]),
        (&"/things/{id}".into(), &"app:main.endpoint".into())
    );
    assert_eq!((&known["status"], &known["bytes"]), (&200.into(), &4.into()));
    assert!(known["time_ms"].as_f64().unwrap() > 0.0);
    assert!(known["client"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(!known.to_string().contains("secret"), "{known}");

    client.send("GET /nothing HTTP/1.1", "").await;
    assert_eq!(client.reply(false).await.status, 404);
    let missing = record(&program);
    assert_eq!(
        (&missing["status"], &missing["route"]),
        (&404.into(), &Value::Null)
    );

    client.send("GET /stream HTTP/1.1", "").await;
    client.until("begun").await;
    drop(client);
    let given_up = record(&program);
    assert_eq!(given_up["message"], "request, its response given up");
    assert_eq!(
        (&given_up["status"], &given_up["bytes"]),
        (&200.into(), &5.into())
    );
}
