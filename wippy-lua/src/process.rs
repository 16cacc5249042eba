//! [`LuaProcess`]: a script that runs on its own.

use std::sync::Arc;

use wippy_security::{CallError, Context, Ended, Permit, Process, ProcessFuture, Start};
use wippy_wit::Value;

use crate::{
    Config, Error, Services, Source,
    modules::{Console, Post, Seat, Upgrade},
    raw,
    worker::{Program, Worker, call_for_value},
};

/// A script that runs on its own, from its method's beginning to its end.
///
/// As a [`Process`] it has a mailbox and a PID: one state for each time it is started.
pub struct LuaProcess {
    program: Arc<Program>,
}

impl LuaProcess {
    /// Compiles `source`. Nothing of it runs before it is started.
    ///
    /// # Errors
    /// When the script or a library of it is not Lua, or a listed module does not exist.
    pub fn new(source: Source, services: Services, config: Config) -> Result<Self, Error> {
        Ok(Self {
            program: Program::new(source, services, config)?,
        })
    }

    /// Runs the method with `arguments` under `context`, in a state of its own, and answers what it returns. It is not
    /// in the process table: it has no PID and no mailbox. If the services have a terminal, it gets that, with `words` as
    /// the words that it was started with. Dropping the future ends it.
    ///
    /// # Errors
    /// Whatever the method returns as its error or raises.
    pub async fn run(
        &self,
        context: Context,
        words: Vec<String>,
        arguments: Vec<Value>,
    ) -> Result<Value, CallError> {
        let mut worker = Worker::new(self.program.clone(), self.console(words))?;
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

    fn console(&self, words: Vec<String>) -> Option<Console> {
        let terminal = self.program.services.terminal.clone()?;
        Some(Console {
            terminal,
            arguments: words.into(),
        })
    }

    async fn run_seated(self: Arc<Self>, start: Start) -> Result<Ended, CallError> {
        let Start {
            context,
            mailbox,
            arguments,
            terminal,
        } = start;
        let console = terminal.and_then(|terminal| self.console(terminal.arguments.clone()));
        let mut worker = Worker::new(self.program.clone(), console)?;
        let seat = Seat::new(Post::new(mailbox));
        worker.seat(&seat);
        let outcome = call_for_value(&mut worker, context, &arguments).await;
        match seat.take_upgrade() {
            Some(Upgrade { entry, arguments }) => {
                seat.post.put_back();
                Ok(Ended::Upgrade { entry, arguments })
            }
            None => outcome.map(Ended::Value),
        }
    }
}

impl Process for LuaProcess {
    fn start(self: Arc<Self>, _permit: Permit, start: Start) -> ProcessFuture {
        Box::pin(self.run_seated(start))
    }
}
