//! `wippy registry`: the entries of the application, as a table, as JSON or as YAML.

use std::{process::ExitCode, sync::Arc};

use serde_json::{Value as Json, json};
use wippy_registry::{Entry, Error, Linked, Query};

use super::{configured, directory};
use crate::{
    Failure,
    args::{RegistryArgs, RegistryCommand, Shared},
    boot, output,
    report::Problems,
    telemetry::Occasion,
};

pub(super) fn run(shared: &Shared, command: RegistryCommand) -> Result<ExitCode, Failure> {
    directory(shared)?;
    let (directory, config) = configured(shared, Occasion::Command)?;
    let linked = boot::read(&directory, &config);
    if !linked.is_ok() {
        return Err(Problems::new(linked.sources, linked.diagnostics).into());
    }
    match command {
        RegistryCommand::List(args) => list(&linked, &args),
        RegistryCommand::Show(args) => show(&linked, &args),
    }
}

fn list(linked: &Linked, args: &RegistryArgs) -> Result<ExitCode, Failure> {
    let entries = select(linked, args)?;
    if args.json || args.yaml {
        let brief =
            |entry: &Arc<Entry>| json!({ "id": entry.id, "kind": entry.kind, "meta": entry.meta.to_json() });
        print(entries.iter().map(brief).collect(), args);
    } else if entries.is_empty() {
        output::tell("no entries");
    } else {
        let row = |entry: &Arc<Entry>| [entry.id.to_string(), entry.kind.to_string(), about(entry)];
        output::table(["ENTRY", "KIND", "ABOUT"], entries.iter().map(row).collect());
    }
    Ok(ExitCode::SUCCESS)
}

fn show(linked: &Linked, args: &RegistryArgs) -> Result<ExitCode, Failure> {
    let entries = select(linked, args)?;
    if entries.is_empty() {
        return Err(Failure::usage("no entry matches").help("`wippy registry list` shows what there is"));
    }
    print(entries.iter().map(|entry| in_full(entry)).collect(), args);
    Ok(ExitCode::SUCCESS)
}

/// The entry as its author wrote it, under its full id. Placeholders stay, so no secret is shown.
fn in_full(entry: &Entry) -> Json {
    let mut document = json!({ "id": entry.id });
    if let (Json::Object(all), Json::Object(fields)) = (&mut document, entry.to_authored_json()) {
        all.extend(fields.into_iter().filter(|(name, _)| name != "name"));
    }
    document
}

fn print(documents: Vec<Json>, args: &RegistryArgs) {
    if args.json {
        output::json(&Json::Array(documents));
        return;
    }
    let texts: Vec<String> = documents.iter().map(output::yaml).collect();
    output::line(texts.join("---\n").trim_end());
}

/// What `meta` says about an entry in a line.
fn about(entry: &Entry) -> String {
    let texts = ["comment", "title", "command.short", "description"];
    let found = texts.iter().find_map(|path| entry.meta.at(path)?.as_str());
    found
        .and_then(|text| text.lines().next())
        .unwrap_or_default()
        .to_owned()
}

fn select(linked: &Linked, args: &RegistryArgs) -> Result<Vec<Arc<Entry>>, Failure> {
    let query = query(args).map_err(|error| Failure::usage(error.to_string()))?;
    let fits =
        |entry: &&Arc<Entry>| args.id.as_ref().is_none_or(|id| entry.id == *id) && query.matches(entry);
    let mut entries: Vec<Arc<Entry>> = linked
        .entries
        .iter()
        .map(|linked| &linked.entry)
        .filter(fits)
        .map(Arc::clone)
        .collect();
    entries.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(entries)
}

fn query(args: &RegistryArgs) -> Result<Query, Error> {
    let mut query = Query::new();
    if let Some(pattern) = &args.kind {
        query = query.kind(pattern)?;
    }
    if let Some(pattern) = &args.ns {
        query = query.namespace(pattern)?;
    }
    if let Some(pattern) = &args.name {
        query = query.name(pattern)?;
    }
    args.meta
        .iter()
        .try_fold(query, |query, filter| query.meta(filter))
}
