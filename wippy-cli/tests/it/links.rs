//! Links that somebody on the host left in a volume: what a script opens through them stays inside, every time.
//!
//! A script cannot make a link. A guest that shares the folder can, and so can everybody else on the machine. What
//! guests do with links is in the table of hostile guests of `wippy-wasm`.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    thread,
};

use wippy_wit::Value;

use crate::{shell, stage::Stage};

/// How often each is tried.
const TIMES: usize = 100;

/// How often the race's folder and link take each other's place.
const SWAPS: usize = 20_000;

/// A script that does one thing in the volume, and says what came of it.
const INDEX: &str = r#"namespace: app
entries:
  - { name: data, kind: fs.directory, directory: data, mode: "0755" }
  - name: attempt
    kind: function.lua
    modules: [fs]
    method: attempt
    source: |
      local fs = require("fs")
      local volume = fs.get("app:data")
      local function attempt(what, ...)
        local value, err = volume[what](volume, ...)
        if err then return err:kind() .. " " .. err:message() end
        if what == "open" then
          local text, unread = value:read()
          value:close()
          return "= " .. (text or unread:message())
        end
        if type(value) == "function" then
          local names = {}
          for entry in value do names[#names + 1] = entry.name .. " " .. entry.type end
          return "= " .. table.concat(names, ", ")
        end
        if type(value) == "table" then return "= " .. value.type .. " of " .. value.size end
        if what == "chdir" then
          local there = volume:pwd()
          volume:chdir("/")
          return "= " .. there
        end
        return "= " .. tostring(value)
      end
      return { attempt = attempt }
"#;

/// The links, and where each leads. Those whose name begins with `fine` stay inside.
const LINKS: &[(&str, &str)] = &[
    ("relative", "../outside/secret"),
    ("folder", "../outside"),
    ("root", "/"),
    ("chained", "folder/secret"),
    ("inner/winding", "../inner/../../outside/secret"),
    // Writing there would make the file.
    ("dangling", "../outside/new"),
    // It comes back in, but had to go out for that.
    ("returning", "../data/file"),
    ("process", "/proc/self/root"),
    ("loop", "loop"),
    ("ping", "pong"),
    ("pong", "ping"),
    ("loop-folder", "loop-folder/deeper"),
    ("fine", "file"),
    ("fine-folder", "inner"),
    ("fine-chained", "fine-folder/../fine"),
];

/// Everything that follows links, at paths with a link at their end or on their way.
const ATTEMPTS: &[&[&str]] = &[
    &["readfile", "absolute"],
    &["readfile", "relative"],
    &["readfile", "folder/secret"],
    &["readfile", "/folder/secret"],
    &["readfile", "root/etc/passwd"],
    &["readfile", "chained"],
    &["readfile", "inner/winding"],
    &["readfile", "fine-folder/winding"],
    &["readfile", "dangling"],
    &["readfile", "returning"],
    &["readfile", "process/etc/passwd"],
    &["readfile", "loop"],
    &["readfile", "ping"],
    &["readfile", "loop/deeper"],
    &["readfile", "loop-folder/deeper"],
    &["open", "absolute", "r"],
    &["open", "relative", "r"],
    &["open", "relative", "r+"],
    &["open", "relative", "w"],
    &["open", "relative", "w+"],
    &["open", "relative", "wx"],
    &["open", "relative", "a"],
    &["open", "relative", "a+"],
    &["open", "dangling", "w"],
    &["open", "dangling", "wx"],
    &["open", "dangling", "a"],
    &["open", "folder/new", "w"],
    &["open", "returning", "w"],
    &["open", "loop", "r"],
    &["open", "loop", "w"],
    &["open", "ping", "a"],
    &["writefile", "absolute", "changed"],
    &["writefile", "chained", "changed"],
    &["writefile", "dangling", "changed"],
    &["writefile", "folder/new", "changed"],
    &["writefile", "folder/secret", "changed", "a"],
    &["writefile", "inner/winding", "changed"],
    &["writefile", "loop", "changed"],
    &["stat", "relative"],
    &["stat", "folder"],
    &["stat", "loop"],
    &["exists", "relative"],
    &["exists", "folder/nothing"],
    &["exists", "loop"],
    &["isdir", "folder"],
    &["isdir", "root"],
    &["isdir", "loop"],
    &["readdir", "folder"],
    &["readdir", "root"],
    &["readdir", "loop-folder"],
    &["chdir", "folder"],
    &["chdir", "root"],
    &["chdir", "loop"],
    &["mkdir", "folder/new"],
    &["mkdir", "dangling"],
    &["mkdir", "loop/new"],
    &["remove", "folder/secret"],
    &["remove", "root/etc/passwd"],
    &["remove", "loop/deeper"],
    &["readfile", "fine"],
    &["readfile", "fine-chained"],
    &["readfile", "fine-folder/file"],
    &["open", "fine", "r"],
    &["writefile", "fine-folder/written", "inside"],
    &["stat", "fine"],
    &["isdir", "fine-folder"],
    &["readdir", "fine-folder"],
    &["chdir", "fine-folder"],
];

/// A volume with these links, and something beside it.
fn project() -> tempfile::TempDir {
    let project = shell::project(INDEX);
    for (file, text) in [
        ("data/file", "mine"),
        ("data/inner/file", "mine too"),
        ("data/race/file", "decoy"),
        ("outside/secret", "secret"),
        ("outside/file", "secret"),
    ] {
        shell::write(project.path(), file, text);
    }
    let data = project.path().join("data");
    for (name, target) in LINKS {
        symlink(target, data.join(name)).unwrap();
    }
    symlink(project.path().join("outside/secret"), data.join("absolute")).unwrap();
    symlink("../outside", data.join("way-out")).unwrap();
    project
}

fn attempt(stage: &Stage, words: &[&str]) -> String {
    let arguments: Vec<_> = words.iter().map(|&word| Value::from(word)).collect();
    let said = stage.call(&stage.app.context(), "app:attempt", &arguments);
    said.unwrap().as_str().unwrap().to_owned()
}

/// What is in a folder, with the time of each file's last change.
fn content(folder: &Path) -> Vec<(PathBuf, String, std::time::SystemTime)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            (path, text, modified)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn scripts_stay_inside_whatever_links_there_are() {
    let project = project();
    let outside = project.path().join("outside");
    let stage = Stage::new(project);
    let before = content(&outside);
    let outcomes: Vec<_> = ATTEMPTS.iter().map(|words| attempt(&stage, words)).collect();
    let mut table = String::new();
    for (words, outcome) in ATTEMPTS.iter().zip(&outcomes) {
        let is_fine = words[1].starts_with("fine") && !words[1].contains("winding");
        assert_eq!(outcome.starts_with('='), is_fine, "{words:?}: {outcome}");
        writeln!(table, "{:34} {outcome}", words.join(" ")).unwrap();
    }
    insta::assert_snapshot!(table);
    for _ in 1..TIMES {
        for (words, outcome) in ATTEMPTS.iter().zip(&outcomes) {
            assert_eq!(attempt(&stage, words), *outcome, "{words:?}");
        }
    }
    assert_eq!(content(&outside), before);
}

/// Whoever looks at `race` sees a folder of the volume, a link that leads out, or nothing.
#[test]
fn a_link_that_takes_a_folders_place_meanwhile_leads_nowhere() {
    let project = project();
    let (data, outside) = (project.path().join("data"), project.path().join("outside"));
    let stage = Stage::new(project);
    let before = content(&outside);
    let (mut inside, mut refused) = (0, 0);
    thread::scope(|scope| {
        let rename = |from: &str, to: &str| fs::rename(data.join(from), data.join(to)).unwrap();
        let swapping = scope.spawn(move || {
            for _ in 0..SWAPS {
                rename("race", "spare");
                rename("way-out", "race");
                rename("race", "way-out");
                rename("spare", "race");
            }
        });
        while !swapping.is_finished() {
            for words in [
                &["readfile", "race/file"][..],
                &["open", "race/file", "r"],
                &["writefile", "race/new", "changed"],
            ] {
                let said = attempt(&stage, words);
                assert_ne!(said, "= secret");
                if said.starts_with('=') {
                    inside += 1;
                } else {
                    refused += 1;
                }
            }
        }
    });
    // The folder was there, and it was away: there was a race.
    assert!(inside > 0 && refused > 0, "{inside} {refused}");
    assert_eq!(content(&outside), before);
}
