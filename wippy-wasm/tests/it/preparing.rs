//! Mistakes that are found before anything runs.

use wippy_wasm::{Binary, Content, Error, Limits, Module, Spec, WasiConfig};
use wippy_wit::Value;

use crate::support::{Wants, call, context, engine, id, prepare, prepare_text};

/// The only mistake that `prepare` found, with its help.
fn only(result: Result<Module, Vec<Error>>) -> (String, String) {
    let errors = result.map(|_| ()).unwrap_err();
    let [error] = errors.as_slice() else {
        panic!("expected one error, got {errors:?}")
    };
    (error.to_string(), error.help().unwrap_or_default())
}

#[test]
fn a_wrong_hash_names_both() {
    let content = Content::new(std::fs::read(fixtures::wasm("compute")).unwrap());
    let hash = format!("sha256:{}", "0".repeat(64));
    let spec = Spec {
        id: id("f"),
        binary: Binary::Wasm {
            content: &content,
            hash: &hash,
        },
        wit: None,
        method: "compute",
        imports: &[],
        wasi: WasiConfig::default(),
        limits: Limits::default(),
    };
    let (message, help) = only(engine().prepare(spec));
    assert_eq!(
        message,
        format!(
            "the file has the hash `{}`, the entry says `{hash}`",
            content.hash()
        )
    );
    assert!(help.contains(&content.hash()));
}

/// Entries of one component share what they are linked to only where they grant the same.
#[test]
fn what_one_entry_is_granted_another_of_its_component_is_not() {
    let granted = || {
        prepare(
            "sleeper",
            "test-sleep#sleep-ms",
            Wants::imports(&["wasi:clocks", "wasi:poll"]),
        )
    };
    let first = granted().unwrap();
    for (imports, missing) in [
        (&["wasi:poll"][..], "wasi:clocks"),
        (&["wasi:clocks"], "wasi:io"),
        (&["wasi:random", "wasi:poll"], "wasi:clocks"),
    ] {
        let errors = prepare("sleeper", "test-sleep#sleep-ms", Wants::imports(imports)).unwrap_err();
        let names =
            |error: &Error| matches!(error, Error::UndeclaredImport { import, .. } if import == missing);
        assert!(!errors.is_empty() && errors.iter().all(names), "{errors:?}");
    }
    drop(first);
    granted().unwrap();
}

#[test]
fn an_unknown_method_lists_the_exports() {
    let (message, help) = only(prepare("compute", "multiply", Wants::default()));
    assert_eq!(message, "the module has no function `multiply`");
    assert_eq!(help, "it exports `compute`, `divide`");
}

#[test]
fn short_forms_of_methods() {
    for method in [
        "ops#add",
        "demo:math/ops#add",
        "demo:math/ops@1.2.0#add",
        "subtract",
        "negate",
        "saturating#add",
    ] {
        assert!(prepare("math", method, Wants::default()).is_ok(), "{method}");
    }
    let (message, help) = only(prepare("math", "add", Wants::default()));
    assert_eq!(
        message,
        "`add` names several functions: demo:math/ops@1.2.0#add, demo:math/saturating@1.2.0#add"
    );
    assert!(help.contains("demo:math/ops@1.2.0#add"));
}

#[test]
fn undeclared_imports_name_the_line_to_add() {
    let (message, help) = only(prepare("wants-clock", "probe", Wants::default()));
    assert_eq!(
        message,
        "the module imports `wasi:clocks/monotonic-clock@0.2.12`, which the entry does not grant"
    );
    assert_eq!(help, "add `- wasi:clocks` to the entry's `imports`");
    assert!(prepare("wants-clock", "probe", Wants::imports(&["wasi:clocks"])).is_ok());
}

#[test]
fn interfaces_that_nobody_provides() {
    let (message, _) = only(prepare("wants-missing", "probe", Wants::default()));
    assert_eq!(
        message,
        "the module imports `demo:missing/thing@1.0.0`, which this runtime does not provide"
    );
}

#[test]
fn imports_that_do_not_exist() {
    let (message, help) = only(prepare("compute", "compute", Wants::imports(&["wasi:clock"])));
    assert_eq!(message, "there is no import `wasi:clock`");
    assert!(help.contains("`wasi:clocks`"));
}

