//! `wippy lint`: everything that boot checks, and nothing is started.

use std::process::ExitCode;

use super::directory;
use crate::{
    Config, Failure,
    app::App,
    args::{LintArgs, Shared},
    output,
    report::{self, Problems},
};

pub(super) fn run(shared: &Shared, args: &LintArgs) -> Result<ExitCode, Failure> {
    let directory = directory(shared)?;
    let (problems, entries) = match Config::read(&directory, shared) {
        Ok(config) => App::check(&directory, &config),
        Err(problems) => (problems, 0),
    };
    if args.json {
        output::json(&report::to_json(std::slice::from_ref(&problems)));
    } else {
        tell(&problems, entries);
    }
    Ok(if problems.has_errors() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn tell(problems: &Problems, entries: usize) {
    if problems.diagnostics.is_empty() {
        let entries = if entries == 1 {
            "1 entry".to_owned()
        } else {
            format!("{entries} entries")
        };
        output::tell(&format!("no problems in {entries}"));
        return;
    }
    output::tell(&format!("{}\n", problems.render()));
    output::tell(&report::summary(std::slice::from_ref(problems), ""));
}
