//! What WebAssembly guests can reach: the functions of our interfaces, and the interfaces of WASI.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use wippy_wit::Value;
use wit_parser::Resolve;

use super::{compare, try_without};
use crate::{
    conversions::calls_json,
    shell::{FILES, project, write},
    stage::Stage,
};

/// A function, the action and resource it takes, and the entry below that uses it.
const GUARDED: &[(&str, &str, &str, &str)] = &[
    (
        "wippy:runtime/funcs#call-string",
        "funcs.call",
        "app:target",
        "app:string",
    ),
    (
        "wippy:runtime/funcs#call-bytes",
        "funcs.call",
        "app:target",
        "app:bytes",
    ),
    (
        "wippy:runtime/funcs#call-json",
        "funcs.call",
        "app:target",
        "app:json",
    ),
];

/// What is guarded and tried where the guests for it are.
const GUARDED_THERE: &[(&str, &str)] = &[
    ("wasi:http/outgoing-handler", "wippy-wasm/tests/it/http_client.rs"),
    ("wasi:sockets/instance-network", "wippy-wasm/tests/it/sockets.rs"),
    ("wasi:sockets/ip-name-lookup", "wippy-wasm/tests/it/sockets.rs"),
    ("wasi:sockets/network", "wippy-wasm/tests/it/sockets.rs"),
    ("wasi:sockets/tcp*", "wippy-wasm/tests/it/sockets.rs"),
    ("wasi:sockets/udp*", "wippy-wasm/tests/it/sockets.rs"),
    // Each goes by way of the operation that scripts use, too.
    (
        "wippy:runtime/process#cancel",
        "wippy-security/tests/it/processes",
    ),
    ("wippy:runtime/process#link", "wippy-security/tests/it/processes"),
    (
        "wippy:runtime/process#monitor",
        "wippy-security/tests/it/processes",
    ),
    (
        "wippy:runtime/process#register",
        "wippy-security/tests/it/processes",
    ),
    ("wippy:runtime/process#send", "wippy-wasm/tests/it/processes.rs"),
    ("wippy:runtime/process#spawn", "wippy-wasm/tests/it/processes.rs"),
    (
        "wippy:runtime/process#terminate",
        "wippy-security/tests/it/processes",
    ),
    (
        "wippy:runtime/process#unlink",
        "wippy-security/tests/it/processes",
    ),
    (
        "wippy:runtime/process#unmonitor",
        "wippy-security/tests/it/processes",
    ),
    (
        "wippy:runtime/process#unregister",
        "wippy-security/tests/it/processes",
    ),
];

/// Interfaces that need no permission: an entry's `imports` and `wasi` say what is behind them.
const HARMLESS: &[&str] = &[
    // Bodies and heads; what is sent is the outgoing handler's.
    "wasi:http/types",
    // What the running call is, and what was sent to it.
    "wippy:runtime/context#*",
    "wippy:runtime/process#pid",
    "wippy:runtime/process#receive",
    "wippy:runtime/process#trap-links",
    // A name is no secret: what is done by it is asked about.
    "wippy:runtime/process#lookup",
    // The log. What is said there is said by the entry.
    "wippy:runtime/logger#log",
    // Streams, environment and arguments are those that the entry or its host declares.
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-*",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    // Only the folders that the entry mounts, no way out of them.
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
];

/// The folder of our own interfaces.
fn interfaces_of_ours() -> Resolve {
    let mut resolve = Resolve::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wippy-wasm/wit");
    resolve.push_dir(folder).unwrap();
    resolve
}

#[test]
fn every_interface_is_known() {
    let granted: BTreeSet<String> = wippy_wasm::interfaces()
        .map(|(name, _)| name.to_owned())
        .collect();
    let (mut real, mut ours) = (BTreeSet::new(), BTreeSet::new());
    let resolve = interfaces_of_ours();
    for (_, interface) in &resolve.interfaces {
        let package = &resolve.packages[interface.package.unwrap()].name;
        let name = format!(
            "{}:{}/{}",
            package.namespace,
            package.name,
            interface.name.as_deref().unwrap()
        );
        let functions = interface.functions.keys();
        real.extend(functions.map(|function| format!("{name}#{function}")));
        ours.insert(name);
    }
    let of_ours = |name: &&String| name.starts_with("wippy:");
    assert_eq!(
        granted.iter().filter(of_ours).cloned().collect::<BTreeSet<_>>(),
        ours
    );
    real.extend(granted.into_iter().filter(|name| !of_ours(&name)));
    let guarded = GUARDED.iter().map(|(name, ..)| *name);
    let there = GUARDED_THERE.iter().map(|(name, _)| *name);
    let listed: Vec<&str> = guarded.chain(there).chain(HARMLESS.iter().copied()).collect();
    for (name, tests) in GUARDED_THERE {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        assert!(root.join(tests).exists(), "{name} is tried nowhere");
    }
    compare("interfaces and functions", &real, &listed);
}

#[test]
fn what_is_guarded_is_refused_without_its_permission() {
    let project = project("namespace: app\nentries: []\n");
    let guests = [
        (
            "string",
            "relay",
            fs::read(fixtures::wasm("calls-funcs")).unwrap(),
        ),
        (
            "bytes",
            "relay-bytes",
            fs::read(fixtures::wasm("calls-funcs")).unwrap(),
        ),
        ("json", "relay", calls_json()),
    ];
    let mut index = format!(
        "namespace: app\nentries:\n{FILES}  - name: target\n    kind: function.lua\n    method: main\n    \
         source: return {{ main = function() return 'came in' end }}\n"
    );
    for (name, method, bytes) in &guests {
        fs::write(project.path().join(format!("{name}.wasm")), bytes).unwrap();
        let hash = wippy_wasm::sha256(bytes);
        let _ = write!(
            index,
            "  - name: {name}\n    kind: function.wasm\n    method: {method}\n    imports: [funcs]\n    fs: files\n    \
             path: {name}.wasm\n    hash: {hash}\n"
        );
    }
    write(project.path(), "src/_index.yaml", &index);
    let stage = Stage::new(project);
    let arguments = [Value::from("app:target"), Value::from("[]")];
    let wrong: Vec<String> = GUARDED
        .iter()
        .filter_map(|(name, action, resource, entry)| {
            let wrong = try_without(&stage, entry, (action, resource), &arguments)?;
            Some(format!("{name}: {wrong}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