#[test]
fn core_modules_need_a_signature_that_fits() {
    let wat = "(module (func (export \"answer\") (result i32) i32.const 42))";
    let (message, help) = only(prepare_text(wat, None, "answer"));
    assert_eq!(
        message,
        "a core module needs a `wit` field with the signature of `answer`"
    );
    assert_eq!(help, "for example `wit: \"answer: func() -> s32;\"`");

    let (message, help) = only(prepare_text(wat, Some("question: func() -> s32;"), "question"));
    assert_eq!(
        message,
        "the module does not match its `wit`: it has no export `question`"
    );
    assert_eq!(help, "it exports `answer`");

    let (message, _) = only(prepare_text(wat, Some("answer: func() -> s64;"), "answer"));
    assert!(
        message.starts_with("the module does not match its `wit`: "),
        "{message}"
    );

    let (message, _) = only(prepare_text(
        wat,
        Some("answer: func(text: string) -> s32;"),
        "answer",
    ));
    assert!(message.contains("there is no export `memory`"), "{message}");
}

#[test]
fn text_that_is_no_module() {
    let errors = prepare_text(
        "(module\n  (func (export \"a\") (result i32) i32.cons 1))",
        None,
        "a",
    )
    .map(|_| ())
    .unwrap_err();
    let [
        Error::Wat {
            offset: Some(offset), ..
        },
    ] = errors.as_slice()
    else {
        panic!("{errors:?}")
    };
    assert_eq!(*offset, 42);
}

#[test]
fn truncated_and_corrupt_binaries() {
    let bytes = std::fs::read(fixtures::wasm("users")).unwrap();
    let mut tried = 0;
    for cut in (0..bytes.len()).step_by(bytes.len() / 40) {
        let part = &bytes[..cut];
        let content = Content::new(part);
        let spec = Spec {
            id: id("f"),
            binary: Binary::Wasm {
                content: &content,
                hash: &content.hash(),
            },
            wit: None,
            method: "transform-users",
            imports: &[],
            wasi: WasiConfig::default(),
            limits: Limits::default(),
        };
        assert!(engine().prepare(spec).is_err(), "cut at {cut}");
        tried += 1;
    }
    assert!(tried >= 40);
}

#[test]
fn binaries_that_were_cut_are_refused() {
    let bytes = std::fs::read(fixtures::wasm("users")).unwrap();
    let cuts = (0..bytes.len()).step_by(bytes.len() / 200);
    for length in cuts {
        assert!(
            prepare_bytes(&bytes[..length], "transform-users").is_err(),
            "{length}"
        );
    }
}

/// One wrong byte may go unnoticed where it is data; it is never more than an error otherwise.
#[tokio::test]
async fn binaries_with_a_wrong_byte_are_refused_or_run() {
    let bytes = std::fs::read(fixtures::wasm("bench")).unwrap();
    let mut outcomes = [0, 0, 0];
    for at in 8..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[at] ^= 0x41;
        let outcome = match prepare_bytes(&wrong, "add") {
            Err(errors) => {
                assert!(!errors.is_empty());
                0
            }
            Ok(module) => {
                let arguments = [Value::Integer(1), Value::Integer(2)];
                1 + usize::from(call(&context(module), &arguments).await.is_ok())
            }
        };
        outcomes[outcome] += 1;
    }
    let [refused, failed, ran] = outcomes;
    assert!(refused > ran, "{refused} refused, {failed} failed, {ran} ran");
    assert!(ran > 0);
}

fn prepare_bytes(bytes: &[u8], method: &str) -> Result<Module, Vec<Error>> {
    let content = Content::new(bytes);
    engine().prepare(Spec {
        id: id("bytes"),
        binary: Binary::Wasm {
            content: &content,
            hash: &content.hash(),
        },
        wit: None,
        method,
        imports: &[],
        wasi: WasiConfig::default(),
        // A wrong byte can make a loop of anything.
        limits: Wants::within(200).limits,
    })
}

#[test]
fn wasi_0_3_is_told_apart_from_what_nobody_knows() {
    let text = r#"(component
        (import "wasi:random/random@0.3.0" (instance (export "get-random-u64" (func (result u64)))))
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func (export "f") (canon lift (core func $i "f"))))"#;
    let (message, _) = only(prepare_text(text, None, "f"));
    assert_eq!(
        message,
        "`wasi:random/random@0.3.0` is of WASI 0.3, which is not offered yet: build the guest for WASI 0.2"
    );
}
