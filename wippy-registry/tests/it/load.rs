//! What a folder of fixtures cannot show: links, sizes, files that are not text.

use std::fs;
use std::path::Path;

use wippy_registry::{Loaded, SourceText, link, load, schema};

fn write(project: &Path, path: &str, text: impl AsRef<[u8]>) {
    let file = project.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

fn codes(loaded: &Loaded) -> Vec<&str> {
    loaded
        .diagnostics
        .iter()
        .map(|diagnostic| diagnostic.code)
        .collect()
}

fn library(source: &str) -> String {
    format!("namespace: app\nentries:\n  - {{name: a, kind: library.lua, source: \"{source}\"}}\n")
}

#[cfg(unix)]
#[test]
fn a_link_cannot_leave_the_project() {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("project");
    write(folder.path(), "secret.lua", "return 'secret'");
    write(folder.path(), "outside/_index.yaml", library("return 1"));
    write(&project, "src/_index.yaml", library("file://link.lua"));
    std::os::unix::fs::symlink("../../secret.lua", project.join("src/link.lua")).unwrap();
    std::os::unix::fs::symlink("../../outside", project.join("src/outside")).unwrap();

    let loaded = load::load(&project);
    assert_eq!(codes(&loaded), ["outside-project", "outside-project"]);
    assert_eq!(loaded.entries.len(), 1);
    assert!(
        loaded
            .sources
            .iter()
            .all(|(_, source)| !source.text().contains("secret'"))
    );
}

#[cfg(unix)]
#[test]
fn a_link_in_a_circle_ends() {
    let project = tempfile::tempdir().unwrap();
    write(project.path(), "src/_index.yaml", library("return 1"));
    std::os::unix::fs::symlink(".", project.path().join("src/again")).unwrap();
    assert_eq!(load::load(project.path()).entries.len(), 1);
}

#[test]
fn large_and_binary_files_are_refused() {
    let project = tempfile::tempdir().unwrap();
    write(project.path(), "src/_index.yaml", library("file://binary.lua"));
    write(project.path(), "src/binary.lua", [0xff, 0xfe, 0]);
    write(project.path(), "src/large/_index.yaml", vec![b'#'; (4 << 20) + 1]);
    assert_eq!(
        codes(&load::load(project.path())),
        ["unreadable-file", "unreadable-file"]
    );
}

#[test]
fn a_missing_folder_is_a_diagnostic() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(codes(&load::load(folder.path())), ["no-sources"]);
    assert_eq!(
        codes(&load::load(&folder.path().join("none"))),
        ["no-project", "no-sources"]
    );
}

#[test]
fn a_file_is_read_once_and_known_by_its_path() {
    let project = tempfile::tempdir().unwrap();
    let two = "namespace: app\nentries:\n  - {name: a, kind: library.lua, source: \"file://x.lua\"}\n  \
               - {name: b, kind: library.lua, source: \"file:///src/x.lua\"}\n";
    write(project.path(), "src/_index.yaml", two);
    write(project.path(), "src/x.lua", "local a\nlocal b\n");
    let linked = link::link(load::load(project.path()), &|_: &str| None);
    assert_eq!(linked.sources.iter().count(), 2);
    let texts: Vec<SourceText> = linked
        .entries
        .iter()
        .filter_map(|linked| match &linked.config {
            schema::Config::LuaLibrary(library) => Some(library.script.source.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(texts.len(), 2);
    assert_eq!(texts[0], texts[1]);
    assert_eq!(texts[0].path.as_deref(), Some("src/x.lua"));
    let place = linked
        .sources
        .position(texts[0].span_at(14..15, &linked.sources))
        .unwrap();
    assert_eq!((place.line, place.column), (2, 7));

    let authored = linked.entries[0].entry.to_authored_json();
    assert_eq!(authored["source"], "file://x.lua");
    assert_eq!(linked.entries[0].entry.to_json()["source"], "local a\nlocal b\n");
}

#[test]
fn many_files_are_read_at_once_and_come_in_their_order() {
    let project = tempfile::tempdir().unwrap();
    // Together they are worth more than one thread.
    let filler = "#".repeat(8 << 10);
    for number in 10..40 {
        let index = format!(
            "{filler}\nnamespace: n{number}\nentries:\n  - {{name: a, kind: x, source: file://a.lua}}\n"
        );
        let broken = format!("{filler}\nnamespace: n{number}\nentries: [\n");
        let is_broken = number % 10 == 0;
        write(
            project.path(),
            &format!("src/n{number}/_index.yaml"),
            if is_broken { broken } else { index },
        );
        write(
            project.path(),
            &format!("src/n{number}/a.lua"),
            format!("return {number}"),
        );
    }
    let loaded = load::load(project.path());
    let ids: Vec<_> = loaded.entries.iter().map(|entry| entry.id.to_string()).collect();
    let expected = (10..40).filter(|number| number % 10 != 0);
    assert_eq!(
        ids,
        expected.map(|number| format!("n{number}:a")).collect::<Vec<_>>()
    );
    for entry in &loaded.entries {
        let source = entry.at("source").unwrap().as_str().unwrap();
        assert_eq!(format!("return {}", &entry.id.namespace()[1..]), source);
    }
    let blamed: Vec<_> = loaded
        .diagnostics
        .iter()
        .map(|diagnostic| loaded.sources.path(diagnostic.labels[0].span).unwrap())
        .collect();
    assert_eq!(
        blamed,
        [
            "src/n10/_index.yaml",
            "src/n20/_index.yaml",
            "src/n30/_index.yaml"
        ]
    );
}

#[test]
fn what_files_mention_is_known_before_they_are_parsed() {
    let project = tempfile::tempdir().unwrap();
    write(project.path(), "src/_index.yaml", library("return 1"));
    write(
        project.path(),
        "src/a/_index.yaml",
        "namespace: b\nentries: [\n# function.wasm",
    );
    let files = load::read(project.path());
    assert!(files.mention(&["process.wasm", "library.lua"]));
    assert!(files.mention(&["function.wasm"]));
    assert!(!files.mention(&["process.wasm"]));
    assert!(!files.mention(&[]));
    assert_eq!(codes(&files.parse()), ["invalid-yaml"]);
}
