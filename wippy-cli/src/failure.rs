//! [`Failure`]: why a command did not do what was asked, and the exit code that says so.

use std::process::ExitCode;

use wippy_security::CallError;

use crate::{
    output,
    report::{self, Problems},
};

/// A command failed.
#[derive(Debug)]
pub enum Failure {
    /// It was asked for in a way that makes no sense.
    Usage {
        /// What is wrong with it.
        message: String,
        /// Next steps.
        help: Vec<String>,
        /// The form that would make sense: `wippy call app:add <a: s32> <b: s32>`.
        usage: Option<String>,
    },
    /// The project or its configuration has problems.
    Problems(Vec<Problems>),
    /// A call failed.
    Call(CallError),
    /// Something outside of the application failed.
    Other(String),
    /// A signal ended it.
    Interrupted,
}

impl Failure {
    /// Wrong usage without a further hint.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            help: Vec::new(),
            usage: None,
        }
    }

    /// Adds a next step, if it is wrong usage.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        if let Self::Usage { help, .. } = &mut self {
            help.push(text.into());
        }
        self
    }

    /// Tells people about it; returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Usage { message, help, usage } => {
                output::error(message, help);
                if let Some(usage) = usage {
                    output::tell(&format!("usage: {usage}"));
                }
                ExitCode::from(2)
            }
            Self::Problems(problems) => {
                for part in problems.iter().filter(|part| !part.diagnostics.is_empty()) {
                    output::tell(&format!("{}\n", part.render()));
                }
                output::tell(&report::summary(problems, "; nothing was started"));
                ExitCode::from(2)
            }
            Self::Call(error) => {
                report_call(error);
                ExitCode::FAILURE
            }
            Self::Other(message) => {
                output::error(message, &[]);
                ExitCode::FAILURE
            }
            Self::Interrupted => ExitCode::from(130),
        }
    }
}

fn report_call(error: &CallError) {
    let retryable = if error.retryable() { " (retryable)" } else { "" };
    output::error(&format!("{}: {}{retryable}", error.kind(), error.message()), &[]);
    let repeats = error.details().as_str() == Some(error.message());
    if !error.details().is_nil()
        && !repeats
        && let Ok(details) = wippy_wit::json::from_value(error.details())
    {
        output::tell(&format!("  details: {details}"));
    }
    for line in error.stack().unwrap_or_default().lines() {
        output::tell(&format!("  {line}"));
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Problems(vec![problems])
    }
}
