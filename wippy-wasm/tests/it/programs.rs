//! Programs of a real toolchain that know nothing but their standard library, and guests of other WASI versions.

use std::{fs, sync::Arc};

use wippy_registry::EntryId;
use wippy_security::Spawn;
use wippy_wasm::{EnvironmentVariable, Mount, WasiConfig, WasmProcess, import_for};
use wippy_wit::Value;

use crate::{
    identity::Log,
    processes,
    support::{Wants, call, context, id, prepare, prepare_text_with},
};

/// Runs the program with a folder that it may write to and one that it may not, and returns how it ended, its report and
/// what it logged.
async fn run(end: &str) -> (i64, String, Log) {
    let folder = tempfile::tempdir().unwrap();
    let [writable, readable] = ["writable", "readable"].map(|name| folder.path().join(name));
    fs::create_dir(&writable).unwrap();
    fs::create_dir(&readable).unwrap();
    fs::write(readable.join("given.txt"), "given").unwrap();
    fs::write(folder.path().join("outside.txt"), "secret").unwrap();
    let mount = |host, guest: &str, read_only| Mount {
        host,
        guest: guest.to_owned(),
        read_only,
        id: id("files"),
    };
    let variable = EntryId::parse("app:color").unwrap();
    let wasi = WasiConfig {
        args: vec!["/w".to_owned(), "/r".to_owned(), end.to_owned()],
        env: vec![EnvironmentVariable {
            id: variable.clone(),
            name: "COLOR".to_owned(),
            required: true,
        }],
        mounts: vec![mount(writable.clone(), "/w", false), mount(readable, "/r", true)],
        lookup: Some(Arc::new(move |id| (*id == variable).then(|| "green".to_owned()))),
        ..WasiConfig::default()
    };
    let wants = Wants {
        wasi,
        ..Wants::imports(&[
            "wasi:cli",
            "wasi:io",
            "wasi:clocks",
            "wasi:filesystem",
            "wasi:random",
        ])
    };
    let module = prepare("std-program", "run", wants).unwrap();
    assert!(module.is_command());
    let log = Log::default();
    let collecting = log.collect();
    let code = exit_code(WasmProcess::new(module)).await;
    drop(collecting);
    let report = fs::read_to_string(writable.join("report.txt")).unwrap();
    (code, report, log)
}

/// Runs a process to its end, as its host would.
async fn exit_code(process: WasmProcess) -> i64 {
    let root = processes::root();
    let table = root.dispatcher().processes();
    table.insert(id("program"), Arc::new(process));
    let spawn = Spawn::new(id("program"), id("host"), Vec::new());
    let launched = table.launch(&root, spawn, Vec::new()).unwrap();
    match &*launched.exit().await {
        Ok(_) => 0,
        Err(error) => match error.details().get("exit_code") {
            Some(Value::Integer(code)) => *code,
            _ => panic!("{error}"),
        },
    }
}

#[tokio::test]
async fn a_program_of_the_standard_library() {
    let (exit, report, log) = run("ok").await;
    assert_eq!(exit, 0);
    insta::assert_snapshot!(report, @r#"
    arguments: run /w /r ok
    variables: COLOR=green
    files: ["one", "two", "three"] "two" (7, 7) Some(NotFound)
    directories: ["inner/", "leaf"] false
    read-only: "given" true
    clocks: true true
    randomness: true
    input: ""
    "#);
    // What it wrote to its streams is in the log, line by line.
    for line in report.lines() {
        assert_eq!(log.lines_with(line).len(), 1, "{line}");
    }
    let said = log.lines_with("ending with ok");
    assert!(said.len() == 1 && said[0].contains("stderr"), "{said:?}");
}

#[tokio::test]
async fn a_program_says_how_it_ended() {
    assert_eq!(run("fail").await.0, 1);
    // The older WASI's adapter knows success and failure only.
    assert_eq!(run("7").await.0, 1);
}

/// A guest finds the host's interfaces whatever version of WASI 0.2 it was made for.
#[tokio::test]
async fn every_version_of_wasi_0_2_fits() {
    for version in ["0.2.0", "0.2.3", "0.2.6", "0.2.12", "0.2.99"] {
        let text = format!(
            r#"(component
                (import "wasi:random/random@{version}" (instance $random
                    (export "get-random-u64" (func (result u64)))))
                (core func $get (canon lower (func $random "get-random-u64")))
                (core module $m
                    (import "" "get" (func $get (result i64)))
                    (func (export "draw") (result i64) (call $get)))
                (core instance $i (instantiate $m (with "" (instance (export "get" (func $get))))))
                (func (export "draw") (result u64) (canon lift (core func $i "draw"))))"#
        );
        let module = prepare_text_with(&text, "draw", &["wasi:random"])
            .unwrap_or_else(|errors| panic!("{version}: {errors:?}"));
        let drawn = call(&context(module), &[]).await;
        assert!(
            matches!(drawn, Ok(Value::Integer(_) | Value::Unsigned(_))),
            "{version}: {drawn:?}"
        );
    }
}

#[test]
fn a_version_that_does_not_exist_is_found_at_boot() {
    let text = r#"(component
        (import "wasi:random/random@0.1.0" (instance (export "get-random-u64" (func (result u64)))))
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func (export "f") (canon lift (core func $i "f"))))"#;
    let errors = prepare_text_with(text, "f", &["wasi:random"]).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
}

#[test]
fn interfaces_are_granted_by_one_import() {
    for (interface, import) in [
        ("wasi:sockets/tcp@0.2.3", Some("wasi:sockets")),
        ("wasi:sockets/udp-create-socket@0.2.0", Some("wasi:sockets")),
        ("wasi:sockets/ip-name-lookup@0.2.12", Some("wasi:sockets")),
        ("wasi:http/types@0.2.0", Some("wasi:http")),
        ("wasi:http/outgoing-handler@0.2.0", Some("wasi:http")),
        ("wasi:http/incoming-handler@0.2.0", None),
    ] {
        assert_eq!(import_for(interface), import, "{interface}");
    }
}
