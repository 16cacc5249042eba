//! `wippy test`: runs the process whose `meta.command.use_case` is `test`.

use std::process::ExitCode;

use super::{configured, run::execute, with_app};
use crate::{
    Failure,
    args::{Shared, TestArgs},
    telemetry::Occasion,
};

pub(super) fn run(shared: &Shared, args: &TestArgs) -> Result<ExitCode, Failure> {
    let (directory, config) = configured(shared, Occasion::Command)?;
    with_app(&directory, &config, async |app| {
        let commands = app.commands();
        let mut tests = commands
            .iter()
            .filter(|command| command.use_case.as_deref() == Some("test"));
        match (tests.next(), tests.next()) {
            (Some(test), None) => execute(app, &test.id, None, &args.arguments, "wippy test").await,
            (Some(first), Some(second)) => {
                let message = format!("both `{}` and `{}` are for tests", first.id, second.id);
                Err(Failure::usage(message)
                    .help("one process at most may have `meta.command.use_case: test`"))
            }
            (None, _) => Err(Failure::usage("the application has no tests")
                .help("a process entry with `meta.command.use_case: test` runs them")),
        }
    })
}
