//! [`ProcessService`]: a `process.service`, a process that is kept running.

use async_trait::async_trait;
use tokio::time::Instant;
use wippy_registry::EntryId;
use wippy_security::{CallError, Context, Launched, Spawn};
use wippy_wit::Value;

use crate::supervisor::{Active, Service};

/// A process that is started with the application, and again when it fails.
pub(crate) struct ProcessService {
    /// For whom it acts at first.
    pub(crate) context: Context,
    pub(crate) process: EntryId,
    pub(crate) host: EntryId,
    pub(crate) input: Vec<Value>,
}

#[async_trait]
impl Service for ProcessService {
    async fn start(&self) -> Result<Box<dyn Active>, CallError> {
        let spawn = Spawn::new(self.process.clone(), self.host.clone(), self.input.clone());
        let processes = self.context.dispatcher().processes();
        let launched = processes.launch(&self.context, spawn, Vec::new())?;
        Ok(Box::new(RunningProcess { launched }))
    }
}

struct RunningProcess {
    launched: Launched,
}

#[async_trait]
impl Active for RunningProcess {
    async fn ended(&mut self) -> Result<(), CallError> {
        match &*self.launched.exit().await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.clone()),
        }
    }

    async fn stop(self: Box<Self>, deadline: Instant) {
        self.launched.cancel(deadline, "the service stops");
        self.launched.exit().await;
    }
}

impl Drop for RunningProcess {
    fn drop(&mut self) {
        self.launched.terminate("the service ended");
    }
}
