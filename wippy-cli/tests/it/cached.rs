//! `wasm.cache`: the second start of an application loads what the first one compiled.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use crate::shell::{assert_transcript, transcript, write};

/// The quickstart application in a folder of its own, with a configuration.
fn application(configuration: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&fixtures::app("quickstart"), folder.path());
    write(folder.path(), ".wippy.yaml", configuration);
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn kept(folder: &Path) -> usize {
    fs::read_dir(folder.join("cache")).map_or(0, Iterator::count)
}

#[test]
fn a_run_keeps_what_it_compiled() {
    let app = application("wasm:\n  cache: { dir: cache, max_bytes: 64MB }\n");
    let words = ["call", "quickstart:compute", "6", "7"];
    let first = transcript(app.path(), &words);
    let after_one = kept(app.path());
    assert!(after_one > 0, "{first}");
    assert_eq!(transcript(app.path(), &words), first);
    assert_eq!(kept(app.path()), after_one);
}

#[test]
fn it_can_be_turned_off() {
    let app = application("wasm:\n  cache: { dir: cache, enabled: false }\n  allocator: on_demand\n");
    let said = transcript(app.path(), &["call", "quickstart:compute", "6", "7"]);
    assert!(said.contains("42"), "{said}");
    assert_eq!(kept(app.path()), 0);
}

#[test]
fn a_cache_that_cannot_be_is_a_warning() {
    let app = application("wasm:\n  cache: { dir: file }\n");
    write(app.path(), "file", "");
    assert_transcript!(transcript(app.path(), &["call", "quickstart:compute", "6", "7"]));
}

/// A project of 200 entries over 20 components, each of some size.
fn many() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut index = String::from("version: \"1.0\"\nnamespace: many\nentries:\n");
    for component in 0..20 {
        let function = |number: usize| {
            let steps =
                format!("local.get 0 i32.const {number} i32.mul i32.const {component} i32.add local.set 0 ");
            format!(
                "(func (export \"f{number}\") (param i32) (result i32) {}local.get 0)\n",
                steps.repeat(20)
            )
        };
        let functions: String = (0..60).map(function).collect();
        write(
            folder.path(),
            &format!("src/c{component}.wat"),
            &format!("(module {functions})"),
        );
        // The same signatures for all entries of one component make them share it.
        let signatures: Vec<String> = (0..10)
            .map(|number| format!("f{number}: func(x: s32) -> s32;"))
            .collect();
        let wit = signatures.join(" ");
        for entry in 0..10 {
            let _ = writeln!(
                index,
                "  - {{ name: c{component}_{entry}, kind: function.wat, source: \"file://c{component}.wat\", \
                 wit: \"{wit}\", method: f{entry} }}"
            );
        }
    }
    write(folder.path(), "src/_index.yaml", &index);
    folder
}

/// How long a run takes that calls one function.
fn boot(folder: &Path, cache: &str) -> Duration {
    write(
        folder,
        ".wippy.yaml",
        &format!("wasm: {{ cache: {{ {cache} }} }}\n"),
    );
    let begun = Instant::now();
    let said = transcript(folder, &["call", "many:c0_0", "1"]);
    assert!(said.ends_with("exit code 0"), "{said}");
    begun.elapsed()
}

#[test]
fn boot_is_faster_from_the_cache() {
    let folder = many();
    let without = boot(folder.path(), "enabled: false");
    let filling = boot(folder.path(), "dir: cache");
    let with = (0..3).map(|_| boot(folder.path(), "dir: cache")).min().unwrap();
    println!("200 entries: {without:?} compiling, {filling:?} filling the cache, {with:?} from the cache");
    assert!(with < without, "{with:?} from the cache, {without:?} without");
}
