//! [`LuaProcess`]: a script that runs on its own.

use std::sync::Arc;

use wippy_security::{CallError, Context};
use wippy_wit::Value;

use crate::{
    Config, Error, Services, Source, raw,
    worker::{Program, Worker, call_for_value},
};

/// A script that runs on its own, from its method's beginning to its end.
pub struct LuaProcess {
    program: Arc<Program>,
}

impl LuaProcess {
    /// Compiles `source`. Nothing of it runs before [`run`](Self::run).
    ///
    /// # Errors
    /// When the script or a library of it is not Lua, or a listed module does not exist.
    pub fn new(source: Source, services: Services, config: Config) -> Result<Self, Error> {
        Ok(Self {
            program: Program::new(source, services, config)?,
        })
    }

    /// Runs the method with `arguments` under `context`, in a state of its own, and answers what it returns.
    /// Dropping the future ends the process.
    ///
    /// # Errors
    /// Whatever the method returns as its error or raises.
    pub async fn run(&self, context: Context, arguments: Vec<Value>) -> Result<Value, CallError> {
        let mut worker = Worker::new(self.program.clone())?;
        let context = context.with_own_execution().without_attachment();
        let deadline = context.deadline();
        let running = call_for_value(&mut worker, context, &arguments);
        match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, running)
                .await
                .unwrap_or_else(|_| Err(raw::deadline_error())),
            None => running.await,
        }
    }
}
