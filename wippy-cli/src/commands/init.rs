//! `wippy init`: makes a folder a project, with a small application if one is wanted.
//!
//! A file that is there already is never changed.

use std::{fs, io::Write as _, path::Path, process::ExitCode};

use crate::{
    Failure,
    args::{InitArgs, Shared, Template},
    output,
};

/// The files of `--template wasm`, relative to the folder of the entries.
const WASM: [(&str, &str); 2] = [
    ("_index.yaml", include_str!("init/index.yaml")),
    ("hello.lua", include_str!("init/hello.lua")),
];

pub(super) fn run(shared: &Shared, args: &InitArgs) -> Result<ExitCode, Failure> {
    let directory = shared.directory.as_deref().unwrap_or(Path::new("."));
    let sources = directory.join(args.src_dir.trim_start_matches("./"));
    let mut files = vec![(directory.join("wippy.lock"), lock(args))];
    match args.template {
        Some(Template::Wasm) => {
            files.extend(WASM.map(|(name, text)| (sources.join(name), text.to_owned())));
        }
        None => make_directory(&sources)?,
    }
    // Nothing is written when anything is in the way.
    if let Some((taken, _)) = files.iter().find(|(path, _)| path.exists()) {
        return Err(Failure::usage(format!("`{}` exists already", taken.display()))
            .help("`init` starts a new project and never overwrites files"));
    }
    for (path, text) in &files {
        write(path, text)?;
        output::tell(&format!("wrote {}", path.display()));
    }
    if args.template.is_some() {
        output::tell("try: wippy run hello 20 22");
    }
    Ok(ExitCode::SUCCESS)
}

fn lock(args: &InitArgs) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    format!(
        "directories:\n  src: {}\n  modules: {}\n",
        quoted(&args.src_dir),
        quoted(&args.modules_dir)
    )
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if let Some(parent) = path.parent() {
        make_directory(parent)?;
    }
    fs::File::create_new(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::Other(format!("`{}` cannot be written: {error}", path.display())))
}

fn make_directory(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path)
        .map_err(|error| Failure::Other(format!("`{}` cannot be made: {error}", path.display())))
}
