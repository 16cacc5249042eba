//! [`ScriptProcess`]: a Lua process entry in the process table.

use std::sync::Arc;

use wippy_lua::Services;
use wippy_security::{
    CallError, Ended, ErrorKind, Event, Letter, Mailbox, Permit, Process, ProcessFuture, Start,
};

use super::LuaCommand;
use crate::terminal::StandardTerminal;

/// A Lua process. Its script has no way to its mailbox: messages are dropped, and a CANCEL ends it.
pub(super) struct ScriptProcess(pub(super) LuaCommand);

impl Process for ScriptProcess {
    fn start(self: Arc<Self>, _: Permit, start: Start) -> ProcessFuture {
        Box::pin(async move {
            let Start {
                context,
                mailbox,
                arguments,
                terminal,
            } = start;
            let terminal =
                terminal.map(|terminal| Arc::new(StandardTerminal::new(terminal.arguments.clone())) as _);
            let process = self.0.start(Services {
                terminal,
                pid: Some(mailbox.record().pid().as_str().into()),
            })?;
            tokio::select! {
                value = process.run(context, arguments) => value.map(Ended::Value),
                error = cancelled(&mailbox) => Err(error),
            }
        })
    }
}

async fn cancelled(mailbox: &Mailbox) -> CallError {
    loop {
        if let Letter::Event(Event::Cancel { .. }, _) = mailbox.next().await {
            let message = format!("`{}` was cancelled", mailbox.record().pid());
            return CallError::new(ErrorKind::Canceled, message);
        }
    }
}
