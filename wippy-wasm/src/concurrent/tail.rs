//! [`Tail`]: what a call leaves behind when it has returned.

use std::sync::{Arc, Weak};

use tokio::task::AbortHandle;
use wippy_security::{CallError, Context, ErrorKind, Execution, OwnSlot};

use super::{Session, settle};
use crate::{deadline::Deadline, instance::Instance, module::Module};

/// An instance that is not done although its call has returned.
pub(super) struct Tail {
    /// Dropped before the instance is: what it had open fails, rather than to end as if it were complete.
    unfinished: Unfinished,
    instance: Box<Instance>,
    deadline: Deadline,
    _slot: Option<OwnSlot<Instance>>,
}

impl Tail {
    pub(super) fn new(
        module: Arc<Module>,
        session: Arc<Session>,
        instance: Box<Instance>,
        deadline: Deadline,
        slot: Option<OwnSlot<Instance>>,
    ) -> Self {
        Self {
            unfinished: Unfinished { module, session },
            instance,
            deadline,
            _slot: slot,
        }
    }

    /// Runs it on its own, but never longer than the execution that made the call.
    pub(super) fn start(self, context: &Context) {
        let execution = context.execution();
        let key = Execution::fresh_key();
        let leased = Leased {
            execution: Arc::downgrade(execution),
            key,
        };
        let task = tokio::spawn(self.run(leased)).abort_handle();
        execution.park(key, Box::new(Canceling(task.clone())));
        if task.is_finished() {
            execution.take(key);
        }
    }

    async fn run(mut self, _leased: Leased) {
        let Unfinished { module, session } = &self.unfinished;
        if let Err(error) = settle(&mut self.instance, module, session, self.deadline).await {
            tracing::debug!(target: "wippy", id = %module.id, "a call failed after it had returned: {error}");
        }
    }
}

/// Ends the task with the execution that holds it.
struct Canceling(AbortHandle);

impl Drop for Canceling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes what the execution holds back when the task has ended.
struct Leased {
    execution: Weak<Execution>,
    key: usize,
}

impl Drop for Leased {
    fn drop(&mut self) {
        if let Some(execution) = self.execution.upgrade() {
            execution.take(self.key);
        }
    }
}

/// Fails the streams of a call that is cancelled.
struct Unfinished {
    module: Arc<Module>,
    session: Arc<Session>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let message = format!("{}: the call was cancelled", self.module.id);
        self.session.fail(&CallError::new(ErrorKind::Canceled, message));
    }
}
