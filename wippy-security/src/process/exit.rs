//! [`Exit`]: how a process ended, shared by everybody who hears of it.

use std::{fmt, ops::Deref, sync::Arc};

use wippy_wit::Value;

use crate::{CallError, ErrorKind, Pid};

/// How a process ended: what it returned, or what ended it. Cheap to clone.
///
/// An end with an error is an abnormal one: it ends the process's links too, unless they trap it.
#[derive(Clone)]
pub struct Exit(Arc<Ending>);

struct Ending {
    result: Result<Value, CallError>,
    /// The process whose failure this one's end follows from, if it did not fail itself.
    origin: Option<Pid>,
}

impl Exit {
    pub(crate) fn new(result: Result<Value, CallError>) -> Self {
        Self(Arc::new(Ending { result, origin: None }))
    }

    /// The end of a process that is linked to `failed`.
    ///
    /// The error is that of the process that failed first, and the message speaks of it alone: a failure that goes
    /// through a long chain of links does not grow on its way.
    pub(crate) fn of_link(failed: &Pid, exit: &Self) -> Self {
        if exit.0.origin.is_some() {
            return exit.clone();
        }
        let error = match &exit.0.result {
            Ok(_) => CallError::internal("it ended"),
            Err(error) => error.clone(),
        };
        Self(Arc::new(Ending {
            result: Err(error.context(format!("the linked process `{failed}` failed"))),
            origin: Some(failed.clone()),
        }))
    }

    /// What is said of a process that is not there any more, or never was.
    pub(crate) fn unknown(pid: &str) -> Self {
        Self::new(Err(gone(pid)))
    }

    /// Whether it ended with an error.
    pub fn is_abnormal(&self) -> bool {
        self.0.result.is_err()
    }
}

pub(crate) fn gone(pid: &str) -> CallError {
    CallError::new(ErrorKind::NotFound, format!("the process `{pid}` does not run"))
}

impl Deref for Exit {
    type Target = Result<Value, CallError>;

    fn deref(&self) -> &Self::Target {
        &self.0.result
    }
}

impl fmt::Debug for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.result.fmt(f)
    }
}
