//! `wasm.cache`: the second start of an application loads what the first one compiled.

use std::{fs, path::Path, time::Instant};

use wippy_cli::{App, Config};

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

#[test]
fn boot_is_faster_from_the_cache() {
    let app = application("");
    let mut config = Config::default();
    let boot = || {
        let begun = Instant::now();
        drop(App::load(app.path(), &config).unwrap());
        begun.elapsed()
    };
    let without = (0..3).map(|_| boot()).min().unwrap();
    config.wasm.cache.enabled = true;
    config.wasm.cache.dir = Some(app.path().join("cache"));
    let boot = || {
        let begun = Instant::now();
        drop(App::load(app.path(), &config).unwrap());
        begun.elapsed()
    };
    let filling = boot();
    let with = (0..3).map(|_| boot()).min().unwrap();
    println!("boot: {without:?} compiling, {filling:?} filling the cache, {with:?} from the cache");
    assert!(with < without, "{with:?} from the cache, {without:?} without");
}
